"""What a gradient check costs: forward passes, wall time beside torch's gradcheck, and memory beside one training step.

::

    python -m benchmarks.gradient_cost [passes] [failing] [elements] [time] [memory]

``passes``: a correct model of 1e6 float64 parameters; ``failing``: the 25 bugs, found, placed and named, at 1e3 to 1e6;
``elements``: one wrong element among 1e6, its place and factor drawn by lot, 100 times; ``time``: ratios to torch's modes in one run;
``memory``: the peak at 1e7 parameters, in copies of them, beside that of a bare forward and backward pass, each in its own process: once
where freed memory goes back to the system at once, so that it is that of live arrays, and once as the allocator does by itself.
Forward passes are counted by the function itself, not taken from the check's word.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What memory is measured of."""

    bare: Callable[[], object]
    """One forward and backward pass."""
    check: Callable[[], object]
    size: int
    """Bytes of the parameters."""


class Counted:
    """A function that counts its calls in a file without a name: the check gives back whatever else a function changes."""

    def __init__(self, f: Callable[..., Tensor]) -> None:
        self._f, self._descriptor = f, os.memfd_create("calls")

    def __call__(self, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
        os.write(self._descriptor, b".")
        return self._f(W1, b1, W2, b2)

    @property
    def calls(self) -> int:
        return os.fstat(self._descriptor).st_size


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


def memory() -> None:
    click.echo(
        "peak at 1e7 parameters above the start, in copies of them: live arrays (resident, with what the allocator keeps)"
    )
    for case in CASES:
        bare, check = (_copies(case, what) for what in ("bare", "check"))
        click.echo(
            f"  {case:<24} bare forward and backward pass {bare[0]:.1f} ({bare[1]:.1f})   check {check[0]:.1f} ({check[1]:.1f})   "
            f"check - bare {check[0] - bare[0]:+.1f} ({check[1] - bare[1]:+.1f})"
        )


def _copies(case: str, what: str) -> tuple[float, float]:
    """Of live arrays, and of resident memory."""
    command = [sys.executable, "-m", "benchmarks.gradient_cost", "child", case, what]
    found = []
    for settings in ({"MALLOC_MMAP_THRESHOLD_": "131072"}, {}):
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | settings)
        found.append(float(done.stdout.split()[-1]))
    return found[0], found[1]


def child(case: str, what: str) -> None:
    """Print the peak in copies of the parameters, which do not count themselves."""
    getattr(CASES[case](10), what)()  # loads what is needed, so that the peak counts arrays and not imports
    subject = CASES[case](1820)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
    getattr(subject, what)()
    print((_resident("VmHWM") - before) / subject.size)


def _resident(kind: str) -> float:
    """Bytes, now or at the most so far. Linux: `getrusage` would report those of the parent process, where they were more."""
    return 1024 * float(Path("/proc/self/status").read_text().partition(f"{kind}:")[2].split()[0])


def _module(width: int, dtype: torch.dtype) -> Subject:
    model = network(width, 3, dtype)
    x = torch.randn(8, width, dtype=dtype)

    def bare() -> None:
        model(x).square().mean().backward()

    size = sum(p.numel() * p.element_size() for p in model.parameters())
    return Subject(bare=bare, check=lambda: wp.check_gradients(model, x), size=size)


def _function(width: int) -> Subject:
    inputs = [torch.randn(width, width, dtype=torch.float64) for _ in range(3)]

    def f(*tensors: Tensor) -> Tensor:
        return torch.stack([t.square().sum() for t in tensors]).sum()

    def bare() -> None:
        f(*[t.detach().requires_grad_() for t in inputs]).backward()

    size = sum(t.numel() * t.element_size() for t in inputs)
    return Subject(bare=bare, check=lambda: wp.check_gradients(f, *inputs), size=size)


def _in_jax(width: int) -> Subject:
    import jax

    jax.config.update("jax_enable_x64", True)
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.block_until_ready([jax.random.normal(key, (width, width), dtype="float64") for key in keys])

    def f(*arrays: jax.Array) -> jax.Array:
        return sum((jax.numpy.square(a).sum() for a in arrays), jax.numpy.zeros(()))

    def bare() -> None:
        jax.block_until_ready(jax.jit(jax.grad(f, argnums=(0, 1, 2)))(*inputs))

    size = sum(a.nbytes for a in inputs)
    return Subject(bare=bare, check=lambda: wp.check_gradients(f, *inputs), size=size)


CASES: dict[str, Callable[[int], Subject]] = {
    "torch module, float64": lambda width: _module(width, torch.float64),
    "torch module, float32": lambda width: _module(width, torch.float32),
    "torch function, float64": _function,
    "JAX function, float64": _in_jax,
}


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
