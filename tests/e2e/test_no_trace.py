"""Whatever only looks leaves no trace: every bit that a check could touch is the same afterwards."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wellposed as wp


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 16)
        self.body = nn.Linear(6, 16)
        self.head = nn.Linear(16, 3, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(x)))


class Counting(nn.Module):
    """Keeps plain attributes, a list, a tensor and a generator of its own, and changes all of them in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 3)
        self.calls = 0
        self.history: list[int] = []
        self.running = torch.zeros(3)
        self.noise = torch.Generator().manual_seed(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.history.append(self.calls)
        out = self.body(x) + 0.01 * torch.randn(3, generator=self.noise)
        self.running += out.detach().mean(0)
        return out


class Drawing(nn.Module):
    """Draws from every global random state."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + random.random() * 0.01 + float(np.random.rand()) * 0.01 + 0.01 * torch.rand(3)


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), *layers, nn.Linear(16, 3))


def frozen() -> nn.Module:
    model = sequential(nn.ReLU())
    model[0].requires_grad_(False)
    return model


def hooked() -> nn.Module:
    model = sequential(nn.ReLU())
    model[0].register_forward_hook(lambda m, i, o: o * 1.01)
    model[2].register_full_backward_hook(lambda m, gi, go: None)
    model[0].weight.register_hook(lambda g: g * 0.5)
    return model


def partly_evaluating() -> nn.Module:
    model = sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2))
    model[1].eval()
    return model


def with_gradients() -> nn.Module:
    model = sequential(nn.ReLU())
    model(torch.ones(2, 6)).sum().backward()
    return model


def flat_storage() -> nn.Module:
    """Parameters that are views of one buffer, as flattened optimizers make them."""
    model = nn.Linear(6, 3)
    flat = torch.randn(21)
    model.weight.data = flat[:18].view(3, 6)
    model.bias.data = flat[18:]
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: sequential(nn.ReLU(), nn.Dropout(0.5)),
    "batchnorm": lambda: sequential(nn.BatchNorm1d(16), nn.ReLU()),
    "partly in eval mode": partly_evaluating,
    "lstm": Recurrent,
    "tied weights": Tied,
    "frozen part": frozen,
    "hooks of the user's own": hooked,
    "gradients held": with_gradients,
    "state in plain attributes": Counting,
    "draws from global states": Drawing,
    "one flat storage": flat_storage,
}


def data_for(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (96, 5, 6) if isinstance(model, Recurrent) else (96, 6)
    x = torch.randn(*shape, generator=generator)
    return x, torch.randint(0, 3, (96,), generator=generator)


def trained_optimizer(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> torch.optim.Optimizer:
    """An optimizer with state, and a scheduler attached."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    kept = [p.grad for p in model.parameters()]
    F.cross_entropy(model(data[0][:8]), data[1][:8]).backward()
    optimizer.step()
    for parameter, gradient in zip(model.parameters(), kept, strict=True):
        parameter.grad = gradient
    torch.optim.lr_scheduler.StepLR(optimizer, 10)
    return optimizer


def everything(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> list[Any]:
    """A comparable copy of every bit that a check could touch."""
    state: list[Any] = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    for name, module in model.named_modules():
        plain = {k: v for k, v in vars(module).items() if isinstance(v, bool | int) or k == "history"}
        hooks = [
            list(vars(module)[k])
            for k in vars(module)
            if k.endswith("_hooks") and vars(module)[k] is not None
        ]
        tensors = {k: v.tolist() for k, v in vars(module).items() if isinstance(v, torch.Tensor)}
        generators = [v.get_state().tolist() for v in vars(module).values() if isinstance(v, torch.Generator)]
        state.append((name, copy.deepcopy(plain), hooks, tensors, generators))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        gradient = None if tensor.grad is None else (id(tensor.grad), tensor.grad.tolist())
        state.append(
            (name, tensor.tolist(), tensor.data_ptr(), tensor._version, tensor.requires_grad, gradient)
        )
    if optimizer is not None:
        groups = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        values = [{k: v.tolist() for k, v in s.items()} for s in optimizer.state.values()]
        state.append((copy.deepcopy(groups), values, id(optimizer.state), list(vars(optimizer))))
    return state


@pytest.mark.parametrize("name", MODELS)
def test_a_check_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    data = data_for(model)
    optimizer = trained_optimizer(model, data)
    before = everything(model, optimizer)
    wp.check(model, nn.CrossEntropyLoss(), data, validation=data, optimizer=optimizer)
    assert everything(model, optimizer) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("calls", [1, 3, 12, 40])
def test_nothing_changes_when_the_model_raises_half_way(error: type[BaseException], calls: int) -> None:
    torch.manual_seed(0)
    model = sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
    data = data_for(model)
    optimizer = trained_optimizer(model, data)
    count = [0]

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        count[0] += 1
        if count[0] > calls:
            raise error("half way")
        return F.cross_entropy(outputs, targets)

    before = everything(model, optimizer)
    with pytest.raises((wp.WellposedError, KeyboardInterrupt)):
        wp.check(model, loss, data, optimizer=optimizer)
    assert everything(model, optimizer) == before


@pytest.mark.parametrize("look", ["check", "measure_signals", "fix", "race"])
def test_training_afterwards_gives_the_bits_that_it_gives_without(look: str) -> None:
    def trained(first: Callable[[nn.Module, Any, Any], object]) -> list[float]:
        torch.manual_seed(0)
        model = sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        data = data_for(model)
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(*data), batch_size=16, shuffle=True
        )
        optimizer = torch.optim.Adam(model.parameters())
        first(model, loader, optimizer)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        return torch.cat([t.flatten().double() for t in model.state_dict().values()]).tolist()

    def looking(model: nn.Module, loader: Any, optimizer: Any) -> object:
        problem = wp.Problem(model=model, loss=F.cross_entropy, train=loader, optimizer=optimizer)
        if look == "race":
            return wp.race(problem, problem, steps=3, seeds=1)
        return getattr(wp, look)(problem)

    assert trained(looking) == trained(lambda *_: None)


def test_a_graph_built_before_the_check_still_gives_its_gradient_after() -> None:
    torch.manual_seed(0)
    model = sequential(nn.Tanh())
    data = data_for(model)
    loss = F.cross_entropy(model(data[0]), data[1])
    wp.check(model, F.cross_entropy, data, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    loss.backward()
    assert model[0].weight.grad is not None


def test_a_loss_that_holds_the_model_is_checked_and_left_alone() -> None:
    torch.manual_seed(0)
    model = sequential(nn.ReLU())
    data = data_for(model)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs, targets) + 1e-4 * sum(p.square().sum() for p in model.parameters())

    before = everything(model, None)
    wp.check(model, loss, data, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert everything(model, None) == before
