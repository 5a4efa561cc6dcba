"""The command line. Imports click alone; each command imports what it needs when it runs.

Exit codes: 0 nothing found (notes do not count), 1 findings, 2 wrong usage, 3 the user's own code crashed,
70 wellposed itself failed, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import __version__
from .errors import ProblemError, UserCodeError

if TYPE_CHECKING:
    from .problem import Problem

FOUND, INTERRUPTED = 1, 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    try:
        code = commands.main(arguments, prog_name="wellposed", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except Exception as error:
        from .show.crash import account

        text, code = account(error)
        _note(text)
    sys.exit(code if isinstance(code, int) else 0)


class _AsWritten(click.Group):
    """Lists its commands in the order of this file: what one needs first comes first."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click would add a line of its own
            _note("interrupted")
            raise click.exceptions.Exit(INTERRUPTED) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_AsWritten, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wellposed", message="%(prog)s %(version)s")
def commands() -> None:
    """Check a training problem (model, loss, data) before the GPU hours burn.

    A problem is written train.py:problem or pkg.mod:problem: a wellposed.Problem, a (model, loss, data)
    tuple, or a function without arguments that returns one.

    Exit codes: 0 nothing found, 1 findings, 2 wrong usage, 3 your own code crashed.
    """


_seed = click.option("--seed", default=0, show_default=True, help="Seed of all that is drawn.")
_format = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="With json, standard output holds that alone.",
)
_verbose = click.option("-v", "--verbose", is_flag=True, help="Every finding in full, every reason to skip.")
_problem = click.argument("spec", metavar="train.py:problem")
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


def _writable(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a place that cannot be written before the work is done, not after."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        what = "is a folder" if path.is_dir() else f"lies in no existing folder ({path.absolute().parent})"
        raise click.BadParameter(f"{path} {what}: name a file")
    return path


def _output(about: str, **options: Any) -> Callable[..., Any]:
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), callback=_writable, help=about, **options
    )


