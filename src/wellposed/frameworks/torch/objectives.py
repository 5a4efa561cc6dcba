"""Probing a loss as a function of the outputs, with the user's own targets: its floor, its invariances, its sign."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from ...contract.result import ObjectiveProfile, OutputRange, Targets
from ...errors import WellposedError
from .batch import Batch
from .running import Runner, seed_everything

Loss = Callable[[torch.Tensor], torch.Tensor]

_RANGES = {
    "SigmoidBackward": ("sigmoid", 0.0, 1.0),
    "SoftmaxBackward": ("softmax", 0.0, 1.0),
    "ReluBackward": ("relu", 0.0, math.inf),
    "TanhBackward": ("tanh", -1.0, 1.0),
    "HardtanhBackward": ("hardtanh", -math.inf, math.inf),
    "ExpBackward": ("exp", 0.0, math.inf),
    "SoftplusBackward": ("softplus", 0.0, math.inf),
    "LogSoftmaxBackward": ("log_softmax", -math.inf, 0.0),
    "LogSigmoidBackward": ("logsigmoid", -math.inf, 0.0),
}
# Operations that only rearrange their single input, and so pass its range on.
_REARRANGING = (
    "View",
    "Reshape",
    "Unsafe",
    "Squeeze",
    "Unsqueeze",
    "Permute",
    "Transpose",
    "TBackward",
    "Select",
    "Slice",
    "Clone",
    "Alias",
    "Expand",
    "ToCopy",
)
_DESCENT_STEPS = 200


def profile_objective(runner: Runner, batch: Batch, *, seed: int) -> ObjectiveProfile:
    """Probe the loss on one batch. Use inside `state.preserved`."""
    seed_everything(seed)
    evaluation = runner.evaluate(batch)
    if evaluation.loss is None:
        raise WellposedError("no loss: the model returns none and none was given")
    initial = float(evaluation.loss.detach())
    seed_everything(seed)
    again = runner.evaluate(batch).loss
    difference = abs(float(again.detach()) - initial) if again is not None and math.isfinite(initial) else 0.0
    outputs = evaluation.outputs
    shown = evaluation.tensor
    given = batch if runner.transform is None else runner.transform(batch)
    targets = describe_targets(given.targets, shown)
    common: dict[str, Any] = {"initial": initial, "repeat_difference": difference, "targets": targets}
    if runner.problem.loss is None:
        needs = "pass loss=... and a model that returns the outputs"
        return ObjectiveProfile(**common, reason="the model computes its own loss", needs=needs)
    if not isinstance(outputs, torch.Tensor) or not outputs.is_floating_point() or outputs.ndim == 0:
        needs = "let the model return one floating-point tensor"
        return ObjectiveProfile(**common, reason="the model's output is not a single tensor", needs=needs)
    o = outputs.detach()
    common |= {"output_range": range_of(outputs), "output_rms": _rms(o), "output_shape": tuple(o.shape)}
    if isinstance(given.targets, torch.Tensor):
        common["target_shape"] = tuple(given.targets.shape)
    if not bool(torch.isfinite(o).all()):
        return ObjectiveProfile(**common, reason="the outputs are not finite")

    def loss(values: torch.Tensor) -> torch.Tensor:
        seed_everything(seed)
        return runner.loss_of(values, batch)

    ignored = _ignores_pairing(runner, o, given, seed)
    return ObjectiveProfile(
        **common, pairing_ignored=ignored, **_probe(loss, o, given.targets, targets, common["output_range"])
    )


def _ignores_pairing(runner: Runner, o: torch.Tensor, given: Batch, seed: int) -> bool:
    """Whether the loss stays the same when the targets change places: then it cannot tell whose target is whose."""
    y = given.targets
    if not isinstance(y, torch.Tensor) or y.ndim == 0 or len(y) != len(o) or len(o) < 3:
        return False
    # On the scale of the targets, or their differences would drown in rounding.
    varied = o + max(_rms(o), _rms(y) if y.is_floating_point() else 0.0, 1e-3) * _ramp(o) / 3
    values = []
    for targets in (y, y.roll(1, 0), y.flip(0)):
        seed_everything(seed)
        try:
            values.append(float(runner.problem.loss(varied, targets).detach()))
        except (
            Exception
        ):  # the user's loss may refuse made-up outputs in any way it likes: then nothing is known
            return False
    moved = not torch.equal(y, y.roll(1, 0)) and not torch.equal(y, y.flip(0))
    return moved and max(values) - min(values) <= 1e-6 * (abs(values[0]) + 1e-12)


def constant_loss(runner: Runner, batch: Batch, *, seed: int) -> float | None:
    """Loss of the best output that is the same for every sample of a batch; None where that cannot be asked."""
    seed_everything(seed)
    outputs = runner.outputs(batch)
    if not isinstance(outputs, torch.Tensor) or not bool(torch.isfinite(outputs).all()):
        return None
    given = batch if runner.transform is None else runner.transform(batch)
    o, confined = outputs.detach(), range_of(outputs)
    targets = describe_targets(given.targets, o)

    def loss(values: torch.Tensor) -> torch.Tensor:
        seed_everything(seed)
        return runner.loss_of(values, batch)

    return _constant_floor(loss, o, given.targets, targets, confined, _step(o, targets))


def _step(o: torch.Tensor, targets: Targets) -> float:
    """The scale on which outputs move: their own, or that of the values they should take."""
    return max(_rms(o), targets.rms if targets.kind == "values" else 1.0, 1e-6)


def _probe(
    loss: Loss, o: torch.Tensor, y: Any, targets: Targets, confined: OutputRange | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    step = _step(o, targets)
    found["constant"] = _constant_floor(loss, o, y, targets, confined, step)
    found["floor"] = _floor(loss, o.clone(), lambda z: z, step)
    found["confined_floor"] = _confined_floor(loss, o, confined, step)
    found |= _shift_response(loss, o)
    found["quadratic"] = _grows_quadratically(loss, o, step)
    if targets.kind != "other":
        found["at_targets"], found["away"] = _agreement(loss, o, y, targets)
    return found


def _value(loss: Loss, o: torch.Tensor) -> float | None:
    """The loss of given outputs, or None where it cannot be evaluated there (a probability above 1, say)."""
    try:
        return float(loss(o).detach())
    except WellposedError:
        return None


def _floor(
    loss: Loss, start: torch.Tensor, form: Callable[[torch.Tensor], torch.Tensor], step: float
) -> float | None:
    """Lowest loss that descent on free outputs reaches; None when it does not level off or cannot be evaluated."""
    z = start.detach().clone().requires_grad_(True)
    descent = torch.optim.Adam([z], lr=0.1 * step)
    trace: list[float] = []
    for i in range(_DESCENT_STEPS):
        descent.param_groups[0]["lr"] = 0.1 * step * 0.5 * (1 + math.cos(math.pi * i / _DESCENT_STEPS))
        descent.zero_grad()
        try:
            value = loss(form(z))
        except WellposedError:
            return None
        if not math.isfinite(float(value.detach())) or not value.requires_grad:
            return None
        trace.append(float(value.detach()))
        # By the outputs alone: a loss may hold other graphs, such as a penalty's, that are gone after one pass.
        (z.grad,) = torch.autograd.grad(value, [z], allow_unused=True)
        descent.step()
    return None if _falls_on(loss, form, start, z.detach(), trace) else min(trace)


def _falls_on(
    loss: Loss,
    form: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    end: torch.Tensor,
    trace: list[float],
) -> bool:
    """Whether going as far again in the same direction gains as much as 5 % again: then there is no floor."""
    beyond = _value(lambda o: loss(form(o)), end + (end - start))
    return beyond is not None and min(trace) - beyond > 0.05 * (trace[0] - min(trace)) + 1e-9 * abs(trace[0])


def _confined_floor(loss: Loss, o: torch.Tensor, confined: OutputRange | None, step: float) -> float | None:
    """The floor when outputs stay in the range of the model's last operation."""
    if confined is None:
        return None
    if confined.operation == "softmax":
        return _floor(loss, torch.zeros_like(o), lambda z: torch.softmax(z, dim=_class_axis(o)), 10.0)
    if math.isfinite(confined.low) and math.isfinite(confined.high):
        middle, half = (confined.low + confined.high) / 2, (confined.high - confined.low) / 2
        return _floor(loss, torch.zeros_like(o), lambda z: middle + half * torch.tanh(z), 10.0)
    # Not `clamp` from the present outputs: an entry that starts clamped would have no gradient to leave by.
    if math.isfinite(confined.low):
        return _floor(
            loss,
            o.clamp(min=confined.low) + 0.1 * step,
            lambda z: confined.low + (z - confined.low).abs(),
            step,
        )
    if math.isfinite(confined.high):
        return _floor(
            loss,
            o.clamp(max=confined.high) - 0.1 * step,
            lambda z: confined.high - (confined.high - z).abs(),
            step,
        )
    return None


