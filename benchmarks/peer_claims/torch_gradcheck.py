"""What torch's tests of `gradcheck` and `gradgradcheck` claim: right operations pass, wrong backward passes do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import wellposed as wp
from benchmarks.peer_claims.claims import Claim, Grid, Outcome, contradicted, held, refusal, verdict

Call = Callable[..., Any]


def draws(
    seed: int, *shapes: tuple[int, ...], dtype: Any = torch.float64, low: float = -2.0, high: float = 2.0
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(s, generator=generator, dtype=torch.float64) * (high - low) + low)
        .to(dtype)
        .requires_grad_()
        for s in shapes
    ]


OPERATIONS: dict[str, tuple[Call, tuple[tuple[int, ...], ...], float, float]] = {
    "sin": (torch.sin, ((5,),), -2, 2),
    "exp": (torch.exp, ((2, 3),), -2, 2),
    "log": (torch.log, ((4,),), 0.3, 2),
    "tanh": (torch.tanh, ((4,),), -2, 2),
    "sigmoid": (torch.sigmoid, ((4,),), -3, 3),
    "softplus": (F.softplus, ((4,),), -3, 3),
    "gelu": (F.gelu, ((5,),), -3, 3),
    "silu": (F.silu, ((5,),), -3, 3),
    "mish": (F.mish, ((5,),), -3, 3),
    "selu": (F.selu, ((5,),), 0.2, 3),
    "relu": (F.relu, ((6,),), 0.1, 3),
    "leaky_relu": (F.leaky_relu, ((6,),), -3, -0.1),
    "pow of a base": (lambda a: torch.pow(2, a), ((3, 4),), 0, 3),
    "square": (torch.square, ((3,),), -2, 2),
    "sqrt": (torch.sqrt, ((3,),), 0.5, 2),
    "softmax": (lambda a: torch.softmax(a, -1), ((3, 4),), -2, 2),
    "log_softmax": (lambda a: torch.log_softmax(a, -1), ((3, 4),), -2, 2),
    "logsumexp": (lambda a: torch.logsumexp(a, -1), ((3, 4),), -2, 2),
    "cumsum": (lambda a: torch.cumsum(a, 0), ((5,),), -2, 2),
    "prod": (torch.prod, ((4,),), 0.5, 2),
    "var": (torch.var, ((6,),), -2, 2),
    "norm": (torch.linalg.norm, ((6,),), -2, 2),
    "matmul": (torch.matmul, ((3, 4), (4, 2)), -2, 2),
    "chain of matmul": (lambda a, b, c: torch.linalg.multi_dot([a, b, c]), ((3, 5), (5, 2), (2, 6)), -1, 1),
    "outer": (torch.outer, ((3,), (4,)), -2, 2),
    "lerp": (torch.lerp, ((3, 3), (3, 3), (3,)), -1, 1),
    "lerp broadcast": (torch.lerp, ((), (2, 3), (3,)), -1, 1),
    "div": (torch.div, ((4,), (4,)), 0.5, 2),
    "atan2": (torch.atan2, ((4,), (4,)), 0.5, 2),
    "inverse": (lambda a: torch.linalg.inv(a + 4 * torch.eye(3, dtype=a.dtype)), ((3, 3),), -1, 1),
    "det": (lambda a: torch.linalg.det(a + 4 * torch.eye(3, dtype=a.dtype)), ((3, 3),), -1, 1),
    "cholesky": (
        lambda a: torch.linalg.cholesky(a @ a.T + 4 * torch.eye(3, dtype=a.dtype)),
        ((3, 3),),
        -1,
        1,
    ),
    "as_strided overlapping": (lambda a: a.as_strided((6, 6), (5, 1), 2), ((38,),), -1, 1),
    "expand": (lambda a: a.expand(4, 3), ((1, 3),), -1, 1),
    "index with repeats": (lambda a: a[torch.tensor([0, 2, 2, 1])], ((4, 2),), -1, 1),
    "conv1d": (lambda x, w: F.conv1d(x, w, padding=1), ((2, 2, 6), (3, 2, 3)), -1, 1),
    "conv2d": (lambda x, w: F.conv2d(x, w, stride=2), ((1, 2, 5, 5), (2, 2, 3, 3)), -1, 1),
    "layer_norm": (lambda x: F.layer_norm(x, (4,)), ((3, 4),), -2, 2),
    "mse_loss": (F.mse_loss, ((3, 2), (3, 2)), -2, 2),
    "where": (lambda a, b: torch.where(torch.tensor([True, False, True]), a, b), ((3,), (3,)), -1, 1),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), ((1, 1, 3, 3),), -1, 1),
    "fft and back": (lambda x: torch.fft.irfft(torch.fft.rfft(x) ** 2), ((8,),), -1, 1),
    "tuple of outputs": (lambda a: (a.sin(), a.exp()), ((3,),), -1, 1),
}


def operation(name: str, mode: Any, order: Any, dtype: Any = torch.float64) -> Outcome:
    f, shapes, low, high = OPERATIONS[name]
    inputs = draws(len(name), *shapes, dtype=dtype, low=low, high=high)
    before = [t.detach().clone() for t in inputs]
    check = wp.check_gradients(f, *inputs, mode=mode, order=order)
    if not all(torch.equal(a, b.detach()) and b.grad is None for a, b in zip(before, inputs, strict=True)):
        return contradicted("inputs or their .grad were changed")
    return verdict(check, "pass")


def broken(forward: Call, backward: Call) -> Call:
    """A function of one tensor with a backward pass of its own."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return backward(x, grad)

    return Function.apply


