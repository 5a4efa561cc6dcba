"""Scopes inside a scope, which may write where the outer one lent copies."""

import pytest
import torch
from torch import nn

from wellposed.runtime.torch.restore import preserved


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def storages(model):
    return [t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())]


def values(model):
    return [t.detach().clone() for t in (*model.parameters(), *model.buffers())]


def scramble(model):
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.add_(1)


def scramble_and_fail(model):
    scramble(model)
    raise TypeError


def equal(model, expected):
    return all(map(torch.equal, values(model), expected))


def test_in_place_makes_no_further_copy_and_gives_everything_back(model):
    own, before = storages(model), values(model)
    with preserved(model):
        lent = storages(model)
        assert not set(own) & set(lent)
        with preserved(model, in_place=True):
            assert storages(model) == lent
            scramble(model)
        assert equal(model, before)
        with pytest.raises(TypeError), preserved(model, in_place=True):
            scramble_and_fail(model)
        assert equal(model, before)
    assert storages(model) == own
    assert equal(model, before)


def test_what_was_changed_since_is_copied(model):
    with preserved(model):
        with torch.no_grad():
            model[0].weight[0, 0] = float("nan")
        changed, lent = model[0].weight.detach().clone(), storages(model)
        with preserved(model, in_place=True):
            assert model[0].weight.untyped_storage().data_ptr() != lent[0]
            assert storages(model)[1:] == lent[1:]
            scramble(model)
        assert torch.equal(model[0].weight.isnan(), changed.isnan())
        assert torch.equal(model[0].weight[1:], changed[1:])


def test_alone_it_copies_as_ever(model):
    own, before = storages(model), values(model)
    with preserved(model, in_place=True):
        assert not set(own) & set(storages(model))
        scramble(model)
    assert storages(model) == own
    assert equal(model, before)


def test_views_of_one_storage_go_on_sharing_it():
    whole = torch.arange(6.0)
    rows = {"left": whole[:3], "right": whole[2:]}
    with preserved(rows), preserved(rows, in_place=True):
        rows["left"][2] = 9
        assert rows["right"][0] == 9
    assert whole.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("nested", [False, True])
def test_values_before_stay_what_they_were(model, nested):
    before = model[0].weight.detach().clone()
    with preserved(model):
        scope = preserved(model, in_place=True) if nested else preserved(model)
        with scope:
            source = scope.values_before(model[0].weight)
            scramble(model)
            assert torch.equal(source, before)
            assert not torch.equal(model[0].weight, before)
