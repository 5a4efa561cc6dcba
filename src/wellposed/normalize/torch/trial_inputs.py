"""Ways to call a model on random rows of a normalizer's form, so that folding into it can be tried."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...arguments import told
from ...errors import ArgumentError
from ..affine import AffineMap

_ROWS = 16
_ROWS_OF_GRIDS = 4  # images and sequences are larger, and vary within a row too
_SIDES = (32, 28, 64, 96, 128, 160, 192, 224, 256, 299, 384, 512, 16, 8, 4, 1)
"""Sizes that are tried along axes that share their statistics, as the normalizer does not know them."""
_ENTRIES = 1 << 22  # that are tried at most
_LARGEST = 1e300
_COMBINATIONS = 64  # of forms of the other inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelTrial:
    """One way to call the model."""

    shape: tuple[int, ...]
    """Of the input that the normalizer is for."""
    call: Callable[[nn.Module, torch.Tensor], Any]
    given: torch.Tensor | None = None
    """The example's own values."""

    def rows(self, seed: int) -> torch.Tensor:
        """Rows between -2 and 2 in which every entry is another odd multiple of a power of two.

        So an entry is told by its value: none is 0 or 1, and float32 holds them for a model that casts.
        """
        size = math.prod(self.shape)
        draw = torch.Generator().manual_seed(seed)
        ranks = torch.randperm(size, generator=draw, dtype=torch.float64).reshape(self.shape)
        return (2 * ranks + 1 - 2 * (size // 2)) * _spacing(size)

    def ranks(self, values: NDArray[np.float64]) -> NDArray[np.int_]:
        """Which entry of `rows` each value is, in order of size; -1 for a value that is none of them."""
        size = math.prod(self.shape)
        ranks = (values / _spacing(size) - 1) / 2 + size // 2
        known = (ranks == np.floor(ranks)) & (ranks >= 0) & (ranks < size)
        return np.where(known, ranks, -1).astype(np.int_)


def _spacing(size: int) -> float:
    return 2.0 ** (1 - size.bit_length())


def rows_of_training(normalizer: Any, affine: AffineMap, trial: ModelTrial) -> Iterator[torch.Tensor]:
    """Raw inputs where a threshold may lie: over the training range, at its ends, far beyond, at 0, missing.

    First each row is of one kind, then the kinds are mixed by entry.
    """
    draw = np.random.default_rng(4)
    kinds = np.stack([np.broadcast_to(k, trial.shape) for k in _kinds(normalizer, affine, trial, draw)])
    rows = trial.shape[0]
    for start in range(0, len(kinds), rows):
        chosen = (start + np.arange(rows)) % len(kinds)
        yield torch.tensor(kinds[chosen, np.arange(rows)])
    mixed = np.take_along_axis(kinds, draw.integers(len(kinds), size=(1, *trial.shape)), axis=0)[0]
    yield torch.tensor(mixed)
    holes = _of_sample(normalizer.missing, affine) > 0
    if holes.any():
        yield torch.tensor(np.where(holes & (draw.random(trial.shape) < 0.5), np.nan, mixed))
    if trial.given is not None:
        yield trial.given


def _kinds(
    normalizer: Any, affine: AffineMap, trial: ModelTrial, draw: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    low, high, mean = (
        _of_sample(v, affine) for v in (normalizer.minimum, normalizer.maximum, normalizer.mean)
    )
    # Of statistics that were given the range is not known: three stds hold nearly all of it.
    unknown = 3 * _of_sample(np.where(normalizer.count > 0, 0.0, normalizer.std), affine)
    low, high = low - unknown, high + unknown
    share = draw.random(trial.shape)
    # Halved, as the range of numbers near the largest is none.
    far = 20 * np.minimum(np.maximum(high / 2 - low / 2, affine.scale / 2), _LARGEST)
    yield low * (1 - share) + high * share
    yield from (low, high, mean, affine.center, np.zeros(()))
    yield from (np.clip(low, -_LARGEST, None) - far, np.clip(high, None, _LARGEST) + far)


def _of_sample(values: Any, affine: AffineMap) -> NDArray[Any]:
    return np.reshape(values, affine.center.shape)


def trials(model: nn.Module, affine: AffineMap, *, input: str | None, example: Any) -> Iterator[ModelTrial]:
    """Ways to call the model, the likeliest first: as in the example, or with whatever other inputs may be."""
    if example is not None:
        yield _as_in_example(model, affine, input, example)
        return
    others = _other_inputs(model, input)
    for shape in _shapes(model, affine):
        for forms in _forms(model, others, rows=shape[0]):
            yield ModelTrial(shape=shape, call=_by_name(input, forms) if input else _alone)


def _alone(model: nn.Module, x: torch.Tensor) -> Any:
    return model(x)


def _by_name(input: str, others: Mapping[str, Any]) -> Callable[[nn.Module, torch.Tensor], Any]:
    return lambda model, x: model(**{**others, input: x})


def _shapes(model: nn.Module, affine: AffineMap) -> Iterator[tuple[int, ...]]:
    """Rows in the form of the training data; sizes that it does not fix are tried, the likeliest first."""
    sample = affine.center.shape or (1,)
    fixed = {a % len(sample): sample[a] for a in affine.kept}
    if fixed or len(sample) == 1:
        candidates = [fixed]
    else:  # one statistic for all: channels may stand first or last
        widths = dict.fromkeys(w for m in model.modules() if (w := _width(m)))
        candidates = [{axis: w} for w in widths for axis in (0, len(sample) - 1)]
    for sizes in [*candidates, fixed]:
        free = len(sample) - len(sizes)
        if not free or not affine.center.ndim:
            yield (_ROWS, *sample)
            return
        for side in dict.fromkeys([*_sides_of_flattened(model, math.prod(sizes.values()), free), *_SIDES]):
            shape = (_ROWS_OF_GRIDS, *(sizes.get(axis, side) for axis in range(len(sample))))
            if math.prod(shape) <= _ENTRIES:
                yield shape


def _width(layer: nn.Module) -> int:
    """How many features or channels a layer takes; 0 where that is unknown."""
    return int(getattr(layer, "in_channels", getattr(layer, "in_features", 0)))


def _sides_of_flattened(model: nn.Module, columns: int, free: int) -> Iterator[int]:
    """The sides of a grid that, flattened, fills a linear layer of the model."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            side = round((layer.in_features / columns) ** (1 / free))
            if side**free * columns == layer.in_features:
                yield side


def _other_inputs(model: nn.Module, input: str | None) -> list[str]:
    """Names of the inputs that the model needs beside the one that is normalised."""
    given = inspect.signature(model.forward).parameters
    named = [n for n, p in given.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [n for n in named if given[n].default is inspect.Parameter.empty]
    if input is None:
        if len(needed) > 1:
            raise ArgumentError(
                f"the model takes {', '.join(needed)}: say which of them is normalised with input="
            )
        return []
    if input not in named and not any(p.kind is p.VAR_KEYWORD for p in given.values()):
        raise ArgumentError(
            f"input={input!r} is no argument of the model, which takes {', '.join(named) or 'none by name'}; "
            "where it is a key of a dict, give such a dict as example="
        )
    return [n for n in needed if n != input]


def _forms(model: nn.Module, names: list[str], *, rows: int) -> Iterator[dict[str, Any]]:
    """What the other inputs may be: codes for the embeddings, or features for a linear layer."""
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    codes = min((m.num_embeddings for m in tables), default=2)
    widths = sorted(
        {len(tables), *(m.in_features for m in model.modules() if isinstance(m, nn.Linear))} - {0}
    )
    draw = torch.Generator().manual_seed(1)
    forms = [
        *(torch.randint(codes, s, generator=draw) for s in [(rows,), *((rows, w) for w in widths)]),
        *(torch.randn(rows, w, generator=draw, dtype=torch.float64) for w in widths),
    ]
    for chosen in itertools.islice(itertools.product(forms, repeat=len(names)), _COMBINATIONS):
        yield dict(zip(names, chosen, strict=True))


def _as_in_example(model: nn.Module, affine: AffineMap, input: str | None, example: Any) -> ModelTrial:
    if isinstance(example, torch.Tensor):
        return _trial(example, affine, _alone, "example")
    if isinstance(example, Mapping):
        name = _one_of(list(example), input)
        others = {k: _wide(v) for k, v in example.items() if k != name}
        accepted = inspect.signature(model.forward).parameters.values()
        by_name = any(p.kind is p.VAR_KEYWORD for p in accepted) or set(example) <= {p.name for p in accepted}
        call = _by_name(name, others) if by_name else lambda model, x: model({**others, name: x})
        return _trial(example[name], affine, call, f"example[{name!r}]")
    if isinstance(example, tuple | list):
        given = _places(model, example)
        name = _one_of(list(given), input)
        others = {k: _wide(v) for k, v in given.items() if k != name}
        return _trial(given[name], affine, _by_name(name, others), f"example, {name},")
    raise ArgumentError(
        f"example is {told(example)}: expected the model's inputs, as a tensor, a tuple or a dict"
    )


def _places(model: nn.Module, example: Sequence[Any]) -> dict[str, Any]:
    try:
        return inspect.signature(model.forward).bind_partial(*example).arguments
    except TypeError as error:
        raise ArgumentError(
            f"example has {len(example)} inputs: the model takes them otherwise ({error})"
        ) from error


def _one_of(names: list[str], input: str | None) -> str:
    if input is None and len(names) == 1:
        return names[0]
    if input not in names:
        raise ArgumentError(
            f"input={input!r}: expected the one of {', '.join(map(str, names))} that is normalised"
        )
    return input


def _trial(
    x: Any, affine: AffineMap, call: Callable[[nn.Module, torch.Tensor], Any], what: str
) -> ModelTrial:
    if not isinstance(x, torch.Tensor):
        raise ArgumentError(f"{what} is {told(x)}: expected a tensor of inputs")
    shape, sample = tuple(x.shape), affine.center.shape
    fits = len(shape) == len(sample) + 1 and all(shape[a] == sample[a] for a in affine.kept)
    if not fits or not x.numel():
        expected = [
            "rows",
            *("any" if a not in affine.kept else str(sample[a]) for a in range(-len(sample), 0)),
        ]
        raise ArgumentError(f"{what} has shape {shape}: expected ({', '.join(expected)})")
    return ModelTrial(shape=shape, call=call, given=_wide(x).double())


def _wide(value: Any) -> Any:
    """A copy on the CPU, in float64 as the tried model is."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    return value.double() if value.is_floating_point() else value


def same_outputs(expected: list[torch.Tensor], actual: list[torch.Tensor], *, tolerance: float) -> bool:
    """Whether two runs gave the same tensors, each within the tolerance of its largest number."""
    if [e.shape for e in expected] != [f.shape for f in actual]:
        return False
    return all(_close(e.double(), f.double(), tolerance) for e, f in zip(expected, actual, strict=True))


def _close(expected: torch.Tensor, actual: torch.Tensor, tolerance: float) -> bool:
    """With NaN and infinities in the same places."""
    finite = torch.isfinite(expected)
    if not torch.equal(expected[~finite].nan_to_num(), actual[~finite].nan_to_num()):
        return False
    if not torch.equal(expected.isnan(), actual.isnan()):
        return False
    expected, actual = expected[finite], actual[finite]
    if not expected.numel():
        return True
    return bool((actual - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(1e-300))
