"""What the two halves of the operators share: how one is written down, drawn, built and held against the truth."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

NAMES = frozenset(
    [
        "sign-flipped",
        "scaled",
        "missing-mean",
        "zero",
        "transposed",
        "permuted",
        "missing-term",
        "missing-l2",
        "not-finite",
        "low-precision",
        "sparse",
        "accumulate",
        "stale",
        "mask",
    ]
)


class Draw:
    """Seeded inputs; `normal` and `uniform` are differentiated, `constant` is not."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return self.constant(*shape, scale=scale).requires_grad_()

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(self.rng.uniform(low, high, shape)).requires_grad_()

    def constant(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(scale * self.rng.normal(size=shape))

    def complex(self, *shape: int) -> Tensor:
        parts = self.rng.normal(size=shape) + 1j * self.rng.normal(size=shape)
        return torch.from_numpy(parts).requires_grad_()

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.from_numpy(self.rng.integers(0, high, shape))

    def bits(self, share: float, *shape: int) -> Tensor:
        return torch.from_numpy(self.rng.uniform(size=shape) < share)

    def positive_definite(self, n: int) -> Tensor:
        a = self.rng.normal(size=(n, n))
        return torch.from_numpy(a @ a.T / n + np.eye(n)).requires_grad_()

    def array(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return scale * self.rng.normal(size=shape)


@dataclass(frozen=True)
class Operator:
    """One operator: its inputs, its right form, its wrong ones, and which names are true of each."""

    name: str
    kind: str
    body: Any
    draw: Callable[[Draw], tuple[Any, ...]]
    bugs: dict[str, frozenset[str]] = field(default_factory=dict)

    def inputs(self, dtype: str) -> tuple[Any, ...]:
        """All that `draw` gives, in one precision."""
        return tuple(_cast(value, dtype) for value in self.draw(Draw(len(self.name) + 17)))

    def call(self, bug: str, inputs: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        """The function, what is differentiated or handed over, and a gradient written by hand, if there is one."""
        return _CALLS[self.kind](self.body, bug, inputs)

    def unwritten(self) -> list[str]:
        """Bugs that the code of the operator does not speak of: slips of the list itself."""
        source = inspect.getsource(self.body)
        return [bug for bug in self.bugs if f'"{bug}"' not in source]

    def beside(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Another point: whatever is differentiated, a little longer."""
        return (_moved(inputs[0]), inputs[1]) if self.kind == "numpy" else tuple(_moved(x) for x in inputs)

    def truth(self, inputs: tuple[Any, ...]) -> list[np.ndarray]:
        """The gradient that automatic differentiation finds through the plain forward pass."""
        return _TRUTHS[self.kind](self.body, inputs)

    def claimed(self, bug: str, inputs: tuple[Any, ...], again: tuple[Any, ...]) -> list[np.ndarray]:
        """The gradient that the hand-written pass gives at `again`, after a call at `inputs`."""
        return _CLAIMS[self.kind](self, bug, inputs, again)


Body = Callable[[type], type]


def registry(cases: list[Operator]) -> Callable[..., Body]:
    """Gives the decorator that adds operators to `cases`: kind, inputs, and the true names of each bug."""

    def operator(kind: str, draw: Callable[[Draw], tuple[Any, ...]], **bugs: str) -> Body:
        named = {bug: frozenset(names.split()) for bug, names in bugs.items()}
        assert all(names <= NAMES for names in named.values()), named

        def add(body: type) -> type:
            cases.append(Operator(body.__name__, kind, body, draw, named))
            return body

        return add

    return operator


def coarse(x: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """What is left of `x` after a visit to a coarse type."""
    return x.to(dtype).to(x.dtype)


def _moved(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (value.detach() * 1.03).requires_grad_() if value.requires_grad else value
    if isinstance(value, tuple):
        return tuple(_moved(part) for part in value)
    return value * 1.03 if isinstance(value, np.ndarray) and value.dtype.kind in "fc" else value


def _cast(value: Any, dtype: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_cast(part, dtype) for part in value)
    if dtype == "float64":
        return value
    if isinstance(value, Tensor) and value.is_complex():
        return value.detach().to(torch.complex64).requires_grad_(value.requires_grad)
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().float().requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(np.float32)
    return value


class _Context:
    """Stands in for the context of an `autograd.Function` when its forward pass is differentiated instead."""

    bug = ""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def save_for_backward(self, *tensors: Tensor) -> None:
        pass

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        pass


def _torch_call(body: type[Function], bug: str, inputs: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], None]:
    state: dict[str, Any] = {}

    def forward(ctx: Any, *args: Any) -> Any:
        ctx.bug, ctx.state = bug, state
        return body.forward(ctx, *args)

    made: Any = type(body)
    kernel = made(body.__name__, (body,), {"forward": staticmethod(forward)})
    return kernel.apply, inputs, None


def _weighted(outputs: Any) -> Tensor:
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    rng = np.random.default_rng(5)
    total = torch.zeros((), dtype=torch.float64)
    for part in parts:
        if part.is_floating_point() or part.is_complex():
            flat = torch.view_as_real(part) if part.is_complex() else part
            total = total + (flat * torch.from_numpy(rng.normal(size=flat.shape))).sum()
    return total


def _torch_gradient(f: Callable[..., Any], inputs: tuple[Any, ...]) -> list[np.ndarray]:
    torch.manual_seed(0)
    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    found = torch.autograd.grad(_weighted(f(*inputs)), wanted, allow_unused=True)
    pairs = zip(wanted, found, strict=True)
    return [(torch.zeros_like(x) if g is None else g).detach().numpy() for x, g in pairs]


def _torch_truth(body: Any, inputs: tuple[Any, ...]) -> list[np.ndarray]:
    plain = getattr(body, "reference", None) or (lambda *args: body.forward(_Context(), *args))
    return _torch_gradient(plain, inputs)


def _torch_claim(case: Operator, bug: str, inputs: Any, again: Any) -> list[np.ndarray]:
    f, _, _ = case.call(bug, inputs)
    _torch_gradient(f, inputs)
    return _torch_gradient(f, again)


def _numpy_call(body: Any, bug: str, inputs: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], Any]:
    weights, data = inputs
    state: dict[str, Any] = {}
    value = lambda *args: float(body.value(np, *args, *data))  # noqa: E731
    return value, weights, lambda *args: body.gradient(bug, state, *args, *data)


def _numpy_truth(body: Any, inputs: tuple[Any, ...]) -> list[np.ndarray]:
    import jax
    import jax.numpy as jnp

    weights, data = inputs
    jax.config.update("jax_enable_x64", True)
    found = jax.grad(lambda *args: body.value(jnp, *args, *data), argnums=tuple(range(len(weights))))(
        *weights
    )
    return [np.asarray(g) for g in found]


def _numpy_claim(case: Operator, bug: str, inputs: Any, again: Any) -> list[np.ndarray]:
    _, weights, gradient = case.call(bug, inputs)
    gradient(*weights)
    found = gradient(*again[0])
    return [np.asarray(g) for g in (found if isinstance(found, tuple) else (found,))]


def _jax_call(body: Any, bug: str, inputs: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], None]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    f = jax.custom_vjp(body.value)
    f.defvjp(body.forward, lambda saved, grad: body.backward(bug, saved, grad))
    return f, tuple(jnp.asarray(x) for x in inputs), None


def _jax_gradient(f: Callable[..., Any], inputs: tuple[Any, ...]) -> list[np.ndarray]:
    import jax

    jax.config.update("jax_enable_x64", True)
    out, pull = jax.vjp(f, *inputs)
    weights = np.random.default_rng(5).normal(size=out.shape).astype(out.dtype)
    return [np.asarray(g) for g in pull(jax.numpy.asarray(weights))]


def _jax_truth(body: Any, inputs: tuple[Any, ...]) -> list[np.ndarray]:
    return _jax_gradient(body.value, inputs)


def _jax_claim(case: Operator, bug: str, inputs: Any, again: Any) -> list[np.ndarray]:
    f, _, _ = case.call(bug, inputs)
    return _jax_gradient(f, again)


_CALLS: dict[str, Any] = {"torch": _torch_call, "numpy": _numpy_call, "jax": _jax_call}
_TRUTHS: dict[str, Any] = {"torch": _torch_truth, "numpy": _numpy_truth, "jax": _jax_truth}
_CLAIMS: dict[str, Any] = {"torch": _torch_claim, "numpy": _numpy_claim, "jax": _jax_claim}
