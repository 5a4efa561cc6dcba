"""Nets full of kinks in float32: a correct gradient must never fail, and a wrong one must not be waved through.

::

    python -m benchmarks.kinks [--seeds 1000] [--net relu] [--mode native] [--dtype float32]

One row a net and a bug. Every seed draws widths, batch size and weights anew; biases start at zero, and in two of five seeds some samples are
exact zeros, so that activations lie exactly on the kink. In "native" mode the code exists in float32 only. The bugs: the
gradient of one tensor 1 % too large, and negated; they are there so that a table without false alarms cannot come from saying nothing.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import torch
from torch.nn import functional as F

import wellposed as wp

from .opinfo_trial import in_mode

BUGS = {"": 1.0, "scale": 1.01, "sign": -1.0}
VERDICTS = ("pass", "inconclusive", "fail", "refused", "crash")
_SHOWN = 20

Bend = Callable[[torch.Tensor], torch.Tensor]


def _pairs(x: torch.Tensor) -> torch.Tensor:
    """The larger of each two neighbours; an odd last one is left out."""
    return F.max_pool1d(x.unsqueeze(1), 2).squeeze(1)


def _largest_half(x: torch.Tensor) -> torch.Tensor:
    return x.topk(max(x.shape[1] // 2, 1), dim=1).values


def _quantiles(x: torch.Tensor) -> torch.Tensor:
    return torch.quantile(x, torch.tensor([0.1, 0.5, 0.8], dtype=x.dtype), dim=1).T


NETS: dict[str, Bend] = {
    "relu": F.relu,
    "leaky relu": F.leaky_relu,
    "max-pool": _pairs,
    "sort": lambda x: x.sort(dim=1).values,
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-0.5, 1.5),
    "hardtanh": F.hardtanh,
    "top half": _largest_half,
    "quantile": _quantiles,
    "prelu": lambda x: torch.maximum(0.25 * x, x),
    "hardswish": F.hardswish,
    "l1 loss": lambda x: x,
    "tanh": torch.tanh,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Net:
    """Two layers of one kind, and a mean over samples of squared or absolute errors."""

    kind: str
    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor

    def loss(
        self, x: torch.Tensor, w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor
    ) -> Any:
        y = NETS[self.kind](x @ w1 + b1) @ w2 + b2
        targets = self.targets.to(y.dtype)
        return F.l1_loss(y, targets) if self.kind == "l1 loss" else (y - targets).square().mean()


def drawn(kind: str, seed: int, dtype: torch.dtype = torch.float32) -> Net:
    """A net whose widths, weights and data come from the seed."""
    rng = random.Random(seed)
    draw = torch.Generator().manual_seed(seed)
    samples, features, width, outputs = (
        rng.randint(1, 32),
        rng.randint(1, 24),
        rng.randint(2, 48),
        rng.randint(1, 6),
    )

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    x = normal(samples, features)
    if seed % 5 >= 3:
        x[: max(samples // 4, 1)] = 0.0
    w1 = normal(features, width) * (2 / features) ** 0.5
    hidden = NETS[kind](torch.zeros(1, width)).shape[1]
    w2 = normal(hidden, outputs) * (2 / hidden) ** 0.5
    inputs = (x, w1, torch.zeros(width), w2, torch.zeros(outputs))
    return Net(kind=kind, inputs=tuple(t.to(dtype) for t in inputs), targets=normal(samples, outputs))


class _Scaled(torch.autograd.Function):
    """The identity, with a backward that is off by a factor."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        return ctx.factor * gradients[0], None


def with_bug(net: Net, factor: float, tensor: int) -> Callable[..., Any]:
    def loss(x: torch.Tensor, w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor) -> Any:
        given = [x, w1, b1, w2, b2]
        given[tensor] = _Scaled.apply(given[tensor], factor)
        return net.loss(*given)

    return loss


def has_gradient(net: Net, tensor: int) -> bool:
    """Whether there is a gradient to get wrong: in float64, where one that vanishes does not leave the rounding of float32."""
    leaves = [t.double().requires_grad_() for t in net.inputs]
    norms = [float(g.norm()) for g in torch.autograd.grad(net.loss(*leaves), leaves)]
    return norms[tensor] > 1e-6 * max(norms)


def verdict_on(net: Net, bug: str, *, mode: str, seed: int) -> tuple[str, str]:
    """The verdict, and what to know of it; empty where the bug changes nothing."""
    function: Any = net.loss
    if bug:
        tensor = seed % len(net.inputs)
        if not has_gradient(net, tensor):
            return "", ""
        function = with_bug(net, BUGS[bug], tensor)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check = wp.check_gradients(in_mode(function, net.inputs[0].dtype, mode), *net.inputs, seed=seed)
    except wp.WellposedError as error:
        return "refused", str(error)
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"
    return check.verdict, f"resolution {check.resolution:.2g}; {check.detail}"


@click.command()
@click.option("--seeds", default=1000, show_default=True)
@click.option("--net", "nets", multiple=True, type=click.Choice(list(NETS)), default=tuple(NETS))
@click.option(
    "--mode", "modes", multiple=True, type=click.Choice(("replay", "native")), default=("replay", "native")
)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--bug", "bugs", multiple=True, type=click.Choice(list(BUGS)), default=tuple(BUGS))
def main(seeds: int, nets: Sequence[str], modes: Sequence[str], dtype: str, bugs: Sequence[str]) -> None:
    torch.set_num_threads(1)
    for mode in modes:
        click.echo(
            f"\n{dtype}, {mode}, {seeds} seeds; the bug rows: passes are silent, the correct rows: fails are false alarms"
        )
        click.echo(f"{'':<12}{'':<9}" + "".join(f"{v:>14}" for v in VERDICTS))
        wrong: list[str] = []
        for kind in nets:
            for bug in bugs:
                wrong += _row(kind, bug, mode=mode, seeds=seeds, dtype=getattr(torch, dtype))
        click.echo("\n".join(wrong))


def _row(kind: str, bug: str, *, mode: str, seeds: int, dtype: torch.dtype) -> list[str]:
    """Prints one row of the table; gives back what to list below it."""
    count: Counter[str] = Counter()
    wrong: list[str] = []
    for seed in range(seeds):
        verdict, detail = verdict_on(drawn(kind, seed, dtype), bug, mode=mode, seed=seed)
        if not verdict:
            continue
        count[verdict] += 1
        if verdict == ("pass" if bug else "fail") or verdict == "crash":
            wrong.append(f"  {kind} {bug or 'correct'} seed {seed}: {verdict}; {detail}")
    total = sum(count.values()) or 1
    click.echo(
        f"{kind:<12}{bug or 'correct':<9}"
        + "".join(f"{count[v]:>6} {count[v] / total:>6.1%}" for v in VERDICTS)
    )
    return wrong[:_SHOWN]


if __name__ == "__main__":
    main()
