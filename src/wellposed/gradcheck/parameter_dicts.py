"""NumPy functions of dicts of parameters, as in exercises, turned into functions of the single entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..arguments import told
from ..errors import ArgumentError

Path = tuple[Any, ...]
"""The number of the input, and the keys that lead to an entry of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ParameterDicts:
    """The entries of inputs that are dicts of arrays, nested or not; other inputs are entries themselves."""

    inputs: Sequence[Any]
    names: Sequence[str]
    paths: tuple[Path, ...]

    @classmethod
    def of(cls, inputs: Sequence[Any], names: Sequence[str]) -> ParameterDicts:
        paths = tuple(p for i, value in enumerate(inputs) for p in _paths(value, (i,)))
        return cls(inputs=inputs, names=names, paths=paths)

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(_at(self.inputs, path) for path in self.paths)

    @property
    def entry_names(self) -> tuple[str, ...]:
        """``params['W1']``."""
        return tuple(self._name(path) for path in self.paths)

    def by_entry(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, taking the entries."""
        return lambda *values: function(*self._joined(values))

    def gradient_by_entry(self, gradient: Any) -> Any:
        """The claimed gradient, entry by entry: arrays, or a function that returns them."""
        if callable(gradient):
            claimed = self.by_entry(gradient)
            return lambda *values: self._parted(claimed(*values))
        return self._parted(gradient)

    def _joined(self, values: Sequence[Any]) -> list[Any]:
        fresh = [_copied(value) for value in self.inputs]
        for path, value in zip(self.paths, values, strict=True):
            holder: Any = fresh
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = value
        return fresh

    def _parted(self, gradient: Any) -> tuple[Any, ...]:
        several = len(self.inputs) > 1
        if several and not (isinstance(gradient, tuple | list) and len(gradient) == len(self.inputs)):
            raise ArgumentError(
                f"gradient is {told(gradient)}: expected one for each of the {len(self.inputs)} inputs"
            )
        held = list(gradient) if several else [gradient]
        return tuple(self._entry(held, path) for path in self.paths)

    def _entry(self, held: list[Any], path: Path) -> Any:
        value: Any = held[path[0]]
        for k, key in enumerate(path[1:], 2):
            if value is None:
                return None
            if not isinstance(value, Mapping):
                raise ArgumentError(
                    f"gradient of {self._name(path[: k - 1])} is {told(value)}: expected a dict like it"
                )
            # Courses write dW1 for the gradient of W1.
            found = [name for name in (key, f"d{key}") if name in value]
            if not found and not _is_floats(_at(self.inputs, path)):
                return None
            if not found:
                raise ArgumentError(
                    f"gradient has no entry for {self._name(path[:k])}: expected {key!r} or {f'd{key}'!r} in it"
                )
            value = value[found[0]]
        return value

    def _name(self, path: Path) -> str:
        return str(self.names[path[0]]) + "".join(f"[{key!r}]" for key in path[1:])


def _paths(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, Mapping):
        for key in value:
            yield from _paths(value[key], (*path, key))
    else:
        yield path


def _at(inputs: Sequence[Any], path: Path) -> Any:
    value: Any = inputs
    for key in path:
        value = value[key]
    return value


def _copied(value: Any) -> Any:
    return {key: _copied(held) for key, held in value.items()} if isinstance(value, Mapping) else value


def _is_floats(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "f" if isinstance(value, float) else "") == "f"
