"""What a model does to its raw inputs, operation by operation: only what folding commutes with may see them.

An operation that only moves entries about, or picks the largest of some, gives the same entries of normalised
inputs. So where nothing but such operations and the folded layers ever sees the inputs, everything after the
layers is given the same numbers, whatever the inputs are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...errors import ArgumentError

_MOVES = """
view _unsafe_view reshape _reshape_alias view_as permute transpose t movedim swapaxes squeeze unsqueeze flatten
unflatten expand expand_as slice select narrow split split_with_sizes chunk tensor_split unbind unfold as_strided
diagonal alias detach lift lift_fresh clone contiguous copy copy_ to _to_copy repeat repeat_interleave cat concat
stack flip roll rot90 index index_select gather take where masked_fill masked_fill_ masked_select slice_scatter
select_scatter index_put_ _index_put_impl_ index_copy_ fill_ zero_ constant_pad_nd reflection_pad1d
reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d im2col pixel_shuffle
pixel_unshuffle channel_shuffle native_channel_shuffle upsample_nearest1d upsample_nearest2d upsample_nearest3d
_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d max_pool1d max_pool2d max_pool3d
max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d
"""
"""Each entry that they give is an entry that they were given, or a constant; a scale is positive, so the largest
entry stays the largest. Which entries a layer is then given is told by their values."""
_FORMS = """
empty_like zeros_like ones_like full_like rand_like randn_like randint_like new_empty new_zeros new_ones new_full
new_empty_strided
"""
"""They look at shapes and dtypes only."""
_LEAVES = frozenset(("numpy", "tolist", "__array__", "__dlpack__", "data_ptr"))
"""By these the numbers leave torch, and cannot be watched any further."""
_INSIDE_TORCH = frozenset(("max_pool1d",))
"""Composite, and computed at once where no gradient is needed: no operation shows inside."""


def watched_call(
    call: Callable[[], Any], *, inputs: Iterable[torch.Tensor], layers: dict[str, nn.Module], mode: str
) -> Any:
    """Run `call`, and refuse when an operation outside the layers computes with `inputs`.

    Raises
    ------
    ArgumentError
        When one does; the message names it.
    """
    watch = _Watch(inputs, layers, mode)
    hooks = [h for layer in layers.values() for h in watch.hooks(layer)]
    try:
        with _Calls(watch), _Operations(watch):
            out = call()
        if watch.refused:  # the model went on without it
            raise watch.refused
        return out
    except Exception as error:
        if watch.refused and watch.refused is not error:  # a scripted function wraps it
            raise watch.refused from error
        raise
    finally:
        for hook in hooks:
            hook.remove()


class _Watch:
    """Which memory holds raw inputs: every view of it does, also one that was made unseen."""

    def __init__(self, raw: Iterable[torch.Tensor], layers: dict[str, nn.Module], mode: str) -> None:
        self._raw: dict[int, torch.UntypedStorage] = {}  # held, so that no other memory takes its place
        self._where = ", ".join(name or "the layer" for name in layers)
        self._inside, self._mode = 0, mode
        self.refused: ArgumentError | None = None
        self.mark(raw)

    @property
    def inside(self) -> bool:
        """Whether a folded layer is at work."""
        return self._inside > 0

    def hooks(self, layer: nn.Module) -> Iterator[Any]:
        def enter(*_: Any) -> None:
            self._inside += 1

        def leave(*_: Any) -> None:
            self._inside -= 1

        yield layer.register_forward_pre_hook(enter)
        yield layer.register_forward_hook(leave, always_call=True)

    def mark(self, values: Any) -> None:
        for tensor in _tensors(values):
            storage = tensor.untyped_storage()
            self._raw[storage._cdata] = storage

    def holds(self, values: Any) -> bool:
        return any(t.untyped_storage()._cdata in self._raw for t in _tensors(values))

    def refuse(self, name: str) -> None:
        self.refused = ArgumentError(
            f"folding into {self._where} changes the model's outputs in {self._mode}: something else sees the "
            f"inputs, or changes them first ({name.strip('_')}); put to_torch() in front instead"
        )
        raise self.refused


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in tree_leaves(values):
        if isinstance(value, torch.Tensor) and value.layout is torch.strided:
            yield value


class _Operations(TorchDispatchMode):
    """Sees every operation, also inside scripted functions and autograd functions."""

    _forms, _passes = frozenset(_FORMS.split()), frozenset(_FORMS.split() + _MOVES.split())

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        watch, given = self._watch, (args, kwargs or {})
        raw = not watch.inside and watch.holds(given)
        name = func._schema.name.partition("::")[2] if func.namespace == "aten" else str(func)
        if raw and (name not in self._passes or _adds(name, args)):
            watch.refuse(name)
        out = func(*args, **(kwargs or {}))
        if raw and name not in self._forms:
            if any(t.dtype not in (torch.float32, torch.float64) for t in _first(out)):
                watch.refuse(name)
            watch.mark(_first(out))
        return out


def _adds(name: str, args: Any) -> bool:
    return "index_put" in name and len(args) > 3 and bool(args[3])


def _first(out: Any) -> list[torch.Tensor]:
    """The entries of a result; the second part of a pooling is their places."""
    whole = list(_tensors(out))
    return (
        whole[:1]
        if isinstance(out, tuple) and len(whole) == 2 and not whole[1].is_floating_point()
        else whole
    )


class _Calls(TorchFunctionMode):
    """Sees what leaves torch, and what torch computes without showing its operations."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        watch, kwargs = self._watch, kwargs or {}
        name = getattr(func, "__name__", str(func))
        raw = not watch.inside and name in _LEAVES | _INSIDE_TORCH and watch.holds((args, kwargs))
        if raw and name in _LEAVES:
            watch.refuse(name)
        out = func(*args, **kwargs)
        if raw:
            watch.mark(out)
        return out
