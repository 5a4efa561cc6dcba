"""A gradient check as text: one screen; what, where, by how much, which bug, what next; the verdict last."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from ..gradcheck.result import GradientCheck, TensorCheck, WorstElement, detail_of
from .gradient_advice import next_step
from .lines import clean, head, labelled, to_text, wrap

WORDS = {"pass": "PASSED", "fail": "FAILED", "inconclusive": "INCONCLUSIVE"}
COLORS = {"pass": "green", "fail": "red", "inconclusive": "magenta"}

_SCREEN = 24
_FEWEST_ROWS = 3
_MARKS = {"fail": "x", "inconclusive": "?", "pass": ""}
_COLUMNS = 46
"""What a row of the table needs beside the name."""
_INDENT = 6


def render_gradients(check: GradientCheck, *, width: int = 80, color: bool | None = False) -> str:
    """Return a gradient check as text.

    Parameters
    ----------
    check
        What `wellposed.check_gradients` returned.
    width
        Columns; at least 60. A name or an index that is longer stays whole.
    color
        True or False; None gives colour when standard output is a terminal and NO_COLOR is not set.
    """
    return to_text(gradient_lines(check, width), color=color)


def gradient_lines(check: GradientCheck, width: int = 80) -> list[Text]:
    """The lines of the report, as rich's texts."""
    width = max(width, 60)
    above = [] if check.verdict == "pass" else [*_accused(check, width), Text()]
    below = [*_numbers(check, width), *_verdict(check, width)]
    room = max(_SCREEN - len(above) - len(below) - 1, _FEWEST_ROWS)
    table = list(_table(check, width, room))
    return [*above, *table, *([Text()] if table else []), *below]


def accused(check: GradientCheck) -> TensorCheck | None:
    """The tensor that the report is about: that of the worst element, else the worst by error or resolution."""
    guilty = [t for t in check.tensors if t.verdict == check.verdict]
    if check.worst is not None:
        guilty = [t for t in guilty if t.name == check.worst.name] or guilty
    size = {"fail": lambda t: t.error, "inconclusive": lambda t: t.resolution}.get(check.verdict)
    return max(guilty, key=lambda t: -1.0 if math.isnan(size(t)) else size(t)) if guilty and size else None


def title(check: GradientCheck) -> str:
    """The gradient that is wrong or not resolved, and the name of the bug where it has one."""
    tensor = accused(check)
    others = sum(t.verdict == check.verdict for t in check.tensors) - 1
    names = f"gradient{'s' if others > 0 else ''} of {tensor.name if tensor else 'f'}"
    names = f"second-order {names}" if check.order == 2 else names
    names += f" and {others} more" if others > 0 else ""
    if check.verdict == "inconclusive":
        return names
    cause = check.cause or (tensor and tensor.cause)
    return f"{names}: {cause or 'wrong, not named'}"


def place(check: GradientCheck) -> str:
    """The smallest slice that is known to hold the error, or the tensor."""
    tensor = accused(check)
    return check.where or (check.worst.place if check.worst else tensor.name if tensor else "")


def reason(check: GradientCheck) -> str:
    """The detail, without the names of the tensors, which stand in the head and the table."""
    if not check.reasons:
        return check.detail
    return detail_of([r for r in check.reasons if r.code != "wrong-tensors"])


def values(worst: WorstElement) -> str:
    """Both numbers, with as many digits as it takes to tell them apart."""
    bar = f" ± {brief(worst.bar)}" if math.isfinite(worst.bar) else ""
    apart = abs(worst.analytic - worst.numerical)
    largest = max(abs(worst.analytic), abs(worst.numerical))
    digits = 3
    if 0 < apart < math.inf:  # two digits of the difference
        digits = min(max(2 + math.ceil(math.log10(largest / apart)), 3), 17)
    analytic, numerical = (_shortened(f"{v:.{digits}g}") for v in (worst.analytic, worst.numerical))
    numerical = "unknown" if math.isnan(worst.numerical) else numerical
    return f"analytic {analytic}   numerical {numerical}{bar}"


def brief(value: float) -> str:
    """Two digits.

    Examples
    --------
    >>> brief(3.04e-9), brief(0.0012), brief(0.5), brief(12345.0), brief(float("nan"))
    ('3e-9', '1.2e-3', '0.5', '1.2e4', 'unknown')
    """
    if math.isnan(value):
        return "unknown"
    small = 0 < abs(value) < 0.01
    return _shortened(f"{value:.1e}".replace(".0e", "e") if small else f"{value:.2g}")


def numbers(check: GradientCheck) -> list[str]:
    """Ng's number, what the run could have seen, and what else there is to say of it."""
    if math.isfinite(check.resolution):
        seen = f"an error above {brief(check.resolution)} would have been seen (confidence {100 * check.confidence:.3g} %)"
    else:
        seen = "no error of any size would surely have been seen"
    more = [_lower_precision(check), check.detail if check.verdict == "pass" else ""]
    return [f"relative error (Ng's number) {brief(check.relative_error)}", seen, *filter(None, more)]


def counts(check: GradientCheck) -> str:
    """How many tensors ended in which way."""
    total = f"{len(check.tensors)} tensor{'' if len(check.tensors) == 1 else 's'}"
    if check.verdict == "pass":
        return total
    count = {verdict: sum(t.verdict == verdict for t in check.tensors) for verdict in WORDS}
    wrong = [f"{count['fail']} of {total} wrong"] if count["fail"] else []
    unsure = f"{count['inconclusive']} {'' if wrong else f'of {total} '}undecided"
    return ", ".join([*wrong, unsure] if count["inconclusive"] else wrong) or total


