"""What mean-field theory predicts at depth 50, against what a trace measured there.

::

    python -m benchmarks.mean_field [CASE]... [--depth 50] [--width 1024] [--seeds 3] [--bands]

A case is a chain of dense layers, of residual blocks or of convolutions (with an eighth of the channels), drawn with stated variances. Compared
are the mean square q of the last layer, in per cent, and log10 of the gradient's rms at the first layer over that at the last. The wish: q
within 10 %, the logarithm within 0.3. Of both the median over the seeds is judged: one draw of 50 ReLU layers of width 1024 differs from
its expectation by a third, by chance, which is what the printed band is about. ``--bands`` counts over all layers and seeds how often
the measured rms lies within the band of its own prediction.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import nn

from wellposed.problem import problem_from
from wellposed.runtime.torch.batches import batches
from wellposed.runtime.torch.problem_forms import read_problem
from wellposed.runtime.torch.session import Runner
from wellposed.runtime.torch.trace import trace
from wellposed.signals import PredictedSignal
from wellposed.signals.mean_field import predicted_signals

from .small_problems import Residual

ROWS, IMAGES, SIDE, CHANNEL_SHARE = 64, 8, 8, 8
Build = Callable[[int, int], nn.Module]


def _linear(width: int, weight: float, bias: float = 0.0) -> nn.Linear:
    layer = nn.Linear(width, width)
    nn.init.normal_(layer.weight, std=math.sqrt(weight / width))
    nn.init.normal_(layer.bias, std=math.sqrt(bias))
    return layer


def _conv(channels: int, weight: float) -> nn.Conv2d:
    layer = nn.Conv2d(channels, channels, 3, padding=1)
    nn.init.normal_(layer.weight, std=math.sqrt(weight / (9 * channels)))
    nn.init.zeros_(layer.bias)
    return layer


def chain(activation: Callable[[], nn.Module], weight: float, bias: float = 0.0) -> Build:
    def build(width: int, depth: int) -> nn.Module:
        return nn.Sequential(
            *(layer for _ in range(depth) for layer in (_linear(width, weight, bias), activation()))
        )

    return build


def image_chain(activation: Callable[[], nn.Module], weight: float) -> Build:
    def build(width: int, depth: int) -> nn.Module:
        channels = width // CHANNEL_SHARE
        return nn.Sequential(
            *(layer for _ in range(depth) for layer in (_conv(channels, weight), activation()))
        )

    return build


def blocks(branch: Callable[[int, int], Sequence[nn.Module]]) -> Build:
    def build(width: int, depth: int) -> nn.Module:
        trunk = [Residual(nn.Sequential(*branch(width, depth))) for _ in range(depth)]
        return nn.Sequential(_linear(width, 1.0), *trunk, _linear(width, 1.0))

    return build


def normed_chain(norm: Callable[[int], nn.Module], activation: Callable[[], nn.Module]) -> Build:
    def build(width: int, depth: int) -> nn.Module:
        layers = [(_linear(width, 2.0), norm(width), activation()) for _ in range(depth)]
        return nn.Sequential(*(layer for three in layers for layer in three))

    return build


CASES: dict[str, Build] = {
    "tanh .8, 0": chain(nn.Tanh, 0.8),
    "tanh 1, .05": chain(nn.Tanh, 1.0, 0.05),
    "tanh 2.5, .05": chain(nn.Tanh, 2.5, 0.05),
    "tanh 4, .05": chain(nn.Tanh, 4.0, 0.05),
    "ReLU 2, 0": chain(nn.ReLU, 2.0),
    "ReLU 1.5, .1": chain(nn.ReLU, 1.5, 0.1),
    "ReLU 2.5, 0": chain(nn.ReLU, 2.5),
    "LeakyReLU(.2) 1.92, 0": chain(lambda: nn.LeakyReLU(0.2), 1.92),
    "GELU 2, 0": chain(nn.GELU, 2.0),
    "GELU 2.35, 0": chain(nn.GELU, 2.35),
    "SiLU 2.8, 0": chain(nn.SiLU, 2.8),
    "SELU 1, 0": chain(nn.SELU, 1.0),
    "ELU 1.55, 0": chain(nn.ELU, 1.55),
    "sigmoid 3.4, 0": chain(nn.Sigmoid, 3.4),
    "sigmoid 1, .1": chain(nn.Sigmoid, 1.0, 0.1),
    "Hardtanh 2, .05": chain(nn.Hardtanh, 2.0, 0.05),
    "Softplus 1, 0": chain(nn.Softplus, 1.0),
    "tanh with dropout 2, 0": chain(lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.2)), 2.0),
    "residual, branch / sqrt(L)": blocks(lambda n, depth: (nn.ReLU(), _linear(n, 2.0 / depth))),
    "residual, tanh": blocks(lambda n, depth: (nn.Tanh(), _linear(n, 1.0))),
    "residual, pre-norm": blocks(
        lambda n, depth: (nn.LayerNorm(n), _linear(n, 2.0), nn.ReLU(), _linear(n, 2.0))
    ),
    "residual, branch ends in ReLU": blocks(lambda n, depth: (_linear(n, 1.0), nn.ReLU())),
    "LayerNorm, ReLU": normed_chain(nn.LayerNorm, nn.ReLU),
    "BatchNorm, ReLU": normed_chain(nn.BatchNorm1d, nn.ReLU),
    "conv tanh 1.5": image_chain(nn.Tanh, 1.5),
    "conv ReLU 2": image_chain(nn.ReLU, 2.0),
    "conv ReLU 2.5": image_chain(nn.ReLU, 2.5),
    "conv GELU 2.35": image_chain(nn.GELU, 2.35),
}


def _product(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A loss whose gradient by the outputs is random: it does not depend on them."""
    return (outputs * targets).flatten(1).sum(1).mean()


