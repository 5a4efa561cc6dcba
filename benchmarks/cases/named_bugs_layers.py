"""Named bugs inside one hand-written torch layer, with the rest of the net around it differentiated by torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import grad as gradients_of

from .named_bug import Built, Model, bug, hidden, named
from .named_bugs_models import Draw


def layer(
    forward: Callable[..., Tensor], backward: Callable[..., tuple[Tensor, ...]]
) -> Callable[..., Tensor]:
    """A layer from its forward pass and ``backward(upstream, *inputs)``."""

    class Layer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx, upstream):
            return backward(upstream, *ctx.saved_tensors)

    return Layer.apply


def around(activation: Callable[[Tensor], Tensor], *, rows: int = 10, seed: int = 0) -> Built:
    """A net of two linear maps with this activation between them."""
    draw = Draw(seed)
    x, y = draw(rows, 7), draw(rows, 3)

    def loss(first, bias, second):
        return ((activation(x.to(first.dtype) @ first + bias) @ second - y) ** 2).mean()

    model = Model(
        loss=loss,
        parameters={
            "first": draw(7, 9, scale=0.5),
            "bias": draw(9, scale=0.2),
            "second": draw(9, 3, scale=0.5),
        },
    )
    return named(lambda *t: loss(*t), model)


def elementwise(value: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], seed: int = 0) -> Built:
    return around(layer(value, lambda d, z: (d * slope(z),)), seed=seed)


def alone(f: Callable[..., Tensor], **tensors: Tensor) -> Built:
    return named(lambda *t: f(*t), Model(loss=f, parameters=tensors))


def _linear(weight: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> Built:
    """A linear layer whose weight gradient is written as given, with a tanh behind it."""
    draw = Draw(seed)
    f = layer(lambda x, w: x @ w, lambda d, x, w: (d @ w.t(), weight(x, d)))
    return alone(lambda x, w: f(x, w).tanh(), x=draw(11, 6), w=draw(6, 6, scale=0.4))


def _attention_without_scale() -> Built:
    """d(scores) lacks the 1/sqrt(d) of the forward pass."""
    draw = Draw(20)

    def backward(d: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return d @ k, d.transpose(1, 2) @ q

    scores = layer(lambda q, k: q @ k.transpose(1, 2) / 3, backward)
    return alone(
        lambda q, k, v: scores(q, k).softmax(-1) @ v, q=draw(2, 5, 9), k=draw(2, 5, 9), v=draw(2, 5, 9)
    )


def _convolution(bend: Callable[[Tensor], Tensor], seed: int) -> Built:
    draw = Draw(seed)

    def backward(d: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return (
            gradients_of.conv2d_input(x.shape, w, d, padding=1),
            bend(gradients_of.conv2d_weight(x, w.shape, d, padding=1)),
        )

    f = layer(lambda x, w: F.conv2d(x, w, padding=1), backward)
    return alone(lambda x, w: f(x, w).tanh(), x=draw(3, 2, 6, 6), w=draw(4, 2, 3, 3, scale=0.4))


def _norm(bend: Callable[[Tensor, Tensor], Tensor], seed: int) -> Built:
    """Layer norm whose input gradient is ``bend(dn, normed) / deviation``."""
    draw = Draw(seed)

    def parts(x: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        inverse = (variance + 1e-5).rsqrt()
        return (x - mean) * inverse, inverse

    def backward(d: Tensor, x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        normed, inverse = parts(x)
        return inverse * bend(d * gain, normed), (d * normed).sum(0)

    return alone(
        layer(lambda x, gain: parts(x)[0] * gain, backward), x=draw(7, 9), gain=1 + draw(9, scale=0.2)
    )


def _softmax(backward: Callable[[Tensor, Tensor], Tensor], seed: int) -> Built:
    f = layer(lambda z: z.softmax(-1), lambda d, z: (backward(d, z.softmax(-1)),))
    return alone(f, z=Draw(seed)(6, 5))


def _detached(how: str) -> Built:
    draw = Draw(30)
    x, y = draw(9, 5), draw(9, 4)

    def loss(first: Tensor, scale: Tensor, second: Tensor) -> Tensor:
        h = (x.to(first.dtype) @ first).tanh()
        if how == "no_grad":
            with torch.no_grad():
                factor = scale.exp()
        else:
            factor = (scale.data if how == "data" else scale.detach()).exp()
        return ((h * factor @ second - y) ** 2).mean()

    tensors = {"first": draw(5, 6, scale=0.5), "scale": draw(6, scale=0.3), "second": draw(6, 4, scale=0.5)}
    return named(lambda *t: loss(*t), Model(loss=loss, parameters=tensors))


def _tokens(overwrite: bool, seed: int) -> Built:
    """An embedding whose rows are written, not added, when a token is seen twice."""
    draw = Draw(seed)
    tokens = torch.tensor([3, 0, 3, 7, 1, 2, 1, 5, 7, 3])

    def backward(d: Tensor, table: Tensor) -> tuple[Tensor]:
        g = torch.zeros_like(table)
        for token, row in zip(tokens.tolist(), d, strict=True):
            g[token] = row if overwrite else g[token] + row
        return (g,)

    f = layer(lambda table: table[tokens], backward)
    return alone(lambda table, w: (f(table) @ w).tanh(), table=draw(8, 5), w=draw(5, 4))


def _shared(uses: Callable[[Tensor, Tensor], Tensor], seed: int) -> Built:
    draw = Draw(seed)
    return alone(uses, x=draw(9, 6), w=draw(6, 6, scale=0.4))


def _tied_autoencoder(x: Tensor, w: Tensor) -> Tensor:
    return (x @ w).tanh() @ w.detach().t()


def _last_use_only(x: Tensor, w: Tensor) -> Tensor:
    for step in range(4):
        x = torch.tanh(x @ (w if step == 3 else w.detach()))
    return x


def _bias_of_one_sample(row: int, seed: int) -> Built:
    draw = Draw(seed)
    f = layer(lambda x, b: x + b, lambda d, x, b: (d, d[row].clone()))
    return alone(lambda x, b: f(x, b).tanh(), x=draw(8, 6), b=draw(6))


def _weight_of_last_sample(seed: int) -> Built:
    return _linear(lambda x, d: torch.outer(x[-1], d[-1]), seed)


def _each_step(*, last: str, seed: int) -> Built:
    """One linear layer at every time step; its weight or bias is that of the last step."""
    draw = Draw(seed)

    def backward(d: Tensor, x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        dw, db = torch.einsum("bti,bto->tio", x, d), d.sum(0)
        return d @ w.t(), dw[-1] if last == "weight" else dw.sum(0), db[-1] if last == "bias" else db.sum(0)

    f = layer(lambda x, w, b: x @ w + b, backward)
    return alone(lambda x, w, b: f(x, w, b).tanh(), x=draw(7, 5, 6), w=draw(6, 4, scale=0.5), b=draw(4))


def _gain_of_last_row(seed: int) -> Built:
    draw = Draw(seed)
    f = layer(lambda x, gain: x * gain, lambda d, x, gain: (d * gain, (d * x)[-1]))
    return alone(
        lambda x, gain: f(F.layer_norm(x, (9,)), gain).sin(), x=draw(7, 9), gain=1 + draw(9, scale=0.2)
    )


def _channel_bias_of_last_sample(seed: int) -> Built:
    draw = Draw(seed)
    f = layer(lambda x, b: x + b[:, None], lambda d, x, b: (d, d.sum(2)[-1]))
    return alone(lambda x, b: f(x, b).tanh(), x=draw(5, 3, 8), b=draw(3))


def _half(t: Tensor) -> Tensor:
    return t.bfloat16().to(t.dtype)


CASES = (
    bug(
        "transposed", "linear layer, d and x the wrong way round", lambda: _linear(lambda x, d: d.t() @ x, 21)
    ),
    bug("sign-flipped", "linear layer, weight", lambda: _linear(lambda x, d: -(x.t() @ d), 22)),
    bug(
        "missing-mean",
        "linear layer, weight summed and multiplied by the rows",
        lambda: _linear(lambda x, d: 11 * x.t() @ d, 23),
        number=11.0,
    ),
    bug("scaled", "attention scores without 1/sqrt(d)", _attention_without_scale, number=3.0),
    bug("permuted", "convolution mistaken for correlation", lambda: _convolution(lambda g: g.flip(2, 3), 24)),
    bug("permuted", "convolution, output channels rolled", lambda: _convolution(lambda g: g.roll(1, 0), 25)),
    bug(
        "transposed",
        "convolution, height and width swapped",
        lambda: _convolution(lambda g: g.transpose(2, 3), 26),
    ),
    bug(
        "low-precision",
        "linear layer, product of bfloat16 numbers",
        lambda: _linear(lambda x, d: _half(x).t() @ _half(d), 27),
    ),
    bug("low-precision", "convolution, weight through bfloat16", lambda: _convolution(_half, 28)),
    bug(
        "sparse",
        "convolution, last element never written",
        lambda: _convolution(lambda g: g * (torch.arange(72) < 71).view(4, 2, 3, 3), 29),
        elements=(("w", (3, 1, 2, 2)),),
    ),
    bug("zero", "scale detached", lambda: _detached("detach")),
    bug("zero", "scale used through .data", lambda: _detached("data")),
    bug("zero", "scale computed under no_grad", lambda: _detached("no_grad")),
    bug("zero", "convolution, weight never written", lambda: _convolution(torch.zeros_like, 31)),
    hidden(
        "layer norm without the mean's term",
        lambda: _norm(lambda dn, n: dn - n * (dn * n).mean(-1, keepdim=True), 32),
    ),
    hidden(
        "layer norm without the variance's term",
        lambda: _norm(lambda dn, n: dn - dn.mean(-1, keepdim=True), 33),
    ),
    hidden("softmax without its second term", lambda: _softmax(lambda d, p: d * p, 34)),
    hidden(
        "skip connection forgotten",
        lambda: alone(
            layer(lambda x: x + (2 * x).sin(), lambda d, x: (d * 2 * (2 * x).cos(),)), x=Draw(35)(8, 5)
        ),
    ),
    bug(
        "accumulate", "repeated tokens overwritten", lambda: _tokens(True, 36), right=("accumulate", "sparse")
    ),
    hidden("tied autoencoder, encoder's use only", lambda: _shared(_tied_autoencoder, 37)),
    hidden("weight used four times, last use only", lambda: _shared(_last_use_only, 38)),
    bug("accumulate", "bias of the last sample", lambda: _bias_of_one_sample(-1, 39)),
    bug("accumulate", "bias of the first sample", lambda: _bias_of_one_sample(0, 40)),
    bug("accumulate", "weight of the last time step", lambda: _each_step(last="weight", seed=50)),
    bug("accumulate", "bias of the last time step", lambda: _each_step(last="bias", seed=51)),
    bug("accumulate", "layer norm's gain from the last row", lambda: _gain_of_last_row(52)),
    bug("accumulate", "convolution's bias of the last sample", lambda: _channel_bias_of_last_sample(53)),
    bug("accumulate", "weight of the last sample", lambda: _weight_of_last_sample(41)),
    bug(
        "not nameable",
        "sigmoid's slope for tanh",
        lambda: elementwise(torch.tanh, lambda z: z.sigmoid() * (1 - z.sigmoid()), 42),
        right=(),
    ),
    bug("not nameable", "z saved for a", lambda: elementwise(torch.tanh, lambda z: 1 - z * z, 43), right=()),
    bug(
        "not nameable",
        "gelu by the slope of swish",
        lambda: elementwise(F.gelu, lambda z: z.sigmoid() * (1 + z * (1 - z.sigmoid())), 44),
        right=(),
    ),
    bug(
        "not nameable",
        "softplus by a wrong power",
        lambda: elementwise(F.softplus, lambda z: z.sigmoid() ** 2, 45),
        right=(),
    ),
    bug(
        "not nameable",
        "layer norm with both terms mixed up",
        lambda: _norm(lambda dn, n: dn - n * dn.mean(-1, keepdim=True), 46),
        right=(),
    ),
    bug("not nameable", "softmax without 1 - p", lambda: _softmax(lambda d, p: d * p * p, 47), right=()),
    bug(
        "not nameable",
        "wrong input saved for a weight",
        lambda: _linear(lambda x, d: x.tanh().t() @ d, 48),
        right=(),
    ),
    bug(
        "not nameable",
        "output saved for an input",
        lambda: alone(layer(lambda x: x.sin(), lambda d, x: (d * x.sin().cos(),)), x=Draw(49)(7, 5)),
        right=(),
    ),
)
