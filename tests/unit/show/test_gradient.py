"""A gradient check as text: one screen that names what, where and the bug, cuts nothing, and ends with the verdict."""

import math
import re
import sys
from dataclasses import fields, replace
from io import StringIO
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import wellposed as wp
from wellposed.gradcheck.result import CauseName, GradientCheck, Reason, TensorCheck, WorstElement
from wellposed.show.gradient import brief, render_gradients, values
from wellposed.show.gradient_advice import BY_CAUSE, UNNAMED, next_step
from wellposed.show.gradient_html import gradients_html

LONG_NAME = "encoder.layers.11.attention.self.query.parametrizations.weight.original0"
NAN, INF = float("nan"), float("inf")


def tensor(name: str = "W1", verdict: str = "pass", **changed) -> TensorCheck:
    told = {"error": 1e-10, "bar": 3e-10, "resolution": 3e-9}
    return TensorCheck(name=name, verdict=verdict, **(told | changed))


PASSED = GradientCheck(
    verdict="pass",
    relative_error=1.2e-10,
    resolution=3e-9,
    cause=None,
    detail="",
    tensors=(tensor("W1"), tensor("b1")),
    worst=None,
    n_forward=37,
    n_backward=1,
    precision="float64",
    seed=0,
)
FAILED = replace(
    PASSED,
    verdict="fail",
    relative_error=0.71,
    cause="sign-flipped",
    detail="the analytic gradient is the negative of the numerical one",
    tensors=(
        tensor("W1", "fail", error=1.0, bar=3e-9, cause="sign-flipped"),
        tensor("b1", "inconclusive", error=NAN, bar=INF, resolution=0.05),
        tensor("W2"),
        tensor("b2"),
    ),
    worst=WorstElement(name="W1", index=(3, 2), analytic=0.0312, numerical=-0.0312, bar=2e-9),
    where="W1[3, :]",
    precision="float64 replay of float32",
)
UNSURE = replace(
    PASSED,
    verdict="inconclusive",
    resolution=0.3,
    detail="the gradient of b1 cannot be told to better than 0.3, where 0.01 is needed",
    tensors=(tensor("W1"), tensor("b1", "inconclusive", error=0.1, bar=0.05, resolution=0.3)),
    precision="float32",
)


def test_a_failure_at_80_columns_looks_like_this():
    assert str(FAILED).splitlines() == [
        "FAIL  gradient of W1: sign-flipped                                      W1[3, :]",
        "      analytic 0.0312   numerical -0.0312 ± 2e-9                     at W1[3, 2]",
        "      why   the analytic gradient is the negative of the numerical one",
        "      next  what is subtracted the wrong way round: the residual `y-target`",
        "            against `target-y`, or a loss that is maximised here and minimised",
        "            there",
        "",
        "      tensor       error      bar  resolution",
        "  x   W1               1     3e-9        3e-9  sign-flipped",
        "  ?   b1               -        -        0.05",
        "      2 passed",
        "",
        "relative error (Ng's number) 0.71",
        "an error above 3e-9 would have been seen (confidence 99 %)",
        "37 forward, 1 backward, seed 0, float64 replay of float32",
        "FAILED   1 of 4 tensors wrong, 1 undecided",
    ]


def test_a_pass_takes_three_lines():
    assert str(PASSED).splitlines() == [
        "relative error (Ng's number) 1.2e-10",
        "an error above 3e-9 would have been seen (confidence 99 %)",
        "PASSED   2 tensors   37 forward, 1 backward, seed 0, float64",
    ]


def test_an_inconclusive_check_says_why_and_what_to_do():
    text = str(UNSURE)

    assert text.startswith("INCONCLUSIVE  gradient of b1")
    assert "cannot be told to better than 0.3, where 0.01 is" in text
    assert "let it run in float64" in text
    assert text.splitlines()[-1].startswith("INCONCLUSIVE   1 of 2 tensors undecided")


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=90)
numbers = st.floats(min_value=0) | st.just(NAN)
tensors = st.builds(
    TensorCheck,
    name=names,
    verdict=st.sampled_from(["pass", "fail", "inconclusive"]),
    error=numbers,
    bar=numbers,
    resolution=numbers,
    cause=st.sampled_from([None, *BY_CAUSE]),
)


