"""Probing a loss as a function of the outputs, with the user's own targets: its floor, its invariances, its sign."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..errors import WellposedError
from ..runtime.torch.batch import Batch
from ..runtime.torch.replacing import Noting, Replacing
from ..runtime.torch.session import ForwardPass, Runner, seed_everything
from .result import ObjectiveProfile, OutputRange, Targets
from .torch_broadcasting import broadcasting_pairs, shapes_broadcast
from .torch_components import (
    Dependence,
    dependence,
    fitting_target,
    partners,
    rearranged,
    stands_apart,
)
from .torch_descent import finite_value, floor_of, value_of
from .torch_directions import direction_floors
from .torch_endless import endless_outputs
from .torch_outputs import FreeOutputs, Loss, free_outputs, is_real, parts_of, ramp, range_of
from .torch_squashed_twice import squashed_twice
from .torch_summed_terms import summed_term
from .torch_targets import axis_of_classes, describe_targets, rms
from .torch_terms import goes_up, subtracted_terms, works_against_others
from .torch_unread import read_targets, unread_targets

_LEAVE_OUT = 'leave the objective out on purpose with ignore="WP5"'


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
    common["squashed_twice"] = None if again is None else squashed_twice(again)
    if runner.problem.loss is None:
        return _profile_own_loss(runner, batch, evaluation, common, seed=seed)
    free = free_outputs(runner, evaluation.outputs, batch, given.targets, seed=seed)
    profile = _profile_given_loss(runner, given, evaluation, free, common, seed=seed)
    seen = None if free is None else dependence(runner, free.parts, given, seed=seed)
    if free is None or seen is None or again is None or not math.isfinite(initial):
        return profile
    if not len(seen.outputs) == len(seen.targets) == 1:
        profile = replace(
            profile,
            unread=unread_targets(seen, again, seed=seed),
            **_of_parts(runner, free, seen, initial=initial),
        )
    pairs = broadcasting_pairs(seen)
    if profile.pairing_ignored:
        profile = replace(profile, broadcasts=bool(pairs) and not _rewards_targets_in_any_order(profile))
    else:
        more = tuple(_broadcasting(seen, i, j, initial=initial) for i, j in pairs)
        profile = replace(profile, components=profile.components + more)
    asked = (free.reason is not None or len(free.parts) == 1) and not goes_up(runner)
    endless = endless_outputs(seen) if asked else ()
    return replace(
        profile, subtracted=subtracted_terms(runner, seen), summed=summed_term(runner, seen),
        directions=direction_floors(seen), endless=endless,
    )  # fmt: skip


def still_unread(
    runner: Runner, batches: Sequence[Batch], profile: ObjectiveProfile, *, seed: int
) -> ObjectiveProfile:
    """Without the unread targets that the loss reads in other batches, as boxes where there is something to be found."""
    unread = profile.unread or ()
    for batch in batches:
        if all(target.role == "unknown" for target in unread):
            break
        read = _read_in(runner, batch, {target.name for target in unread}, seed=seed)
        unread = tuple(target for target in unread if target.name not in read)
    return profile if profile.unread is None else replace(profile, unread=unread)


def _read_in(runner: Runner, batch: Batch, names: Collection[str], *, seed: int) -> set[str]:
    seed_everything(seed)
    outputs = parts_of(runner.outputs(batch), "outputs")
    given = batch if runner.transform is None else runner.transform(batch)
    seen = dependence(runner, outputs, given, seed=seed)
    return set() if seen is None else read_targets(seen, names)


def _profile_given_loss(
    runner: Runner,
    given: Batch,
    evaluation: ForwardPass,
    free: FreeOutputs | None,
    common: dict[str, Any],
    *,
    seed: int,
) -> ObjectiveProfile:
    """The loss of the output that the targets belong to."""
    targets = describe_targets(given.targets, evaluation.tensor if free is None else free.tensor)
    common["targets"] = targets
    if free is None:
        needs = f"let the model return a floating-point tensor, or {_LEAVE_OUT}"
        return ObjectiveProfile(
            **common, reason="the model's output holds no floating-point tensor", needs=needs
        )
    o = free.tensor
    common |= {"output_range": free.confined, "output_rms": rms(o), "reason": free.reason}
    if free.reason is None:
        common["output_shape"] = tuple(o.shape)
    else:
        common["needs"] = _LEAVE_OUT
    if isinstance(given.targets, torch.Tensor):
        common["target_shape"] = tuple(given.targets.shape)
    if not bool(torch.isfinite(o).all()):
        common["reason"] = "the outputs are not finite"
        return ObjectiveProfile(**common)
    if free.reason is not None:
        return ObjectiveProfile(**common)
    probes = _probe(free.loss, o, given.targets, targets, free.confined)
    # Which output the targets belong to may be told from shapes alone: too little to accuse by.
    if not free.alone or goes_up(runner):
        probes |= {"at_targets": None, "away": None}
    return ObjectiveProfile(**common, pairing_ignored=_ignores_pairing(runner, free, given, seed), **probes)


def _of_parts(runner: Runner, free: FreeOutputs, seen: Dependence, *, initial: float) -> dict[str, Any]:
    """Every output that is compared with a tensor of the targets by itself, as a profile of its own."""
    partners_of, against = partners(seen), works_against_others(runner)
    found: list[ObjectiveProfile] = []
    unexamined: list[str] = []
    for i, name in enumerate(seen.outputs.names):
        if i == free.at or not partners_of[i]:
            continue
        j = fitting_target(seen, i, partners_of[i]) if stands_apart(seen, i) else None
        if j is None:
            unexamined.append(name)
        else:
            wants_its_targets = len(partners_of[i]) == 1 and not against
            found.append(_component(seen, i, j, initial=initial, wants_its_targets=wants_its_targets))
    return {"components": tuple(found), "unexamined": tuple(unexamined)}


_SAME_VALUE = 1e-6  # of the loss: what the same sums in another order leave
_SAME_FLOOR = 0.05  # of what descent gains
_CLEARLY = 0.1  # of a floor, which descent finds to about 1 %
_DROWNED = 1e-4  # of the loss: what one output can change in it is lost in rounding, or among the other terms


def _component(
    seen: Dependence, i: int, j: int, *, initial: float, wants_its_targets: bool
) -> ObjectiveProfile:
    """The loss of one output and the tensor of the targets that it is compared with.

    Whether it should agree with them is not known where others have a part in it, as weights, or the step works against others.
    """
    o, y = seen.outputs.detached[i], seen.targets.tensors[j]
    targets, confined = describe_targets(y, o), range_of(seen.outputs.tensors[i])
    probes = _probe(seen.loss_by(i), o, y, targets, confined)
    floor = probes["floor"]
    drowned = floor is not None and initial - floor <= _DROWNED * abs(initial)
    if drowned:
        probes |= {"floor": None, "confined_floor": None, "reason": "the rest of the loss drowns it"}
    if drowned or not wants_its_targets:
        probes |= {"at_targets": None, "away": None}
    return ObjectiveProfile(
        initial=initial, targets=targets, output_range=confined, output_rms=rms(o), output_shape=tuple(o.shape),
        target_shape=tuple(y.shape), output_at=seen.outputs.names[i], **probes,
    )  # fmt: skip


def _broadcasting(seen: Dependence, i: int, j: int, *, initial: float) -> ObjectiveProfile:
    o, y = seen.outputs.detached[i], seen.targets.tensors[j]
    return ObjectiveProfile(
        initial=initial, targets=describe_targets(y, o), output_shape=tuple(o.shape), target_shape=tuple(y.shape),
        output_at=seen.outputs.names[i], broadcasts=True,
        reason=f"it meets {seen.targets.names[j]} in shapes that broadcast",
    )  # fmt: skip


def _profile_own_loss(
    runner: Runner, batch: Batch, evaluation: ForwardPass, common: dict[str, Any], *, seed: int
) -> ObjectiveProfile:
    """A loss that the model computes itself, as a function of the outputs: a few values, since each is a forward pass."""
    o = evaluation.tensor
    y = batch.labels
    common["targets"] = describe_targets(y, o)
    reason = "the model computes its own loss"
    common["needs"] = f"pass loss=... and a model that returns the outputs, or {_LEAVE_OUT}"
    if o is None or not o.is_floating_point() or not bool(torch.isfinite(o).all()):
        return ObjectiveProfile(**common, reason=reason)
    call = _call_that_makes_outputs(runner, batch, seed=seed)
    if call is None:
        return ObjectiveProfile(**common, reason=reason + ", and no operation of it gives the very outputs")

    def attached(outputs: torch.Tensor, given: Batch = batch) -> torch.Tensor:
        seed_everything(seed)
        with Replacing(call, outputs):
            loss = runner.evaluate(given).loss
        assert loss is not None
        return loss

    def loss(outputs: torch.Tensor, given: Batch = batch) -> torch.Tensor:
        return runner.without_gradients(lambda: attached(outputs, given))

    values, confined = o.detach(), range_of(o)
    common |= {"output_range": confined, "output_rms": rms(o), "output_shape": tuple(o.shape)}
    if finite_value(loss, values + 1 + ramp(values)) == finite_value(loss, values):
        return ObjectiveProfile(
            **common, reason=reason + ", which does not depend on the outputs that it returns"
        )
    found = _probe_own_loss(loss, attached, values, y, common["targets"], confined)
    if isinstance(y, torch.Tensor):
        found["target_shape"] = tuple(y.shape)
        found["broadcasts"] = is_real(y) and shapes_broadcast(
            lambda o, labels: loss(o, batch.with_labels(labels)), values, y
        )
    return ObjectiveProfile(**common | {"needs": ""}, **found)


def _probe_own_loss(
    loss: Loss, attached: Loss, o: torch.Tensor, y: Any, targets: Targets, confined: OutputRange | None
) -> dict[str, Any]:
    """What a few values of the loss show; `attached` is the same with a graph."""
    found: dict[str, Any] = {"uninformed": _uninformed(loss, o, confined)}
    mean = finite_value(loss, o.mean(0, keepdim=True).expand_as(o).contiguous())
    # The best constant is at least as good as these two.
    found["constant"] = min((v for v in (mean, found["uninformed"]) if v is not None), default=None)
    found |= _shift_response(loss, o)
    found["quadratic"] = _grows_quadratically(loss, o, _step(o, targets))
    if confined is not None and confined.probabilities:
        found["floor"] = _free_floor(attached, o, 1.0, confined, few=True)
        found["confined_floor"] = _confined_floor(attached, o, confined, 1.0, few=True)
    if isinstance(y, torch.Tensor) and targets.per_row and targets.kind == "classes":
        found["at_targets"], found["away"] = _agreement(loss, o, y, targets)
    return found


def _call_that_makes_outputs(runner: Runner, batch: Batch, *, seed: int) -> int | None:
    """The number of the torch function that gives the very tensor that the model puts out; None where none does."""

    def noted() -> int | None:
        seed_everything(seed)
        with Noting() as calls:
            o = runner.evaluate(batch).tensor
        return None if o is None else calls.call_of(o)

    return runner.without_gradients(noted)


def _ignores_pairing(runner: Runner, free: FreeOutputs, given: Batch, seed: int) -> bool:
    """Whether the loss stays the same when the targets change places: then it cannot tell whose target is whose."""
    y, o = given.targets, free.tensor
    if not isinstance(y, torch.Tensor) or y.ndim == 0 or o.ndim == 0 or len(y) != len(o) or len(o) < 3:
        return False
    # On the scale of the targets, or their differences would drown in rounding.
    varied = o + max(rms(o), rms(y) if y.is_floating_point() else 0.0, 1e-3) * ramp(o) / 3
    others = rearranged(y)

    def loss(targets: torch.Tensor) -> float | None:
        seed_everything(seed)
        return value_of(lambda o: runner.loss_on(free.put_back(o), replace(given, targets=targets)), varied)

    values = [value for targets in (y, *others) if (value := loss(targets)) is not None]
    moved = not any(torch.equal(y, other) for other in others)
    return moved and len(values) == 3 and max(values) - min(values) <= _SAME_VALUE * (abs(values[0]) + 1e-12)


def _rewards_targets_in_any_order(profile: ObjectiveProfile) -> bool:
    """Whether the targets as outputs have a lower loss than any constant, as of distances between distributions.

    Where each output is compared with every target by itself, none beats the best constant.
    """
    at, constant = profile.at_targets, profile.constant
    return at is not None and constant is not None and constant - at > _CLEARLY * abs(constant)


def constant_loss(runner: Runner, batch: Batch, *, seed: int) -> float | None:
    """Loss of the best output that is the same for every sample of a batch; None where that cannot be asked."""
    seed_everything(seed)
    outputs = runner.outputs(batch)
    given = batch if runner.transform is None else runner.transform(batch)
    free = (
        None
        if runner.problem.loss is None
        else free_outputs(runner, outputs, batch, given.targets, seed=seed)
    )
    if free is None or free.reason is not None or not bool(torch.isfinite(free.tensor).all()):
        return None
    o, confined = free.tensor, free.confined
    targets = describe_targets(given.targets, o)
    return _constant_floor(free.loss, o, given.targets, targets, confined, _step(o, targets))


def _step(o: torch.Tensor, targets: Targets) -> float:
    """The scale on which outputs move: their own, or that of the values they should take."""
    return max(rms(o), targets.rms if targets.kind == "values" else 1.0, 1e-6)


def _probe(
    loss: Loss, o: torch.Tensor, y: Any, targets: Targets, confined: OutputRange | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    step = _step(o, targets)
    found["constant"] = _constant_floor(loss, o, y, targets, confined, step)
    found["uninformed"] = _uninformed(loss, o, confined)
    found["floor"] = _free_floor(loss, o, step, confined)
    found["confined_floor"] = _confined_floor(loss, o, confined, step)
    found |= _shift_response(loss, o)
    found["quadratic"] = _grows_quadratically(loss, o, step)
    if targets.kind != "other":
        found["at_targets"], found["away"] = _agreement(loss, o, y, targets)
    if targets.kind == "values" and confined is not None and confined.holds(targets):
        known = (
            found["confined_floor"],
            found["at_targets"],
        )  # the targets are outputs that the model can make
        found["confined_floor"] = min((v for v in known if v is not None), default=None)
    return found


def _uninformed(loss: Loss, o: torch.Tensor, confined: OutputRange | None) -> float | None:
    """Loss of outputs that know nothing of their sample; None where the loss takes none of them."""
    values = [finite_value(loss, made_up) for made_up in _uninformed_outputs(o, confined)]
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
            random = ramp(o) - 1.5
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


def _free_floor(
    loss: Loss, o: torch.Tensor, step: float, confined: OutputRange | None, *, few: bool = False
) -> float | None:
    """The floor of outputs that leave the range that the model confines them to; None where the loss has none there.

    Descents from several starts find the same where there is one. A loss that is meant for that range, as an overlap of probabilities is,
    divides by nearly zero beyond it, and each descent ends elsewhere.
    """
    floor = floor_of(loss, o, lambda z: z, step, few=few)
    start = finite_value(loss, o)
    if confined is None or floor is None or start is None:
        return floor
    away = step * (ramp(o) - 1.5)
    for shift, times in ((away, 3), (-away, 10))[: 1 if few else 2]:
        again = floor_of(loss, o + shift, lambda z: z, times * step, few=few)
        if again is None or abs(again - floor) > _SAME_FLOOR * (start - min(floor, again)):
            return None
    return floor


def _confined_floor(
    loss: Loss, o: torch.Tensor, confined: OutputRange | None, step: float, *, few: bool = False
) -> float | None:
    """The floor when outputs stay in the range of the model's last operation."""
    if confined is None:
        return None
    if confined.operation == "softmax":
        return floor_of(
            loss, torch.zeros_like(o), lambda z: torch.softmax(z, dim=_class_axis(o)), 10.0, few=few
        )
    if math.isfinite(confined.low) and math.isfinite(confined.high):
        middle, half = (confined.low + confined.high) / 2, (confined.high - confined.low) / 2
        return floor_of(loss, torch.zeros_like(o), lambda z: middle + half * torch.tanh(z), 10.0, few=few)
    # Not `clamp` from the present outputs: an entry that starts clamped would have no gradient to leave by.
    if math.isfinite(confined.low):
        return floor_of(
            loss,
            o.clamp(min=confined.low) + 0.1 * step,
            lambda z: confined.low + (z - confined.low).abs(),
            step,
        )
    if math.isfinite(confined.high):
        return floor_of(
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
        return floor_of(loss, logits, lambda z: shape(z.expand_as(o)), 1.0)
    if confined is not None and confined.operation == "log_softmax":
        return floor_of(loss, start, lambda z: torch.log_softmax(z.expand_as(o), _class_axis(o.exp())), 1.0)
    return floor_of(
        loss, start, lambda z: z.expand_as(o), max(1.0, step) if targets.kind != "values" else step
    )


def _shift_response(loss: Loss, o: torch.Tensor) -> dict[str, Any]:
    """What adding one constant to all outputs does: nothing (a softmax inside), or minus the constant (a bare log-likelihood)."""
    if o.ndim < 2 or o.shape[1] < 2:
        return {}
    at, up, far = (value_of(loss, o + c) for c in (0.0, 1.0, 3.0))
    if at is None or up is None or far is None or not all(map(math.isfinite, (at, up, far))):
        return {}
    scale = 1e-4 * (1 + abs(at))
    axes = [a for a in range(1, o.ndim) if o.shape[a] > 1]
    normaliser = min(float(torch.logsumexp(o, axis).abs().max()) for axis in axes)
    return {
        "normalises": abs(up - at) < scale
        and abs(far - at) < scale
        and abs((value_of(loss, 2 * o + ramp(o)) or at) - at) > scale,
        "unbounded": up < at and _falls_in_step(loss, o, at),
        "log_normaliser": normaliser,
    }


def _falls_in_step(loss: Loss, o: torch.Tensor, at: float) -> bool:
    """Whether the loss is a falling line in what is added to all outputs, as of a log-likelihood that nothing normalises.

    A steep parabola looks like a line nearby, and so does an absolute error on one side of its targets: the shifts go
    both ways and far beyond what the targets can be.
    """
    furthest = 10 * (1 + abs(at))
    last = value_of(loss, o + furthest)
    if last is None or not math.isfinite(last):
        return False
    slope = (last - at) / furthest
    # At least 1 a row of a mean; a mean over padded rows too counts some of them as nothing.
    return slope < -0.5 and all(
        (value := value_of(loss, o + c)) is not None
        and abs(value - at - slope * c) <= 1e-3 * abs(slope * c) + 1e-5 * (1 + abs(at))
        for c in (1.0, -1.0, 100.0, -100.0, -furthest)
    )


def _grows_quadratically(loss: Loss, o: torch.Tensor, step: float) -> bool:
    pattern = 1 - 2 * torch.arange(o.numel(), device=o.device).remainder(2).to(o.dtype).reshape(o.shape)
    near, far = (value_of(loss, o + k * step * pattern) for k in (100.0, 200.0))
    return near is not None and far is not None and near > 0 and far / near > 3


def _agreement(
    loss: Loss, o: torch.Tensor, y: torch.Tensor, targets: Targets
) -> tuple[float | None, float | None]:
    """The loss of outputs that agree with the targets, and of outputs that disagree (for values, the larger of two sides)."""
    if targets.kind == "classes":
        right, wrong = (_one_hot_outputs(o, (y.long() + k) % max(targets.classes, 2)) for k in (0, 1))
        return value_of(loss, right), value_of(loss, wrong)
    y = y.reshape(o.shape)
    if targets.kind == "binary":
        right = y.clamp(0.1, 0.9).to(o.dtype)
        return value_of(loss, right), value_of(loss, 1 - right)
    distance = max(targets.rms, 1e-6)
    away = [value_of(loss, y.to(o.dtype) + k * distance) for k in (-1.0, 1.0)]
    return value_of(loss, y.to(o.dtype)), None if None in away else max(a for a in away if a is not None)


def _one_hot_outputs(o: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Outputs that favour class y: positive and summing to 1, so that losses of logits and of probabilities both take them."""
    axis = axis_of_classes(y, o) or 1
    classes = o.shape[axis]
    soft = torch.full_like(o, 0.1 / classes)
    return soft.scatter(axis, y.clamp(0, classes - 1).long().unsqueeze(axis), 0.9 + 0.1 / classes)
