"""Probing a loss as a function of the outputs, with the user's own targets: its floor, its invariances, its sign."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import nn

from ..errors import WellposedError
from ..runtime.torch.batch import Batch
from ..runtime.torch.session import ForwardPass, Runner, main_tensor, seed_everything
from .result import ObjectiveProfile, OutputRange, Targets

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
_FEWER_STEPS = 60  # where a step takes long
_LARGE_OUTPUTS = 1 << 18


def profile_objective(runner: Runner, batch: Batch, *, seed: int) -> ObjectiveProfile:
    """Probe the loss on one batch. Use inside `restore.preserved`."""
    seed_everything(seed)
    first = runner.evaluate(batch).loss
    if first is None:
        raise WellposedError("no loss: the model returns none and none was given")
    initial = float(first.detach())
    del first  # its graph: one at a time is held
    seed_everything(seed)
    evaluation = runner.evaluate(batch)
    again = evaluation.loss
    difference = abs(float(again.detach()) - initial) if again is not None and math.isfinite(initial) else 0.0
    given = batch if runner.transform is None else runner.transform(batch)
    common: dict[str, Any] = {"initial": initial, "repeat_difference": difference}
    if runner.problem.loss is None:
        return _profile_own_loss(runner, batch, evaluation, common, seed=seed)
    free = _free_outputs(runner, evaluation.outputs, batch, given.targets, seed=seed)
    targets = describe_targets(given.targets, evaluation.tensor if free is None else free.tensor)
    common["targets"] = targets
    if free is None:
        needs = "let the model return a floating-point tensor"
        return ObjectiveProfile(
            **common, reason="the model's output holds no floating-point tensor", needs=needs
        )
    o = free.tensor
    common |= {"output_range": free.confined, "output_rms": _rms(o), "reason": free.reason}
    if free.reason is None:
        common["output_shape"] = tuple(o.shape)
    else:
        common["needs"] = "let the model return the tensor that the targets belong to"
    if isinstance(given.targets, torch.Tensor):
        common["target_shape"] = tuple(given.targets.shape)
    if not bool(torch.isfinite(o).all()):
        common["reason"] = "the outputs are not finite"
        return ObjectiveProfile(**common)
    if free.reason is not None:
        return ObjectiveProfile(**common)
    probes = _probe(free.loss, o, given.targets, targets, free.confined)
    if (
        not free.alone
    ):  # which output the targets belong to is told from shapes alone: too little to accuse by
        probes |= {"at_targets": None, "away": None}
    return ObjectiveProfile(**common, pairing_ignored=_ignores_pairing(runner, free, given, seed), **probes)


@dataclass(frozen=True, kw_only=True, eq=False)
class _FreeOutputs:
    """What a model put out, as one tensor that can be changed, and the loss of it."""

    tensor: torch.Tensor
    """The output that the targets belong to, or all of them in one row."""
    loss: Loss
    put_back: Callable[[torch.Tensor], Any]
    """The model's output with this tensor in its place."""
    confined: OutputRange | None
    alone: bool
    """Whether the loss reads no other output."""
    reason: str | None = None
    """Why no output stands out; None when one does."""


def _free_outputs(runner: Runner, outputs: Any, batch: Batch, y: Any, *, seed: int) -> _FreeOutputs | None:
    parts: list[torch.Tensor] = []
    build = _taken_apart(outputs, parts)
    if not parts:
        return None

    def loss_of(made_up: Any) -> torch.Tensor:
        seed_everything(seed)
        return runner.loss_of(made_up, batch)

    used = parts if len(parts) == 1 else _used(lambda made_up: loss_of(build(iter(made_up))), parts)
    fitting = [p for p in used if describe_targets(y, p).kind != "other"]
    main = used[0] if len(used) == 1 else fitting[0] if len(fitting) == 1 else main_tensor(outputs)
    at = next((i for i, p in enumerate(parts) if p is main), None)
    originals = [p.detach() for p in parts]
    if at is not None:
        tensor, confined, reason = parts[at], range_of(parts[at]), None

        def put_back(values: torch.Tensor) -> Any:
            return build(iter([*originals[:at], values, *originals[at + 1 :]]))
    else:
        tensor, confined = torch.cat([p.flatten() for p in parts]), None
        reason = f"the model's output holds {len(parts)} tensors, and none stands out as the one that the targets belong to"

        def put_back(values: torch.Tensor) -> Any:
            pieces = values.split([p.numel() for p in originals])
            return build(
                iter([v.reshape(p.shape).to(p.dtype) for v, p in zip(pieces, originals, strict=True)])
            )

    return _FreeOutputs(
        tensor=tensor.detach(), loss=lambda values: loss_of(put_back(values)), put_back=put_back, confined=confined,
        alone=len(used) == 1, reason=reason,
    )  # fmt: skip


