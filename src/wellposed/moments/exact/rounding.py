"""From exact sums to float64, rounded once: the nearest number to the true mean, variance and deviation."""

from __future__ import annotations

import math

_GUARD = 64  # bits beyond float64's 53, so that the last rounding is right


def nearest(numerator: int, denominator: int) -> float:
    """``numerator / denominator`` to the nearest float64, infinite beyond its range.

    Examples
    --------
    >>> nearest(1, 3) == 1 / 3, nearest(-(10**400), 1)
    (True, -inf)
    """
    try:
        return numerator / denominator  # Python divides whole numbers with one rounding
    except OverflowError:
        return -math.inf if numerator < 0 else math.inf


def nearest_root(numerator: int, denominator: int) -> float:
    """The square root of ``numerator / denominator``, zero or more, to the nearest float64.

    Examples
    --------
    >>> nearest_root(2, 1) == 2**0.5, nearest_root(10**400, 1)
    (True, 1e+200)
    """
    if numerator == 0:
        return 0.0
    # Twice this power of two brings the quotient to between 2*(53 + guard) and two bits more.
    half = (2 * (53 + _GUARD) - numerator.bit_length() + denominator.bit_length() + 1) // 2
    scaled, rest = divmod(numerator << max(2 * half, 0), denominator << max(-2 * half, 0))
    root = math.isqrt(scaled)
    # An odd last bit says that the true root lies above: it settles ties, as a sticky bit does.
    root = (root << 1) | int(rest != 0 or root * root != scaled)
    return nearest(root, 1 << (half + 1)) if half + 1 >= 0 else nearest(root << -(half + 1), 1)