SLOPES: dict[str, tuple[Call, Call]] = {
    "exp": (torch.exp, torch.exp),
    "sin": (torch.sin, torch.cos),
    "square": (lambda x: x * x, lambda x: 2 * x),
    "cube": (lambda x: x**3, lambda x: 3 * x * x),
    "tanh": (torch.tanh, lambda x: 1 - torch.tanh(x) ** 2),
    "sigmoid": (torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x)),
    "double": (lambda x: 2.0 * x, lambda x: torch.full_like(x, 2.0)),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2),
}
BUGS: dict[str, tuple[Call, str | None]] = {
    "right": (lambda x, g, d: d(x) * g, None),
    "sign": (lambda x, g, d: -d(x) * g, "sign-flipped"),
    "1.0005": (lambda x, g, d: 1.0005 * d(x) * g, "scaled"),
    "twice": (lambda x, g, d: 2 * d(x) * g, "scaled"),
    "zero": (lambda x, g, d: torch.zeros_like(x), "zero"),
    "grad_output ignored": (lambda x, g, d: d(x), None),
    "plus one": (lambda x, g, d: d(x) * g + 1, None),
    "rolled": (lambda x, g, d: torch.roll(d(x) * g, 1, 0), "permuted"),
    "last twice": (
        lambda x, g, d: d(x) * g * (1 + torch.nn.functional.one_hot(torch.tensor(len(x) - 1), len(x))),
        "sparse",
    ),
    "rounded": (lambda x, g, d: (d(x) * g).to(torch.bfloat16).to(x.dtype), "low-precision"),
    "NaN": (lambda x, g, d: d(x) * g * float("nan"), "not-finite"),
}


def custom(name: str, bug: str, dtype: Any) -> Outcome:
    forward, slope = SLOPES[name]
    change, cause = BUGS[bug]
    apply = broken(forward, lambda x, g: change(x, g, slope))
    (x,) = draws(len(name) + len(bug), (7,), dtype=dtype, low=0.5, high=1.5)
    return verdict(wp.check_gradients(apply, x), "pass" if bug == "right" else "fail", cause=cause)


class Bent(torch.autograd.Function):
    """Right in its gradient; the gradient of the gradient is off by 1 %."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return BentSlope.apply(x) * grad


class BentSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return 3 * x**2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return 6.06 * x * grad


class WrongForward(torch.autograd.Function):
    """Right backward, wrong forward mode."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return ctx.saved_tensors[0].cos() * grad

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Any:
        return 1.5 * ctx.saved_tensors[0].cos() * tangent


