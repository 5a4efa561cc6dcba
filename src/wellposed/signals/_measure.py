"""Measure the signals of a model, alone or as part of a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..arguments import flag
from ..arguments import seed as checked_seed
from ..errors import ProblemError
from ..lazy import lazy
from ..problem import Problem, problem_from
from ..runtime.isolation import isolated
from ..runtime.model_trace import ModelTrace
from ..runtime.scope import exclusive
from .layer_signals import attention_signals, layer_signals, nonfinite_origin
from .mean_field import predicted_signals
from .residuals import residual_sums
from .result import SignalProfile

torch_batches = lazy("wellposed.runtime.torch.batches")
torch_doors = lazy("wellposed.runtime.torch.doors")
torch_problem_forms = lazy("wellposed.runtime.torch.problem_forms")
torch_recurrence = lazy("wellposed.runtime.torch.recurrence")
torch_restore = lazy("wellposed.runtime.torch.restore")
torch_session = lazy("wellposed.runtime.torch.session")
torch_trace = lazy("wellposed.runtime.torch.trace")
torch_training = lazy("wellposed.runtime.torch.training")

STEPS = 30
"""Steps of the user's optimizer after which a symptom at initialization must persist to count."""
TRACED_BATCHES = 3


def measure_signals(
    model: Any,
    loss: Any = None,
    train: Any = None,
    *,
    optimizer: Any = None,
    seed: int = 0,
    isolate: bool = False,
) -> SignalProfile:
    """Measure the forward and backward signal at every layer, at initialization and after a few steps.

    The model, the loss, the optimizer and every random state are left as they were, bit for bit.

    Parameters
    ----------
    model, loss, train, optimizer
        As in `wellposed.check`; a `Problem` is welcome as the first argument. Without a loss only the forward signal
        is measured, and ``measure_signals(model, train)`` is short for that: what is no function is no loss. Without
        an optimizer the later signal is that after steps of Adam at 1e-3.
    seed
        Seeds the batches that are drawn and every random state while the model runs.
    isolate
        Run in a forked process of its own, in which nothing of yours can change: on Linux, as long as CUDA has not started. A crash there is
        a `UserCodeError`.

    Returns
    -------
    SignalProfile
        One entry a layer, in the order in which they run.

    Examples
    --------
    >>> import torch, wellposed as wp
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    >>> data = torch.randn(256, 4), torch.randn(256, 1)
    >>> profile = wp.measure_signals(model, torch.nn.functional.mse_loss, data)
    >>> [layer.name for layer in profile.layers]
    ['0', '1', '2']
    """
    if train is None and not isinstance(model, Problem) and not (callable(loss) or isinstance(loss, str)):
        loss, train = None, loss
    given = problem_from(model, loss, train, optimizer=optimizer)
    seed = checked_seed(seed)
    if flag(isolate, "isolate"):
        return isolated("wp.measure_signals", lambda tell: _measured(given, seed))
    return _measured(given, seed)


def _measured(given: Problem, seed: int) -> SignalProfile:
    with exclusive("wp.measure_signals", given.model, given.loss):
        return _measured_alone(torch_doors.opened(given), seed)


def _measured_alone(given: Problem, seed: int) -> SignalProfile:
    with torch_restore.preserved_problem(given):
        problem = torch_problem_forms.read_problem(given)
        runner = torch_session.Runner(problem)
        drawn = torch_batches.batches(
            problem.train, count=STEPS, seed=seed, has_loss=torch_session.kind_of_loss(problem)
        )
        drawn = [b.to(runner.device) for b in drawn]
        runner.train_mode()
        first = torch_trace.trace(runner, drawn[:TRACED_BATCHES], seed=seed)
        recurrence = torch_recurrence.recurrent_signals(runner, drawn[0], first, seed=seed)
        goes_backward = _goes_backward(first)
        if problem.loss is not None and runner.trainable and first.nonfinite is None and not goes_backward:
            raise ProblemError(
                "loss gives no parameter a gradient (it is detached, or computed from plain numbers): "
                "leave loss out for the forward signal alone"
            )
        later = (
            torch_training.short_training(
                runner, drawn, drawn[:1], steps=STEPS, seed=seed, before=first
            ).later
            if goes_backward
            else None
        )
    profile = signal_profile(first, later=later, steps=STEPS, batches=drawn)
    return replace(profile, recurrence=recurrence)


def signal_profile(
    first: ModelTrace, *, later: ModelTrace | None, steps: int, batches: Sequence[Any]
) -> SignalProfile:
    """Put together what the traces before and after the steps show."""
    after = () if later is None else layer_signals(later)
    return SignalProfile(
        layers=layer_signals(first),
        later=after,
        attention=attention_signals(first),
        mean_field=predicted_signals(first),
        residuals=residual_sums(first),
        attention_later=() if later is None else attention_signals(later),
        steps=steps if after else 0,
        input_std=_input_std(batches[0]),
        output=first.output,
        nonfinite=nonfinite_origin(first, step=0),
    )


def _goes_backward(first: ModelTrace) -> bool:
    """Whether a trainable parameter got a finite gradient."""
    return first.nonfinite is None and any(
        s >= 0 for values in first.gradient_squares.values() for s in values
    )


def _input_std(batch: Any) -> float | None:
    floats = [t for t in batch.tensors if t.is_floating_point() and t.ndim and len(t) > 1]
    return float(floats[0].detach().double().var(0, correction=0).mean()) ** 0.5 if floats else None