@given(
    tensors=st.lists(tensors, min_size=1, max_size=40),
    verdict=st.sampled_from(["fail", "inconclusive"]),
    width=st.sampled_from([60, 80, 100]),
)
def test_a_report_fits_the_screen_except_for_names_that_must_stay_whole(tensors, verdict, width):
    check = replace(FAILED, verdict=verdict, tensors=tuple(tensors), where="", worst=None, cause=None)

    lines = render_gradients(check, width=width).splitlines()

    named = [t.name for t in tensors]
    assert [row for row in lines if cell_len(row) > width and not any(n in row for n in named)] == []
    assert len(lines) <= 24
    assert re.match("FAILED|INCONCLUSIVE", lines[-1])


def test_neither_a_long_name_nor_its_index_is_cut():
    index = (3, 2, 1, 1_000_000)
    check = replace(
        FAILED,
        tensors=(tensor(LONG_NAME, "fail", error=1.0),) * 30,
        worst=WorstElement(name=LONG_NAME, index=index, analytic=1.0, numerical=2.0),
        where=f"{LONG_NAME}[3, :, :, :]",
    )

    text = str(check)

    assert f"{LONG_NAME}[3, :, :, :]" in text
    assert f"at {LONG_NAME}[3, 2, 1, 1000000]" in text
    assert len(text.splitlines()) <= 24
    assert "more not shown" in text


def test_with_several_wrong_tensors_the_head_counts_them_and_is_about_the_worst_element():
    wrong = (tensor("W1", "fail", error=1.0), tensor("b1", "fail", error=0.5, cause="missing-mean"))
    check = replace(FAILED, cause=None, tensors=wrong, worst=replace(FAILED.worst, name="b1"), where="")

    first = str(check).splitlines()[0]

    assert first.startswith("FAIL  gradients of b1 and 1 more: missing-mean ")
    assert first.endswith("b1[3, 2]")


def test_a_bug_without_a_name_gets_none():
    check = replace(FAILED, cause=None, tensors=(tensor("W1", "fail", error=0.3),))

    assert str(check).startswith("FAIL  gradient of W1: wrong, not named")
    assert next_step(check, check.tensors[0]) == UNNAMED


def test_the_names_in_the_head_are_not_said_again():
    wrong = Reason(code="wrong-tensors", text="wrong for W1")
    named = FAILED.with_reasons(wrong, Reason(code="cause", text=FAILED.detail))

    assert named.detail == "wrong for W1; the analytic gradient is the negative of the numerical one"
    assert str(named) == str(FAILED)
    assert "why" not in str(FAILED.with_reasons(wrong))


def test_a_failure_of_second_order_says_so_in_the_head():
    check = FAILED.with_reasons(
        Reason(code="second-order", text="of the gradient of the gradient"),
        Reason(code="wrong-tensors", text="wrong for W1"),
        Reason(code="cause", text="it is half the other one"),
        order=2,
    )

    text = str(check)

    assert text.startswith("FAIL  second-order gradient of W1: sign-flipped")
    assert "why   of the gradient of the gradient: it is half the other one" in text


def test_every_cause_that_a_check_can_give_comes_with_what_to_look_at():
    documented = set(re.findall(r'``"([a-z0-9-]+)"``', wp.check_gradients.__doc__.partition("``cause``")[2]))

    assert documented == set(get_args(CauseName)) == set(BY_CAUSE)


@pytest.mark.parametrize(
    ("code", "precision", "advice"),
    [
        ("random-function", "float32", "use_deterministic_algorithms"),
        ("kink", "float64", "move the inputs off the kink"),
        ("unresolved", "bfloat16", "let it run in float64"),
        ("unresolved", "float64", "larger resolution="),
    ],
)
def test_what_to_do_depends_on_why_it_could_not_be_told(code, precision, advice):
    check = UNSURE.with_reasons(Reason(code=code, text="a reason"), precision=precision)

    assert advice in next_step(check, None)


