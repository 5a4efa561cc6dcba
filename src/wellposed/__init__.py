"""Check a training problem (model, loss, data) before the GPU hours burn: what is wrong, where, why, and the fix.

::

    import wellposed as wp

    report = wp.check(model, loss, train_loader)
    fixed = wp.fix(model, loss, train_loader)

Names are loaded when first used, so ``import wellposed`` loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import shown
from .lazy import lazy
from .version import __version__ as __version__

if TYPE_CHECKING:
    from ._check import check
    from ._fix import fix
    from ._race import race
    from .differentiate import numerical_gradient
    from .errors import WellposedError
    from .gradcheck import GradientCheck, check_gradients
    from .initialization import gain, initialize
    from .limits import Limits
    from .moments import Moments
    from .normalize import Normalizer
    from .problem import Problem
    from .report import Finding, Report, Severity
    from .rules.explain import explain
    from .signals import SignalProfile, measure_signals


__all__ = [
    "Finding",
    "GradientCheck",
    "Limits",
    "Moments",
    "Normalizer",
    "Problem",
    "Report",
    "Severity",
    "SignalProfile",
    "WellposedError",
    "check",
    "check_gradients",
    "explain",
    "fix",
    "gain",
    "initialize",
    "measure_signals",
    "numerical_gradient",
    "race",
]

# No module bears the name of a public function: importing it would put the module in the function's place.
_HOME = {
    "Finding": "report",
    "GradientCheck": "gradcheck",
    "Limits": "limits",
    "Moments": "moments",
    "Normalizer": "normalize",
    "Problem": "problem",
    "Report": "report",
    "Severity": "report",
    "SignalProfile": "signals",
    "WellposedError": "errors",
    "check": "_check",
    "check_gradients": "gradcheck",
    "explain": "rules.explain",
    "fix": "_fix",
    "gain": "initialization",
    "initialize": "initialization",
    "measure_signals": "signals",
    "numerical_gradient": "differentiate",
    "race": "_race",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _render(value: Any, form: str, width: int) -> Any:
    from .show.render import render

    return render(value, form, width)


shown.render = _render
shown.saved = lazy("wellposed.rules.saved")
