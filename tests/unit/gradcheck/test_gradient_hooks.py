"""Hooks on gradients: those that change one are told with what they do, those that look are not, and all stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wellposed.gradcheck import check_custom_functions


class Model(nn.Module):
    def __init__(self, hook=None):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)
        self.hook = hook

    def forward(self, x):
        hidden = self.first(x).tanh()
        if self.hook:
            hidden.register_hook(self.hook)
        return self.second(hidden).square().mean()


def hooks_of(model):
    x = torch.linspace(-1, 1, 24).reshape(6, 4)
    names = {module: name or "Model" for name, module in model.named_modules()}
    return check_custom_functions(lambda: model(x), names=names).hooks


def halve_in_place(g):
    g.mul_(0.5)


def without_its_first_row(g):
    return g * (torch.arange(len(g)) > 0)[:, None]


CHANGES = {
    "factor": (lambda g: 0.5 * g, "multiplies it by 0.5", 0.5),
    "in place": (halve_in_place, "multiplies it by 0.5", 0.5),
    "reversal": (lambda g: -g, "reverses its sign", 2.0),
    "zero": (torch.zeros_like, "sets it to zero", 1.0),
    "mask": (without_its_first_row, "sets 8 of its 16 elements to zero", None),
    "clipping": (lambda g: g.clamp(-0.01, 0.01), "clips its elements to between -0.01 and 0.01", None),
    "noise": (lambda g: g + 0.1 * torch.randn_like(g) * g.norm() / 4, "moves it by 0.", None),
}


@pytest.mark.parametrize(("hook", "said", "relative"), CHANGES.values(), ids=CHANGES)
def test_a_hook_that_changes_a_gradient_is_told_with_what_it_does(hook, said, relative):
    model = Model()
    model.second.weight.register_hook(lambda g: hook(g))
    (found,) = hooks_of(model)
    assert (found.kind, found.where) == ("the gradient of", "second.weight")
    assert found.words.startswith(said)
    assert relative is None or found.relative == pytest.approx(relative)


def look(*args):
    return None


def clip_what_is_far(g):
    return g.clamp(-1e3, 1e3)


def test_hooks_that_only_look_are_not_told():
    model = Model(look)
    model.first.weight.register_hook(clip_what_is_far)
    model.second.register_full_backward_hook(look)
    model.second.register_full_backward_pre_hook(look)
    assert hooks_of(model) == ()


def test_the_hooks_of_a_module_are_seen():
    model = Model()
    model.second.register_full_backward_hook(lambda module, of_inputs, of_outputs: (3 * of_inputs[0],))
    model.second.register_full_backward_pre_hook(lambda module, of_outputs: (-of_outputs[0],))
    told = {(h.kind, h.where, h.words) for h in hooks_of(model)}
    assert told == {
        ("the gradient of the inputs of", "second", "multiplies it by 3"),
        ("the gradient of the outputs of", "second", "reverses its sign"),
    }


def test_a_hook_that_a_forward_pass_hangs_on_its_own_tensor_is_seen():
    (found,) = hooks_of(Model(lambda g: -g))
    assert (found.kind, found.where) == ("the gradient of a tensor in", "Model")
    assert "test_gradient_hooks.py:" in found.hook


def test_the_same_code_on_many_parameters_is_told_once():
    model = Model()
    for parameter in model.parameters():
        parameter.register_hook(lambda g: g * g.sign())
    (found,) = hooks_of(model)
    assert found.places == 4


def test_hooks_stay_and_what_they_hold_is_given_back():
    seen: list[float] = []
    model = Model()
    model.first.weight.register_hook(lambda g: seen.append(float(g.norm())))
    before = dict(model.first.weight._backward_hooks or {})
    hooks_of(model)
    assert dict(model.first.weight._backward_hooks or {}) == before
    assert seen == []
    assert "registering" not in torch.Tensor.register_hook.__qualname__
