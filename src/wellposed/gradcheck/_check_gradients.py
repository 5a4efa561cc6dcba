"""Public entry point: `check_gradients`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from ..arguments import choice, flag, number, refused, whole
from ..arguments import seed as checked_seed
from ..errors import ArgumentError, UserCodeError
from ..lazy import lazy
from ..problem import Problem
from ..runtime.isolation import isolated
from ..runtime.scope import Scope, exclusive
from .directional_error import ROUNDINGS_OF_ZERO
from .directions import Array
from .numpy_functions import check_numpy
from .objective import Mode, Objective, input_names
from .result import GradientCheck, Reason
from .verdict import judge

jax_objective = lazy("wellposed.gradcheck.jax.objective")
jax_arrays = lazy("wellposed.gradcheck.jax.arrays")
torch_objective = lazy("wellposed.gradcheck.torch.objective")

PASS_RESOLUTION = 1e-2
PIECE = 1 << 16


def check_gradients(
    f: Any,
    *inputs: Any,
    gradient: Any = None,
    mode: Mode = "reverse",
    order: Literal[1, 2] = 1,
    resolution: float = PASS_RESOLUTION,
    replay: Literal["auto"] | bool = "auto",
    seed: int = 0,
    isolate: bool = False,
) -> GradientCheck:
    """Check that a backward pass is the derivative of its forward pass.

    All tensors are moved at once along a few directions, and the differences are held against the analytic gradient with an error bar
    from the rounding noise, the truncation and the kinks of f; only what this flags or cannot resolve is looked at tensor by
    tensor and element by element. A correct gradient takes about 40 evaluations, whatever its size.

    Every evaluation starts from the same random state and the same buffers, so dropout and BatchNorm can be checked; float32 code is
    replayed in float64 where it permits that. Inputs, parameters, ``.grad``, buffers and random states are left as they were.

    Parameters
    ----------
    f
        A torch or JAX function (its outputs are weighted with fixed random numbers), a module (its inputs and parameters are checked), a
        `Problem` (the loss on one batch; its parameters are checked), or a NumPy function that returns a number or an array, with `gradient`.
    *inputs
        What `f` is called with; nested dicts of arrays too, for torch and JAX lists and tuples as well. Floating-point and complex arrays are checked,
        and of torch tensors those alone that require a gradient, where some do; everything else is a constant.
    gradient
        The gradient of a NumPy function: an array, a tuple of arrays, or a function of the inputs that returns either; where it returns an array,
        its Jacobian, of the shape of the output and then that of the input. For a dict of
        parameters a dict, by the same keys or with a d before them (``dW1`` for ``W1``); further entries are ignored.
    mode
        ``"reverse"``: the backward pass against differences; ``"forward"``: the forward-mode derivative against differences;
        ``"forward-reverse"``: forward mode against the backward pass, without differences.
    order
        2 checks the gradient of the gradient too.
    resolution
        What a pass needs: an error of this size, relative to the norm of a tensor's gradient, would have been seen.
    replay
        ``"auto"``: what is coarser than float64 is replayed in float64 where the code permits that, and its own gradient is held against that
        one; False: all is checked in its own precision.
    seed
        Seed of the directions and of the random state that each evaluation starts from.
    isolate
        Run in a forked process of its own, in which nothing of yours can change: on Linux, as long as CUDA has not started. A crash there is
        a `UserCodeError`.

    Returns
    -------
    GradientCheck
        ``verdict`` is ``"pass"``, ``"fail"`` or ``"inconclusive"``; it is true only when it passed, which promises that an error above
        ``.resolution``, relative to a tensor's gradient norm, would have been seen. ``cause`` is None or one of ``"sign-flipped"``, ``"scaled"``,
        ``"missing-mean"``, ``"zero"``, ``"transposed"``, ``"permuted"``, ``"missing-term"``, ``"missing-l2"``, ``"low-precision"``, ``"sparse"``,
        ``"accumulate"``, ``"stale"``, ``"mask"``, ``"not-finite"``.

    Raises
    ------
    ArgumentError
        Nothing to differentiate by, a value or output that is not finite, a gradient of another shape, a NumPy function without `gradient`.
    UserCodeError
        When `f` or `gradient` raises; ``__cause__`` is what it raised.

    Notes
    -----
    Where f has a kink or a jump exactly at the point there is no derivative to compare with: the check is made a little way off, and says so.
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
    _refuse(f, mode=mode, order=order, resolution=resolution, replay=replay, seed=seed)
    parts = (f.model, f.loss) if isinstance(f, Problem) else (f,)

    def run(tell: Any = None) -> GradientCheck:
        with exclusive("wp.check_gradients", *parts):
            return _checked(
                f,
                inputs,
                gradient,
                mode=mode,
                order=order,
                resolution=float(resolution),
                replay=replay,
                seed=int(seed),
            )

    if not flag(isolate, "isolate"):
        return run()
    if _framework(f, inputs) == "JAX":
        raise ArgumentError("isolate=True: the threads of JAX do not survive a fork; leave isolate out")
    return isolated("wp.check_gradients", run)


