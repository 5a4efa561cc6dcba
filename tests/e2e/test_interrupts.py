"""Real signals at many moments, calls from two threads, and calls from inside: everything is given back, or refused by name."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wellposed as wp
from wellposed.errors import ProblemError
from wellposed.runtime.torch.restore import preserved


def small() -> tuple[nn.Sequential, Any, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(64, 4)
    return model, (x, x[:, :3].argmax(1)), torch.optim.Adam(model.parameters())


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    tensors = [(t.tolist(), t.data_ptr(), t._version) for t in model.state_dict().values()]
    return tensors, list(vars(optimizer)), len(optimizer.state), torch.get_rng_state().tolist()


def interrupting(at: int) -> Any:
    """A trace function that sends Ctrl-C, and once more a little later, when so many lines of wellposed have run."""
    count = [0]

    def line(frame: Any, event: str, argument: Any) -> Any:
        count[0] += 1
        if count[0] in (at, at + 40):
            os.kill(os.getpid(), signal.SIGINT)
        return line

    def call(frame: Any, event: str, argument: Any) -> Any:
        return line if "/runtime/" in frame.f_code.co_filename else None

    return call


@pytest.mark.parametrize("at", [*range(1, 60, 3), *range(60, 4000, 211)])
def test_two_interrupts_while_lending_or_giving_back_leave_nothing(at: int) -> None:
    model, data, optimizer = small()
    before, theirs = state_of(model, optimizer), signal.getsignal(signal.SIGINT)
    traced = sys.gettrace()
    try:
        sys.settrace(interrupting(at))
        with preserved(model, optimizer, data):
            next(model.parameters()).data.add_(1.0)
            optimizer.param_groups[0]["lr"] = 7.0
            torch.rand(3)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(traced)
    assert state_of(model, optimizer) == before
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert signal.getsignal(signal.SIGINT) is theirs


def test_an_interrupt_of_the_users_code_is_raised_at_once() -> None:
    model, data, _ = small()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not interrupted")

    with pytest.raises(KeyboardInterrupt):
        wp.check(model, loss, data)


def test_an_interrupt_at_a_bad_moment_leaves_no_thread_of_ours() -> None:
    model, data, _ = small()
    sent = []

    class Careful:
        def __enter__(self) -> None:
            if not sent:
                sent.append(signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)  # waits until this is over

        def __exit__(self, *_: object) -> None:
            pass

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with Careful():
            return F.cross_entropy(outputs, targets)

    before = threading.enumerate()
    with pytest.raises(KeyboardInterrupt):
        wp.check(model, loss, data)
    assert threading.enumerate() == before


def test_a_handler_of_the_users_that_does_not_raise_is_called() -> None:
    model, _, _ = small()
    called: list[int] = []
    theirs = signal.signal(signal.SIGINT, lambda number, frame: called.append(number))
    try:
        with preserved(model):
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(10))
    finally:
        signal.signal(signal.SIGINT, theirs)
    assert called == [signal.SIGINT]


def test_two_checks_of_one_model_in_two_threads_wait_for_each_other() -> None:
    model, data, optimizer = small()
    before = state_of(model, optimizer)
    alone = wp.measure_signals(model, F.cross_entropy, data, optimizer=optimizer)
    found: list[Any] = []

    def look() -> None:
        found.append(wp.measure_signals(model, F.cross_entropy, data, optimizer=optimizer))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(f) for f in found] == [str(alone)] * 2
    assert state_of(model, optimizer) == before


def test_a_model_that_checks_itself_is_refused_by_name() -> None:
    class Vain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with pytest.raises(
                ProblemError, match=r"wp\.check was called on model by code that is being examined"
            ):
                wp.check(self, F.cross_entropy, (x.detach(), x[:, :3].argmax(1)))
            return self.body(x)

    wp.measure_signals(Vain(), F.cross_entropy, small()[1])


class Stopping(nn.Module):
    """Raises what Ctrl-C raises when it is called the nth time."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(1))
        self.calls, self.nth = [0], nth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls[0] += 1
        if self.calls[0] == self.nth:
            raise KeyboardInterrupt
        return self.net(x)


@pytest.mark.parametrize(("nth", "found"), [(1, ()), (30, ("WP501",))])
def test_an_interrupted_check_says_what_it_had_found(nth: int, found: tuple[str, ...]) -> None:
    model = Stopping(nth)
    x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    before, state = [p.tolist() for p in model.parameters()], torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt) as stopped:
        wp.check(model, F.cross_entropy, (x, x[:, :3].argmax(1)))
    report = stopped.value.report  # pyright: ignore[reportAttributeAccessIssue]
    assert report.codes[:1] == found
    assert "the check was interrupted" in {s.reason for s in report.skipped}
    assert not report
    assert [p.tolist() for p in model.parameters()] == before
    assert torch.equal(torch.get_rng_state(), state)
