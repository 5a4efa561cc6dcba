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

if TYPE_CHECKING:
    from .checking import check
    from .differentiate import numerical_gradient
    from .errors import WellposedError
    from .fixing import fix
    from .gradcheck import GradientCheck, check_gradients
    from .initialization import gain, initialize
    from .limits import Limits
    from .normalize import Moments, Normalizer
    from .problem import Problem
    from .racing import race
    from .report import Finding, Report, Severity
    from .rules.explain import explain
    from .signals import SignalProfile, measure_signals

__version__ = "0.1.0"

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
    "Moments": "normalize",
    "Normalizer": "normalize",
    "Problem": "problem",
    "Report": "report",
    "Severity": "report",
    "SignalProfile": "signals",
    "WellposedError": "errors",
    "check": "checking",
    "check_gradients": "gradcheck",
    "explain": "rules.explain",
    "fix": "fixing",
    "gain": "initialization",
    "initialize": "initialization",
    "measure_signals": "signals",
    "numerical_gradient": "differentiate",
    "race": "racing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