def measured(build: Build, width: int, depth: int, seed: int) -> tuple[PredictedSignal, ...]:
    torch.manual_seed(seed)
    model = build(width, depth)
    image = any(isinstance(m, nn.Conv2d) for m in model.modules())
    shape = (IMAGES, width // CHANNEL_SHARE, SIDE, SIDE) if image else (ROWS, width)
    x, y = torch.randn(shape), torch.randn(shape)
    runner = Runner(read_problem(problem_from(model, _product, [(x, y)])))
    return predicted_signals(trace(runner, batches(runner.problem.train, count=1, seed=seed), seed=seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", help="parts of names of cases; all without")
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bands", action="store_true", help="count how often the bands hold")
    options = parser.parse_args()
    chosen = {n: b for n, b in CASES.items() if not options.cases or any(c in n for c in options.cases)}
    inside = total = forward = backward = 0
    print(
        f"{'case':32} {'q predicted':>11} {'q/predicted':>11}   {'log10 g1/gL':>11} {'measured':>9}   rms band"
    )
    for name, build in chosen.items():
        runs = [measured(build, options.width, options.depth, seed) for seed in range(options.seeds)]
        last = [run[-1] for run in runs]
        ratio = statistics.median((s.measured_rms / s.rms) ** 2 for s in last)
        ends = [(run[0], next(s for s in reversed(run) if s.gradient_rms)) for run in runs]
        known = all(a.gradient_rms and a.measured_gradient_rms for a, _ in ends)
        predicted = (
            statistics.median(math.log10(a.gradient_rms / b.gradient_rms) for a, b in ends)
            if known
            else math.nan
        )
        found = (
            statistics.median(math.log10(a.measured_gradient_rms / b.measured_gradient_rms) for a, b in ends)
            if known
            else math.nan
        )
        good = abs(ratio - 1) < 0.1, abs(predicted - found) < 0.3
        forward, backward = forward + good[0], backward + good[1]
        for signal in (s for run in runs for s in run):
            total += 1
            inside += 1 / signal.band <= signal.measured_rms / signal.rms <= signal.band
        print(
            f"{name:32} {last[0].rms ** 2:11.4g} {ratio:11.3f} {' ' if good[0] else '!'} {predicted:11.2f} {found:9.2f} {' ' if good[1] else '!'} {last[0].band:8.2f}",
            flush=True,
        )
    print(
        f"q within 10 %: {forward} of {len(chosen)}; log10 of the gradient's ratio within 0.3: {backward} of {len(chosen)}"
    )
    if options.bands:
        print(f"measured rms within the band: {inside} of {total} layers ({inside / total:.1%})")


if __name__ == "__main__":
    main()
