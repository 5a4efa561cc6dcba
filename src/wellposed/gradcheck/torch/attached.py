"""A loss whose gradient passes through what its code cuts off: by `detach` or `no_grad`, or by a gradient without a graph of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from ...runtime.torch.batch import tensors_in
from .arguments import CheckedFunction
from .per_sample_loss import LossForms

_Tensor: Any = torch.Tensor
_DETACHES = (_Tensor.detach, _Tensor.detach_, torch.detach, torch.detach_, _Tensor.data.__get__)


@dataclass(kw_only=True, eq=False)
class Attachment:
    """What is attached, and what was seen on the way."""

    detached: bool
    """Whether gradients pass through ``detach``, ``.data`` and ``no_grad``."""
    gradients: bool
    """Whether what ``torch.autograd.grad`` gives can be differentiated, as with ``create_graph=True``."""
    fed_back: bool = False
    """Whether such a gradient went into the model again, as in adversarial inputs or adapted weights."""
    parameters: frozenset[int] = frozenset()
    of_gradients: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    """The tensors that were made of such gradients."""

    def follow(self, func: Any, read: list[torch.Tensor], output: Any) -> None:
        if func is torch.autograd.grad or any(t in self.of_gradients for t in read):
            self.fed_back = self.fed_back or any(id(t) in self.parameters for t in read)
            for tensor in tensors_in(output, objects=False):
                self.of_gradients[tensor] = True


class _Attached(TorchFunctionMode):
    """Runs code as if it cut nothing off."""

    def __init__(self, attachment: Attachment) -> None:
        super().__init__()
        self._attachment = attachment

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self._attachment.detached:
            if func in _DETACHES:
                return args[0]
            with torch.enable_grad():
                return self._run(func, args, kwargs)
        return self._run(func, args, kwargs)

    def _run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not self._attachment.gradients:
            return func(*args, **kwargs)
        if func is torch.autograd.grad:
            output = func(*args, **kwargs | {"create_graph": True})
            self._attachment.follow(func, [], output)
        else:
            output = func(*args, **kwargs)
            self._attachment.follow(func, list(tensors_in((args, kwargs), objects=False)), output)
        return output


def attached(function: CheckedFunction, attachment: Attachment) -> CheckedFunction:
    """The loss of a problem, attached."""
    attachment.parameters = frozenset(id(leaf.tensor) for leaf in function.leaves)

    def within(run: Callable[[], Any]) -> Any:
        with _Attached(attachment):
            return run()

    def call(placed: Any, cast: Any) -> LossForms:
        forms = within(lambda: function.call(placed, cast))
        return LossForms(
            plain=lambda: within(forms.plain), each=lambda: within(forms.each), factors=forms.factors
        )

    return replace(function, call=call)
