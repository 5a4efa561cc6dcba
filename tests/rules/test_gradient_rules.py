"""WP401 to WP403: what they say of hand-written backward passes that are wrong, right, meant, or out of reach."""

from __future__ import annotations

from wellposed.gradcheck.result import (
    CustomBackward,
    CustomBackwards,
    GradientCheck,
    GradientHook,
    WorstElement,
)
from wellposed.limits import Limits
from wellposed.report import Severity
from wellposed.rules.gradients import gradient_inconclusive, gradient_mismatch, unchecked_custom_backward
from wellposed.rules.table import Defect, NoVerdict


def checked(verdict, *, resolution=1e-6, worst=None, **more):
    check = GradientCheck(
        verdict=verdict,
        relative_error=0.3,
        resolution=resolution,
        cause="scaled" if verdict == "fail" else None,
        detail="wrong for x",
        tensors=(),
        worst=worst,
        n_forward=33,
        n_backward=1,
        precision="float64",
        seed=0,
    )
    return CustomBackwards(entries=(CustomBackward(name="Kernel", check=check, **more),))


UNCHECKED = CustomBackwards(entries=(CustomBackward(name="Kernel", check=None, reason="it needs a GPU"),))
RULES = (gradient_mismatch, gradient_inconclusive, unchecked_custom_backward)


def says(rule, custom, limits=None):
    return list(rule(custom, limits or Limits()))


def test_a_wrong_backward_is_a_mismatch_at_its_function():
    (fault,) = says(gradient_mismatch, checked("fail"))
    assert isinstance(fault, Defect)
    assert (fault.where, fault.measured) == ("Kernel", 0.3)
    assert "scaled" in fault.summary


def test_a_right_backward_has_no_finding():
    assert [says(rule, checked("pass")) for rule in RULES] == [[], [], []]


def test_a_surrogate_is_a_note_and_no_mismatch():
    custom = checked("fail", deliberate="its forward pass is the identity")
    assert says(gradient_mismatch, custom) == []
    (note,) = says(gradient_inconclusive, custom)
    assert isinstance(note, Defect)
    assert "identity" in note.summary


def test_what_could_not_be_resolved_is_a_note():
    (note,) = says(gradient_inconclusive, checked("inconclusive", resolution=0.3))
    assert isinstance(note, Defect)
    assert note.measured == 0.3


def test_a_tighter_limit_asks_for_a_finer_resolution():
    custom = checked("pass", resolution=5e-3)
    assert says(gradient_inconclusive, custom) == []
    assert len(says(gradient_inconclusive, custom, Limits(gradient_resolution=1e-3))) == 1


def test_one_that_was_not_checked_is_a_note_with_the_reason():
    (note,) = says(unchecked_custom_backward, UNCHECKED)
    assert isinstance(note, Defect)
    assert "it needs a GPU" in note.summary
    assert says(gradient_mismatch, UNCHECKED) == [NoVerdict(reason="no custom backward could be checked")]


def test_without_any_there_is_no_verdict():
    for rule in RULES:
        assert says(rule, CustomBackwards()) == [
            NoVerdict(reason="no custom backward", outcome="not applicable")
        ]


def test_a_fault_says_where_in_the_model_which_element_and_how_to_repeat_it():
    worst = WorstElement(name="x", index=(3, 1), analytic=1.5, numerical=3.0)
    note = "only for tensors that are not contiguous: x has strides (1, 4)"
    custom = checked("fail", worst=worst, module="layers.3", given="x float32[8, 4]", note=note)
    (fault,) = says(gradient_mismatch, custom)
    assert isinstance(fault, Defect)
    assert fault.where == "layers.3: Kernel"
    assert "at x[3, 1] it gives 1.5, and differences 3" in fault.summary
    assert note in fault.summary
    assert "wellposed.check_gradients(Kernel.apply, *inputs); here it got x float32[8, 4]" in fault.fix


def test_one_that_is_right_for_this_loss_alone_is_a_warning():
    (fault,) = says(gradient_mismatch, checked("fail", elsewhere=True))
    assert isinstance(fault, Defect)
    assert fault.severity is Severity.WARNING
    assert "right for the gradient that this loss sends it" in fault.summary


def test_one_that_went_astray_in_the_model_alone_is_a_mismatch():
    (fault,) = says(gradient_mismatch, checked("pass", strayed=0.83))
    assert isinstance(fault, Defect)
    assert fault.measured == 0.83
    assert "right by itself" in fault.summary


def test_calls_that_were_left_unchecked_are_a_note():
    custom = checked("pass", calls=9, checked=4, left="5 calls with other settings")
    (note,) = says(unchecked_custom_backward, custom)
    assert isinstance(note, Defect)
    assert (note.measured, "5 calls with other settings" in note.summary) == (5.0, True)
    assert says(gradient_mismatch, custom) == []


def hooked(places):
    hook = GradientHook(
        hook="clip, train.py:12", where="head.weight", kind="the gradient of", words="multiplies it by 0.5",
        relative=0.5, places=places,
    )  # fmt: skip
    return CustomBackwards(hooks=(hook,))


def test_a_hook_that_changes_a_gradient_is_a_note_and_no_mismatch():
    (note,) = says(gradient_inconclusive, hooked(1))
    assert isinstance(note, Defect)
    assert note.where == "head.weight"
    assert (
        note.summary
        == "a hook (clip, train.py:12) changes the gradient of head.weight: it multiplies it by 0.5"
    )
    assert says(gradient_mismatch, hooked(1)) == [
        NoVerdict(reason="no custom backward", outcome="not applicable")
    ]


def test_a_hook_on_many_parameters_is_told_once():
    (note,) = says(gradient_inconclusive, hooked(7))
    assert isinstance(note, Defect)
    assert "head.weight and 6 more alike" in note.summary
