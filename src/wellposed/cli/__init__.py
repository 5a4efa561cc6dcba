"""The command line. Imports click alone; each command imports what it needs when it runs.

Exit codes: 0 ready (notes do not count), 1 findings, 2 wrong usage, 3 the user's own code crashed, 4 not examined,
70 wellposed itself failed, 130 interrupted, 141 nobody reads what is printed any more.
"""

from __future__ import annotations

import difflib
import io
import sys
import tomllib
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..choices import BUDGETS, PRECISIONS
from ..errors import ArgumentError, ArtifactError, WellposedError
from ..lazy import lazy
from ..own_files import read_bounded, save
from ..version import __version__
from . import arguments, printing
from .arguments import refuse_overwriting_code
from .gradients import gradcheck
from .normalizing import normalize
from .printing import EXIT_CODES, note, notes_of, open_closed_streams, say, show, silence, wrote

_check = lazy("wellposed._check")
_budgets = lazy("wellposed.budget")
_fix = lazy("wellposed._fix")
demo_story = lazy("wellposed.demo")
initialization = lazy("wellposed.initialization")
limit_values = lazy("wellposed.limits")
problems = lazy("wellposed.problem")
reports = lazy("wellposed.report")
rule_pages = lazy("wellposed.rules.explain")
saved_reports = lazy("wellposed.rules.saved")
show_crash = lazy("wellposed.show.crash")
show_fixed = lazy("wellposed.show.fix_and_race")
show_text = lazy("wellposed.show.text")
signal_profiles = lazy("wellposed.signals")
torch_batches = lazy("wellposed.runtime.torch.batches")
torch_doors = lazy("wellposed.runtime.torch.doors")
torch_problem_forms = lazy("wellposed.runtime.torch.problem_forms")
torch_session = lazy("wellposed.runtime.torch.session")

if TYPE_CHECKING:
    from ..problem import Precision, Problem

INTERRUPTED = 130
BROKEN_PIPE = 141
_SETTINGS = 1_000_000  # bytes; a larger file is nobody's settings


