"""A training step as a lower precision would take it, emulated in float32 on any device, beside the same step in float32.

Half precision as autocast runs it: products in half precision with sums in float32, what loses digits easily in float32, all else in the type of
what it reads. fp8 in linear layers alone, with the rest in bf16. Every rounding is real: values and gradients that overflow become
infinite, those that are too small become zero, and what follows works with that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from ...formats import BF16, RECIPES, Format, Recipe
from ..model_trace import SourceLine
from .batch import Batch, tensors_in
from .recorder import Recorder, function_name, has_numbers, is_new, is_wrapped, line_of_user, listening
from .rounding import largest_finite, rounded, scaled
from .session import Runner, clear_gradients, seed_everything

_PRODUCTS = frozenset(
    [
        "linear",
        "bilinear",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "matmul",
        "__matmul__",
        "__rmatmul__",
        "mm",
        "bmm",
        "mv",
        "addmm",
        "addmv",
        "addbmm",
        "baddbmm",
        "einsum",
        "chain_matmul",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
        "lstm",
        "gru",
        "rnn_tanh",
        "rnn_relu",
        "lstm_cell",
        "gru_cell",
        "rnn_tanh_cell",
        "rnn_relu_cell",
    ]
)
"""What autocast runs in half precision, on CUDA devices."""
_IN_FLOAT32 = frozenset(
    [
        "acos",
        "asin",
        "cosh",
        "sinh",
        "tan",
        "exp",
        "expm1",
        "log",
        "log10",
        "log2",
        "log1p",
        "reciprocal",
        "rsqrt",
        "__rpow__",
        "__pow__",
        "pow",
        "softplus",
        "norm",
        "renorm",
        "vector_norm",
        "matrix_norm",
        "linalg_norm",
        "linalg_vector_norm",
        "linalg_matrix_norm",
        "layer_norm",
        "group_norm",
        "rms_norm",
        "batch_norm",
        "instance_norm",
        "softmax",
        "log_softmax",
        "softmin",
        "cosine_similarity",
        "cosine_embedding_loss",
        "poisson_nll_loss",
        "nll_loss",
        "cross_entropy",
        "kl_div",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "hinge_embedding_loss",
        "margin_ranking_loss",
        "multilabel_margin_loss",
        "soft_margin_loss",
        "triplet_margin_loss",
        "multi_margin_loss",
        "gaussian_nll_loss",
        "ctc_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "dist",
        "cdist",
        "pdist",
        "sum",
        "nansum",
        "mean",
        "prod",
        "cumsum",
        "cumprod",
        "logsumexp",
        "var",
        "std",
        "var_mean",
        "std_mean",
        "erfinv",
        "grid_sample",
        "interpolate",
    ]
)
"""What autocast runs in float32, on CUDA devices; means and normalizations sum in float32 whatever they read."""
_SAMPLED = 1 << 20  # entries of a tensor that are counted


@dataclass
class RoundingCounts:
    """What rounding does to the entries of some tensors, without what was not finite before."""

    entries: float = 0.0
    nonzero: float = 0.0
    beyond: float = 0.0
    """Finite before, and not after."""
    vanished: float = 0.0
    """Zero after, and not before."""
    largest: float = 0.0

    def add(self, values: torch.Tensor, to: Format, *, is_scaled: bool) -> None:
        """Count what rounding a tensor to a format does; of a large one in pieces that are spread evenly."""
        values = values.detach()
        largest = largest_finite(values)
        pieces = _pieces(values)
        after = scaled(pieces, to, largest=largest) if is_scaled else rounded(pieces, to)
        finite, weight = pieces.isfinite(), values.numel() / pieces.numel()
        self.entries += float(finite.sum()) * weight
        self.nonzero += float((finite & (pieces != 0)).sum()) * weight
        self.beyond += float((finite & ~after.isfinite()).sum()) * weight
        self.vanished += float((finite & (pieces != 0) & (after == 0)).sum()) * weight
        self.largest = max(self.largest, largest)


def _pieces(values: torch.Tensor) -> torch.Tensor:
    if values.numel() <= _SAMPLED:
        return values
    width = min(values.shape[-1], 1 << 12)
    rows = values.reshape(-1, values.shape[-1])[:, :width]
    return rows[:: -(-rows.numel() // _SAMPLED)]


@dataclass
class LayerCounts:
    """What rounding does in one module, over all its operations that run in the lower precision."""

    module: nn.Module | None
    line: SourceLine | None
    forward: RoundingCounts = field(default_factory=RoundingCounts)
    weights: RoundingCounts = field(default_factory=RoundingCounts)
    backward: RoundingCounts = field(default_factory=RoundingCounts)


class _Rounded(torch.autograd.Function):
    """Rounds what goes forward, and lets gradients pass."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, rounding: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        return rounding(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient, None


