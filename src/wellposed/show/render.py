"""Every result in every form that it has."""

from __future__ import annotations

from typing import Any

from ..lazy import lazy

fix_and_race = lazy("wellposed.show.fix_and_race")
gradient = lazy("wellposed.show.gradient")
gradient_html = lazy("wellposed.show.gradient_html")
normalizer = lazy("wellposed.show.normalizer")
notebook = lazy("wellposed.show.notebook")
text = lazy("wellposed.show.text")


def render(value: Any, form: str, width: int = 80) -> Any:
    """A result as ``"text"``, as lines for ``"rich"``, or as ``"html"``; None where it has no such form."""
    kind = next(base.__name__ for base in type(value).__mro__ if base.__name__ in _FORMS)
    made = _FORMS[kind].get(form)
    return None if made is None else made(value, width)


_FORMS: dict[str, dict[str, Any]] = {
    "Report": {
        "text": lambda value, width: text.render(value, width=width),
        "rich": lambda value, width: text.renderables(value, width=width),
        "html": lambda value, width: notebook.report_html(value),
    },
    "GradientCheck": {
        "text": lambda value, width: gradient.render_gradients(value, width=width),
        "rich": lambda value, width: gradient.gradient_lines(value, width),
        "html": lambda value, width: gradient_html.gradients_html(value),
    },
    "Fix": {"text": lambda value, width: fix_and_race.render_fix(value, width=width)},
    "Race": {"text": lambda value, width: fix_and_race.render_race(value)},
    "Normalizer": {"text": lambda value, width: normalizer.describe(value)},
    "Drift": {"text": lambda value, width: normalizer.describe_drift(value)},
}
"""By the name of the class, so that showing one result imports no other."""
