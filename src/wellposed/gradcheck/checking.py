"""`check_gradients`: the door of this room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ArgumentError, UserCodeError
from ..problem import Problem
from .conclude import conclude
from .examine import PASS_RESOLUTION
from .names import input_names
from .objective import NumpyObjective, Objective
from .result import GradientCheck


def check_gradients(f: Any, *inputs: Any, gradient: Any = None, seed: int = 0) -> GradientCheck:
    """Check that a backward pass is the derivative of its forward pass.

    All tensors are moved at once along a few directions, and the differences are held against the analytic gradient with an error bar
    from the rounding noise, the truncation and the kinks of f; only what this flags or cannot resolve is looked at tensor by
    tensor and element by element. A correct gradient takes about 40 evaluations, whatever its size.

    Every evaluation starts from the same random state and the same buffers, so dropout and BatchNorm can be checked; float32 code is
    replayed in float64 where it permits that. Inputs, parameters, ``.grad``, buffers and random states are left as they were.

    Parameters
    ----------
    f
        A torch function of tensors (its outputs are weighted with fixed random numbers), a module (its inputs and parameters are checked), a
        `Problem` (the loss on one batch; its parameters are checked), or a NumPy function that returns one number, with `gradient`.
    *inputs
        What `f` is called with. Floating-point tensors and arrays are checked; everything else is a constant.
    gradient
        The gradient of a NumPy function: an array, a tuple of arrays, or a function of the inputs that returns either.
    seed
        Seed of the directions and of the random state that each evaluation starts from.

    Returns
    -------
    GradientCheck
        ``verdict`` is ``"pass"``, ``"fail"`` or ``"inconclusive"``; it is true only when it passed, which promises that an error above 1 % of
        a tensor's gradient norm would have been seen (``resolution`` says what would have been). ``cause`` is None or one of ``"sign-flipped"``,
        ``"scaled"``, ``"missing-mean"``, ``"zero"``, ``"transposed"``, ``"permuted"``, ``"missing-l2"``, ``"low-precision"``, ``"sparse"``,
        ``"mask"``.

    Raises
    ------
    ArgumentError
        Nothing to differentiate by, a value or output that is not finite, a gradient of another shape, a NumPy function without `gradient`.
    UserCodeError
        When `f` or `gradient` raises; ``__cause__`` is what it raised.

    Notes
    -----
    ``relative_error`` is the number of the Deep Learning Specialization, ``|g - n| / (|g| + |n|)``. It dilutes a lone wrong element, so the
    verdict does not rest on it. Noise: Moré & Wild, SIAM J. Sci. Comput. 33 (2011).

    Examples
    --------
    >>> import numpy as np
    >>> import wellposed as wp
    >>> w = np.array([0.5, -1.0, 2.0])
    >>> bool(wp.check_gradients(lambda w: np.sum(w**3), w, gradient=3 * w**2))
    True
    >>> check = wp.check_gradients(lambda w: np.sum(w**3), w, gradient=-3 * w**2)
    >>> check.verdict, check.cause
    ('fail', 'sign-flipped')
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ArgumentError(f"seed={seed!r}: expected an integer of at least 0")
    if not (callable(f) or isinstance(f, Problem)):
        raise ArgumentError(f"f is a {type(f).__name__}: expected a function, a module or a Problem")
    if _is_torch(f, inputs):
        if gradient is not None:
            raise ArgumentError(
                "gradient= goes with a NumPy function: a torch function brings its own backward pass"
            )
        return _check_torch(f, inputs, seed=int(seed))
    return _check_numpy(f, inputs, gradient=gradient, seed=int(seed))


def _is_torch(f: Any, inputs: tuple[Any, ...]) -> bool:
    kinds = [type(x) for x in inputs] + list(type(f).__mro__)
    return isinstance(f, Problem) or any(kind.__module__.partition(".")[0] == "torch" for kind in kinds)


def _check_numpy(f: Any, inputs: tuple[Any, ...], *, gradient: Any, seed: int) -> GradientCheck:
    if not inputs:
        raise ArgumentError("no inputs: pass the point at which to check, check_gradients(f, x, gradient=g)")
    for i, x in enumerate(inputs):
        if hasattr(x, "__next__"):
            raise ArgumentError(
                f"input {i} is a one-shot {type(x).__name__}: reading it would use it up; pass an array"
            )
    if gradient is None:
        raise ArgumentError(
            "f takes NumPy arrays and gradient= is missing: pass the gradient to check, or torch tensors"
        )
    objective = NumpyObjective(f, inputs, gradient, input_names(f, len(inputs)))
    return conclude(objective, seed=seed)


def _check_torch(f: Any, inputs: tuple[Any, ...], *, seed: int) -> GradientCheck:
    from ..frameworks.torch.gradients import checking, needs_replay, opened

    subject = opened(f, inputs, names=input_names(getattr(f, "forward", f), len(inputs)), seed=seed)
    if not needs_replay(subject):
        with checking(subject, seed=seed, replay=False) as objective:
            return conclude(objective, seed=seed)
    with checking(subject, seed=seed, replay=False) as native:
        pass
    try:
        with checking(subject, seed=seed, replay=True) as objective:
            replayed = conclude(objective, seed=seed)
            differs = _differs(native, objective)
    except (UserCodeError, ArgumentError) as error:
        return _check_native(subject, seed=seed, why=f"it does not run in float64 ({_first_line(error)})")
    counted = replace(replayed, n_forward=replayed.n_forward + 1, n_backward=replayed.n_backward + 1)
    if counted.verdict != "pass" or differs is None:
        return counted
    return _settle(subject, counted, differs, seed=seed)


def _differs(native: Objective, replay: Objective) -> tuple[str, float] | None:
    """The tensor whose own gradient is furthest from the one in float64, when that is more than a pass allows."""
    norms = [float(np.linalg.norm(g)) for g in replay.gradients]
    # Of a gradient that is zero, each precision leaves its own rounding.
    floor = 100 * native.roundoff * max(norms, default=0.0)
    worst: tuple[str, float] | None = None
    for name, ours, theirs, norm in zip(native.names, native.gradients, replay.gradients, norms, strict=True):
        distance = float(np.linalg.norm(ours - theirs))
        relative = distance / norm if norm else 0.0
        if distance > max(PASS_RESOLUTION * norm, floor) and (worst is None or relative > worst[1]):
            worst = (name, relative)
    return worst


def _settle(subject: Any, replayed: GradientCheck, differs: tuple[str, float], *, seed: int) -> GradientCheck:
    """The replay passed, and the gradient that training would use is another one: look at that one itself."""
    name, relative = differs
    own = _check_native(
        subject, seed=seed, why=f"its gradient of {name} is {relative:.1%} off the one in float64"
    )
    if own.verdict == "inconclusive":
        return replace(own, resolution=max(own.resolution, relative))
    return own


def _check_native(subject: Any, *, seed: int, why: str) -> GradientCheck:
    from ..frameworks.torch.gradients import checking

    with checking(subject, seed=seed, replay=False) as objective:
        check = conclude(objective, seed=seed)
    return replace(check, detail=f"{check.detail}; checked in {check.precision}: {why}".lstrip("; "))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
