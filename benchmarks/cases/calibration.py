"""The rules may be tuned on these cases."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cases.case import Case

from . import (
    calibration_healthy_1,
    calibration_healthy_2,
    calibration_healthy_3,
    calibration_healthy_4,
    calibration_sick_1,
    calibration_sick_2,
)

BOOKS = (
    calibration_healthy_1.book,
    calibration_healthy_2.book,
    calibration_healthy_3.book,
    calibration_healthy_4.book,
    calibration_sick_1.book,
    calibration_sick_2.book,
)


def sick() -> Iterator[Case]:
    for book in BOOKS:
        yield from book.sick_cases()


def healthy() -> Iterator[Case]:
    for book in BOOKS:
        yield from book.healthy_cases()