def _class_axis(o: torch.Tensor) -> int:
    sums = {axis: (o.sum(axis) - 1).abs().max() for axis in range(1, o.ndim)}
    return min(sums, key=lambda axis: float(sums[axis])) if sums else -1


def _constant_floor(
    loss: Loss, o: torch.Tensor, y: Any, targets: Targets, confined: OutputRange | None, step: float
) -> float | None:
    """Loss of the best output that is the same for every sample."""
    if targets.kind == "values" and isinstance(y, torch.Tensor):
        step = max(step, targets.rms)
        start = y.reshape(o.shape).to(o.dtype).mean(0, keepdim=True)
    else:
        start = o.mean(0, keepdim=True)
    if confined is not None and confined.probabilities:
        start = start.clamp(1e-3, 1 - 1e-3)
        logits = torch.log(start) if confined.operation == "softmax" else torch.logit(start)
        shape = (
            (lambda z: torch.softmax(z, _class_axis(o))) if confined.operation == "softmax" else torch.sigmoid
        )
        return _floor(loss, logits, lambda z: shape(z.expand_as(o)), 1.0)
    if confined is not None and confined.operation == "log_softmax":
        return _floor(loss, start, lambda z: torch.log_softmax(z.expand_as(o), _class_axis(o.exp())), 1.0)
    return _floor(loss, start, lambda z: z.expand_as(o), max(1.0, step) if targets.kind != "values" else step)


