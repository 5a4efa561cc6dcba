"""Folding a normalizer into the first layers of a model, and proving that it stays the same function."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy

from ...arguments import told
from ...errors import ArgumentError
from ...runtime.torch.restore import preserved, refuse_sharded
from ...runtime.torch.session import seed_everything
from ..affine import AffineMap, affine_map
from .folded_layers import FOLDABLE, feature_axis, fold_layer, layer_map
from .raw_input_guard import watched_call
from .transform import Normalize
from .trial_inputs import ModelTrial, rows_of_training, same_outputs, trials

_TOLERANCE = 1e-9
"""Of the outputs' size, in float64: far above rounding, far below any real difference."""
_INSTEAD = "put to_torch() in front instead"


@dataclass(frozen=True, kw_only=True, eq=False)
class _InputLayer:
    """A layer with weights that receives entries of the input."""

    name: str
    layer: nn.Module
    columns: NDArray[np.int_] | None
    """The normalizer's column that each feature is, or -1; None where they are changed or mixed up."""
    reshaped: bool

    @property
    def foldable(self) -> bool:
        return self.columns is not None and type(self.layer) in FOLDABLE

    @property
    def where(self) -> str:
        return self.name or "the layer"


def fold_into(normalizer: Any, model: Any, *, input: str | None = None, example: Any = None) -> Any:
    """A copy of the model that takes raw inputs instead of normalised ones; the model is not changed.

    Each layer that is given the inputs themselves (reshaped, permuted, sliced, or joined with other inputs)
    takes the normalisation into its weights: ``nn.Linear``, and ``nn.Conv1d`` to ``nn.Conv3d`` with statistics
    per channel. A convolution that pads with zeros, which are the mean of normalised inputs, pads with the
    center of each channel. Then the folded copy is tried, in float64, in eval and in train mode, with the
    weights as they are and disturbed, on made rows and on rows that span the training range, its ends, ten
    ranges beyond, zeros, missing entries where there were some, and the example.

    What is promised: in all of these runs the copy gave the same outputs to rounding, and no operation but the
    folded layers and those that move entries about (or max-pool them) was given raw inputs, whatever it made
    of them: anything else, ``clamp``, a comparison, ``nan_to_num``, arithmetic, is refused by name. So the
    inputs cannot steer the model but through the folded layers. A branch that no trial takes is not
    looked at: give an ``example`` that takes it. In the types of the model the
    outputs differ by rounding, which is bounded: no column may be blurred by more than 0.01 stds.

    The arguments and errors are those of `Normalizer.fold_into`. `input` may be the key of a dict that the model
    takes, and `example` a tensor, a tuple of arguments or a dict; other inputs in it are used as they are.
    """
    _check_model(model)
    refuse_sharded(model)
    affine = affine_map(normalizer)
    if affine.least is not None:
        raise ArgumentError(
            f"the normalizer clips, which weights cannot do: fit it with clip=False, or {_INSTEAD}"
        )
    with preserved(model), torch.no_grad():
        plain = _float64_copy(model)
        trial, input_layers = _first_that_runs(plain, affine, input, example)
        folds = _layers_to_fold(plain, input_layers)
        _check_same_function(plain, affine, trial, folds)
        _check_on_training_range(plain, affine, trial, folds, rows_of_training(normalizer, affine, trial))
    folded = copy.deepcopy(model)
    _fold(folded, affine, folds)
    return folded