def _codes(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Codes of the rules meant by codes, names and prefixes, comma separated or repeated."""
    if not given:
        return None
    from .rules.explain import matching

    keys = _separated(given) or [""]
    return tuple(dict.fromkeys(rule.code for key in keys for rule in matching(key)))


def _separated(given: tuple[str, ...]) -> list[str]:
    return [part.strip() for text in given for part in text.split(",") if part.strip()]


@commands.command()
@_problem
@click.option("--select", multiple=True, callback=_codes, help="Only these: codes, names or prefixes (WP1).")
@click.option("--ignore", multiple=True, callback=_codes, help="Not these rules.")
@_seed
@_format
@_output("Save the report here too, as JSON for `wellposed report`.")
@_verbose
def check(spec: str, form: str, output: Path | None, verbose: bool, **options: Any) -> int:
    """Say what is wrong, where, why, and the fix."""
    from .show.streams import progress, users_code

    with users_code(spec, machine=form == "json"):
        problem = _load(spec)
        from .checking import check as run

        with progress() as show:
            report = run(problem, progress=show, **{k: v for k, v in options.items() if v is not None})
        report = report.addressed(spec)
    if output:
        output.write_text(report.to_json() + "\n", encoding="utf-8")
        _wrote(output)
    return _show_report(report, form, verbose=verbose)


@commands.command()
@_problem
@_seed
@_format
@_output("Save the normalizer here, as JSON for `wellposed normalize apply`.")
def fix(spec: str, seed: int, form: str, output: Path | None) -> int:
    """Mend on a copy; keep what is measured to be better."""
    from .show.fixed import fix_json, render_fix
    from .show.streams import progress, users_code, width

    with users_code(spec, machine=form == "json"):
        problem = _load(spec)
        from .fixing import fix as run

        with progress() as show:
            fixed = run(problem, seed=seed, progress=show)
    if output:
        _save_normalizers(fixed, output)
    _show(fixed, form, text=partial(render_fix, width=width(), color=None), json=fix_json)
    return 0 if fixed.after.ok else FOUND


@commands.command()
@click.argument("spec", metavar="file.py:f")
@_seed
@_format
def gradcheck(spec: str, seed: int, form: str) -> int:
    """Compare gradients with two-sided differences.

    f is a Problem, a tuple (function, *inputs), dict(f=, inputs=, gradient=), or a function without
    arguments that returns one of these. Inconclusive counts as a finding: exit 1.
    """
    from .show.streams import users_code

    with users_code(spec, machine=form == "json"):
        f, inputs, options = _what_to_check(spec)
        from .gradcheck import check_gradients

        found = check_gradients(f, *inputs, seed=seed, **options)
    _show(found, form)
    if found.verdict == "inconclusive":
        _note("inconclusive: this gradient was not shown to be right, nor wrong")
    return 0 if found.verdict == "pass" else FOUND


@commands.command()
@_problem
@_seed
@_format
def signals(spec: str, seed: int, form: str) -> None:
    """Show signal and gradient over the layers."""
    from .show.streams import users_code

    with users_code(spec, machine=form == "json"):
        problem = _load(spec)
        from .signals import measure_signals

        profile = measure_signals(problem.model, problem.loss, problem.train, seed=seed)
    _show(profile, form)


@commands.command()
@_problem
@click.option("--scheme", default="auto", show_default=True, help="auto, he, glorot, lecun or orthogonal.")
@_seed
@_format
def init(spec: str, scheme: str, seed: int, form: str) -> None:
    """Show how the weights would be drawn, on a copy."""
    from copy import deepcopy

    from .show.streams import users_code

    with users_code(spec, machine=form == "json"):
        problem = _load(spec)
        from .initialization import initialize

        inputs, judged_by = _first_batch(problem)
        recipe = initialize(deepcopy(problem.model), inputs, scheme=scheme, seed=seed, **judged_by)
    _show(recipe, form)


@commands.group()
def normalize() -> None:
    """Fit a normalizer on training data, and reuse it unchanged."""


@normalize.command("fit")
@click.argument("data", type=_file)
@_output("Where the normalizer goes (JSON).", required=True)
@click.option("--columns", multiple=True, help="Names of the columns, comma separated or repeated.")
@click.option(
    "--split", default="train", show_default=True, help="What the data is; only train can be fitted."
)
def fit_normalizer(data: Path, output: Path, columns: tuple[str, ...], split: str) -> None:
    """Fit on a .csv, .npy or .npz file of training rows."""
    from .normalize.sources import fit_file

    normalizer, left_alone = fit_file(data, columns=_separated(columns) or None, split=split)
    normalizer.save(output)
    _print(str(normalizer))
    _wrote(output, left_alone)


@normalize.command("apply")
@click.argument("normalizer", type=_file)
@click.argument("data", type=_file)
@_output("Where the normalized data goes, in the format of DATA.", required=True)
def apply_normalizer(normalizer: Path, data: Path, output: Path) -> None:
    """Normalize a file with the statistics that were fitted."""
    from .normalize import Normalizer
    from .normalize.sources import apply

    _wrote(output, apply(data, Normalizer.load(normalizer), output))


@normalize.command("show")
@click.argument("normalizer", type=_file)
def show_normalizer(normalizer: Path) -> None:
    """Show what a saved normalizer holds, and where it came from."""
    from .normalize import Normalizer

    _print(str(Normalizer.load(normalizer)))


@commands.command()
@click.argument("key", metavar="WP101|NAME|WP1")
def explain(key: str) -> None:
    """Explain a rule: by code, by name, or a family by prefix."""
    from .rules.explain import explain as text

    _print(text(key))


@commands.command()
@click.argument("key", metavar="[WP1]", required=False)
@_format
def rules(key: str | None, form: str) -> None:
    """List the rules: code, name, severity."""
    from .rules.explain import listing, matching

    fields = ("code", "name", "severity")
    found = matching(key or "WP")
    listed = [{field: getattr(rule, field) for field in fields} for rule in found]
    _show(listed, form, text=lambda _: listing(found))


@commands.command()
@click.argument("file", type=_file)
@_format
@_verbose
def report(file: Path, form: str, verbose: bool) -> int:
    """Show again a report that `wellposed check -o` saved."""
    from .report import Report

    return _show_report(Report.from_json(file.read_bytes()), form, verbose=verbose)


@commands.command()
def demo() -> None:
    """Check and mend a small problem on real data, about a minute."""
    from .demo import main as run

    run()


def _load(spec: str) -> Problem:
    from .problem import load_problem

    return load_problem(spec)


def _what_to_check(spec: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The function, its inputs and the options of `check_gradients`, from whatever stands at `spec`."""
    from .problem import Problem, as_problem, load_object

    found = load_object(spec)
    if callable(found) and not isinstance(found, Problem):
        found = _call(found, spec)
    if isinstance(found, Problem):
        return found, (), {}
    if isinstance(found, dict) and callable(found.get("f")) and set(found) <= {"f", "inputs", "gradient"}:
        inputs = found.get("inputs", ())
        options = {"gradient": found["gradient"]} if found.get("gradient") is not None else {}
        return found["f"], tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), options
    if isinstance(found, tuple) and len(found) >= 2 and callable(found[0]):
        if found[1] is None or callable(found[1]):
            return as_problem(found, name=spec), (), {}
        return found[0], found[1:], {}
    raise ProblemError(
        f"{spec} gives a {type(found).__name__}: expected a Problem, a tuple (function, *inputs), "
        "or dict(f=, inputs=, gradient=), or a function without arguments that returns one"
    )


