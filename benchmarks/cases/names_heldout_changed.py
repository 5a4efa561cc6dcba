"""Held-out: the right gradient of an operation, changed as a named bug changes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import names_heldout_operations as ops
from .named_bug import Built, NamedBug
from .names_heldout import F32, F64, Alter, Drawn, all_changed, altered, case, changed
from .names_heldout_operations import Operation


def bent(operation: Operation, size: int, alter: Alter, dtype: torch.dtype = F64) -> Callable[[Drawn], Built]:
    def make(draw: Drawn) -> Built:
        return altered(operation.forward, alter), operation.inputs(draw, size, dtype), None

    return make


def negated(d: Tensor) -> Tensor:
    return -d


def times(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda d: d * factor


def part_times(factor: float, *place: Any) -> Callable[[Tensor], Tensor]:
    def change(d: Tensor) -> Tensor:
        d = d.clone()
        d[place] *= factor
        return d

    return change


def through(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda d: d.to(dtype).to(d.dtype)


def with_term(which: int, term: Callable[[Tensor, tuple[Tensor, ...]], Tensor]) -> Alter:
    """The gradient lacks a term."""

    def alter(gradients: Any, grad_output: Tensor, inputs: Any) -> None:
        gradients[which] = gradients[which] - term(grad_output, inputs)

    return alter


def turned(forward: Callable[..., Tensor], extra: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operation with something added to it."""
    return lambda *inputs: forward(*inputs) + extra(*inputs)


def signs() -> list[NamedBug]:
    family = "sign-flipped"
    return [
        case(family, "dense: the bias", bent(ops.DENSE, 12, changed(2, negated))),
        case(family, "dense: all three", bent(ops.DENSE, 300, all_changed(negated))),
        case(family, "conv: the kernel, float32", bent(ops.CONV, 6, changed(1, negated), F32)),
        case(family, "attention: queries alone", bent(ops.ATTENTION, 10, changed(0, negated))),
        case(family, "layer norm: gamma", bent(ops.LAYER_NORM, 32, changed(1, negated))),
        case(family, "batch norm: x, float32", bent(ops.BATCH_NORM, 20, changed(0, negated), F32)),
        case(family, "embedding table", bent(ops.EMBEDDING, 150, changed(0, negated))),
        case(family, "cross entropy, one-hot minus p", bent(ops.CROSS_ENTROPY, 40, changed(0, negated))),
        case(family, "rnn step: recurrent weights", bent(ops.RNN_STEP, 5, changed(3, negated))),
        case(family, "lstm: cell state", bent(ops.LSTM, 10, changed(2, negated))),
        case(family, "bilinear: y", bent(ops.BILINEAR, 6, changed(2, negated))),
        case(family, "interpolation", bent(ops.INTERPOLATE, 12, changed(0, negated))),
        case(family, "solve: the matrix", bent(ops.SOLVE, 6, changed(0, negated))),
        case(family, "cosine: both, float32", bent(ops.COSINE, 30, all_changed(negated), F32)),
        case(family, "gelu of 1e4", bent(ops.GELU, 850, changed(0, negated))),
    ]