def _check_model(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model is {told(model)}: expected a torch.nn.Module")
    if isinstance(model, torch.jit.ScriptModule) or hasattr(model, "_orig_mod"):
        raise ArgumentError("the model is compiled: fold into the module that it was made from")
    for name, layer in model.named_modules():
        parameters = list(layer._parameters.values())
        if any(p is not None and is_lazy(p) for p in parameters):
            raise ArgumentError(
                f"{name or 'the layer'} is a {type(layer).__name__} without weights yet: call the model once "
                "on a normalised batch first"
            )
        if any(p is not None and p.is_meta for p in parameters):
            raise ArgumentError(
                f"{name or 'the layer'} is on the meta device, which holds no weights to fold into"
            )
    if next(model.parameters(), None) is None:
        raise ArgumentError(f"{type(model).__name__} has no layer with weights to fold into")


def _float64_copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model).cpu().double().requires_grad_(False)
    except Exception as error:  # whatever the user's model raises when copied
        raise ArgumentError(
            f"the model cannot be copied in float64 ({type(error).__name__}: {error}): {_INSTEAD}"
        ) from error


def _first_that_runs(
    model: nn.Module, affine: AffineMap, input: str | None, example: Any
) -> tuple[ModelTrial, list[_InputLayer]]:
    failed: Exception | None = None
    shape: tuple[int, ...] = ()
    for trial in trials(model, affine, input=input, example=example):
        input_layers: list[_InputLayer] = []
        try:
            _watched(model.eval(), affine, trial, input_layers)
        except Exception as error:  # whatever the user's model raises
            _check_width(input_layers, affine, error)
            failed, shape = failed or error, shape or trial.shape
        else:
            return trial, input_layers
    raise ArgumentError(
        f"the model cannot be tried on inputs of shape {shape}, so folding cannot be checked "
        f"({type(failed).__name__}: {failed}): give example= inputs, or {_INSTEAD}"
    ) from failed


def _check_width(input_layers: list[_InputLayer], affine: AffineMap, error: Exception) -> None:
    """Where the inputs themselves do not fit a layer, say so in the layer's terms."""
    for one in input_layers:
        axis = feature_axis(one.layer) if type(one.layer) in FOLDABLE else 0
        if one.reshaped or one.columns is None or axis not in affine.kept:
            continue
        kind, width = ("features", "in_features") if axis == -1 else ("channels", "in_channels")
        if getattr(one.layer, width) != affine.columns:
            raise ArgumentError(
                f"{one.where} takes {getattr(one.layer, width)} {kind}, the normalizer has {affine.columns} columns"
            ) from error


def _watched(model: nn.Module, affine: AffineMap, trial: ModelTrial, input_layers: list[_InputLayer]) -> None:
    """Run the model once, and note which layers with weights are given entries of the input."""
    x = trial.rows(seed=0)
    origin = _Origin(x, affine, trial)
    hooks = []
    for name, layer in model.named_modules():
        if next(layer.parameters(recurse=False), None) is not None:
            note = partial(_note, name=name, origin=origin, input_layers=input_layers)
            hooks.append(layer.register_forward_pre_hook(note, with_kwargs=True))
    try:
        seed_everything(0)
        trial.call(model, x.clone())
    finally:
        for hook in hooks:
            hook.remove()


def _note(
    layer: nn.Module, args: Any, kwargs: Any, *, name: str, origin: _Origin, input_layers: list[_InputLayer]
) -> None:
    given = next((v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)), None)
    if given is None or not given.is_floating_point() or any(s.layer is layer for s in input_layers):
        return
    columns = origin.columns(given)
    if (columns < 0).all():
        return
    axis = feature_axis(layer) if type(layer) in FOLDABLE else -1
    input_layers.append(
        _InputLayer(
            name=name, layer=layer, columns=_per_feature(columns, axis), reshaped=given.ndim != origin.ndim
        )
    )


class _Origin:
    """Finds the input column that an entry came from by the entry's value, which no other has."""

    def __init__(self, x: torch.Tensor, affine: AffineMap, trial: ModelTrial) -> None:
        numbers = np.arange(affine.columns).reshape(affine.center.shape)
        self.ndim = x.ndim
        self._trial = trial
        self._column_of_rank = np.full(x.numel() + 1, -1)  # the last one answers for rank -1
        self._column_of_rank[trial.ranks(x.numpy())] = np.broadcast_to(numbers, x.shape)

    def columns(self, given: torch.Tensor) -> NDArray[np.int_]:
        return self._column_of_rank[self._trial.ranks(given.detach().double().numpy())]


