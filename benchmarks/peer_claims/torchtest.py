"""What torchtest asserts of a model and its loss: all variables change, frozen ones do not, no NaN, no infinity.

Here the question goes to `wp.check`: of a sick problem it must name a finding that fits, of whatever severity; a healthy one must carry
no error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import wellposed as wp
from benchmarks.peer_claims.claims import Claim, Grid, Outcome, contradicted, held

Problem = tuple[Any, Any, Any, dict[str, Any]]


def rows(seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(96, 6, generator=g)
    return x, (x[:, 0] + x[:, 1] > 0).long()


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)).detach())


class Forgotten(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.spare, self.head = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)))


class Poisoned(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.body, self.value = net(), value

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        return out + torch.where(x[:, :1] > 0, torch.full_like(out, self.value), torch.zeros_like(out))


def healthy() -> Problem:
    model = net()
    return model, nn.CrossEntropyLoss(), rows(), {"optimizer": torch.optim.Adam(model.parameters(), lr=1e-2)}


def left_out() -> Problem:
    model = net()
    return (
        model,
        nn.CrossEntropyLoss(),
        rows(),
        {"optimizer": torch.optim.Adam(model[2].parameters(), lr=1e-2)},
    )


def frozen_on_purpose() -> Problem:
    model = net()
    for p in model[0].parameters():
        p.requires_grad_(False)
    return (
        model,
        nn.CrossEntropyLoss(),
        rows(),
        {"optimizer": torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)},
    )


def with_optimizer(model: nn.Module) -> Problem:
    return model, nn.CrossEntropyLoss(), rows(), {"optimizer": torch.optim.Adam(model.parameters(), lr=1e-2)}


def standing_still(rate: float) -> Problem:
    model = net()
    return model, nn.CrossEntropyLoss(), rows(), {"optimizer": torch.optim.SGD(model.parameters(), lr=rate)}


def range_of_tanh() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1), nn.Tanh())
    x, _ = rows()
    return (
        model,
        nn.MSELoss(),
        (x, 5 + x[:, :1]),
        {"optimizer": torch.optim.Adam(model.parameters(), lr=1e-2)},
    )


def nan_inputs() -> Problem:
    x, y = rows()
    x[3, 2] = float("nan")
    model = net()
    return model, nn.CrossEntropyLoss(), (x, y), {"optimizer": torch.optim.Adam(model.parameters(), lr=1e-2)}


SICK: dict[str, tuple[Callable[[], Problem], tuple[str, ...]]] = {
    "body is detached": (lambda: with_optimizer(Detached()), ("WP601",)),
    "a layer is forgotten": (lambda: with_optimizer(Forgotten()), ("WP601",)),
    "a layer is not in the optimizer": (left_out, ("WP602",)),
    "a rate of 0": (lambda: standing_still(0.0), ("WP608", "WP610")),
    "a rate of 1e-12": (lambda: standing_still(1e-12), ("WP608", "WP610")),
    "NaN in the output": (lambda: with_optimizer(Poisoned(float("nan"))), ("WP002", "WP209")),
    "infinity in the output": (lambda: with_optimizer(Poisoned(float("inf"))), ("WP002", "WP209")),
    "NaN in the inputs": (nan_inputs, ("WP106",)),
    "targets beyond the range of the output": (range_of_tanh, ("WP503",)),
}
HEALTHY: dict[str, Callable[[], Problem]] = {
    "all variables change": healthy,
    "frozen variables stay": frozen_on_purpose,
}


def sick(name: str) -> Outcome:
    make, codes = SICK[name]
    model, loss, train, options = make()
    report = wp.check(model, loss, train, **options)
    found = [f.code for f in report.findings]
    if set(found) & set(codes):
        return held()
    return contradicted(f"verdict {report.verdict}, found {found}; right is one of {codes}")


def well(name: str) -> Outcome:
    model, loss, train, options = HEALTHY[name]()
    before = [p.detach().clone() for p in model.parameters()]
    report = wp.check(model, loss, train, **options)
    if not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)):
        return contradicted("parameters were changed by the check")
    wrong = [f.code for f in report.findings if f.severity == wp.Severity.ERROR]
    return held() if not wrong else contradicted(f"errors {wrong} of a healthy problem")


def claims() -> list[Claim]:
    grid = Grid("torchtest")
    for name in HEALTHY:
        grid.add("training", name, well, name)
    for name in SICK:
        grid.add("training", name, sick, name)
    return grid.claims