def run(check: GradientCheck) -> str:
    """What was done."""
    parts = [
        f"{check.n_forward} forward",
        f"{check.n_backward} backward",
        f"seed {check.seed}",
        check.precision,
    ]
    if check.order == 2:
        parts.insert(0, "second order too")
    if check.mode != "reverse":
        parts.insert(0, "forward mode" if check.mode == "forward" else "forward mode against reverse")
    return clean(", ".join(parts))


def _lower_precision(check: GradientCheck) -> str:
    """How far off the gradient is that training will use; empty where it is this one."""
    if check.low_precision_error is None:
        return ""
    own = check.precision.rpartition(" of ")[2]
    if check.low_precision_error == 0:
        return f"the {own} gradient, which training uses, is the float64 one up to rounding"
    return f"the {own} gradient, which training uses, lies {brief(check.low_precision_error)} from the float64 one"


def _accused(check: GradientCheck, width: int) -> Iterator[Text]:
    label = "FAIL" if check.verdict == "fail" else WORDS[check.verdict]
    first, *rest = wrap(title(check), width - len(label) - 2)
    left = Text.assemble((label, f"bold {COLORS[check.verdict]}"), "  ", first)
    left.append("".join(f"\n{' ' * _INDENT}{line}" for line in rest))
    *upper, last = left.split("\n")
    yield from [*upper, *head(last, place(check), width=width, indent=_INDENT)]
    if check.worst is not None:
        left = Text(" " * _INDENT + values(check.worst))
        at = check.worst.place
        yield from [left] if at == place(check) else head(left, f"at {at}", width=width, indent=_INDENT)
    if reason(check):
        yield from labelled("why", reason(check), width=width)
    yield from labelled("next", next_step(check, accused(check)), width=width, style="green")


def _table(check: GradientCheck, width: int, room: int) -> Iterator[Text]:
    """One row a tensor, the worst first; those that passed, and those for which there is no room, are counted."""
    if check.verdict == "pass" or len(check.tensors) == 1:
        return
    told = sorted((t for t in check.tensors if t.verdict != "pass"), key=_rank)
    longest = max((cell_len(clean(t.name)) for t in told), default=0)
    column = min(max(longest, 8), max(width - _INDENT - _COLUMNS, 8))
    header = f"{'':6}{'tensor':<{column}}  {'error':>8}  {'bar':>7}  {'resolution':>10}"
    rows = [_row(t, column) for t in told]
    shown = _fitting(rows, room - 2)
    yield Text(header, style="dim")
    yield from (line for row in rows[:shown] for line in row)
    rest = [
        f"{len(told) - shown} more not shown" if shown < len(told) else "",
        f"{passed} passed" if (passed := len(check.tensors) - len(told)) else "",
    ]
    if any(rest):
        yield Text(" " * _INDENT + ", ".join(filter(None, rest)), style="dim")


def _rank(tensor: TensorCheck) -> tuple[bool, float]:
    size = tensor.error if tensor.verdict == "fail" else tensor.resolution
    return tensor.verdict != "fail", -size if not math.isnan(size) else 0.0


def _fitting(rows: list[list[Text]], room: int) -> int:
    """How many of the rows fit, at least one."""
    used = [sum(len(row) for row in rows[: k + 1]) for k in range(len(rows))]
    return max(sum(lines <= room for lines in used), 1)


def _row(tensor: TensorCheck, column: int) -> list[Text]:
    name = clean(tensor.name).replace("\n", "\\n")
    error = brief(tensor.error) if math.isfinite(tensor.error) else "-"
    bar = brief(tensor.bar) if math.isfinite(tensor.bar) else "-"
    figures = f"  {error:>8}  {bar:>7}  {brief(tensor.resolution):>10}  {tensor.cause or ''}".rstrip()
    mark = (f"  {_MARKS[tensor.verdict]:<4}", f"bold {COLORS[tensor.verdict]}")
    if cell_len(name) > column:
        return [Text.assemble(mark, name), Text(" " * (_INDENT + column) + figures)]
    return [Text.assemble(mark, name, " " * (column - cell_len(name)), figures)]


def _numbers(check: GradientCheck, width: int) -> Iterator[Text]:
    said = numbers(check)
    if cell_len("; ".join(said[:2])) <= width:
        said[:2] = ["; ".join(said[:2])]
    for text in said:
        yield from (Text(line) for line in wrap(text, width))


def _verdict(check: GradientCheck, width: int) -> Iterator[Text]:
    """The verdict last, on one line; what was done before it, where one line does not hold both."""
    word, style = WORDS[check.verdict], f"bold {COLORS[check.verdict]}"
    last = Text.assemble((word, style), "   ", counts(check))
    if last.cell_len + 3 + cell_len(run(check)) <= width:
        last.append(f"   {run(check)}", style="dim")
    else:
        yield from (Text(line, style="dim") for line in wrap(run(check), width))
    yield last


def _shortened(number: str) -> str:
    """``1e-09`` as ``1e-9``, ``1e+03`` as ``1e3``."""
    return re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].strip('+')}{found[2]}", number)
