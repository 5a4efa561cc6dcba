"""WP401 to WP403: what they say of hand-written backward passes that are wrong, right, meant, or out of reach."""

from __future__ import annotations

from wellposed.gradcheck.result import CustomBackward, CustomBackwards, GradientCheck
from wellposed.limits import Limits
from wellposed.rules.gradients import gradient_inconclusive, gradient_mismatch, unchecked_custom_backward
from wellposed.rules.table import Fault, NoVerdict


def checked(verdict, *, resolution=1e-6, deliberate=""):
    check = GradientCheck(
        verdict=verdict,
        relative_error=0.3,
        resolution=resolution,
        cause="scaled" if verdict == "fail" else None,
        detail="wrong for x",
        tensors=(),
        worst=None,
        n_forward=33,
        n_backward=1,
        precision="float64",
        seed=0,
    )
    return CustomBackwards(entries=(CustomBackward(name="Kernel", check=check, deliberate=deliberate),))


UNCHECKED = CustomBackwards(entries=(CustomBackward(name="Kernel", check=None, reason="it needs a GPU"),))
RULES = (gradient_mismatch, gradient_inconclusive, unchecked_custom_backward)


def says(rule, custom, limits=None):
    return list(rule(custom, limits or Limits()))


def test_a_wrong_backward_is_a_mismatch_at_its_function():
    (fault,) = says(gradient_mismatch, checked("fail"))
    assert isinstance(fault, Fault)
    assert (fault.where, fault.measured) == ("Kernel", 0.3)
    assert "scaled" in fault.summary


def test_a_right_backward_has_no_finding():
    assert [says(rule, checked("pass")) for rule in RULES] == [[], [], []]


def test_a_surrogate_is_a_note_and_no_mismatch():
    custom = checked("fail", deliberate="its forward pass is the identity")
    assert says(gradient_mismatch, custom) == []
    (note,) = says(gradient_inconclusive, custom)
    assert isinstance(note, Fault)
    assert "identity" in note.summary


def test_what_could_not_be_resolved_is_a_note():
    (note,) = says(gradient_inconclusive, checked("inconclusive", resolution=0.3))
    assert isinstance(note, Fault)
    assert note.measured == 0.3


def test_a_tighter_limit_asks_for_a_finer_resolution():
    custom = checked("pass", resolution=5e-3)
    assert says(gradient_inconclusive, custom) == []
    assert len(says(gradient_inconclusive, custom, Limits(gradient_resolution=1e-3))) == 1


def test_one_that_was_not_checked_is_a_note_with_the_reason():
    (note,) = says(unchecked_custom_backward, UNCHECKED)
    assert isinstance(note, Fault)
    assert "it needs a GPU" in note.summary
    assert says(gradient_mismatch, UNCHECKED) == [NoVerdict(reason="no custom backward could be checked")]


def test_without_any_there_is_no_verdict():
    for rule in RULES:
        assert says(rule, CustomBackwards()) == [NoVerdict(reason="no custom backward")]