def _checked(
    f: Any,
    inputs: tuple[Any, ...],
    gradient: Any,
    *,
    mode: Mode,
    order: int,
    resolution: float,
    replay: Literal["auto"] | bool,
    seed: int,
) -> GradientCheck:
    framework = _framework(f, inputs)
    if framework is None:
        if mode != "reverse" or order != 1:
            raise ArgumentError(
                f"mode={mode!r}, order={order}: a NumPy function has its hand-written gradient alone"
            )
        with Scope({"f": f, "gradient": gradient}):
            return check_numpy(f, inputs, gradient=gradient, seed=seed, resolution=resolution)
    if gradient is not None:
        raise ArgumentError(
            f"gradient= goes with a NumPy function: a {framework} function brings its own backward pass"
        )
    check = Checker(framework, f, inputs, mode=mode, resolution=resolution, replay=replay, seed=seed)
    if framework == "JAX":
        with Scope({"f": f}):
            return _in_orders(check, order)
    return _in_orders(check, order)


def _in_orders(check: Checker, order: int) -> GradientCheck:
    first = check.order(1)
    if order == 1 or first.verdict != "pass":
        return first
    second = check.order(2)
    head = Reason(code="second-order", text="of the gradient of the gradient")
    return second.with_reasons(
        *((head, *second.reasons) if second.reasons else ()),
        n_forward=first.n_forward + second.n_forward,
        n_backward=first.n_backward + second.n_backward,
        resolution=max(first.resolution, second.resolution),
        low_precision_error=max(
            (e for e in (first.low_precision_error, second.low_precision_error) if e is not None),
            default=None,
        ),
    )


def _refuse(f: Any, *, mode: Any, order: Any, resolution: Any, replay: Any, seed: Any) -> None:
    checked_seed(seed, most=2**63 - 1)
    choice(mode, "mode", get_args(Mode))
    whole(order, "order", least=1, most=2, expected="1 or 2")
    number(resolution, "resolution", above=0, below=1, expected="a number between 0 and 1, as 0.01 for 1 %")
    if not (isinstance(replay, str) and replay == "auto"):
        flag(replay, "replay", expected="'auto', True or False")
    if isinstance(f, type):
        raise refused("f", f, "a function, a module or a Problem, not its class")
    if not (callable(f) or isinstance(f, Problem)):
        raise refused("f", f, "a function, a module or a Problem")


def _framework(f: Any, inputs: tuple[Any, ...]) -> Literal["torch", "JAX"] | None:
    """Whose arrays are in play; None where they are NumPy's."""
    if isinstance(f, Problem):
        return "torch"
    homes = {kind.__module__.partition(".")[0] for kind in type(f).__mro__}
    homes |= {type(leaf).__module__.partition(".")[0] for leaf in _leaves(inputs)}
    if "torch" in homes:
        return "torch"
    return "JAX" if homes & {"jax", "jaxlib"} or _holds_jax((f, inputs)) else None


def _holds_jax(value: Any) -> bool:
    """Whether a class that JAX was told the inside of holds its arrays; where nobody imported JAX there are none."""
    if "jax" not in sys.modules:
        return False
    return jax_arrays.holds_arrays(value)