def factors() -> list[NamedBug]:
    family = "scaled"

    def one(
        name: str, op: Operation, size: int, which: int, f: float, dtype: torch.dtype = F64, **say: Any
    ) -> NamedBug:
        return case(family, name, bent(op, size, changed(which, times(f)), dtype), number=f, **say)

    window = {"right": ("scaled", "missing-mean")}
    return [
        one("attention: queries without 1/sqrt(d)", ops.ATTENTION, 12, 0, 8**0.5),
        one("attention: keys with 1/d instead of 1/sqrt(d), float32", ops.ATTENTION, 12, 1, 8**-0.5, F32),
        one("average pool without 1/4", ops.AVERAGE_POOL, 10, 0, 4.0, **window),
        one("dense: weights by 0.99", ops.DENSE, 50, 1, 0.99),
        one("conv1d: bias twice", ops.CONV1D, 40, 2, 2.0),
        one("conv: x by -3", ops.CONV, 4, 0, -3.0),
        one("layer norm: x by 1 + 1e-4", ops.LAYER_NORM, 40, 0, 1.0001),
        one("group norm: gamma by n / (n - 1)", ops.GROUP_NORM, 8, 1, 50 / 49),
        one("cross entropy: temperature 0.7 forgotten, float32", ops.CROSS_ENTROPY, 100, 0, 0.7, F32),
        one("embedding: by sqrt(width)", ops.EMBEDDING, 60, 0, 6**0.5),
        one("softplus: log 2 for ln", ops.SOFTPLUS, 1000, 0, 1 / 0.6931471805599453),
        one("rnn: the weights by 1/2", ops.RNN, 7, 1, 0.5),
        one("solve: right-hand side twice", ops.SOLVE, 5, 1, 2.0),
        one("cumsum: the 2 of the square, float32", ops.CUMSUM, 60, 0, 0.5, F32),
        one("factors: u alone by 1/2", ops.FACTORS, 25, 0, 0.5),
        one("lstm: weights by 10", ops.LSTM, 12, 1, 10.0),
        case(family, "clipped by its norm", bent(ops.DENSE, 20, changed(1, lambda d: d * (0.5 / d.norm()))),),
        case(family, "divided by its largest, all of them in one go", bent(ops.LOGSUMEXP, 30, changed(0, lambda d: d / d.abs().max()))),
    ]  # fmt: skip


def zeros() -> list[NamedBug]:
    family = "zero"
    nothing = changed(0, torch.zeros_like)
    return [
        case(family, "dense: x", bent(ops.DENSE, 15, nothing)),
        case(family, "attention: keys return None", bent(ops.ATTENTION, 9, changed(1, lambda _: None))),
        case(family, "conv1d: bias never written", bent(ops.CONV1D, 30, changed(2, torch.zeros_like))),
        case(
            family, "layer norm: beta, float32", bent(ops.LAYER_NORM, 50, changed(2, torch.zeros_like), F32)
        ),
        case(family, "lstm: the cell state", bent(ops.LSTM, 6, changed(2, torch.zeros_like))),
        case(family, "rms norm: all", bent(ops.RMS_NORM, 100, all_changed(torch.zeros_like))),
        case(
            family, "bilinear: the tensor in the middle", bent(ops.BILINEAR, 8, changed(1, torch.zeros_like))
        ),
        case(family, "interpolation", bent(ops.INTERPOLATE, 20, nothing)),
        case(family, "solve: the matrix", bent(ops.SOLVE, 4, nothing)),
        case(family, "scatter, 1e4", bent(ops.SCATTER, 2500, nothing)),
    ]


def turns() -> list[NamedBug]:
    family = "transposed"
    both = {"right": ("transposed", "permuted")}
    return [
        case(family, "square dense", bent(ops.SQUARE_DENSE, 12, changed(1, lambda d: d.mT))),
        case(family, "square dense, 1e4, float32", bent(ops.SQUARE_DENSE, 100, changed(1, lambda d: d.mT), F32)),
        case(family, "recurrent weights of an rnn", bent(ops.RNN, 8, changed(1, lambda d: d.mT))),
        case(family, "recurrent weights of a step", bent(ops.RNN_STEP, 9, changed(3, lambda d: d.mT))),
        case(family, "solve: the matrix", bent(ops.SOLVE, 7, changed(0, lambda d: d.mT))),
        case(family, "conv: in and out channels", bent(ops.CONV, 5, changed(1, lambda d: d.transpose(0, 1))), **both),
        case(family, "conv: height and width", bent(ops.CONV, 4, changed(1, lambda d: d.mT)), **both),
        case(family, "depthwise: height and width", bent(ops.DEPTHWISE, 6, changed(1, lambda d: d.mT)), **both),
        case(family, "bilinear: i and j", bent(ops.BILINEAR, 7, changed(1, lambda d: d.transpose(0, 1))), **both),
        case(family, "oblong weights, reshaped to fit", bent(ops.DENSE, 11, changed(1, lambda d: d.mT.reshape(d.shape))), **both),
        case(family, "image: rows for columns", bent(ops.INTERPOLATE, 14, changed(0, lambda d: d.mT)), **both),
        case(family, "keys stored the other way round", bent(ops.ATTENTION, 8, changed(1, lambda d: d.mT)), **both),
    ]  # fmt: skip


