"""These cases are only counted: nobody who writes rules reads them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cases.case import Case

from . import (
    heldout_healthy_1,
    heldout_healthy_2,
    heldout_healthy_3,
    heldout_healthy_4,
    heldout_healthy_5,
    heldout_sick_1,
    heldout_sick_2,
    heldout_sick_3,
)

BOOKS = (
    heldout_healthy_1.book,
    heldout_healthy_2.book,
    heldout_healthy_3.book,
    heldout_healthy_4.book,
    heldout_healthy_5.book,
    heldout_sick_1.book,
    heldout_sick_2.book,
    heldout_sick_3.book,
)


def sick() -> Iterator[Case]:
    for book in BOOKS:
        yield from book.sick_cases()


def healthy() -> Iterator[Case]:
    for book in BOOKS:
        yield from book.healthy_cases()