class _RoundedBackward(torch.autograd.Function):
    """Lets values pass, and rounds their gradient."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, rounding: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        ctx.rounding = rounding
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Rounded.apply(gradient, ctx.rounding), None  # which a second derivative passes


class _Mode(Recorder):
    """Finds the operations that a precision would run in lower precision; counts what that would do, or does it.

    Parameters
    ----------
    rounds
        Whether values are rounded; else they are counted.
    exempt
        Modules whose operations stay in float32.
    """

    def __init__(self, runner: Runner, recipe: Recipe, *, rounds: bool, exempt: Collection[str] = ()) -> None:
        super().__init__()
        self.layers: dict[str, LayerCounts] = {}
        self._names = runner.names()
        self._recipe, self._rounds, self._exempt = recipe, rounds, exempt
        self._elsewhere = BF16 if recipe.linear_only else recipe.forward
        self._parameters = {id(p) for p in runner.parameters.values()}
        self._low = WeakTensorKeyDictionary()
        """The tensors that autocast would hold in half precision."""
        self._stack: list[nn.Module] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        with listening(self._names, lambda module, _: self._stack.append(module), self._leave), self:
            yield

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        while self._stack and self._stack.pop() is not module:
            pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, function_name(func)
        read = [t for t in tensors_in((args, kwargs), objects=False) if t.is_floating_point()]
        if name in ("__get__", "detach") or not read or not all(map(_is_ours, read)):
            return func(*args, **kwargs)
        if name in _PRODUCTS and self._module() not in self._exempt:
            return self._product(func, name, args, kwargs, read)
        output = func(*args, **kwargs)
        low = name not in _IN_FLOAT32 and all(
            t in self._low or (t.ndim == 0 and not t.requires_grad) for t in read
        )
        return self._passed_on(output, read, name) if low and self._module() not in self._exempt else output

    def _module(self) -> str:
        return self._names.get(self._stack[-1], "") if self._stack else ""

    def _product(self, func: Any, name: str, args: Any, kwargs: Any, read: list[torch.Tensor]) -> Any:
        recipe = self._recipe
        in_recipe = not recipe.linear_only or name == "linear"
        forward = recipe.forward if in_recipe else BF16
        is_scaled = recipe.scaled and in_recipe
        if not self._rounds:
            output = func(*args, **kwargs)
            if in_recipe:
                self._count_read(read, forward, is_scaled)
        else:
            low = _mapped((args, kwargs), lambda t: _through(t, forward, is_scaled=is_scaled))
            output = func(*low[0], **low[1])
        return _mapped(output, lambda t: self._given(t, in_recipe))

    def _count_read(self, read: list[torch.Tensor], to: Format, is_scaled: bool) -> None:
        layer = self._layer()
        for tensor in read:
            with torch._C.DisableTorchFunction():
                counts = layer.weights if id(tensor) in self._parameters else layer.forward
                # What is held in the format already was counted where it was made.
                if tensor.ndim and (is_scaled or tensor not in self._low):
                    counts.add(tensor, to, is_scaled=is_scaled)

    def _given(self, tensor: torch.Tensor, in_recipe: bool) -> torch.Tensor:
        """What a product gave."""
        recipe = self._recipe
        if recipe.linear_only and in_recipe:
            if self._rounds:
                tensor = _RoundedBackward.apply(tensor, lambda g: scaled(g, recipe.backward))  # pyright: ignore[reportAssignmentType]
            else:
                self._count_gradient(tensor, recipe.backward, is_scaled=True)
        return self._kept_low(tensor)

    def _passed_on(self, output: Any, read: list[torch.Tensor], name: str) -> Any:
        """What an operation gave that runs in the type of what it reads."""
        if not isinstance(output, torch.Tensor):
            for tensor in tensors_in(output, objects=False):
                self._low[tensor] = True
            return output
        if not _is_ours(output):
            return output
        if name.endswith("_") or any(output is t for t in read) or not is_new(output, read, name):
            self._low[output] = True
            return output
        return self._kept_low(output)

    def _kept_low(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor as half precision holds it, or counted."""
        to = self._elsewhere
        if self._rounds:
            tensor = _through(tensor, to, is_scaled=False)
        elif not self._recipe.linear_only:
            with torch._C.DisableTorchFunction():
                self._layer().forward.add(tensor, to, is_scaled=False)
            self._count_gradient(tensor, to, is_scaled=False)
        self._low[tensor] = True
        return tensor

    def _count_gradient(self, tensor: torch.Tensor, to: Format, *, is_scaled: bool) -> None:
        if tensor.requires_grad:
            backward = self._layer().backward
            tensor.register_hook(lambda g: None if g is None else backward.add(g, to, is_scaled=is_scaled))

    def _layer(self) -> LayerCounts:
        name = self._module()
        if name not in self.layers:
            self.layers[name] = LayerCounts(self._stack[-1] if self._stack else None, line_of_user())
        return self.layers[name]


