"""What ``wellposed.check`` costs, in training steps of the problem itself, and its memory beside that of a step.

::

    python -m benchmarks.check_cost [MODEL]... [--budget quick|normal|thorough] [--stages]

Each model runs in processes of its own, one thread each: one imports torch, builds the problem and trains for some steps; another does the
same and checks it. Times are CPU seconds of the check alone, beside the median of the steps; memory is the peak of the process beyond
what it held when the problem was built, over the same of the process that trains, and copies of the parameters are told apart.
``--stages`` lists the forward and backward passes of each stage of the check.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as torch_modules

import wellposed as wp
from wellposed.choices import BUDGETS

STEPS = 7
Batch = tuple[torch.Tensor, torch.Tensor]


# --- models


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*qkv, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp(self.norm2(x))


class _GPT(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, vocabulary: int, length: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.apply(self._draw)

    def _draw(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def _token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.short(x))


def _resnet18() -> nn.Module:
    widths = [64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [
        _Residual(a, b, 1 if i < 2 or i % 2 else 2)
        for i, (a, b) in enumerate(zip([64, *widths], widths, strict=False))
    ]
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class _UNet(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()

        def double(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU(),
            )  # fmt: skip

        self.down1, self.down2, self.middle = (
            double(1, width),
            double(width, 2 * width),
            double(2 * width, 4 * width),
        )
        self.up2, self.up1 = double(6 * width, 2 * width), double(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        b = self.up2(torch.cat([F.interpolate(c, scale_factor=2), b], 1))
        return self.head(self.up1(torch.cat([F.interpolate(b, scale_factor=2), a], 1)))


class _Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(2000, 128), nn.Linear(512, 12)
        self.lstm = nn.LSTM(128, 256, 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embed(tokens))[0])


class _GraphNet(nn.Module):
    """Node classification over a dense normalised adjacency; each graph of the batch has its own."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, width) for a in (16, width, width))
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.relu(adjacency @ layer(x))
        return self.head(x.mean(1))


# --- problems


def _text(length: int, vocabulary: int, rows: int) -> Batch:
    """Sequences of a random Markov chain: the next token can be learnt."""
    draw = torch.Generator().manual_seed(0)
    table = torch.randint(vocabulary, (vocabulary, 4), generator=draw)
    tokens = [torch.randint(vocabulary, (rows,), generator=draw)]
    for _ in range(length):
        tokens.append(table[tokens[-1], torch.randint(4, (rows,), generator=draw)])
    stacked = torch.stack(tokens, 1)
    return stacked[:, :-1].contiguous(), stacked[:, 1:].contiguous()


def _images(rows: int, channels: int, size: int) -> torch.Tensor:
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(0))


def _loader(*tensors: torch.Tensor, batch: int, **more: Any) -> Any:
    data = torch.utils.data.TensorDataset(*tensors)
    return torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, **more)


def _gpt(width: int, layers: int, heads: int, batch: int) -> wp.Problem:
    model = _GPT(width, layers, heads, 4000, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    return wp.Problem(
        model=model, loss=_token_loss, train=_loader(*_text(64, 4000, 512), batch=batch), optimizer=optimizer
    )


def _resnet() -> wp.Problem:
    x = _images(512, 3, 64)
    y = (x.mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0])).sum(1).mul(30).add(5).clamp(0, 9).long()
    model = _resnet18()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    return wp.Problem(model=model, loss=F.cross_entropy, train=_loader(x, y, batch=32), optimizer=optimizer)


def _unet() -> wp.Problem:
    x = _images(256, 1, 64)
    y = (F.avg_pool2d(x, 9, 1, 4) > 0).float()
    model = _UNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return wp.Problem(
        model=model,
        loss=F.binary_cross_entropy_with_logits,
        train=_loader(x, y, batch=8),
        optimizer=optimizer,
    )


def _lstm() -> wp.Problem:
    x, y = _text(48, 2000, 1024)
    model = _Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return wp.Problem(model=model, loss=_token_loss, train=_loader(x, y % 12, batch=32), optimizer=optimizer)


def _mlp() -> wp.Problem:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2048, 20, generator=draw)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    y = x[:, :3].argmax(1)
    return wp.Problem(model=model, loss=F.cross_entropy, train=_loader(x, y, batch=64), optimizer=optimizer)


def _graph() -> wp.Problem:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(512, 40, 16, generator=draw)
    links = (torch.rand(512, 40, 40, generator=draw) < 0.1).float()
    links = ((links + links.transpose(1, 2)) > 0).float() + torch.eye(40)
    y = (x.mean((1, 2)) * 20).add(2).clamp(0, 3).long()
    data = torch.utils.data.TensorDataset(x, links / links.sum(2, keepdim=True), y)
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
    model = _GraphNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return wp.Problem(model=model, loss=F.cross_entropy, train=loader, optimizer=optimizer)