class Two(torch.autograd.Function):
    """A product whose gradient by the second factor is wrong."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        _, b = ctx.saved_tensors
        return b * grad, b * grad


def check(f: Call, inputs: list[Tensor], want: Any, **options: Any) -> Outcome:
    return verdict(wp.check_gradients(f, *inputs, **options), want)


def complex_draw(seed: int, shape: tuple[int, ...]) -> Tensor:
    a, b = draws(seed, shape, shape, low=0.4, high=1.6)
    return torch.complex(a.detach(), b.detach()).requires_grad_()


COMPLEX: dict[str, Call] = {
    "sin": torch.sin,
    "exp": torch.exp,
    "square": lambda z: z * z,
    "abs": torch.abs,
    "angle": torch.angle,
    "real": lambda z: z.real * 2,
    "conj product": lambda z: z.conj() * z * z,
    "fft": torch.fft.fft,
    "log": torch.log,
    "view as real": torch.view_as_real,
}


def complex_operation(name: str, mode: Any) -> Outcome:
    return verdict(wp.check_gradients(COMPLEX[name], complex_draw(len(name), (4,)), mode=mode), "pass")


def complex_broken(kind: str) -> Outcome:
    backward = {
        "conjugate forgotten": lambda z, g: 2 * z * g,
        "right": lambda z, g: (2 * z).conj() * g,
        "real part alone": lambda z, g: ((2 * z).conj() * g).real + 0j,
        "turned": lambda z, g: 1j * (2 * z).conj() * g,
    }[kind]
    apply = broken(lambda z: z * z, backward)
    return verdict(wp.check_gradients(apply, complex_draw(5, (4,))), "pass" if kind == "right" else "fail")


def random_backward() -> Outcome:
    """A backward pass that draws fresh random numbers from nowhere that can be put back: never a pass."""
    import random

    source = random.SystemRandom()
    apply = broken(torch.exp, lambda x, g: x.exp() * g * (1 + 0.1 * source.random()))
    return verdict(wp.check_gradients(apply, *draws(1, (4,))), "not pass")


def random_forward() -> Outcome:
    import random

    source = random.SystemRandom()
    return verdict(wp.check_gradients(lambda x: x.sin() + source.random() * x, *draws(1, (4,))), "not pass")


POINTS: dict[str, tuple[Call, Tensor]] = {
    "abs": (torch.abs, torch.zeros(3)),
    "relu": (torch.relu, torch.zeros(3)),
    "norm 2": (lambda x: x.norm(2), torch.zeros(5)),
    "norm 1": (lambda x: x.norm(1), torch.zeros(5)),
    "max of ties": (lambda x: x.max(), torch.ones(4)),
    "sqrt": (torch.sqrt, torch.zeros(2)),
    "hardtanh": (F.hardtanh, torch.tensor([1.0, -1.0])),
    "clamp": (lambda x: x.clamp(0, 1), torch.tensor([0.0, 1.0])),
}


def at_point(name: str) -> Outcome:
    """At a kink autograd takes some slope; a verdict of fail would be wrong where the slopes around are right."""
    f, x = POINTS[name]
    got = wp.check_gradients(f, x.double().requires_grad_())
    if name == "sqrt":
        return held() if got.verdict != "pass" else contradicted("passed where the derivative is infinite")
    return (
        held() if got.verdict != "fail" or got.cause == "not-finite" else contradicted(f"fail: {got.cause}")
    )


def wrong_at_point(name: str) -> Outcome:
    """At a kink a slope that is far from both sides must not pass."""
    f, x = POINTS[name]
    apply = broken(f, lambda _, g: 5.0 * g.sum() * torch.ones_like(x).double())
    return verdict(wp.check_gradients(apply, x.double().requires_grad_()), "not pass")


def module(name: str, dtype: Any) -> Outcome:
    torch.manual_seed(0)
    nets: dict[str, tuple[Any, Tensor]] = {
        "linear": (torch.nn.Linear(4, 3), torch.randn(5, 4)),
        "mlp": (
            torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)),
            torch.randn(5, 4),
        ),
        "relu": (
            torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)),
            torch.randn(5, 4),
        ),
        "batch norm": (
            torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6)),
            torch.randn(8, 4),
        ),
        "dropout": (torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Dropout(0.4)), torch.randn(8, 4)),
        "lstm": (torch.nn.LSTM(3, 4), torch.randn(4, 2, 3)),
        "embedding": (torch.nn.Embedding(7, 3), torch.tensor([[0, 2, 2], [6, 1, 0]])),
        "attention": (
            torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
            torch.randn(2, 3, 8),
        ),
        "conv": (torch.nn.Conv2d(2, 3, 3), torch.randn(2, 2, 5, 5)),
    }
    net, x = nets[name]
    return verdict(wp.check_gradients(net.to(dtype), x.to(dtype) if x.is_floating_point() else x), "pass")


def claims() -> list[Claim]:
    grid = Grid("torch gradcheck")
    for name in OPERATIONS:
        grid.add("gradcheck", f"{name} reverse", operation, name, "reverse", 1)
        grid.add("gradcheck", f"{name} float32", operation, name, "reverse", 1, torch.float32)
        grid.add("gradcheck", f"{name} forward", operation, name, "forward", 1)
        if len(OPERATIONS[name][1]) == 1:
            grid.add("gradcheck", f"{name} forward-reverse", operation, name, "forward-reverse", 1)
        grid.add("gradcheck", f"{name} order 2", operation, name, "reverse", 2)
    for name in SLOPES:
        for bug in BUGS:
            if bug == "rolled" and name == "double":
                continue
            grid.add("gradcheck", f"custom {name} {bug}", custom, name, bug, torch.float64)
            if name in ("exp", "tanh", "cube"):
                grid.add("gradcheck", f"custom {name} {bug} float32", custom, name, bug, torch.float32)
    grid.add("gradcheck", "second order wrong, order 1", check, Bent.apply, draws(1, (5,)), "pass")
    grid.add("gradcheck", "second order wrong, order 2", check, Bent.apply, draws(1, (5,)), "fail", order=2)
    grid.add("gradcheck", "jvp wrong, reverse", check, WrongForward.apply, draws(1, (5,)), "pass")
    grid.add(
        "gradcheck", "jvp wrong, forward", check, WrongForward.apply, draws(1, (5,)), "fail", mode="forward"
    )
    grid.add(
        "gradcheck",
        "jvp wrong, forward-reverse",
        check,
        WrongForward.apply,
        draws(1, (5,)),
        "fail",
        mode="forward-reverse",
    )
    grid.add("gradcheck", "second of two inputs wrong", check, Two.apply, draws(1, (5,), (5,)), "fail")
    a, b = draws(1, (5,), (5,))
    grid.add("gradcheck", "the wrong input needs no gradient", check, Two.apply, [a, b.detach()], "pass")
    grid.add("gradcheck", "detached output", detached)
    grid.add("gradcheck", "detached factor", check, lambda x: x.detach() * x, draws(2, (4,)), "fail")
    grid.add(
        "gradcheck",
        "no input needs a gradient: all are checked",
        check,
        torch.sin,
        [torch.ones(3).double() * 0.3],
        "pass",
    )
    grid.add(
        "gradcheck",
        "integers alone",
        lambda: refusal(lambda: wp.check_gradients(lambda x: x * 2, torch.arange(3))),
    )
    grid.add(
        "gradcheck",
        "NaN in the input",
        lambda: refusal(lambda: wp.check_gradients(torch.sin, torch.tensor([float("nan")]).double())),
    )
    grid.add(
        "gradcheck", "f raises", lambda: refusal(lambda: wp.check_gradients(lambda x: 1 / 0, torch.ones(3)))
    )
    grid.add("gradcheck", "random forward", random_forward)
    grid.add("gradcheck", "random backward", random_backward)
    for name in COMPLEX:
        for mode in ("reverse", "forward"):
            grid.add("gradcheck", f"complex {name} {mode}", complex_operation, name, mode)
    for kind in ("right", "conjugate forgotten", "real part alone", "turned"):
        grid.add("gradcheck", f"complex square {kind}", complex_broken, kind)
    for name in POINTS:
        grid.add("gradcheck", f"at the kink of {name}", at_point, name)
        grid.add("gradcheck", f"at the kink of {name}, slope 5", wrong_at_point, name)
    for name in ("linear", "mlp", "relu", "batch norm", "dropout", "lstm", "embedding", "attention", "conv"):
        for dtype in (torch.float64, torch.float32):
            grid.add("gradcheck", f"module {name} {str(dtype)[6:]}", module, name, dtype)
    return grid.claims


def detached() -> Outcome:
    """The peer raises: the numerical gradient is not zero. Here that is a failure, or a refusal as nothing can be differentiated."""
    try:
        got = wp.check_gradients(lambda x: x.detach() * 2, *draws(1, (3, 3)))
    except wp.WellposedError:
        return held()
    return verdict(got, "not pass")
