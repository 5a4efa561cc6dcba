"""The user's f as a function from flat points to flat float64 values: counted, checked, and evaluated in batches where that works."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import told
from ..errors import ArgumentError, UserCodeError, users_code
from .bounds import Bounds
from .lines import Indices, Lines
from .points import DIGITS, Point, described, framework_of, plain, read_point

Array = NDArray[np.float64]

MOST_NUMBERS = 2**20
"""Numbers in one batch of points."""
POINTS_TIMED = 16
"""Points on which the speed of a batch is compared with that of single evaluations."""
COARSE = (24, 11, 8)
"""Digits of float32, float16 and bfloat16."""
FEWEST_VALUES = 4
"""Distinct values that must all be representable in a coarser dtype before f is assumed to compute in it."""
COMPARED = 3
"""Points at which the values of a batch are compared with single evaluations."""


LARGE = 256
"""Values above 2 to this power are scaled down, so that they can be squared."""


class Function:
    """F around x; `shape` is that of its output, known from the first evaluation."""

    def __init__(
        self,
        f: Callable[[Any], Any],
        point: Point,
        *,
        scalar: bool,
        bounds: Bounds | None = None,
        name: str = "f",
    ) -> None:
        self.name = name
        """What messages call f."""
        self.f, self.point, self.scalar, self.bounds = f, point, scalar, bounds
        self.n_evaluations = 0
        self.shape: tuple[int, ...] = ()
        self.exponents: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
        """Values are divided by 2 to these powers, one for each output, so that large ones can be squared in float64."""
        self.digits = 53
        """Binary digits of f's values: those of their dtype, or of a coarser one that holds all of them exactly."""
        self._stated_digits = 53
        self._all_fit = dict.fromkeys(COARSE, True)
        self._distinct: set[float] = set()
        self.vectorised = False
        self.refused: Exception | None = None
        """What f raised beside x, where it may not be defined."""
        self._batched: Callable[[Any], NDArray[Any]] | None = None
        self._frameworks = {leaf.framework for leaf in point.leaves}
        self.centre = self._first()
        self.seconds = 0.0

    def at_another_point(self, flat: Array) -> Function:
        """The same f around another point, in the same precision."""
        return Function(
            self.f, self.point.moved(flat), scalar=self.scalar, bounds=self.bounds, name=self.name
        )

    def _first(self) -> Array:
        given, result = self._called(self.point.flat)
        if not np.array_equal(self._flat(given), self.point.flat):
            raise ArgumentError(f"{self.name} changed its argument x in place: let it work on a copy")
        value = self._read(result)
        self.shape = value.shape
        flat = value.reshape(-1).astype(np.float64)
        if not np.isfinite(flat).all():
            said = str(float(flat[0])) if flat.size == 1 else "an array with values that are not finite"
            raise ArgumentError(
                f"{self.name}(x) is {said}: expected finite numbers at x; start from a point where {self.name} is finite"
                if flat.size > 1
                else f"{self.name}(x) is {said}: expected a finite number at x; start from a point where {self.name} is finite"
            )
        exponents = np.frexp(flat)[1].astype(np.int64)
        self.exponents = np.where(exponents > LARGE, exponents, 0)
        return np.ldexp(flat, -self.exponents)

    def _flat(self, given: Any) -> Array:
        return read_point(given, wide=True).flat

    def _called(self, flat: Array) -> tuple[Any, Any]:
        self.n_evaluations += 1
        with self.surroundings():
            given = self.point.made(flat)
            with users_code(self.name), np.errstate(all="ignore"):
                return given, self.f(given)

    def surroundings(self) -> ExitStack:
        stack = ExitStack()
        for framework in self._frameworks:
            if framework is not None:
                stack.enter_context(framework.calling(wide=self.point.wide))
        return stack

    def _read(self, result: Any) -> NDArray[Any]:
        if isinstance(result, dict | list | tuple) or result is None:
            raise ArgumentError(f"{self.name} returned {told(result)}: expected {self._expected}")
        value = plain(result)
        if value.dtype.kind == "c":
            raise ArgumentError(
                f"{self.name} returned {value.dtype.name} numbers: expected {self._expected}; of a complex one, "
                "differentiate its .real and its .imag apart, or its abs()"
            )
        if value.dtype.kind not in "fiub" or (self.scalar and value.size != 1):
            raise ArgumentError(f"{self.name} returned {described(result, value)}: expected {self._expected}")
        framework = framework_of(result)
        name = value.dtype.name if framework is None else framework.dtype_name(result)
        self._stated_digits = min(self._stated_digits, DIGITS.get(name, 53))
        self.digits = min(self.digits, self._stated_digits)
        return value.reshape(()) if self.scalar else value

    @property
    def _expected(self) -> str:
        return (
            "one real number; reduce it, e.g. by .sum(), or take the jacobian of wellposed.differentiate"
            if self.scalar
            else "an array of real numbers"
        )

    def _note_digits(self, values: Array) -> None:
        """Update `digits`: if all values are representable in float32 (float16, bfloat16), f computes in that."""
        if not self._all_fit[COARSE[0]]:
            return
        finite = values[np.isfinite(values)]
        self._distinct.update(finite.ravel()[: 2 * FEWEST_VALUES].tolist())
        mantissa, _ = np.frexp(finite)
        for digits in COARSE:
            scaled = np.ldexp(mantissa, digits)
            self._all_fit[digits] &= bool((scaled == np.round(scaled)).all())
        fitting = [digits for digits in COARSE if self._all_fit[digits]]
        self.digits = min([self._stated_digits, *fitting]) if self.knows_digits else self._stated_digits

    @property
    def knows_digits(self) -> bool:
        return len(self._distinct) >= FEWEST_VALUES

    def evaluate_again(self) -> Array:
        """F at x once more."""
        began = time.perf_counter()
        value = self.at(self.point.flat)
        self.seconds = time.perf_counter() - began
        return value

    def at(self, flat: Array) -> Array:
        """F at one point; NaN where plain Python raises because f is not defined there."""
        try:
            value = self._read(self._called(flat)[1])
        except UserCodeError as error:
            # math.log(-1) and 1 / 0 raise where an array would become NaN or infinite.
            if not isinstance(error.__cause__, ArithmeticError | ValueError):
                raise
            self.refused = error
            return np.full(len(self.centre), np.nan)
        if value.shape != self.shape:
            raise ArgumentError(
                f"{self.name} returned shape {self.shape} at x and {value.shape} beside it: expected the same shape each time"
            )
        return np.ldexp(value.reshape(-1).astype(np.float64), -self.exponents)

    def along(self, lines: Lines, which: Indices, steps: Array) -> tuple[Array, Array]:
        """F at signed `steps` along the lines `which`, shape (points, outputs), and the steps really made; NaN outside of the bounds."""
        chunk = max(1, MOST_NUMBERS // max(self.point.flat.size, len(self.centre)))
        values, made = [], []
        for start in range(0, len(which), chunk):
            part = slice(start, start + chunk)
            rows, taken = lines.moved(which[part], steps[part])
            values.append(self.rows(rows))
            made.append(taken)
        return np.concatenate(values), np.concatenate(made)

    def rows(self, rows: Array) -> Array:
        """F at many points, shape (points, outputs); NaN outside of the bounds, where it is not evaluated."""
        within = np.ones(len(rows), dtype=bool) if self.bounds is None else self.bounds.holds(rows)
        if within.all():
            values = self._many(rows)
        else:
            values = np.full((len(rows), len(self.centre)), np.nan)
            if within.any():
                values[within] = self._many(rows[within])
        self._note_digits(values)
        return values

    def _many(self, rows: Array) -> Array:
        if self._batched is not None and len(rows) > 1:
            values = self._batch_or_none(self._batched, rows)
            if values is not None:
                self.n_evaluations += len(rows)
                return values
            self._batched = None
        return np.array([self.at(row) for row in rows])

    def _batch_or_none(self, batched: Callable[[Any], NDArray[Any]], rows: Array) -> Array | None:
        try:
            with self.surroundings(), np.errstate(all="ignore"):
                values = batched(self.point.made_batch(rows))
        except Exception:  # whatever a framework cannot batch is evaluated point by point
            return None
        expected = (len(rows), *self.shape)
        if values.dtype.kind not in "fiub" or values.size != np.prod(expected):
            return None
        return np.ldexp(values.reshape(len(rows), -1).astype(np.float64), -self.exponents)

    def vectorise(self, rows: Array, *, noise: Array) -> None:
        """Evaluate in batches from now on, if that works on `rows`, agrees with single evaluations there, and is faster."""
        frameworks = {leaf.framework for leaf in self.point.leaves}
        rows = rows if self.bounds is None else rows[self.bounds.holds(rows)]
        if len(frameworks) != 1 or None in frameworks or len(rows) < POINTS_TIMED:
            return
        batched = next(iter(frameworks)).mapped(self.f)
        rows = rows[:POINTS_TIMED]
        if self._batch_or_none(batched, rows) is None:
            return
        began = time.perf_counter()
        values = self._batch_or_none(batched, rows)
        together = (time.perf_counter() - began) / len(rows)
        began = time.perf_counter()
        alone = np.array([self.at(row) for row in rows[:: max(1, len(rows) // COMPARED)]])
        apart = (time.perf_counter() - began) / len(alone)
        if values is None or together > apart:
            return
        values = values[:: max(1, len(rows) // COMPARED)]
        # Batched kernels may round in another order; a larger difference means that f cannot be batched.
        rounding = np.ldexp(np.abs(alone), 6 - self.digits)
        if (np.abs(values - alone) <= 64 * noise + rounding).all():
            self._batched, self.vectorised = batched, True

    def rounding(self, values: Array) -> Array:
        """Standard deviation of the rounding of such values to the dtype of f: uniform over one unit in their last place."""
        _, exponent = np.frexp(values)
        return np.maximum(np.ldexp(1 / np.sqrt(12), exponent - self.digits), 5e-324)