def _used(
    loss: Callable[[list[torch.Tensor]], torch.Tensor], parts: list[torch.Tensor]
) -> list[torch.Tensor]:
    """The tensors that the loss depends on, as its gradient shows; all where it shows none."""
    leaves = [p.detach().clone().requires_grad_() for p in parts]
    try:
        value = loss(list(leaves))
    except WellposedError:
        return parts
    if not value.requires_grad:
        return parts
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    return [p for p, g in zip(parts, gradients, strict=True) if g is not None and bool(g.any())] or parts


def _taken_apart(value: Any, parts: list[torch.Tensor]) -> Callable[[Iterator[torch.Tensor]], Any]:
    """Collect the floating-point tensors of nested tuples, lists, dicts and dataclasses; returns what puts others back."""
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim:
        parts.append(value)
        return next
    if isinstance(value, Mapping):
        items = {k: _taken_apart(v, parts) for k, v in value.items()}
        return lambda fresh: _with_entries(value, {k: build(fresh) for k, build in items.items()})
    if isinstance(value, tuple | list):
        entries = [_taken_apart(v, parts) for v in value]
        made = (lambda new: type(value)(*new)) if hasattr(value, "_fields") else type(value)
        return lambda fresh: made([build(fresh) for build in entries])
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name: _taken_apart(getattr(value, f.name), parts) for f in fields(value)}
        return lambda fresh: _with_attributes(value, {k: build(fresh) for k, build in named.items()})
    return lambda fresh: value