def _leaves(value: Any, depth: int = 0) -> Iterator[Any]:
    """What nested containers hold; a file or a generator is not read."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list) and depth < 8:
        for item in value:
            yield from _leaves(item, depth + 1)
    else:
        yield value


class Checker:
    """Checks one torch or JAX function, replayed in float64 or in its own precision."""

    def __init__(
        self,
        framework: str,
        f: Any,
        inputs: tuple[Any, ...],
        *,
        mode: Mode,
        resolution: float,
        replay: Literal["auto"] | bool,
        seed: int,
    ) -> None:
        self.adapter: Any = {"torch": torch_objective, "JAX": jax_objective}[framework]
        self.f, self.inputs = f, inputs
        self.mode, self.resolution, self.replay, self.seed = mode, resolution, replay, seed

    def order(self, order: int) -> GradientCheck:
        return replace(self._checked(self.opened(order)), mode=self.mode, order=order)

    def opened(self, order: int) -> Any:
        """The function, or its gradient for order 2, ready to be checked."""
        names = input_names(getattr(self.f, "forward", self.f), len(self.inputs))
        return self.adapter.opened(self.f, self.inputs, names=names, seed=self.seed, order=order)

    def _checked(self, opened: Any) -> GradientCheck:
        if self.replay is False or not self.adapter.needs_replay(opened):
            return self.judged(opened, replay=False)
        try:
            # Before the native pass: what code keeps from its first call is then in float64 too.
            with self.objective(opened, replay=True) as objective:
                replayed = judge(objective, seed=self.seed, resolution=self.resolution)
        except (UserCodeError, ArgumentError) as error:
            if self.replay is True:
                raise type(error)(f"replayed in float64, as replay=True asks: {error}") from error
            return self._natively(opened, why=f"it does not run in float64 ({_first_line(error)})")
        with self.objective(opened, replay=False) as native:
            if native.undefined and not objective.undefined:
                return self._natively(opened, why="in float64 it is finite")
            differences = _differences(native, objective)
        counted = replace(
            replayed,
            n_forward=replayed.n_forward + native.n_forward,
            n_backward=replayed.n_backward + native.n_backward,
        )
        return self._settled(opened, counted, differences)

    def _settled(self, opened: Any, replayed: GradientCheck, differences: dict[str, float]) -> GradientCheck:
        """Where the replay passed and training would use another gradient than the one replayed, look at that one itself."""
        name = max(differences, key=lambda n: differences[n])
        distance = differences[name]
        if replayed.verdict == "inconclusive":
            own = self._natively(opened, why="in float64 it cannot be told")
            tells_more = own.verdict != "inconclusive" or own.resolution < replayed.resolution
            return own if tells_more else replayed
        if replayed.verdict != "pass" or distance <= self.resolution:
            # What training would use is known to be as far off as it is from the one in float64.
            seen = max(replayed.resolution, distance) if replayed.verdict == "pass" else replayed.resolution
            return replace(replayed, low_precision_error=distance, resolution=seen)
        own = self._natively(opened, why=f"its gradient of {name} is {distance:.1%} off the one in float64")
        if own.verdict == "pass":
            return own  # another function than the one that was replayed: its random numbers or its code depend on the precision
        return replace(own, low_precision_error=distance, resolution=max(own.resolution, distance))

    def _natively(self, opened: Any, *, why: str) -> GradientCheck:
        check = self.judged(opened, replay=False)
        reason = Reason(code="own-precision", text=f"checked in {check.precision}: {why}")
        return check.with_reasons(*check.reasons, reason)

    def judged(self, opened: Any, *, replay: bool) -> GradientCheck:
        """In one precision."""
        with self.objective(opened, replay=replay) as objective:
            return judge(objective, seed=self.seed, resolution=self.resolution)

    def objective(self, opened: Any, *, replay: bool) -> AbstractContextManager[Objective]:
        return self.adapter.checking(opened, seed=self.seed, replay=replay, mode=self.mode)


def _differences(native: Objective, replay: Objective) -> dict[str, float]:
    """How far each tensor's own gradient lies from the one in float64, relative to it; of one that is zero there, rounding counts as none."""
    norms = [float(np.linalg.norm(replay.gradient(i))) for i in range(len(replay.names))]
    largest = max(norms, default=0.0)
    found = {}
    for i, name in enumerate(native.names):
        distance = _distance(native.gradient(i), replay.gradient(i))
        if norms[i] > ROUNDINGS_OF_ZERO * replay.roundoff * largest:
            found[name] = distance / norms[i]
        else:
            found[name] = 0.0 if distance <= ROUNDINGS_OF_ZERO * native.roundoff * largest else np.inf
    return found


def _distance(a: Array, b: Array) -> float:
    """In pieces: an array of differences would be as large as the tensor."""
    a, b = a.reshape(-1), b.reshape(-1)
    pieces = (slice(k, k + PIECE) for k in range(0, a.size, PIECE))
    return float(np.linalg.norm([np.linalg.norm(a[p] - b[p]) for p in pieces]))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