def _call(function: Callable[..., Any], spec: str) -> Any:
    import inspect

    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        raise ProblemError(
            f"{spec} takes arguments: name a function without arguments that returns (function, *inputs)"
        ) from None
    try:
        return function()
    except Exception as error:  # whatever the user's code raises is theirs
        raise UserCodeError(f"{spec}() raised {type(error).__name__}") from error


def _first_batch(problem: Problem) -> tuple[Any, dict[str, Any]]:
    """The inputs of the first training batch, as the model is called with them, and the loss and targets."""
    if problem.train is None:
        return None, {}
    from .frameworks.torch.data import batches

    batch = batches(problem.train, count=1, seed=0, has_loss=problem.loss is not None)[0]
    judged = problem.loss is not None and batch.targets is not None
    options = {"loss": problem.loss, "targets": batch.targets} if judged else {}
    if batch.kwargs is not None:
        return batch.kwargs, options
    return batch.args[0] if len(batch.args) == 1 else batch.args, options


def _save_normalizers(fixed: Any, path: Path) -> None:
    if fixed.normalizer is None:
        _note(f"no normalizer was needed: {path} is not written")
    else:
        fixed.normalizer.save(path)
        _wrote(path)
    if fixed.target_normalizer is not None:
        fixed.target_normalizer.save(path.with_suffix(".targets.json"))
        _wrote(path.with_suffix(".targets.json"))


def _show(value: Any, form: str, *, text: Callable[[Any], str] = str, json: Any = None) -> None:
    if form == "json":
        from .show.plain import to_json

        click.echo((json or to_json)(value))
    else:
        _print(text(value))


def _show_report(report: Any, form: str, *, verbose: bool) -> int:
    from .show.streams import width
    from .show.text import render

    text = partial(render, width=width(), color=None, verbose=verbose)
    _show(report, form, text=text, json=type(report).to_json)
    return 0 if report.ok else FOUND


def _print(text: str) -> None:
    """Print for people: signs that the terminal cannot show are spelled out."""
    from .show.lines import encodable

    click.echo(encodable(text, sys.stdout.encoding or "utf-8"), color=True)


def _wrote(path: Path, left_alone: tuple[str, ...] = ()) -> None:
    _note(f"wrote {path}" + (f"; left as it was: {', '.join(left_alone)}" if left_alone else ""))


def _note(text: str) -> None:
    click.echo(text, err=True)