def _per_feature(columns: NDArray[np.int_], axis: int) -> NDArray[np.int_] | None:
    """The one column that each feature holds; None where some feature holds several, or parts of one."""
    if columns.ndim < -axis:
        return None
    by_feature = np.moveaxis(columns, axis, 0).reshape(columns.shape[axis], -1)
    first = by_feature[:, 0]
    return first if (by_feature == first[:, None]).all() else None


def _layers_to_fold(model: nn.Module, input_layers: list[_InputLayer]) -> list[_InputLayer]:
    chosen = [one for one in input_layers if one.foldable]
    if not chosen:
        raise ArgumentError(_why_none(input_layers))
    for one in chosen:
        layer: Any = model.get_submodule(one.name)
        if any(getattr(layer, kind) for kind in vars(layer) if kind.endswith("_hooks") and "forward" in kind):
            raise ArgumentError(
                f"{one.where} has hooks, which would see other inputs: remove them, or {_INSTEAD}"
            )
        if not layer.weight.is_floating_point():
            raise ArgumentError(f"{one.where} has weights of {layer.weight.dtype}: expected real numbers")
        shared = [n for n, m in model.named_modules() if m is not layer and _shares(m, layer)]
        if shared:
            raise ArgumentError(
                f"{one.where} shares its weights with {shared[0]}, which folding would part: {_INSTEAD}"
            )
    return chosen


def _shares(module: nn.Module, layer: nn.Module) -> bool:
    own = {id(p) for p in layer._parameters.values() if p is not None}
    return any(id(p) in own for p in module._parameters.values())


def _why_none(input_layers: list[_InputLayer]) -> str:
    if not input_layers:
        return (
            "no layer with weights is given the inputs as they are, so folding changes the model's outputs: "
            f"something changes the inputs first; {_INSTEAD}"
        )
    one = input_layers[0]
    if type(one.layer) not in FOLDABLE:
        return (
            f"the first layer, {one.where}, is a {type(one.layer).__name__}, expected nn.Linear or nn.Conv1d to "
            f"nn.Conv3d; {_INSTEAD}"
        )
    parts = "features" if isinstance(one.layer, nn.Linear) else "channels"
    return (
        f"folding into {one.where} changes the model's outputs: each of its {parts} must be one column of the "
        "normalizer, unchanged, and some hold several, or entries that are none (padding, a ReLU, dropout); "
        f"{_INSTEAD}"
    )


def _fold(model: nn.Module, affine: AffineMap, folds: list[_InputLayer]) -> None:
    for one in folds:
        assert one.columns is not None
        fold_layer(model.get_submodule(one.name), layer_map(affine, one.columns, one.where), one.where)


def _check_same_function(
    plain: nn.Module, affine: AffineMap, trial: ModelTrial, folds: list[_InputLayer]
) -> None:
    """Refuse unless folding is exact here, whatever the statistics and the weights.

    So it is tried with harmless statistics, and with disturbed weights too: a branch that starts at zero
    (a residual one, or a head) would hide what it does to the inputs.
    """
    harmless = _harmless(affine)
    normalize = Normalize(harmless)
    for disturbed in (False, True):
        first = _disturbed(plain) if disturbed else plain
        second = copy.deepcopy(first)
        _fold(second, harmless, folds)
        raw, other = trial.rows(seed=1), trial.rows(seed=2)
        for training in (False, True):
            mode = f"{'train' if training else 'eval'} mode"
            expected = _outputs(first.train(training), trial, normalize(raw), mode)
            actual = _outputs(second.train(training), trial, raw, mode, watched=folds)
            if disturbed and not all(bool(torch.isfinite(each).all()) for each in expected):
                continue
            _check_equal(expected, actual, folds, mode)
        outputs_of_others = _outputs(first, trial, normalize(other), mode) if disturbed else []
        if disturbed and same_outputs(expected, outputs_of_others, tolerance=_TOLERANCE):
            raise ArgumentError(
                f"the outputs do not change with the inputs, so folding cannot be checked: {_INSTEAD}"
            )