def _with_entries(value: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    if type(value) is dict:
        return entries
    changed: Any = copy.copy(value)
    for key, entry in entries.items():
        changed[key] = entry
    return changed


def _with_attributes(value: Any, attributes: dict[str, Any]) -> Any:
    changed = copy.copy(value)
    for name, attribute in attributes.items():
        object.__setattr__(changed, name, attribute)
    return changed


def _profile_own_loss(
    runner: Runner, batch: Batch, evaluation: ForwardPass, common: dict[str, Any], *, seed: int
) -> ObjectiveProfile:
    """A loss that the model computes itself, as a function of the outputs: a few values, since each is a forward pass."""
    o = evaluation.tensor
    y = batch.labels
    common["targets"] = describe_targets(y, o)
    reason = "the model computes its own loss"
    common["needs"] = "pass loss=... and a model that returns the outputs"
    if o is None or not o.is_floating_point() or not bool(torch.isfinite(o).all()):
        return ObjectiveProfile(**common, reason=reason)
    maker = _maker_of(runner, batch, seed=seed)
    if maker is None:
        return ObjectiveProfile(**common, reason=reason + ", and no module of it returns the very outputs")

    def evaluated() -> torch.Tensor:
        seed_everything(seed)
        loss = runner.evaluate(batch).loss
        assert loss is not None
        return loss

    def loss(values: torch.Tensor) -> torch.Tensor:
        with _returning(maker, values):
            return runner.without_gradients(evaluated)

    values = o.detach()
    confined = range_of(o)
    common |= {"output_range": confined, "output_rms": _rms(o), "output_shape": tuple(o.shape)}
    if _finite_value(loss, values + 1 + _ramp(values)) == _finite_value(loss, values):
        return ObjectiveProfile(
            **common, reason=reason + ", which does not depend on the outputs that it returns"
        )
    uninformed = _uninformed(loss, values, confined)
    mean = _finite_value(loss, values.mean(0, keepdim=True).expand_as(values).contiguous())
    # The best constant is at least as good as these two.
    constant = min((v for v in (mean, uninformed) if v is not None), default=None)
    found: dict[str, Any] = {"uninformed": uninformed, "constant": constant}
    found |= _shift_response(loss, values)
    found["quadratic"] = _grows_quadratically(loss, values, _step(values, common["targets"]))
    if confined is not None and confined.probabilities:

        def attached(outputs: torch.Tensor) -> torch.Tensor:
            with _returning(maker, outputs):
                return evaluated()

        found["floor"] = _floor(attached, values, lambda z: z, 1.0, few=True)
        found["confined_floor"] = _confined_floor(attached, values, confined, 1.0, few=True)
    if isinstance(y, torch.Tensor) and common["targets"].per_row and common["targets"].kind == "classes":
        found["at_targets"], found["away"] = _agreement(loss, values, y, common["targets"])
    common["needs"] = ""
    return ObjectiveProfile(**common, **found)


def _maker_of(runner: Runner, batch: Batch, *, seed: int) -> nn.Module | None:
    """The module whose forward returns the very tensor that the model puts out; None where there is none, or it runs more than once."""
    returned: list[tuple[nn.Module, Any]] = []
    hooks = [
        m.register_forward_hook(lambda module, _, output: returned.append((module, output)))
        for m in runner.modules
    ]
    try:
        seed_everything(seed)
        o = runner.without_gradients(lambda: runner.evaluate(batch)).tensor
    finally:
        for hook in hooks:
            hook.remove()
    makers = [module for module, output in returned if output is o]
    runs = [module for module, _ in returned]
    return makers[0] if makers and sum(m is makers[0] for m in runs) == 1 else None


@contextmanager
def _returning(module: nn.Module, values: torch.Tensor) -> Iterator[None]:
    hook = module.register_forward_hook(lambda *_: values)
    try:
        yield
    finally:
        hook.remove()


def _ignores_pairing(runner: Runner, free: _FreeOutputs, given: Batch, seed: int) -> bool:
    """Whether the loss stays the same when the targets change places: then it cannot tell whose target is whose."""
    y, o = given.targets, free.tensor
    if not isinstance(y, torch.Tensor) or y.ndim == 0 or o.ndim == 0 or len(y) != len(o) or len(o) < 3:
        return False
    # On the scale of the targets, or their differences would drown in rounding.
    varied = o + max(_rms(o), _rms(y) if y.is_floating_point() else 0.0, 1e-3) * _ramp(o) / 3
    values = []
    for targets in (y, y.roll(1, 0), y.flip(0)):
        seed_everything(seed)
        try:
            values.append(
                float(runner.loss_on(free.put_back(varied), replace(given, targets=targets)).detach())
            )
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
    given = batch if runner.transform is None else runner.transform(batch)
    free = (
        None
        if runner.problem.loss is None
        else _free_outputs(runner, outputs, batch, given.targets, seed=seed)
    )
    if free is None or free.reason is not None or not bool(torch.isfinite(free.tensor).all()):
        return None
    o, confined = free.tensor, free.confined
    targets = describe_targets(given.targets, o)
    return _constant_floor(free.loss, o, given.targets, targets, confined, _step(o, targets))


def _step(o: torch.Tensor, targets: Targets) -> float:
    """The scale on which outputs move: their own, or that of the values they should take."""
    return max(_rms(o), targets.rms if targets.kind == "values" else 1.0, 1e-6)


def _probe(
    loss: Loss, o: torch.Tensor, y: Any, targets: Targets, confined: OutputRange | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    step = _step(o, targets)
    found["constant"] = _constant_floor(loss, o, y, targets, confined, step)
    found["uninformed"] = _uninformed(loss, o, confined)
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


def _uninformed(loss: Loss, o: torch.Tensor, confined: OutputRange | None) -> float | None:
    """Loss of outputs that know nothing of their sample; None where the loss takes none of them."""
    values = [_finite_value(loss, made_up) for made_up in _uninformed_outputs(o, confined)]
    return max((v for v in values if v is not None), default=None)


def _uninformed_outputs(o: torch.Tensor, confined: OutputRange | None) -> list[torch.Tensor]:
    """The centre of what the model can output; of directions, which have no centre, others' and random ones."""
    for axis in range(o.ndim - 1, 0, -1):
        if (classes := o.shape[axis]) < 2:
            continue
        if bool((o >= 0).all()) and _all_close(o.sum(axis), 1.0):
            return [torch.full_like(o, 1 / classes)]
        if bool((o <= 0).all()) and _all_close(o.exp().sum(axis), 1.0):
            return [torch.full_like(o, -math.log(classes))]
        lengths = o.norm(dim=axis, keepdim=True)
        length = float(lengths.mean())
        if len(o) > 1 and length > 0 and _all_close(lengths / length, 1.0):
            random = _ramp(o) - 1.5
            return [
                o.roll(1, 0),
                o.roll(len(o) // 2, 0),
                length * random / random.norm(dim=axis, keepdim=True),
            ]
    return [torch.full_like(o, _centre(confined))]


def _all_close(t: torch.Tensor, value: float) -> bool:
    return bool(((t - value).abs() < 1e-3).all())


def _centre(confined: OutputRange | None) -> float:
    """Of the outputs' range; where it has one end, what the operation makes of 0."""
    if confined is None:
        return 0.0
    if math.isfinite(confined.low) and math.isfinite(confined.high):
        return (confined.low + confined.high) / 2
    of_zero = {"exp": 1.0, "softplus": math.log(2), "logsigmoid": -math.log(2)}
    return of_zero.get(confined.operation, 0.0)


def _finite_value(loss: Loss, o: torch.Tensor) -> float | None:
    value = _value(loss, o)
    return value if value is not None and math.isfinite(value) else None


def _floor(
    loss: Loss,
    start: torch.Tensor,
    form: Callable[[torch.Tensor], torch.Tensor],
    step: float,
    *,
    few: bool = False,
) -> float | None:
    """Lowest loss that descent on free outputs reaches; None when it does not level off or cannot be evaluated."""
    z = start.detach().clone().requires_grad_(True)
    steps = _FEWER_STEPS if few or form(z).numel() > _LARGE_OUTPUTS else _DESCENT_STEPS
    longest = 0.1 * step * _DESCENT_STEPS / steps  # so that all steps together go as far
    descent = torch.optim.Adam([z], lr=longest)
    trace: list[float] = []
    for i in range(steps):
        descent.param_groups[0]["lr"] = longest * 0.5 * (1 + math.cos(math.pi * i / steps))
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


def _confined_floor(
    loss: Loss, o: torch.Tensor, confined: OutputRange | None, step: float, *, few: bool = False
) -> float | None:
    """The floor when outputs stay in the range of the model's last operation."""
    if confined is None:
        return None
    if confined.operation == "softmax":
        return _floor(
            loss, torch.zeros_like(o), lambda z: torch.softmax(z, dim=_class_axis(o)), 10.0, few=few
        )
    if math.isfinite(confined.low) and math.isfinite(confined.high):
        middle, half = (confined.low + confined.high) / 2, (confined.high - confined.low) / 2
        return _floor(loss, torch.zeros_like(o), lambda z: middle + half * torch.tanh(z), 10.0, few=few)
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
    axes = [a for a in range(1, o.ndim) if o.shape[a] > 1]
    normaliser = min(float(torch.logsumexp(o, axis).abs().max()) for axis in axes)
    return {
        "normalises": abs(up - at) < scale
        and abs(far - at) < scale
        and abs((_value(loss, 2 * o + _ramp(o)) or at) - at) > scale,
        "unbounded": up < at and _falls_in_step(loss, o, at),
        "log_normaliser": normaliser,
    }


def _falls_in_step(loss: Loss, o: torch.Tensor, at: float) -> bool:
    """Whether the loss is a falling line in what is added to all outputs, as of a log-likelihood that nothing normalises.

    A steep parabola looks like a line nearby, and so does an absolute error on one side of its targets: the shifts go
    both ways and far beyond what the targets can be.
    """
    furthest = 10 * (1 + abs(at))
    last = _value(loss, o + furthest)
    if last is None or not math.isfinite(last):
        return False
    slope = (last - at) / furthest
    # At least 1 a row of a mean; a mean over padded rows too counts some of them as nothing.
    return slope < -0.5 and all(
        (value := _value(loss, o + c)) is not None
        and abs(value - at - slope * c) <= 1e-3 * abs(slope * c) + 1e-5 * (1 + abs(at))
        for c in (1.0, -1.0, 100.0, -100.0, -furthest)
    )


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
        outputs=width or 0,
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
