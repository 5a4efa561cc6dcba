"""Whether the gradient that a training problem's parameters get is the derivative of its loss, and what cuts it off where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UserCodeError
from ..lazy import lazy
from ..problem import Problem
from ._check_gradients import PASS_RESOLUTION, Checker
from .directional_error import tensor_scales
from .directions import random_direction
from .objective import Objective
from .result import Cut, GradientCheck, LossGradient

torch_attached = lazy("wellposed.gradcheck.torch.attached")

_STEP = 1e-6
"""Of the size of each tensor: in float64 far above rounding, and too short for most kinks."""
_DIRECTIONS = 2
_SHARE = 1e-3
"""Of the slope: what the differences along a direction may be off without a closer look."""
_ATTACHED: tuple[tuple[Cut, bool, bool], ...] = (
    ("create-graph", False, True),
    ("detached", True, False),
    ("detached", True, True),
)
"""What to attach, in turn: the first that makes the gradient right is what cut it off."""


def check_loss_gradient(problem: Problem, *, seed: int) -> LossGradient:
    """Hold the gradient of the loss of one batch, in float64, against differences of that loss.

    A look along two directions is enough where they agree; else `wp.check_gradients` judges, and a gradient that it finds wrong is
    computed again with nothing cut off.

    Raises
    ------
    UserCodeError, ArgumentError, DataError, ProblemError
        Where the loss cannot be computed in float64, or has nothing to be differentiated by.
    """
    checker = Checker(
        "torch", problem, (), mode="reverse", resolution=PASS_RESOLUTION, replay=True, seed=seed
    )
    function = checker.opened(1)
    with checker.objective(function, replay=True) as objective:
        if objective.undefined:
            return LossGradient(verdict="inconclusive")
        if (seen := _agreement(objective, seed)) is not None:
            return LossGradient(verdict=seen)
    check = checker.judged(function, replay=True)
    if check.verdict != "fail":
        return LossGradient(verdict=check.verdict)
    return LossGradient(verdict="fail", check=check, cut=_what_cuts(checker, function))


def _agreement(objective: Objective, seed: int) -> Any:
    """Whether gradient and differences agree; None where that needs a closer look."""
    tensors, scales = range(len(objective.names)), tensor_scales(objective)
    slope = float(np.linalg.norm([scales[i] * np.linalg.norm(objective.gradient(i)) for i in tensors]))
    if objective.floor() > _SHARE * _STEP * slope:
        return "inconclusive"  # a slope that drowns in the rounding of the loss
    for k in range(_DIRECTIONS):
        direction = random_direction(tensors, objective.shapes, scales, (seed, k))
        ahead, back = (objective.at(direction, step) for step in (_STEP, -_STEP))
        error = (ahead.value - back.value) - (ahead.claimed_change - back.claimed_change)
        if not abs(error) <= _SHARE * 2 * _STEP * slope:
            return None
    return "pass"


def _what_cuts(checker: Checker, function: Any) -> Cut | None:
    for cut, detached, gradients in _ATTACHED:
        attachment = torch_attached.Attachment(detached=detached, gradients=gradients)
        try:
            check: GradientCheck = checker.judged(torch_attached.attached(function, attachment), replay=True)
        except UserCodeError:  # what is written in place, say, cannot be attached
            return "detached"
        if check.verdict != "fail":
            return "detached" if attachment.fed_back else cut
    return None
