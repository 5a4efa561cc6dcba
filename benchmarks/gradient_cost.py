"""What a gradient check costs: forward passes, wall time beside torch's gradcheck, and memory beside one training step.

::

    python -m benchmarks.gradient_cost [passes] [failing] [elements] [time] [memory]

``passes``: a correct model of 1e6 float64 parameters; ``failing``: the 25 bugs, found, placed and named, at 1e3 to 1e6;
``elements``: one wrong element among 1e6, its place and factor drawn by lot, 100 times; ``time``: ratios to torch's modes in one run;
``memory``: the peak at 1e7 parameters, in copies of the parameters above a bare forward and backward pass, each in its own process.
Forward passes are counted by the function itself, not taken from the check's word.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

import wellposed as wp
from tests.cases.gradient_bugs import BUGS, Bend, Regression, draw, hand_written

SIZES = (1_000, 10_000, 100_000, 1_000_000)
FACTORS = (1.5, 0.0, 1.01)
TRIALS = 100


class Counted:
    """A function that counts its calls, where the check cannot wind the count back: it restores what a function changes."""

    def __init__(self, f: Callable[..., Tensor]) -> None:
        self._f, self._tally = f, itertools.count()

    def __call__(self, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
        next(self._tally)
        return self._f(W1, b1, W2, b2)

    @property
    def calls(self) -> int:
        """So far; asking ends the count."""
        return next(self._tally)


def network(width: int, depth: int, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(width, 10)).to(dtype)


def size_of(tensors) -> int:
    return sum(t.numel() for t in tensors)


def passes() -> None:
    click.echo("a correct model of about 1e6 float64 parameters")
    for seed in range(3):
        problem = draw(1_000_000, seed=seed)
        f = Counted(hand_written(problem, Bend()))
        check = wp.check_gradients(f, *problem.parameters, seed=seed)
        click.echo(
            f"  two hand-written layers, seed {seed}: {check.verdict}, {f.calls} forward passes (the check says {check.n_forward} and "
            f"{check.n_backward} backward), resolution {check.resolution:.1e}"
        )
    for name, model, x in (
        ("tanh network", network(570, 3, torch.float64), torch.randn(16, 570, dtype=torch.float64)),
        ("transformer layer", _transformer(), torch.randn(2, 12, 288, dtype=torch.float64)),
    ):
        check = wp.check_gradients(model, x)
        click.echo(
            f"  {name}, {size_of(model.parameters()):,} in {len(check.tensors)} tensors: {check.verdict}, {check.n_forward} forward and "
            f"{check.n_backward} backward, resolution {check.resolution:.1e}"
        )


def _transformer() -> nn.Module:
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(288, 4, 1152, dropout=0.0, batch_first=True).double()


def failing(sizes: tuple[int, ...] = SIZES) -> None:
    click.echo(f"{'the 25 bugs, float64':<22} {'fail':>4} {'median':>7} {'most':>5}  costliest")
    for size in sizes:
        problem = draw(size)
        counts: dict[str, int] = {}
        caught = 0
        for bug in BUGS:
            f = Counted(hand_written(problem, bug.bend(problem)))
            caught += wp.check_gradients(f, *problem.parameters).verdict == "fail"
            counts[bug.name] = f.calls
        most = max(counts, key=lambda name: counts[name])
        click.echo(
            f"{size_of(problem.parameters):>20,}   {caught:>4} {int(np.median(list(counts.values()))):>7} {counts[most]:>5}  {most}"
        )


def one_element(problem: Regression, trial: int) -> tuple[str, tuple[int, ...], float, Bend]:
    """A tensor, an element of it and a factor, drawn by lot."""
    rng = np.random.default_rng((2024, trial))
    names = ("W1", "b1", "W2", "b2")
    which = int(rng.integers(4))
    shape = problem.parameters[which].shape
    index = tuple(int(rng.integers(n)) for n in shape)
    factor = FACTORS[trial % len(FACTORS)]

    def change(found, dz, problem):
        g = found[names[which]].clone()
        g[index] *= factor
        return found | {names[which]: g}

    return names[which], index, factor, Bend(gradients=change)


def elements(trials: int = TRIALS, first: int = 0, size: int = 1_000_000) -> None:
    problem = draw(size)
    found, counts = 0, []
    for trial in range(first, first + trials):
        name, index, factor, bend = one_element(problem, trial)
        f = Counted(hand_written(problem, bend))
        check = wp.check_gradients(f, *problem.parameters, seed=trial)
        worst = check.worst
        hit = (
            check.verdict == "fail"
            and worst is not None
            and (worst.name, tuple(worst.index)) == (name, index)
        )
        found += hit
        counts.append(f.calls)
        if not hit:
            click.echo(
                f"  trial {trial}: {name}{list(index)} x {factor}: {check.verdict}, worst {worst}, {check.cause}"
            )
    click.echo(
        f"one wrong element among {size_of(problem.parameters):,}: found in {found} of {trials}, forward passes median "
        f"{int(np.median(counts))}, most {max(counts)}"
    )


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The shortest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def times() -> None:
    click.echo("wall time, float64, correct code, in forward passes of the same run")
    for size in SIZES:
        problem = draw(size)
        click.echo(_times_of(problem, hand_written(problem, Bend()), slow=size <= 10_000))


def _times_of(problem: Regression, f: Callable[..., Tensor], *, slow: bool) -> str:
    leaves = [p.clone().requires_grad_() for p in problem.parameters]
    forward = seconds(lambda: f(*problem.parameters), 20)
    fast = seconds(lambda: torch.autograd.gradcheck(f, leaves, fast_mode=True), 3)
    ours = seconds(lambda: wp.check_gradients(f, *problem.parameters), 3)
    elementwise = "does not end"
    if slow:
        elementwise = f"{seconds(lambda: torch.autograd.gradcheck(f, leaves), 1) / forward:,.0f}"
    return (
        f"{size_of(leaves):>12,}: check {ours / forward:>8,.0f}   torch fast {fast / forward:>8,.0f}   torch slow {elementwise}   "
        f"check / torch fast {ours / fast:.2f}"
    )


def memory(dtypes: tuple[str, ...] = ("float64", "float32")) -> None:
    for dtype in dtypes:
        peaks = {what: _peak_in_a_process(what, dtype) for what in ("bare", "check")}
        copies = {what: peak / size for what, (peak, size) in peaks.items()}
        size = peaks["bare"][1]
        click.echo(
            f"{dtype}, parameters of {size / 2**20:.0f} MiB: a bare forward and backward pass peaks at {copies['bare']:.1f} copies of them "
            f"(the gradient included), the check at {copies['check']:.1f}: {copies['check'] - copies['bare']:+.1f}"
        )


def _peak_in_a_process(what: str, dtype: str) -> tuple[float, float]:
    """Peak bytes above the start, and the bytes of the parameters."""
    command = [sys.executable, "-m", "benchmarks.gradient_cost", "child", what, dtype]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, size = done.stdout.split()[-2:]
    return float(peak), float(size)


def child(what: str, dtype: str) -> None:
    x = torch.randn(8, 1820, dtype=getattr(torch, dtype))
    # Both load what they need on a small model first, so that the peak counts arrays and not imports.
    _use(what, network(10, 1, x.dtype), x[:, :10].contiguous())
    before = _peak_bytes()
    model = network(1820, 3, x.dtype)
    _use(what, model, x)
    print(_peak_bytes() - before, sum(p.numel() * p.element_size() for p in model.parameters()))


def _peak_bytes() -> float:
    """Largest resident size so far. Linux: `getrusage` would report that of the parent process, where it was larger."""
    status = Path("/proc/self/status").read_text()
    return 1024 * float(status.partition("VmHWM:")[2].split()[0])


def _use(what: str, model: nn.Module, x: Tensor) -> None:
    if what == "check":
        wp.check_gradients(model, x)
    else:
        model(x).square().mean().backward()


PARTS: dict[str, Callable[..., None]] = {
    "passes": passes,
    "failing": failing,
    "elements": elements,
    "time": times,
    "memory": memory,
}


@click.command(help=__doc__)
@click.argument("parts", nargs=-1)
@click.option("--trials", default=TRIALS, show_default=True)
@click.option("--first", default=0, show_default=True, help="The first of the trials.")
def main(parts: tuple[str, ...], trials: int, first: int) -> None:
    if parts[:1] == ("child",):
        child(*parts[1:])
        return
    for part in parts or PARTS:
        if part not in PARTS:
            raise click.BadParameter(f"{part!r}: expected one of {', '.join(PARTS)}")
        PARTS[part](**({"trials": trials, "first": first} if part == "elements" else {}))
        click.echo()


if __name__ == "__main__":
    main()
