"""Is padding read, and what is real hidden? A mask that says the opposite: asked of attention weights, and by changing what is real."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..runtime.torch.attention import attention_weights
from ..runtime.torch.batch import Batch, take
from ..runtime.torch.graph_nodes import graph_nodes
from ..runtime.torch.named_inputs import named_inputs, with_changed_inputs
from ..runtime.torch.session import Runner, outputs_without_gradients, seed_everything
from .result import PaddingReader
from .torch_padding import Padded, padded_by_mask

_LEAST_ROWS = 4
_LEAST_POSITIONS = 4
_MOSTLY = 0.5  # of an attention weight


def inverted_mask(runner: Runner, batch: Batch, *, seed: int) -> PaddingReader | None:
    """Where padding is read and all that is real is hidden: in an attention, or in outputs of whole sequences; None where it is not."""
    found = _padded(named_inputs(batch))
    if found is None:
        return None
    rows = (found.lengths < found.positions).nonzero().flatten()
    if len(rows) < _LEAST_ROWS:
        return None
    batch, padded = take(batch, rows), found.of_rows(rows)
    if _attends_to_padding(runner, batch, padded, seed=seed):
        return "attention"
    return "outputs" if _reads_padding_alone(runner, batch, padded, seed=seed) else None


def _padded(inputs: Mapping[str, torch.Tensor]) -> Padded | None:
    """By a mask or lengths among the inputs, or else by a code that stands behind all sequences, and nowhere else."""
    told = padded_by_mask(inputs)
    if told is not None:
        return told
    for name, x in inputs.items():
        if x.ndim != 2 or x.is_floating_point() or x.is_complex() or x.shape[1] < _LEAST_POSITIONS:
            continue
        code = x[:, -1].mode().values
        lengths = x.shape[1] - (x == code).flip(1).long().cummin(1).values.sum(1)
        inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        if (
            int(lengths.min()) >= 1
            and int(lengths.min()) < int(lengths.max())
            and bool((x[inside] != code).all())
        ):
            return Padded(
                lengths=lengths, positions=x.shape[1], sequences=frozenset({name}), contents=frozenset({name})
            )
    return None


def _attends_to_padding(runner: Runner, batch: Batch, padded: Padded, *, seed: int) -> bool:
    """Whether some attention gives every real key no weight at all, in every row and for every real query."""
    runner.train_mode()
    seed_everything(seed)
    loss = runner.evaluate(batch).loss
    if loss is None or not loss.requires_grad:
        return False
    with torch.no_grad():
        weights = map(attention_weights, graph_nodes(loss))
        return any(w is not None and _are_of_padding(w, padded, batch.rows) for w in weights)


def _are_of_padding(weights: torch.Tensor, padded: Padded, rows: int) -> bool:
    if weights.ndim == 3 and len(weights) % rows == 0:
        weights = weights.unflatten(0, (rows, -1))
    if weights.ndim != 4 or len(weights) > rows or weights.shape[-1] != padded.positions:
        return False
    real = padded.real[: len(weights)].to(weights.device)
    on_real = (weights * real[:, None, None]).sum(-1)
    on_padding = (weights * ~real[:, None, None]).sum(-1)
    turned = (on_real == 0) & (on_padding > _MOSTLY)
    if weights.shape[-2] == padded.positions:
        turned = turned | ~real[:, None]
    return len(weights) >= _LEAST_ROWS and bool(turned.all())


def _reads_padding_alone(runner: Runner, batch: Batch, padded: Padded, *, seed: int) -> bool:
    """Whether outputs of whole sequences stay to the bit when what is real changes places, and change with the padding.

    The first position stays as it is: outputs that are read there depend on it in any case.
    """
    real = padded.real.clone()
    real[:, 0] = False
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(int(real.sum()), generator=generator).to(real.device)
    chosen = torch.randint(0, len(order), (int((~padded.real).sum()),), generator=generator).to(real.device)
    if not len(order) or not any(
        _varies(x[real]) for n, x in named_inputs(batch).items() if n in padded.contents
    ):
        return False

    def real_moved(name: str, x: torch.Tensor) -> torch.Tensor:
        return x.masked_scatter(_over(real, x), x[real][order]) if name in padded.contents else x

    def padding_changed(name: str, x: torch.Tensor) -> torch.Tensor:
        if padded.sequences == padded.contents:  # it is known by its code: other codes would make it real
            return x[:, :-1] if name in padded.sequences else x
        return x.masked_scatter(_over(~padded.real, x), x[real][chosen]) if name in padded.contents else x

    runner.train_mode(False)
    plain, again, moved, changed = (
        outputs_without_gradients(runner, b, seed=seed)
        for b in (batch, batch, *(with_changed_inputs(batch, c) for c in (real_moved, padding_changed)))
    )
    runner.train_mode()
    if plain is None or again is None or moved is None or changed is None or not torch.equal(plain, again):
        return False
    if plain.ndim >= 2 and padded.positions in plain.shape[1:]:
        return False  # outputs by position: each may depend on its own alone
    return torch.equal(plain, moved) and not torch.equal(plain, changed)


def _over(where: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return where.reshape(*where.shape, *[1] * (x.ndim - 2)).expand_as(x)


def _varies(x: torch.Tensor) -> bool:
    return bool((x != x[:1]).any())
