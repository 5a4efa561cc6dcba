"""What an output at one position sees of other positions, where the targets are the inputs one position on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..runtime.torch.attention import attention_weights
from ..runtime.torch.batch import Batch
from ..runtime.torch.session import Runner, outputs_without_gradients, seed_everything
from ..runtime.torch.trace import graph_nodes

_MOSTLY = 0.9  # of the targets: ends of texts and unknown words may differ
_LEAST_EFFECT = 1e-2  # of the std of the outputs, by other earlier inputs: a model of pairs has none
_SMALL = 0.1  # what is zero at the start may come to be this


def future_leak(runner: Runner, batch: Batch, *, seed: int) -> float | None:
    """Largest change of outputs, over their std, when the inputs of later positions are replaced, in eval mode.

    None unless the targets are the inputs one position on: only then may no output see what comes after it.
    """
    shifted = _shifted_input(batch)
    if shifted is None:
        return None
    index, axis = shifted
    x = batch.tensors[index].movedim(axis, 1)
    middle = x.shape[1] // 2
    others = torch.cat([x[:, :middle], x.roll(1, 0)[:, middle:]], 1)
    if torch.equal(others[:, middle], x[:, middle]):
        return None
    outputs = _outputs_of(runner, batch, index, axis, [x, others], seed=seed)
    if outputs is None:
        return None
    counted = _counted(batch.targets.reshape(batch.tensors[index].shape).movedim(axis, 1))[:, :middle]
    before, after = (o[:, :middle][counted].double() for o in outputs)
    return float((after - before).abs().max()) / (float(before.std()) + 1e-12) if before.numel() > 1 else None


def order_effect(runner: Runner, batch: Batch, *, seed: int) -> float | None:
    """Change of later outputs when earlier inputs change places, over that when others stand there, in eval mode.

    What is zero at the start, as positions may be, is given small values first. None unless the targets are the inputs one
    position on, and where earlier inputs hardly matter.
    """
    shifted = _shifted_input(batch)
    if shifted is None:
        return None
    index, axis = shifted
    x = batch.tensors[index].movedim(axis, 1)
    middle = x.shape[1] // 2
    earlier, rest = x[:, :middle], x[:, middle:]
    turned, replaced = (torch.cat([e, rest], 1) for e in (earlier.flip(1), earlier.roll(1, 0)))
    with _nothing_zero(runner, seed):
        outputs = _outputs_of(runner, batch, index, axis, [x, turned, replaced], seed=seed)
    if outputs is None:
        return None
    plain, order, content = (o[:, middle:].double() for o in outputs)
    by_order, by_content = (float((o - plain).abs().max()) for o in (order, content))
    enough = by_content > _LEAST_EFFECT * float(plain.std())
    return by_order / by_content if enough and not torch.equal(turned, x) else None


def attends(runner: Runner, batch: Batch, *, seed: int) -> bool:
    """Whether the model weighs positions by products of what stands there."""
    runner.train_mode()
    seed_everything(seed)
    loss = runner.evaluate(batch).loss
    if loss is None or not loss.requires_grad:
        return False
    with torch.no_grad():
        return any(attention_weights(node) is not None for node in graph_nodes(loss))


@contextmanager
def _nothing_zero(runner: Runner, seed: int) -> Iterator[None]:
    """Parameters that are zero throughout hold small random numbers inside."""
    zero = [p for p in runner.parameters.values() if p.numel() and not bool(p.any())]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in zero:
            parameter.copy_(_SMALL * torch.randn(parameter.shape, generator=generator))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter in zero:
                parameter.zero_()


def _outputs_of(
    runner: Runner, batch: Batch, index: int, axis: int, values: list[torch.Tensor], *, seed: int
) -> list[torch.Tensor] | None:
    """Outputs by sample and position for each of several values of an input, the first of which is its own; None where they cannot be compared."""
    tensors = list(batch.tensors)

    def with_values(x: torch.Tensor) -> Batch:
        return batch.with_inputs(*tensors[:index], x.movedim(1, axis), *tensors[index + 1 :])

    runner.train_mode(False)
    again, *found = (
        outputs_without_gradients(runner, with_values(x), seed=seed) for x in (values[0], *values)
    )
    runner.train_mode()
    if again is None or found[0] is None or not torch.equal(again, found[0]):
        return None
    shape = values[0].shape[:2]
    outputs = [o for f in found if f is not None and (o := _by_position(f, shape, axis)) is not None]
    return outputs if len(outputs) == len(values) else None


def _shifted_input(batch: Batch) -> tuple[int, int] | None:
    """The position of the input whose next entries the targets are, and the axis along which they are."""
    y = batch.targets
    if not isinstance(y, torch.Tensor) or batch.rows < 2:
        return None
    for index, x in enumerate(batch.tensors):
        if x.ndim < 2 or x.numel() != y.numel() or x.dtype != y.dtype:
            continue
        for axis in (1, 0):
            inputs, targets = (t.reshape(x.shape).movedim(axis, 1) for t in (x, y))
            counted = _counted(targets)[:, :-1]
            if inputs.shape[1] < 4 or int(counted.sum()) < 8:
                continue
            next_one = (inputs[:, 1:] == targets[:, :-1])[counted].double().mean()
            same_one = (inputs[:, :-1] == targets[:, :-1])[counted].double().mean()
            if next_one > _MOSTLY and same_one < _MOSTLY:
                return index, axis
    return None


def _counted(targets: torch.Tensor) -> torch.Tensor:
    """Which targets the loss does not leave out, as it does negative codes."""
    return torch.ones_like(targets, dtype=torch.bool) if targets.is_floating_point() else targets >= 0


def _by_position(outputs: torch.Tensor, shape: torch.Size, axis: int) -> torch.Tensor | None:
    """Outputs with the samples first and the positions second; None where their shape does not tell which these are."""
    samples, positions = shape
    if outputs.ndim >= 2 and outputs.movedim(axis, 1).shape[:2] == shape:
        return outputs.movedim(axis, 1)
    if outputs.ndim == 3 and axis == 1 and (outputs.shape[0], outputs.shape[2]) == shape:
        return outputs.movedim(2, 1)
    if outputs.ndim == 2 and len(outputs) == samples * positions:
        split = outputs.reshape(*((samples, positions) if axis == 1 else (positions, samples)), -1)
        return split.movedim(axis, 1)
    return None
