"""Operations of many kinds, in PyTorch, with the inputs they are checked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .names_heldout import F32, F64, Drawn


@dataclass(frozen=True, kw_only=True)
class Operation:
    forward: Callable[..., Tensor]
    shapes: Callable[[int], tuple[tuple[int, ...], ...]]
    """Shapes of the inputs at a size."""

    def inputs(self, draw: Drawn, size: int, dtype: torch.dtype = F64) -> tuple[Tensor, ...]:
        return tuple(draw(*shape, dtype=dtype) for shape in self.shapes(size))


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return gamma * centred / torch.sqrt((centred**2).mean(0) + 1e-5) + beta


def rms_norm(x: Tensor, gamma: Tensor) -> Tensor:
    return gamma * x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6)


def rnn_step(x: Tensor, h: Tensor, wx: Tensor, wh: Tensor, b: Tensor) -> Tensor:
    return torch.tanh(x @ wx + h @ wh + b)


def lstm_gates(x: Tensor, w: Tensor, c: Tensor) -> Tensor:
    i, f, g, o = (x @ w).chunk(4, dim=1)
    new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(new)


def rnn(x: Tensor, w: Tensor) -> Tensor:
    """``x`` is time x batch x width."""
    h = torch.zeros_like(x[0])
    for step in x:
        h = torch.tanh(step + h @ w)
    return h


def embedding(table: Tensor) -> Tensor:
    index = (torch.arange(2 * len(table)) * 7 + torch.arange(2 * len(table)) ** 2) % len(table)
    return table[index]


def scatter(source: Tensor) -> Tensor:
    index = (torch.arange(len(source)) * 3) % max(2, len(source) // 2)
    return torch.zeros(max(2, len(source) // 2), source.shape[1], dtype=source.dtype).index_add(
        0, index, source
    )


def cross_entropy(z: Tensor) -> Tensor:
    return F.cross_entropy(z, torch.arange(len(z)) % z.shape[1], reduction="none")


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


DENSE = Operation(forward=lambda x, w, b: x @ w + b, shapes=lambda n: ((8, n), (n, 5), (5,)))
SQUARE_DENSE = Operation(forward=lambda x, w: torch.tanh(x @ w), shapes=lambda n: ((7, n), (n, n)))
CONV = Operation(
    forward=lambda x, k: F.conv2d(x, k, padding=1), shapes=lambda n: ((2, n, 9, 9), (n, n, 3, 3))
)
CONV1D = Operation(
    forward=lambda x, k, b: F.conv1d(x, k, b, stride=2), shapes=lambda n: ((3, 2, n), (4, 2, 5), (4,))
)
DEPTHWISE = Operation(
    forward=lambda x, k: F.conv2d(x, k, groups=x.shape[1]), shapes=lambda n: ((2, n, 8, 8), (n, 1, 3, 3))
)
ATTENTION = Operation(forward=attention, shapes=lambda n: ((2, n, 8), (2, n, 8), (2, n, 8)))
LAYER_NORM = Operation(
    forward=lambda x, g, b: F.layer_norm(x, (x.shape[-1],), g, b), shapes=lambda n: ((6, n), (n,), (n,))
)
GROUP_NORM = Operation(forward=lambda x, g: F.group_norm(x, 2, g), shapes=lambda n: ((3, n, 5, 5), (n,)))
BATCH_NORM = Operation(forward=batch_norm, shapes=lambda n: ((12, n), (n,), (n,)))
RMS_NORM = Operation(forward=rms_norm, shapes=lambda n: ((9, n), (n,)))
EMBEDDING = Operation(forward=embedding, shapes=lambda n: ((n, 6),))
SCATTER = Operation(forward=scatter, shapes=lambda n: ((n, 4),))
CROSS_ENTROPY = Operation(forward=cross_entropy, shapes=lambda n: ((n, 10),))
RNN_STEP = Operation(forward=rnn_step, shapes=lambda n: ((4, n), (4, 6), (n, 6), (6, 6), (6,)))
RNN = Operation(forward=rnn, shapes=lambda n: ((6, 4, n), (n, n)))
LSTM = Operation(forward=lstm_gates, shapes=lambda n: ((5, n), (n, 32), (5, 8)))
AVERAGE_POOL = Operation(forward=lambda x: F.avg_pool2d(x, 2), shapes=lambda n: ((2, 3, n, n),))
MAX_POOL = Operation(forward=lambda x: F.max_pool2d(x, 2), shapes=lambda n: ((2, 3, n, n),))
BILINEAR = Operation(
    forward=lambda x, t, y: torch.einsum("bi,ijk,bj->bk", x, t, y),
    shapes=lambda n: ((6, n), (n, n, 4), (6, n)),
)
INTERPOLATE = Operation(
    forward=lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    shapes=lambda n: ((1, 2, n, n),),
)
SOLVE = Operation(
    forward=lambda a, b: torch.linalg.solve(a @ a.mT + torch.eye(len(a), dtype=a.dtype), b),
    shapes=lambda n: ((n, n), (n, 3)),
)
CUMSUM = Operation(forward=lambda x: torch.cumsum(x, 1) ** 2, shapes=lambda n: ((5, n),))
COSINE = Operation(forward=cosine, shapes=lambda n: ((10, n), (10, n)))
FACTORS = Operation(forward=lambda u, v: (u @ v.mT) ** 2, shapes=lambda n: ((n, 3), (n, 3)))
GELU = Operation(forward=lambda x: F.gelu(x), shapes=lambda n: ((n, 12),))
SOFTPLUS = Operation(forward=lambda x: F.softplus(x), shapes=lambda n: ((n,),))
LOGSUMEXP = Operation(forward=lambda x: torch.logsumexp(x, 1), shapes=lambda n: ((7, n),))
ROTARY = Operation(
    forward=lambda x: torch.cat([x[..., 0::2].cos() * x[..., 1::2], x[..., 0::2].sin() * x[..., 1::2]], -1),
    shapes=lambda n: ((4, n, 8),),
)
LOW = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": F32}