def main(given: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    open_closed_streams()
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has read enough
        silence(sys.stdout)
        code = BROKEN_PIPE
    sys.exit(code)


def _run(given: list[str] | None) -> int:
    try:
        code = commands.main(given, prog_name="wellposed", standalone_mode=False)
    except SystemExit:  # click's own answer to a broken pipe; of the users' exits `users_code` makes an error
        code = BROKEN_PIPE
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        note(shown.getvalue().rstrip("\n"))
        code = error.exit_code
    except Exception as error:
        text, code = show_crash.account(error)
        note("\n".join([text, *notes_of(error)] if isinstance(error, WellposedError | OSError) else [text]))
    return code if isinstance(code, int) else 0


class _Interruptible(arguments.InOrder):
    """Says in its own words that it was interrupted."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would add a line of its own
            note("\n".join(["interrupted", *notes_of(error)]))
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(cls=_Interruptible, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wellposed", message="%(prog)s %(version)s")
def commands() -> None:
    """Check a training problem (model, loss, data) before the GPU hours burn.

    A problem is written train.py:problem or pkg.mod:problem: a wellposed.Problem, a (model, loss, data)
    tuple, or a function without arguments that returns one.

    Exit codes: 0 ready, 1 findings, 2 wrong usage, 3 your own code crashed, 4 not examined (nothing was
    found, but something that matters could not be looked at; the last line says what to pass).
    """
    _note_settings_without_effect()


def _note_settings_without_effect() -> None:
    """Say that ``[tool.wellposed]`` is not read, where the nearest pyproject.toml has such a table."""
    with suppress(OSError, ValueError):  # what is no TOML holds no settings
        here = Path.cwd()
        files = (folder / "pyproject.toml" for folder in (here, *here.parents))
        file = next((f for f in files if f.is_file() and f.stat().st_size < _SETTINGS), None)
        if file and "wellposed" in tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}):
            note(f"note: this version reads no [tool.wellposed], which {file} has: give options instead")


def _codes(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Codes of the rules meant by codes, names and prefixes, comma separated or repeated."""
    if not given:
        return None
    keys = arguments.separated(given, f"--{parameter.name}")
    return tuple(dict.fromkeys(rule.code for key in keys for rule in rule_pages.matching(key)))


def _budget(context: click.Context, parameter: click.Parameter, given: str) -> str | float:
    try:
        return _budgets.checked(given)
    except ArgumentError as error:
        raise click.BadParameter(str(error)) from None


def _limits(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    """Limits by name; one that is given twice takes the last value."""
    known = {field.name for field in fields(limit_values.Limits)} if given else set()
    return dict(_limit(text, known) for text in given)


def _limit(text: str, known: set[str]) -> tuple[str, float]:
    name, _, value = (part.strip() for part in text.partition("="))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "`wellposed explain WP101` names those of a rule"
        )
        raise click.BadParameter(f"{name!r} is no limit; {hint}", param_hint="'--limits'")
    try:
        number = float(value)
        limit_values.Limits(**{name: number})
    except (ValueError, ArgumentError) as error:
        reason = str(error) if isinstance(error, ArgumentError) else f"{value!r} is no number"
        raise click.BadParameter(f"{text!r}: {reason}; write NAME=VALUE", param_hint="'--limits'") from None
    return name, number


@commands.command()
@arguments.problem
@click.option("--select", multiple=True, callback=_codes, help="Only these: codes, names or prefixes (WP1).")
@click.option("--ignore", multiple=True, callback=_codes, help="Not these rules.")
@click.option("--isolate", is_flag=True, help="Check in a process of its own: a crash there is reported.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="What training will run in, whatever the problem says: a step in it is emulated.",
)
@click.option(
    "--budget",
    default="normal",
    show_default=True,
    metavar="BUDGET",
    callback=_budget,
    help=f"How much to look at: {', '.join(BUDGETS)}, or seconds, as 60s.",
)
@arguments.seed
@arguments.form
@arguments.output("Save the report here too, as JSON for `wellposed report`.")
@arguments.force
@arguments.verbose
def check(
    spec: str,
    form: str,
    output: Path | None,
    force: bool,
    verbose: bool,
    precision: Precision | None,
    **options: Any,
) -> int:
    """Say what is wrong, where, why, and the fix.

    Exit code 0: ready. 1: an error or a warning. 4: neither, but something that matters could not be
    looked at, such as the objective without a loss: the last line says what to pass.
    """
    arguments.refuse_other_formats(output)
    arguments.refuse_replacing(output, force=force, result=arguments.REPORT)
    with printing.users_code(spec, machine=form == "json"):
        problem = _load(spec)
        problem = problem if precision is None else replace(problem, precision=precision)
        refuse_overwriting_code(output, spec)
        try:
            with printing.progress() as tell:
                report = _check.check(
                    problem, progress=tell, **{k: v for k, v in options.items() if v is not None}
                )
        except reports.CheckInterrupted as stopped:
            if form == "text":
                _show_report(stopped.report.addressed(spec), form, verbose=verbose)
            raise
        report = report.addressed(spec)
    if output:
        save(output, f"{report.to_json()}\n".encode(), force=force, **arguments.REPORT)
        wrote(output)
    return _show_report(report, form, verbose=verbose)


@commands.command()
@arguments.problem
@arguments.seed
@arguments.form
@arguments.output("Save the normalizer here, as JSON for `wellposed normalize apply`.")
@arguments.force
def fix(spec: str, seed: int, form: str, output: Path | None, force: bool) -> int:
    """Mend on a copy; keep what is measured to be better.

    The exit code is that of `wellposed check` on the mended problem.
    """
    arguments.refuse_other_formats(output)
    places = (
        {"normalizer": output, "target_normalizer": output.with_suffix(".targets.json")} if output else {}
    )
    for place in places.values():
        arguments.refuse_replacing(place, force=force, result=arguments.NORMALIZER)
    with printing.users_code(spec, machine=form == "json"):
        problem = _load(spec)
        for place in places.values():
            refuse_overwriting_code(place, spec)
        with printing.progress() as tell:
            fixed = _fix.fix(problem, seed=seed, progress=tell)
    for name, place in places.items():
        _save_normalizer(getattr(fixed, name), place, name, force=force)
    show(
        fixed,
        form,
        text=partial(show_fixed.render_fix, width=printing.width(), color=None),
        json=show_fixed.fix_json,
    )
    return EXIT_CODES[fixed.verdict]


commands.add_command(gradcheck)


@commands.command()
@arguments.problem
@arguments.seed
@arguments.form
def signals(spec: str, seed: int, form: str) -> None:
    """Show signal and gradient over the layers."""
    with printing.users_code(spec, machine=form == "json"):
        problem = _load(spec)
        profile = signal_profiles.measure_signals(problem, seed=seed)
    show(profile, form)


@commands.command()
@arguments.problem
@click.option("--scheme", default="auto", show_default=True, help="auto, he, glorot, lecun or orthogonal.")
@arguments.seed
@arguments.form
def init(spec: str, scheme: str, seed: int, form: str) -> None:
    """Show how the weights would be drawn, on a copy."""
    from copy import deepcopy

    with printing.users_code(spec, machine=form == "json"):
        problem = _load(spec)
        inputs, judged_by = _first_batch(problem)
        recipe = initialization.initialize(
            deepcopy(problem.model), inputs, scheme=scheme, seed=seed, **judged_by
        )
    show(recipe, form)


commands.add_command(normalize, "normalize")


@commands.command()
@click.argument("key", metavar="WP101|NAME|WP1")
def explain(key: str) -> None:
    """Explain a rule: by code, by name, or a family by prefix."""
    say(rule_pages.explain(key))


@commands.command()
@click.argument("key", metavar="[WP1]", required=False)
@arguments.form
def rules(key: str | None, form: str) -> None:
    """List the rules: code, name, severity."""
    fields = ("code", "name", "severity")
    chosen = rule_pages.matching(key or "WP")
    listed = [{field: getattr(rule, field) for field in fields} for rule in chosen]
    show(listed, form, text=lambda _: rule_pages.listing(chosen))


@commands.command()
@click.argument("file", type=arguments.FILE)
@click.option(
    "--limits",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_limits,
    help="Judge what was measured again, with this limit; may be repeated.",
)
@arguments.form
@arguments.verbose
def report(file: Path, limits: dict[str, float], form: str, verbose: bool) -> int:
    """Show again a report that `wellposed check -o` saved, or judge it again.

    The exit code is that of the check, or with --limits that of the new verdict.
    """
    try:
        saved = reports.Report.from_json(read_bounded(file))
        if limits:
            saved = saved.judged(saved_reports.limits_of(saved, **limits))
    except ArtifactError as error:
        raise ArtifactError(f"{error} ({file})") from None
    return _show_report(saved, form, verbose=verbose)


@commands.command()
def demo() -> None:
    """Check and mend a small problem on real data, about a minute."""
    demo_story.main()


def _load(spec: str) -> Problem:
    return problems.load_problem(spec)


def _first_batch(problem: Problem) -> tuple[Any, dict[str, Any]]:
    """The inputs of the first training batch, as the model is called with them, and the loss and targets."""
    problem = torch_doors.opened(problem)
    if problem.train is None:
        return None, {}
    problem = torch_problem_forms.read_problem(problem)
    batch = torch_batches.batches(
        problem.train, count=1, seed=0, has_loss=torch_session.kind_of_loss(problem)
    )[0]
    judged = problem.loss is not None and batch.targets is not None
    options = {"loss": problem.loss, "targets": batch.targets} if judged else {}
    return batch.inputs, options


def _save_normalizer(normalizer: Any, path: Path, name: str, *, force: bool) -> None:
    if normalizer is not None:
        normalizer.save(path, force=force)
        wrote(path)
    elif name == "normalizer":
        note(f"no normalizer was needed: {path} is not written")


def _show_report(report: Any, form: str, *, verbose: bool) -> int:
    text = partial(show_text.render, width=printing.width(), color=None, verbose=verbose)
    show(report, form, text=text, json=type(report).to_json)
    return EXIT_CODES[report.verdict]
