"""``wellposed gradcheck``: is this backward pass the derivative of its forward pass?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from ..errors import ProblemError, UserCodeError
from ..lazy import lazy
from . import arguments, printing
from .printing import FOUND, show

gradient_checks = lazy("wellposed.gradcheck")
problems = lazy("wellposed.problem")
show_gradient = lazy("wellposed.show.gradient")

MODES = ("reverse", "forward", "forward-reverse")
_KEYS = ("f", "inputs", "gradient")
_FORMS = (
    "expected a Problem, a tuple (function, *inputs), dict(f=, inputs=, gradient=), "
    "or a function without arguments that returns one"
)


@click.command()
@click.argument("spec", metavar="file.py:f")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="reverse",
    show_default=True,
    help="The backward pass against differences, forward-mode derivatives against differences, or one against the other.",
)
@click.option(
    "--order",
    type=click.Choice(["1", "2"]),
    default="1",
    show_default=True,
    help="2: the gradient's own too.",
)
@click.option(
    "--resolution",
    type=click.FloatRange(0, min_open=True),
    default=1e-2,
    show_default=True,
    help="A pass promises that a larger relative error would have been seen.",
)
@click.option("--no-replay", is_flag=True, help="Check in the precision of the inputs, not in float64.")
@arguments.seed
@arguments.form
def gradcheck(spec: str, form: str, order: str, no_replay: bool, **options: Any) -> int:
    """Compare gradients with two-sided differences.

    f is a Problem, a tuple (function, *inputs), dict(f=, inputs=, gradient=), or a function without
    arguments that returns one of these. Inconclusive counts as a finding: exit 1.
    """
    with printing.users_code(spec, machine=form == "json"):
        f, inputs, claimed = what_to_check(spec)
        replay = False if no_replay else "auto"
        found = gradient_checks.check_gradients(
            f, *inputs, order=2 if order == "2" else 1, replay=replay, **options, **claimed
        )
    show(found, form, text=partial(show_gradient.render_gradients, width=printing.width(), color=None))
    return 0 if found.verdict == "pass" else FOUND


def what_to_check(spec: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The function, its inputs and what is claimed of it, from whatever stands at `spec`."""
    found = problems.load_object(spec)
    if callable(found) and not isinstance(found, problems.Problem):
        found = _made(found, spec)
    if isinstance(found, problems.Problem):
        return found, (), {}
    if isinstance(found, dict):
        return _named(found, spec)
    if isinstance(found, tuple) and len(found) >= 2 and callable(found[0]):
        if found[1] is None or callable(found[1]):  # a model and its loss
            return problems.as_problem(found, name=spec), (), {}
        return found[0], found[1:], {}
    raise ProblemError(f"{spec} gives {_kind(found)}: {_FORMS}")


def _named(found: dict[str, Any], spec: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    if not callable(found.get("f")) or not set(found) <= set(_KEYS):
        keys = ", ".join(map(str, found)) or "none"
        raise ProblemError(
            f"{spec} gives a dict with the keys {keys}: expected f, which is a function, inputs and gradient"
        )
    inputs = found.get("inputs", ())
    claimed = {"gradient": found["gradient"]} if found.get("gradient") is not None else {}
    return found["f"], tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), claimed


def _made(found: Callable[..., Any], spec: str) -> Any:
    """What a function without arguments returns; the others are told what to write instead."""
    _refuse_without_inputs(found, spec)
    try:
        return found()
    except Exception as error:  # whatever the user's code raises is theirs
        raise UserCodeError(f"{spec}() raised {type(error).__name__}") from error


def _refuse_without_inputs(found: Any, spec: str) -> None:
    """Say what to write where a function or a module stands alone."""
    asks = _asks(found, spec.rpartition(":")[2])
    if asks is None:
        return
    file = spec.rpartition(":")[0]
    what, call, names = asks
    listed = ", ".join(names) or "x"
    with_gradient = f"; with NumPy, check = dict(f={call}, inputs=[{listed}], gradient=...)"
    raise ProblemError(
        f"{spec} is {what}, and nothing says at which inputs to check it: write check = ({call}, {listed}) in {file}, "
        f"with tensors or arrays for {listed}, and name {file}:check{'' if 'torch' in what else with_gradient}"
    )


def _asks(found: Any, name: str) -> tuple[str, str, list[str]] | None:
    """What stands there, how it is called, and the inputs that it asks for; None where it asks for none."""
    kind = type(found)
    owner: Any = getattr(found, "__self__", None)
    if _is_torch(kind, "Module"):
        return f"a torch module ({kind.__name__})", name, _parameters(found.forward)
    if _is_torch(found, "Module"):
        return "a class of torch modules", f"{name}()", _parameters(found.forward)[1:]
    if _is_torch(found, "Function"):
        return "a torch autograd.Function", f"{name}.apply", _parameters(found.forward)[1:]
    if _is_torch(owner, "Function"):
        return "the apply of a torch autograd.Function", name, _parameters(owner.forward)[1:]
    return None if _takes_none(found) else ("a function that takes arguments", name, _parameters(found))


def _is_torch(kind: Any, name: str) -> bool:
    """Whether this is a class below torch's own of that name; torch itself is not asked, since it may not be there."""
    if not isinstance(kind, type):
        return False
    return any(k.__module__.startswith("torch.") and k.__name__ == name for k in kind.__mro__)


def _parameters(function: Callable[..., Any]) -> list[str]:
    """The names of what must be given."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


def _takes_none(function: Callable[..., Any]) -> bool:
    import inspect

    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


def _kind(found: Any) -> str:
    if found is None:
        return "None (was `return` forgotten?)"
    if isinstance(found, tuple):
        return f"a tuple of {len(found)} that begins with no function and its inputs"
    name = type(found).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