def swapped(a: int, b: int, dim: int) -> Callable[[Tensor], Tensor]:
    def change(d: Tensor) -> Tensor:
        order = list(range(d.shape[dim]))
        order[a], order[b] = order[b], order[a]
        return d.index_select(dim, torch.tensor(order))

    return change


def halves_swapped(d: Tensor) -> Tensor:
    return d.roll(d.shape[-1] // 2, -1)


def interleaved(d: Tensor) -> Tensor:
    return torch.stack(d.chunk(2, -1), -1).reshape(d.shape)


def permutations() -> list[NamedBug]:
    family = "permuted"
    two = {"vague": ("sparse",)}
    mixed = torch.randperm(40, generator=torch.Generator().manual_seed(4))
    return [
        case(family, "conv: kernel flipped both ways", bent(ops.CONV, 5, changed(1, lambda d: d.flip(-1, -2)))),
        case(family, "conv1d: kernel flipped", bent(ops.CONV1D, 30, changed(1, lambda d: d.flip(-1)))),
        case(family, "conv1d: x late by one", bent(ops.CONV1D, 50, changed(0, lambda d: d.roll(1, -1)))),
        case(family, "rnn: steps in reversed order", bent(ops.RNN, 6, changed(0, lambda d: d.flip(0)))),
        case(family, "lstm: gates i, g, f, o", bent(ops.LSTM, 7, changed(1, lambda d: torch.cat([d[:, :8], d[:, 16:24], d[:, 8:16], d[:, 24:]], 1)))),
        case(family, "embedding: ids off by one, float32", bent(ops.EMBEDDING, 80, changed(0, lambda d: d.roll(1, 0)), F32)),
        case(family, "embedding: rows 8 and 18 swapped", bent(ops.EMBEDDING, 30, changed(0, swapped(8, 18, 0))), **two),
        case(family, "layer norm: gamma halves swapped", bent(ops.LAYER_NORM, 24, changed(1, halves_swapped))),
        case(family, "rotary: halves for pairs", bent(ops.ROTARY, 9, changed(0, interleaved))),
        case(family, "attention: the two heads of v swapped", bent(ops.ATTENTION, 9, changed(2, lambda d: d.flip(0)))),
        case(family, "dense: rows in shuffled order", bent(ops.DENSE, 40, changed(1, lambda d: d[mixed]))),
        case(family, "cosine: a shuffled, gather for scatter", bent(ops.COSINE, 40, changed(0, lambda d: d[mixed[mixed < 10]]), F32)),
        case(family, "cosine: columns shuffled", bent(ops.COSINE, 40, changed(1, lambda d: d[:, mixed]))),
        case(family, "max pool: shifted by a pixel each way", bent(ops.MAX_POOL, 12, changed(0, lambda d: d.roll((1, 1), (2, 3))))),
        case(family, "batch norm: two channels swapped", bent(ops.BATCH_NORM, 16, changed(0, swapped(0, 1, 1))), **two),
        case(family, "upsampled image upside down", bent(ops.INTERPOLATE, 10, changed(0, lambda d: d.flip(-2)))),
    ]  # fmt: skip


def rounding() -> list[NamedBug]:
    family = "low-precision"
    b16, f16 = through(torch.bfloat16), through(torch.float16)
    return [
        case(family, "dense: weights in bfloat16", bent(ops.DENSE, 100, changed(1, b16))),
        case(family, "dense: all in float16", bent(ops.DENSE, 30, all_changed(f16))),
        case(family, "conv: kernel in bfloat16, float32", bent(ops.CONV, 8, changed(1, b16), F32)),
        case(family, "attention: all in bfloat16, float32", bent(ops.ATTENTION, 20, all_changed(b16), F32)),
        case(family, "layer norm: x in float16", bent(ops.LAYER_NORM, 64, changed(0, f16))),
        case(family, "embedding in bfloat16, 1e4", bent(ops.EMBEDDING, 1600, changed(0, b16))),
        case(family, "cross entropy in float16, float32", bent(ops.CROSS_ENTROPY, 200, changed(0, f16), F32)),
        case(family, "rnn: weights in bfloat16", bent(ops.RNN, 8, changed(1, b16))),
        case(family, "solve in float32", bent(ops.SOLVE, 8, all_changed(through(F32)))),
        case(family, "softplus in float32", bent(ops.SOFTPLUS, 300, changed(0, through(F32)))),
        case(family, "small: ten numbers in bfloat16", bent(ops.SOFTPLUS, 10, changed(0, b16))),
        case(family, "float16 after a loss scale of 1024", bent(ops.LSTM, 8, changed(1, lambda d: f16(d * 1024) / 1024))),
        case(family, "grad_output in bfloat16", lambda draw: (altered(ops.DENSE.forward, _rounded_output), ops.DENSE.inputs(draw, 20), None)),
    ]  # fmt: skip


def _rounded_output(gradients: Any, grad_output: Tensor, inputs: Any) -> None:
    low = grad_output.to(torch.bfloat16).to(grad_output.dtype)
    gradients[:] = [low @ inputs[1].mT, inputs[0].mT @ low, low.sum(0)]


def few_wrong() -> list[NamedBug]:
    family = "sparse"
    left_out = {"right": ("sparse", "mask")}
    return [
        case(family, "dense: one weight doubled", bent(ops.DENSE, 30, changed(1, part_times(2, 4, 1)))),
        case(family, "dense: last weight never written", bent(ops.DENSE, 100, changed(1, part_times(0, -1, -1))), **left_out),
        case(family, "conv: one tap of one kernel", bent(ops.CONV, 4, changed(1, part_times(-1, 1, 2, 0, 0)))),
        case(family, "conv1d: last two columns of x twice", bent(ops.CONV1D, 40, changed(0, part_times(2, 0, 1, slice(-2, None))))),
        case(family, "interpolation: a corner, float32", bent(ops.INTERPOLATE, 16, changed(0, part_times(0.25, 0, 0, 0, 0)), F32)),
        case(family, "layer norm: gamma[0]", bent(ops.LAYER_NORM, 100, changed(1, part_times(0, 0))), **left_out),
        case(family, "solve: three on the diagonal", bent(ops.SOLVE, 12, changed(0, part_times(0.5, [2, 5, 9], [2, 5, 9])))),
        case(family, "embedding: one element of 1e4", bent(ops.EMBEDDING, 1600, changed(0, part_times(3, 700, 2)))),
        case(family, "cumsum: the first of one row", bent(ops.CUMSUM, 80, changed(0, part_times(0, 2, 0))), **left_out),
        case(family, "max pool: one pixel off by a half", bent(ops.MAX_POOL, 16, changed(0, lambda d: d + 0.5 * (torch.arange(d.numel()) == 77).reshape(d.shape)))),
        case(family, "bias: one of five negated", bent(ops.DENSE, 10, changed(2, part_times(-1, 3)))),
        case(family, "softplus: two elements of 500 swapped", bent(ops.SOFTPLUS, 500, changed(0, swapped(10, 300, 0))), right=("sparse", "permuted")),
    ]  # fmt: skip


def lost_terms() -> list[NamedBug]:
    family = "missing-term"

    def added(
        op: Operation, extra: Callable[..., Tensor], alter: Alter, size: int, dtype: torch.dtype = F64
    ) -> Callable[[Drawn], Built]:
        def make(draw: Drawn) -> Built:
            return altered(turned(op.forward, extra), alter), op.inputs(draw, size, dtype), None

        return make

    def residual(which: int) -> Alter:
        return with_term(which, lambda g, _: g)

    return [
        case(family, "gelu with a residual", added(ops.GELU, lambda x: x, residual(0), 20)),
        case(family, "attention with a residual on q", added(ops.ATTENTION, lambda q, k, v: q, residual(0), 8)),
        case(family, "layer norm with a residual, float32", added(ops.LAYER_NORM, lambda x, g, b: x, residual(0), 30, F32)),
        case(family, "softplus less half the input", added(ops.SOFTPLUS, lambda x: -0.5 * x, with_term(0, lambda g, _: -0.5 * g), 200)),
        case(family, "entropy of 1e4 with a linear term", added(ops.GELU, lambda x: 0.1 * x, with_term(0, lambda g, _: 0.1 * g), 840)),
    ]  # fmt: skip


def cases() -> list[NamedBug]:
    return [
        *signs(), *factors(), *zeros(), *turns(), *permutations(), *rounding(), *few_wrong(), *lost_terms(),
    ]  # fmt: skip
