"""How results print themselves: the one way from values, which know nothing of `show`, to how they look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

saved: Any = None
"""The module that reads saved measurements and judges them again, for `Report`; set at the end of `wellposed/__init__.py`."""

render: Callable[[Any, str, int], Any] | None = None
"""From a result, a form (``"text"``, ``"rich"`` or ``"html"``) and a width to what is shown; set at the end of `wellposed/__init__.py`."""


class Shown:
    """A result that can be printed, shown by rich, and shown by notebooks."""

    def __str__(self) -> str:
        return _rendered(self, "text") or repr(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        shown = _rendered(self, "rich", options.max_width)
        yield from (str(self),) if shown is None else shown

    def _repr_html_(self) -> str | None:
        return _rendered(self, "html")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def _rendered(value: Any, form: str, width: int = 80) -> Any:
    assert render is not None  # importing anything of the package sets it
    return render(value, form, width)
