"""Backward passes that were wrong in released code fail on the inputs that users have, and their mended versions pass."""

from __future__ import annotations

import pytest
import torch

import wellposed as wp
from tests.cases.real_backward_bugs import REAL_BUGS

FLATTERED = [bug for bug in REAL_BUGS if bug.flattering]


def check(built, *, seed=0):
    f, inputs, gradient = built
    return wp.check_gradients(f, *inputs, gradient=gradient, seed=seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bug", REAL_BUGS, ids=lambda bug: bug.issue)
def test_the_wrong_backward_fails_where_it_is_wrong(bug, seed):
    found = check(bug.build(True), seed=seed)
    assert found.verdict == "fail", str(found)
    assert {t.name for t in found.failed} <= set(bug.at_fault)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bug", REAL_BUGS, ids=lambda bug: bug.issue)
def test_the_mended_backward_passes(bug, seed):
    found = check(bug.build(False), seed=seed)
    assert found, str(found)


def in_single_precision(built):
    f, inputs, gradient = built
    f = f.float() if isinstance(f, torch.nn.Module) else f
    return f, [x.float() if isinstance(x, torch.Tensor) else x for x in inputs], gradient


@pytest.mark.parametrize("bug", REAL_BUGS, ids=lambda bug: bug.issue)
def test_single_precision_changes_neither_verdict(bug):
    found = check(in_single_precision(bug.build(True)))
    assert found.verdict == "fail", str(found)
    found = check(in_single_precision(bug.build(False)))
    assert found, str(found)


@pytest.mark.parametrize("bug", [b for b in FLATTERED if not b.beside], ids=lambda bug: bug.issue)
def test_the_wrong_backward_is_right_on_the_inputs_of_its_own_tests(bug):
    """Why nobody saw it; a check on such inputs has nothing to find."""
    found = check(bug.flattering(True))
    assert found, str(found)


@pytest.mark.parametrize("bug", [b for b in FLATTERED if b.beside], ids=lambda bug: bug.issue)
def test_a_single_point_at_which_it_is_right_does_not_hide_it(bug):
    """As gains that are still ones. Nothing was kept from an earlier call, and the failure must not say so."""
    found = check(bug.flattering(True))
    assert found.verdict == "fail", str(found)
    assert found.cause != "stale"


@pytest.mark.parametrize("bug", FLATTERED, ids=lambda bug: bug.issue)
def test_the_mended_backward_passes_on_those_inputs_too(bug):
    found = check(bug.flattering(False))
    assert found, str(found)