def _shift_response(loss: Loss, o: torch.Tensor) -> dict[str, Any]:
    """What adding one constant to all outputs does: nothing (a softmax inside), or minus the constant (a bare log-likelihood)."""
    if o.ndim < 2 or o.shape[1] < 2:
        return {}
    at, up, far = (_value(loss, o + c) for c in (0.0, 1.0, 3.0))
    if at is None or up is None or far is None or not all(map(math.isfinite, (at, up, far))):
        return {}
    scale = 1e-4 * (1 + abs(at))
    linear = abs((far - at) - 3 * (up - at)) < scale
    axes = [a for a in range(1, o.ndim) if o.shape[a] > 1]
    normaliser = min(float(torch.logsumexp(o, axis).abs().max()) for axis in axes)
    return {
        "normalises": abs(up - at) < scale
        and abs(far - at) < scale
        and abs((_value(loss, 2 * o + _ramp(o)) or at) - at) > scale,
        "unbounded": linear and up - at < -0.5,
        "log_normaliser": normaliser,
    }


def _ramp(o: torch.Tensor) -> torch.Tensor:
    """Values from 0 to 3 that repeat along no axis: multiples of the golden ratio, their whole parts taken off."""
    steps = torch.arange(o.numel(), dtype=torch.float64).mul(0.6180339887498949).remainder(1.0)
    return (3 * steps).to(o).reshape(o.shape)


def _grows_quadratically(loss: Loss, o: torch.Tensor, step: float) -> bool:
    pattern = 1 - 2 * torch.arange(o.numel(), device=o.device).remainder(2).to(o.dtype).reshape(o.shape)
    near, far = (_value(loss, o + k * step * pattern) for k in (100.0, 200.0))
    return near is not None and far is not None and near > 0 and far / near > 3


def describe_targets(y: Any, outputs: torch.Tensor | None) -> Targets:
    """What the targets are, from their values and from how their shape fits the outputs'."""
    if not isinstance(y, torch.Tensor) or y.numel() == 0:
        return Targets(kind="other")
    if not y.is_floating_point():
        return _describe_codes(y, outputs)
    values = y.detach().double()
    same = outputs is not None and _same_but_ones(outputs, y)
    zero_one = bool(((values == 0) | (values == 1)).all())
    return Targets(
        kind="other" if not same else "binary" if zero_one else "values",
        mean=float(values.mean()),
        std=float(values.std(0, correction=0).square().mean().sqrt()) if y.ndim and len(values) > 1 else 0.0,
        rms=_rms(y),
        low=float(values.min()),
        high=float(values.max()),
        rows=len(y) if y.ndim else 0,
        per_row=y.ndim <= 2,
    )


