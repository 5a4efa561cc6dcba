"""The gradient of a whole loss against its differences, and what cuts it off."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.gradcheck.loss_gradient import check_loss_gradient

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :1] * X[:, 1:2]


class Net(nn.Module):
    def __init__(self, forward=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 1)
        self.own = forward

    def forward(self, x):
        return self.own(self, x) if self.own else self.last(torch.tanh(self.first(x)))


def plain(net, x):
    return net.last(torch.tanh(net.first(x)))


def slope_at(net, x, *, create_graph):
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(plain(net, x).sum(), x, create_graph=create_graph)
    return slope


def with_penalty(create_graph):
    return lambda net, x: plain(net, x) + slope_at(net, x, create_graph=create_graph).square().sum(1, True)


def adversarial(net, x):
    slope = slope_at(net, x, create_graph=False)
    return plain(net, x + slope)


def detached(net, x):
    return plain(net, x) * plain(net, x).detach()


def without_grad(net, x):
    with torch.no_grad():
        scale = net.last.weight.norm()
    return plain(net, x) / scale


def itemised(net, x):
    return plain(net, x) * net.last.weight.norm().item()


def dropped_out(net, x):
    return net.last(F.dropout(F.relu(net.first(x)), 0.5, training=net.training))


def checked(forward):
    return check_loss_gradient(wp.Problem(model=Net(forward), loss=F.mse_loss, train=(X, Y)), seed=0)


@pytest.mark.parametrize("forward", [None, dropped_out, with_penalty(True)])
def test_the_gradient_of_a_loss_is_its_derivative(forward):
    assert checked(forward).verdict == "pass"


@pytest.mark.parametrize(
    ("forward", "cut"),
    [
        (with_penalty(False), "create-graph"),
        (adversarial, "detached"),
        (detached, "detached"),
        (without_grad, "detached"),
        (itemised, None),
    ],
)
def test_what_cuts_a_gradient_off_is_named(forward, cut):
    found = checked(forward)
    assert (found.verdict, found.cut) == ("fail", cut)
    assert found.check is not None
    assert found.check.worst is not None


def test_a_slope_that_drowns_in_rounding_is_not_judged():
    model = Net(lambda net, x: 1e12 + plain(net, x))
    found = check_loss_gradient(wp.Problem(model=model, loss=F.l1_loss, train=(X, Y)), seed=0)
    assert found.verdict == "inconclusive"


def test_nothing_is_left_behind():
    model = Net(with_penalty(False))
    problem = wp.Problem(model=model, loss=F.mse_loss, train=(X, Y))
    state, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    wp.check(problem)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