def _is_ours(tensor: torch.Tensor) -> bool:
    """Whether it is in float32, as what autocast would cast is."""
    return tensor.dtype is torch.float32 and has_numbers(tensor) and not is_wrapped(tensor)


_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


def _through(tensor: torch.Tensor, to: Format, *, is_scaled: bool) -> torch.Tensor:
    """Rounded; a half format rounds the gradient too, on its way back through the cast."""
    half = _HALF.get(to.name)
    with torch._C.DisableTorchFunction():
        if half is not None:
            return tensor.to(half).to(tensor.dtype)
        rounding = scaled if is_scaled else rounded
        return _Rounded.apply(tensor, lambda values: rounding(values, to))  # pyright: ignore[reportReturnType]


def _mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """With each tensor in nested tuples, lists and dicts that autocast would cast changed."""
    if isinstance(value, torch.Tensor):
        return change(value) if _is_ours(value) else value
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_mapped(item, change) for item in value)
    return value


# --- steps


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """The loss of a batch and the gradients by the parameters."""

    loss: float
    gradients: dict[str, torch.Tensor]

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and all(bool(g.isfinite().all()) for g in self.gradients.values())


def counted_step(
    runner: Runner, batch: Batch, precision: str, *, seed: int
) -> tuple[Step, dict[str, LayerCounts]]:
    """A step in float32, and by module what the precision would do to its numbers. Use inside `restore.preserved`."""
    mode = _Mode(runner, RECIPES[precision], rounds=False)
    return _step(runner, batch, mode, seed=seed, scale=1.0), mode.layers


def emulated_step(
    runner: Runner,
    batch: Batch,
    precision: str,
    *,
    seed: int,
    scale: float = 1.0,
    exempt: Collection[str] = (),
) -> Step:
    """A step in the precision, with the loss multiplied by `scale` on the way back. Use inside `restore.preserved`."""
    mode = _Mode(runner, RECIPES[precision], rounds=True, exempt=exempt)
    return _step(runner, batch, mode, seed=seed, scale=scale)


def _step(runner: Runner, batch: Batch, mode: _Mode, *, seed: int, scale: float) -> Step:
    seed_everything(seed)
    clear_gradients(runner)
    with mode.running():
        loss = runner.evaluate(batch).loss
    if loss is None or not loss.requires_grad:
        return Step(loss=math.nan if loss is None else float(loss.detach()), gradients={})
    Runner.backward(loss * scale)
    gradients = {
        name: (p.grad.to_dense() if p.grad.is_sparse else p.grad).detach().clone() / scale
        for name, p in runner.trainable.items()
        if p.grad is not None
    }
    clear_gradients(runner)
    return Step(loss=float(loss.detach()), gradients=gradients)
