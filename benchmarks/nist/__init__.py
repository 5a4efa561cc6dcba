"""NIST's nine univariate data sets, with the certified mean and standard deviation of each.

Statistical Reference Datasets, Univariate Summary Statistics, National Institute of Standards and Technology
(https://www.itl.nist.gov/div898/strd/univ/homepage.html); observations as printed there. The certified values
are those of the decimal numbers: what a program can be asked for is the value of the doubles that it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One of the nine: its decimal observations as printed, and what NIST certifies of them."""

    name: str
    read: Callable[[], list[str]]
    mean: str
    std: str
    """Divided by ``n - 1``."""

    @property
    def observations(self) -> list[str]:
        return self.read()

    @property
    def values(self) -> list[float]:
        """The observations as a program stores them."""
        return [float(one) for one in self.observations]

    @property
    def decimals(self) -> list[Fraction]:
        """The observations as they were printed."""
        return [Fraction(one) for one in self.observations]


def digits_of_pi(count: int) -> list[str]:
    """The first digits of pi, the 3 included, by Machin's formula in integers.

    Examples
    --------
    >>> "".join(digits_of_pi(10))
    '3141592653'
    """
    guard = 10
    one = 10 ** (count - 1 + guard)
    pi = 4 * (4 * _arctan_of_inverse(5, one) - _arctan_of_inverse(239, one)) // 10**guard
    backwards = []
    for _ in range(count):  # str() refuses an integer of more than 4,300 digits
        pi, digit = divmod(pi, 10)
        backwards.append(str(digit))
    return backwards[::-1]


def _arctan_of_inverse(x: int, one: int) -> int:
    power = total = one // x
    n, sign = 1, 1
    while power:
        power //= x * x
        n, sign = n + 2, -sign
        total += sign * (power // n)
    return total


def _pi_as_printed() -> list[str]:
    """NIST's PiDigits: pi but for one misprint, which the certified values include."""
    digits = digits_of_pi(5000)
    digits[956] = "3"  # of pi itself this digit is 8
    return digits


def _stored(name: str) -> Callable[[], list[str]]:
    return lambda: (HERE / f"{name}.txt").read_text(encoding="ascii").split()


def _alternating(middle: str, low: str, high: str) -> Callable[[], list[str]]:
    """NumAcc2 to 4: one in the middle, then 500 pairs about it."""
    return lambda: [middle, *([low, high] * 500)]


DATA_SETS = (
    DataSet(name="PiDigits", read=_pi_as_printed, mean="4.53480000000000", std="2.86733906028871"),
    DataSet(name="Lottery", read=_stored("lottery"), mean="518.958715596330", std="291.699727470969"),
    DataSet(name="Lew", read=_stored("lew"), mean="-177.435000000000", std="277.332168044316"),
    DataSet(name="Mavro", read=_stored("mavro"), mean="2.00185600000000", std="0.000429123454003053"),
    DataSet(name="Michelso", read=_stored("michelso"), mean="299.852400000000", std="0.0790105478190518"),
    DataSet(name="NumAcc1", read=lambda: ["10000001", "10000003", "10000002"], mean="10000002", std="1"),
    DataSet(name="NumAcc2", read=_alternating("1.2", "1.1", "1.3"), mean="1.2", std="0.1"),
    DataSet(
        name="NumAcc3", read=_alternating("1000000.2", "1000000.1", "1000000.3"), mean="1000000.2", std="0.1"
    ),
    DataSet(
        name="NumAcc4",
        read=_alternating("10000000.2", "10000000.1", "10000000.3"),
        mean="10000000.2",
        std="0.1",
    ),
)
