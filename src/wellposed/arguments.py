"""Arguments of public functions, checked at the door: each check returns the value, or names the argument at fault.

NumPy's integers, floats and booleans are taken where Python's are.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Collection, Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from .errors import ArgumentError
from .safe_text import shown

_PLAIN = (bool, int, float, complex, str, bytes)
_MOST = 80  # characters of a value in a message
_BITS = 256  # of a whole number in a message


def told(value: Any) -> str:
    """A value as a message says it: plain ones as they are written, of others their type.

    Examples
    --------
    >>> told("a"), told([1, 2]), told(int)
    ("'a'", 'a list', 'the class int')
    """
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a whole number of {value.bit_length():,} bits"
    if value is None or isinstance(value, _PLAIN):
        held = value[: _MOST + 1] if isinstance(value, str | bytes) else value
        return shown(repr(held), most=_MOST)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a {type(value).__name__}"


def refused(name: str, value: Any, expected: str) -> ArgumentError:
    """The error that says what was given and what was expected."""
    return ArgumentError(f"{name} is {told(value)}: expected {expected}")


def whole(value: Any, name: str, *, least: int, most: int | None = None, expected: str = "") -> int:
    """A whole number from `least` up to `most`.

    Examples
    --------
    >>> whole(5, "steps", least=1)
    5
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if least <= number and (most is None or number <= most):
            return number
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise refused(name, value, expected or f"a whole number {limits}")


def seed(value: Any, *, most: int = 2**32 - 1) -> int:
    """A seed that every generator takes."""
    return whole(value, "seed", least=0, most=most, expected=f"an integer from 0 to {most}")


def number(
    value: Any,
    name: str,
    *,
    expected: str,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """A finite number within limits; `expected` says which.

    Examples
    --------
    >>> number(1, "step", above=0, expected="a number above 0")
    1.0
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found) and least <= found <= most and above < found < below:
            return found
    raise refused(name, value, expected)


def interval(
    value: Any, name: str, *, expected: str, least: float = -math.inf, most: float = math.inf
) -> tuple[float, float]:
    """Two finite numbers, the lower one first.

    Examples
    --------
    >>> interval([0, 1], "feature_range", expected="two numbers, the lower one first")
    (0.0, 1.0)
    """
    held = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(held, tuple | list) or len(held) != 2:
        raise refused(name, value, expected)
    low, high = (
        number(one, f"{name}[{i}]", least=least, most=most, expected=expected) for i, one in enumerate(held)
    )
    if low >= high:
        raise ArgumentError(f"{name} is ({low:g}, {high:g}): expected {expected}")
    return low, high


def flag(value: Any, name: str, *, expected: str = "True or False") -> bool:
    """True or False."""
    is_numpys = (
        type(value).__module__ == "numpy" and str(getattr(value, "dtype", "")) == "bool"
    )  # NumPy stays unloaded
    if isinstance(value, bool) or (is_numpys and not value.ndim):
        return bool(value)
    raise refused(name, value, expected)


def choice(value: Any, name: str, choices: Iterable[str]) -> str:
    """One of a few texts."""
    known = tuple(choices)
    if isinstance(value, str) and value in known:
        return value
    raise refused(name, value, f"one of {', '.join(known)}")


def text(value: Any, name: str, *, expected: str = "text") -> str:
    """Text of at least one character."""
    if isinstance(value, str) and value:
        return value
    raise refused(name, value, expected)


def several(value: Any, name: str, kind: type, *, expected: str) -> tuple[Any, ...]:
    """A collection of objects of one kind; a text is none, since it would be read letter by letter."""
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise refused(name, value, expected)
    for i, entry in enumerate(value):
        if not isinstance(entry, kind):
            raise refused(f"{name}[{i}]", entry, expected)
    return tuple(value)


def callable_or_none(
    value: Any, name: str, *, expected: str = "a function, or None"
) -> Callable[..., Any] | None:
    """Something that can be called."""
    if value is None or (callable(value) and not isinstance(value, type)):
        return value
    raise refused(name, value, expected)


def takes_nothing(function: Callable[..., Any]) -> bool:
    """Whether it can be called without arguments, as far as its signature tells."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:  # built in, without a signature
        return True
    return True


def path(value: Any, name: str = "path") -> Path:
    """A path of at least one character."""
    if isinstance(value, str | os.PathLike):
        place = os.fspath(value)
        if isinstance(place, str) and place and "\0" not in place:
            return Path(place)
    raise refused(name, value, "a path, without null characters")
