"""The checks at the doors: what is taken, what is refused, and in which words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wellposed import arguments
from wellposed.errors import ArgumentError

SHARE = {"least": 0, "most": 1, "expected": "a share"}
REFUSED: list[tuple[Any, dict[str, Any], list[Any]]] = [
    (
        arguments.whole,
        {"least": 1, "most": 9},
        [0, 10, 1.5, True, np.True_, "5", None, [5], math.nan, math.inf],
    ),
    (arguments.number, SHARE, [-0.1, 1.1, math.nan, math.inf, True, "0.5", None, 1j, [0.5], 10**400]),
    (arguments.flag, {}, [1, 0, "yes", None, [True], np.array([True]), np.int64(1)]),
    (arguments.choice, {"choices": ("a", "b")}, ["c", "", 1, None, ["a"], np.array(["a", "b"])]),
    (arguments.text, {}, ["", 5, None, b"a", ["a"]]),
    (arguments.several, {"kind": str, "expected": "names"}, ["abc", b"abc", 5, None, (1,), ["a", None]]),
    (arguments.callable_or_none, {}, [5, "print", [], int]),
    (arguments.path, {}, ["", "a\0b", 5, True, None, b"a"]),
]
TAKEN: list[tuple[Any, dict[str, Any], Any, Any]] = [
    (arguments.whole, {"least": 1, "most": 9}, np.int64(9), 9),
    (arguments.number, SHARE, np.float32(0.5), 0.5),
    (arguments.number, SHARE, np.int8(1), 1.0),
    (arguments.flag, {}, np.False_, False),
    (arguments.choice, {"choices": ("a", "b")}, np.str_("b"), "b"),
    (arguments.several, {"kind": str, "expected": "names"}, ["a", "b"], ("a", "b")),
    (arguments.callable_or_none, {}, None, None),
    (arguments.callable_or_none, {}, print, print),
    (arguments.path, {}, "a.json", Path("a.json")),
]


@pytest.mark.parametrize(
    ("check", "options", "value"),
    [(check, options, value) for check, options, values in REFUSED for value in values],
    ids=lambda v: getattr(v, "__name__", None) or repr(v)[:30],
)
def test_a_wrong_value_is_refused_by_the_name_of_the_argument(
    check: Any, options: dict[str, Any], value: Any
) -> None:
    with pytest.raises(ArgumentError, match=r"^it(\[\d\])? is .*: expected "):
        check(value, "it", **options)


@pytest.mark.parametrize(("check", "options", "value", "result"), TAKEN)
def test_what_is_right_comes_back_as_pythons_own(
    check: Any, options: dict[str, Any], value: Any, result: Any
) -> None:
    found = check(value, "it", **options)
    assert found == result
    assert isinstance(found, type(result))


def test_a_message_stays_short_whatever_was_given() -> None:
    for value in ("x" * 10**6, 10**5000, b"x" * 10**6):
        with pytest.raises(ArgumentError) as raised:
            arguments.whole(value, "it", least=0, most=9)
        assert len(str(raised.value)) < 200


def test_a_seed_is_one_that_every_generator_takes() -> None:
    assert arguments.seed(np.uint32(2**32 - 1)) == 2**32 - 1
    with pytest.raises(ArgumentError, match="seed is 4294967296: expected an integer from 0 to 4294967295"):
        arguments.seed(2**32)