@pytest.mark.parametrize(
    ("analytic", "numerical", "shown"),
    [
        (0.03125, 0.031250001, "analytic 0.03125   numerical 0.031250001"),
        (1e-9, 3.14159e-9, "analytic 1e-9   numerical 3.14e-9"),
        (0.0, 2.0, "analytic 0   numerical 2"),
        (2.0, 2.0, "analytic 2   numerical 2"),
        (NAN, 2.0, "analytic nan   numerical 2"),
        (INF, 2.0, "analytic inf   numerical 2"),
    ],
)
def test_two_numbers_have_the_digits_that_tell_them_apart(analytic, numerical, shown):
    assert values(WorstElement(name="x", index=(), analytic=analytic, numerical=numerical)) == shown


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_brief_number_is_right_to_two_digits(value):
    assert math.isclose(float(brief(value)), value, rel_tol=0.05)


def test_what_was_checked_beyond_the_ordinary_is_said():
    check = replace(
        PASSED,
        mode="forward-reverse",
        order=2,
        low_precision_error=2.3e-4,
        precision="float64 replay of float32",
    )

    text = str(check)

    assert "forward mode against reverse, second order too" in text
    assert "the float32 gradient, which training uses, lies 2.3e-4 from the float64 one" in text


def test_a_low_precision_that_changes_nothing_is_said_so():
    check = replace(PASSED, low_precision_error=0.0, precision="float64 replay of bfloat16")

    assert "the bfloat16 gradient, which training uses, is the float64 one up to rounding" in str(check)


def test_a_resolution_that_is_not_finite_promises_nothing():
    assert "no error of any size would surely have been seen" in " ".join(
        str(replace(UNSURE, resolution=INF)).split()
    )


def test_a_check_is_plain_in_a_log_and_coloured_in_a_terminal_that_wants_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", type("Terminal", (StringIO,), {"isatty": lambda self: True})())

    assert "\x1b[1;31mFAIL" in render_gradients(FAILED, color=None)
    assert "\x1b" not in str(FAILED)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in render_gradients(FAILED, color=None)


def test_rich_prints_a_check_by_itself():
    stream = StringIO()
    Console(file=stream, width=80).print(FAILED)

    assert stream.getvalue().rstrip() == str(FAILED)


def test_a_name_cannot_drive_the_terminal():
    check = replace(FAILED, tensors=(tensor("a\x1b[2Jb", "fail", error=1.0),), worst=None, where="")

    assert "\x1b" not in str(check)
    assert "a\\x1b[2Jb" in str(check)


def test_in_a_notebook_everything_is_escaped_and_the_verdict_comes_last():
    check = replace(
        FAILED, tensors=(tensor("<script>", "fail", error=1.0),), worst=None, where="", detail="a < b"
    )

    page = gradients_html(check)

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "why: a &lt; b" in page
    assert page.rindex("<strong>FAILED</strong>") > page.rindex("relative error")


@pytest.mark.parametrize("check", [PASSED, UNSURE, FAILED])
def test_a_notebook_shows_the_verdict_and_what_could_have_been_seen(check):
    page = check._repr_html_()

    assert str(check).splitlines()[-1].split()[0] in page
    assert f"an error above {brief(check.resolution)} would have been seen" in page


@pytest.mark.parametrize("check", [PASSED, UNSURE, FAILED])
def test_the_repr_is_one_line(check):
    assert re.fullmatch(rf"<GradientCheck {check.verdict}[^\n]*>", repr(check))


def test_the_repr_of_a_failure_names_the_place_and_the_bug():
    assert (
        repr(FAILED) == "<GradientCheck fail: W1[3, :] sign-flipped; relative error 0.71, resolution 3e-09>"
    )


def test_no_value_is_left_out_by_accident():
    shown = {f.name for f in fields(GradientCheck)} - {
        "tensors",
        "worst",
        "reasons",
    }  # the detail has the texts of the reasons
    check = replace(
        FAILED,
        relative_error=0.123,
        resolution=4.5e-7,
        confidence=0.977,
        n_forward=4321,
        n_backward=17,
        seed=777,
        low_precision_error=5.5e-5,
        order=2,
        mode="forward",
    )

    text = " ".join(str(check).split())

    said = [
        "0.12",
        "4.5e-7",
        "97.7 %",
        "4321",
        "17 backward",
        "777",
        "5.5e-5",
        "second order",
        "forward mode",
    ]
    said += ["FAILED", "sign-flipped", "negative of the numerical", "W1[3, :]", "float64 replay of float32"]
    assert [word for word in said if word not in text] == []
    assert len(said) == len(shown)