PROBLEMS: dict[str, Callable[[], wp.Problem]] = {
    "mlp": _mlp,
    "graph": _graph,
    "lstm": _lstm,
    "unet": _unet,
    "resnet18": _resnet,
    "gpt10m": lambda: _gpt(320, 6, 8, 8),
    "gpt100m": lambda: _gpt(768, 12, 12, 8),
}
LARGE = {"gpt100m"}
"""Only on request."""


# --- measuring


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of steps, or of a check."""

    cpu: float
    """Seconds; of one step, or of the whole check."""
    memory: float
    """MiB beyond what the process held once the problem was built."""
    parameters: float
    """MiB."""
    said: str = ""
    passes: tuple[tuple[str, int, int], ...] = ()
    """By stage: passes of the model, backward passes."""


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _built(name: str) -> tuple[wp.Problem, float]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    problem = PROBLEMS[name]()
    model: Any = problem.model
    return problem, sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20


def steps(name: str, queue: Any) -> None:
    problem, parameters = _built(name)
    model, loss, optimizer = problem.model, problem.loss, problem.optimizer
    assert callable(model)
    assert callable(loss)
    before, times = _resident(), []
    batches = _endless(problem.train)
    for _ in range(STEPS):
        *inputs, targets = next(batches)
        start = time.process_time()
        optimizer.zero_grad()
        loss(model(*inputs), targets).backward()
        optimizer.step()
        times.append(time.process_time() - start)
    queue.put(Cost(cpu=statistics.median(times[1:]), memory=_peak() - before, parameters=parameters))


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def check(name: str, queue: Any, budget: str) -> None:
    problem, parameters = _built(name)
    # Counted in a file without a name: a counter that the model reaches is given back as it was.
    file, model, backward = os.memfd_create("events"), problem.model, torch.Tensor.backward

    def on_call(module: nn.Module, *_: Any) -> None:
        if module is model:
            os.write(file, b"forward\n")

    def counted(tensor: torch.Tensor, *given: Any, **named: Any) -> None:
        os.write(file, b"backward\n")
        backward(tensor, *given, **named)

    torch_modules.register_module_forward_pre_hook(on_call)
    setattr(torch.Tensor, backward.__name__, counted)
    before, start = _resident(), time.process_time()
    report = wp.check(problem, budget=budget, progress=lambda stage: os.write(file, f"{stage}\n".encode()))
    passes = _passes(os.pread(file, 1 << 24, 0).decode())
    said = f"{report.verdict} {' '.join(f.code for f in report.findings)}"
    queue.put(Cost(
        cpu=time.process_time() - start, memory=_peak() - before, parameters=parameters, said=said, passes=passes
    ))  # fmt: skip


def _passes(events: str) -> tuple[tuple[str, int, int], ...]:
    stage, counts = "", {"": Counter[str]()}
    for event in events.splitlines():
        if event in ("forward", "backward"):
            counts[stage][event] += 1
        else:
            stage = event
            counts.setdefault(stage, Counter())
    return tuple((stage, count["forward"], count["backward"]) for stage, count in counts.items())


def measured(target: Callable[..., None], *given: str) -> Cost:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=target, args=(given[0], queue, *given[1:]))
    process.start()
    try:
        return queue.get(timeout=1800)
    finally:
        process.join(10)
        process.kill()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(PROBLEMS)}")
    parser.add_argument("--stages", action="store_true", help="list the passes of each stage")
    parser.add_argument("--budget", choices=BUDGETS, default="normal")
    options = parser.parse_args(arguments)
    print(
        f"{'model':10} {'step':>8} {'check':>8} {'steps':>7} {'beyond 1 s':>10}   {'memory of a step':>16} {'of the check':>12}"
    )
    for name in options.models or [n for n in PROBLEMS if n not in LARGE]:
        step, whole = measured(steps, name), measured(check, name, options.budget)
        ratio = (whole.memory - whole.parameters) / step.memory
        print(
            f"{name:10} {step.cpu:7.3f}s {whole.cpu:7.1f}s {whole.cpu / step.cpu:7.0f} {(whole.cpu - 1) / step.cpu:10.0f}"
            f"   {step.memory:12.0f} MiB {whole.memory:8.0f} MiB ({ratio:.1f} x + parameters)   {whole.said}",
            flush=True,
        )
        if options.stages:
            for stage, forward, backward in whole.passes:
                print(f"           {forward:5} forward {backward:5} backward   {stage}")


if __name__ == "__main__":
    main()