def _check_on_training_range(
    plain: nn.Module,
    affine: AffineMap,
    trial: ModelTrial,
    folds: list[_InputLayer],
    batches: Iterable[torch.Tensor],
) -> None:
    """The same with the statistics as they are; far from 0 the rounding of raw inputs counts so much more."""
    folded, normalize = copy.deepcopy(plain), Normalize(affine)
    _fold(folded, affine, folds)
    tolerance = _TOLERANCE * max(1.0, float(np.abs(affine.zero / affine.scale).max()))
    for raw in batches:
        for training in (False, True):
            mode = f"{'train' if training else 'eval'} mode"
            # Running statistics that differ by rounding would add up from batch to batch.
            first, second = (copy.deepcopy(m).train(training) for m in (plain, folded))
            expected = _outputs(first, trial, normalize(raw), mode)
            _check_equal(
                expected, _outputs(second, trial, raw, mode, watched=folds), folds, mode, tolerance=tolerance
            )


def _check_equal(
    expected: list[torch.Tensor],
    actual: list[torch.Tensor],
    folds: list[_InputLayer],
    mode: str,
    *,
    tolerance: float = _TOLERANCE,
) -> None:
    if not same_outputs(expected, actual, tolerance=tolerance):
        names = ", ".join(one.where for one in folds)
        raise ArgumentError(
            f"folding into {names} changes the model's outputs in {mode}: something else sees "
            f"the inputs, or changes them first; {_INSTEAD}"
        )


def _harmless(affine: AffineMap) -> AffineMap:
    """The same form with statistics near 1, so that rounding hides nothing."""
    size, shape = affine.columns, affine.center.shape
    rotation = None
    if affine.rotation is not None:
        mixed = np.flatnonzero(affine.mixed)
        rotation = np.eye(size)
        rotation[mixed, np.roll(mixed, 1)] += 0.5
    return replace(
        affine,
        center=np.linspace(-1.0, 2.0, size).reshape(shape),
        scale=np.linspace(0.5, 2.0, size).reshape(shape),
        rotation=rotation,
    )


def _disturbed(model: nn.Module) -> nn.Module:
    other = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(3)
    for p in other.parameters():
        if p.is_floating_point() and p.numel():
            # A tenth of its own size, or of He's 1 / sqrt(fan_in) where it is zero: a deep net stays tame.
            size = float(p.square().mean().sqrt()) or (p.shape[:1].numel() / p.numel()) ** 0.5
            p.add_(torch.randn(p.shape, generator=draw, dtype=p.dtype), alpha=0.1 * size)
    return other


def _outputs(
    model: nn.Module, trial: ModelTrial, x: torch.Tensor, mode: str, *, watched: Sequence[_InputLayer] = ()
) -> list[torch.Tensor]:
    """What the model returns; where layers are watched, nothing else may compute with the inputs."""
    seed_everything(0)
    given, layers = x.clone(), {one.name: model.get_submodule(one.name) for one in watched}
    call = partial(trial.call, model, given)
    try:
        out = list(
            _tensors(watched_call(call, inputs=[given], layers=layers, mode=mode) if watched else call())
        )
    except ArgumentError:
        raise
    except Exception as error:  # whatever the user's model raises
        raise ArgumentError(
            f"the model cannot be tried in {mode} on inputs of shape {trial.shape}, so folding cannot be "
            f"checked ({type(error).__name__}: {error}): {_INSTEAD}"
        ) from error
    if not out:
        raise ArgumentError(f"the model returns no tensor, so folding cannot be checked: {_INSTEAD}")
    return out


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _tensors(vars(value))