def _describe_codes(y: torch.Tensor, outputs: torch.Tensor | None) -> Targets:
    """Class numbers; what lies outside the outputs' classes (-100, 255) is ignored by the loss, and here."""
    axis = None if outputs is None or outputs.ndim < 2 else _axis_of_classes(y, outputs)
    width = None if axis is None or outputs is None else outputs.shape[axis]
    valid = y[(y >= 0) & (y < width)] if width is not None else y[y >= 0]
    counts = torch.unique(valid, return_counts=True)[1]
    return Targets(
        kind="classes" if width is not None and width >= 2 and valid.numel() > 0 else "other",
        classes=int(valid.max()) + 1 if valid.numel() else 0,
        majority_share=float(counts.max() / counts.sum()) if counts.numel() else 0.0,
        rows=len(y) if y.ndim else 0,
        per_row=y.ndim == 1,
        ignored=y.numel() > 0 and valid.numel() == 0,
    )


def no_target_counts(runner: Runner, batches: Sequence[Batch], gradient_squares: Iterable[float]) -> bool:
    """Whether every target is one that losses leave out, and none of them sends a gradient."""
    if any(square > 0 for square in gradient_squares):
        return False
    outputs = runner.evaluate(batches[0]).tensor
    return all(describe_targets(batch.labels, outputs).ignored for batch in batches)


def _same_but_ones(o: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two shapes agree, axes of length 1 apart: ``(N, 1)`` and ``(N,)``."""
    return [n for n in o.shape if n != 1] == [n for n in y.shape if n != 1]


def _axis_of_classes(y: torch.Tensor, outputs: torch.Tensor) -> int | None:
    if outputs.shape[:-1] == y.shape:
        return outputs.ndim - 1
    return 1 if (outputs.shape[0], *outputs.shape[2:]) == tuple(y.shape) else None


def _agreement(
    loss: Loss, o: torch.Tensor, y: torch.Tensor, targets: Targets
) -> tuple[float | None, float | None]:
    """The loss of outputs that agree with the targets, and of outputs that disagree (for values, the larger of two sides)."""
    if targets.kind == "classes":
        right, wrong = (_one_hot_outputs(o, (y + k) % max(targets.classes, 2)) for k in (0, 1))
        return _value(loss, right), _value(loss, wrong)
    y = y.reshape(o.shape)
    if targets.kind == "binary":
        right = y.clamp(0.1, 0.9).to(o.dtype)
        return _value(loss, right), _value(loss, 1 - right)
    distance = max(targets.rms, 1e-6)
    away = [_value(loss, y.to(o.dtype) + k * distance) for k in (-1.0, 1.0)]
    return _value(loss, y.to(o.dtype)), None if None in away else max(a for a in away if a is not None)


def _one_hot_outputs(o: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Outputs that favour class y: positive and summing to 1, so that losses of logits and of probabilities both take them."""
    axis = _axis_of_classes(y, o) or 1
    classes = o.shape[axis]
    soft = torch.full_like(o, 0.1 / classes)
    return soft.scatter(axis, y.clamp(0, classes - 1).long().unsqueeze(axis), 0.9 + 0.1 / classes)


def range_of(outputs: torch.Tensor) -> OutputRange | None:
    """The range that the last real operation of the graph confines the outputs to, confirmed by their values."""
    node: Any = outputs.grad_fn
    for _ in range(12):
        if node is None:
            return None
        name = type(node).__name__
        for prefix, (operation, low, high) in _RANGES.items():
            if name.startswith(prefix) and operation:
                if operation == "hardtanh":
                    low, high = float(node._saved_min_val), float(node._saved_max_val)
                slack = 1e-5
                o = outputs.detach()
                confirmed = float(o.min()) >= low - slack and float(o.max()) <= high + slack
                return OutputRange(operation=operation, low=low, high=high) if confirmed else None
        if not any(part in name for part in _REARRANGING) or len(node.next_functions) != 1:
            return None
        node = node.next_functions[0][0]
    return None


def _rms(t: torch.Tensor) -> float:
    return float(t.detach().double().square().mean().sqrt()) if t.numel() else 0.0
