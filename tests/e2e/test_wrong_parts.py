"""Models, losses and data that cannot work, at every door that takes them: one error of ours, and whose fault it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import wellposed as wp
from wellposed.errors import ArgumentError, DataError, ProblemError, UserCodeError, WellposedError

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
FITTED = wp.Normalizer.fit(X)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


class NotYet(nn.Module):
    def __init__(self) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x


class Broken(Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        raise OSError("the disk is gone")


class BrokenAtOnce:
    def __iter__(self) -> Iterator[Any]:
        raise OSError("the disk is gone")


class BrokenLater:
    def __iter__(self) -> Iterator[Any]:
        yield X, Y
        raise OSError("the disk is gone")


class WithoutLength(Broken):
    def __len__(self) -> int:
        raise OSError("the disk is gone")


DOORS: dict[str, Callable[..., Any]] = {
    "check": lambda model=None, loss=F.cross_entropy, train=(X, Y), **o: wp.check(model or net(), loss, train, **o),
    "measure_signals": lambda model=None, loss=F.cross_entropy, train=(X, Y): wp.measure_signals(
        model or net(), loss, train
    ),
    "check_gradients": lambda model=None, loss=F.cross_entropy, train=(X, Y): wp.check_gradients(
        wp.Problem(model=model or net(), loss=loss, train=train)
    ),
    "initialize": lambda model=None, loss=F.cross_entropy, train=(X, Y): wp.initialize(
        model or net(), train[0], loss=loss, targets=train[1]
    ),
}  # fmt: skip
everywhere = pytest.mark.parametrize("door", DOORS)
reading = pytest.mark.parametrize("door", ["check", "measure_signals", "check_gradients"])


@everywhere
def test_a_module_that_was_never_initialised_is_refused(door: str) -> None:
    with pytest.raises(ProblemError, match=r"NotYet.__init__ does not call super\(\).__init__\(\)"):
        DOORS[door](model=NotYet())


@everywhere
@pytest.mark.parametrize("part", ["model", "inputs", "targets"])
def test_what_is_on_the_meta_device_is_refused(door: str, part: str) -> None:
    with pytest.raises(WellposedError, match="meta device"):
        DOORS[door](
            model=net().to("meta") if part == "model" else None,
            train=(X.to("meta") if part == "inputs" else X, Y.to("meta") if part == "targets" else Y),
        )


@everywhere
@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda o, y: o.sum() * 1j, "loss returned a complex number"),
        (lambda o, y: None, "loss returned None"),
        (lambda o, y: o, "loss returned shape"),
    ],
    ids=["complex", "none", "vector"],
)
def test_a_loss_that_is_no_real_number_is_refused(door: str, loss: Any, said: str) -> None:
    with pytest.raises(ProblemError, match=said):
        DOORS[door](loss=loss)


@everywhere
def test_what_a_loss_raises_is_the_users(door: str) -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise ZeroDivisionError("no rows")

    with pytest.raises(UserCodeError, match="loss raised ZeroDivisionError") as raised:
        DOORS[door](loss=loss)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@reading
@pytest.mark.parametrize(
    "data",
    [Broken(), BrokenAtOnce(), BrokenLater(), WithoutLength(), DataLoader(Broken())],
    ids=["dataset", "at once", "later", "length", "loader"],
)
def test_what_data_raise_is_the_users(door: str, data: Any) -> None:
    if door == "check_gradients" and isinstance(data, BrokenLater):
        return  # it reads one batch
    with pytest.raises(UserCodeError, match=r"reading train raised OSError: the disk is gone"):
        DOORS[door](train=data)


def test_what_validation_data_raise_is_the_users_too() -> None:
    with pytest.raises(UserCodeError, match="reading validation raised OSError"):
        DOORS["check"](validation=Broken())
    with pytest.raises(DataError, match="validation holds tensors on the meta device"):
        DOORS["check"](validation=(X.to("meta"), Y.to("meta")))


def test_what_collating_raises_is_the_users() -> None:
    def collate(samples: Any) -> Any:
        raise OSError("the disk is gone")

    with pytest.raises(UserCodeError, match="reading train raised OSError"):
        DOORS["check"](train=DataLoader(TensorDataset(X, Y), collate_fn=collate))


@reading
def test_a_closed_file_and_a_class_are_no_data(door: str, tmp_path: Any) -> None:
    with (tmp_path / "closed").open("w") as file:
        pass
    with pytest.raises(UserCodeError, match="reading train raised ValueError"):
        DOORS[door](train=file)
    with pytest.raises(DataError, match="train is the class DataLoader, which takes arguments"):
        DOORS[door](train=DataLoader)


def test_signals_of_a_loss_without_a_gradient_are_refused() -> None:
    with pytest.raises(ProblemError, match="loss gives no parameter a gradient"):
        DOORS["measure_signals"](loss=lambda o, y: F.cross_entropy(o, y).detach())


# --- statistics


@pytest.mark.parametrize(
    "read", [wp.Normalizer.fit, wp.Moments.of, FITTED.drift], ids=["fit", "moments", "drift"]
)
def test_what_data_raise_is_the_users_where_statistics_are_read(read: Callable[[Any], Any]) -> None:
    for data in (BrokenAtOnce(), BrokenLater(), DataLoader(Broken())):
        with pytest.raises(UserCodeError, match="reading the data raised OSError"):
            read(data)
    for nothing, said in (
        (None, "None"),
        (len, "builtin_function_or_method"),
        (DataLoader, "the class DataLoader"),
    ):
        with pytest.raises(DataError, match=f"the data are .*{said}: expected an array"):
            read(nothing)


@pytest.mark.parametrize(
    "use", [FITTED, FITTED.inverse, FITTED.to_torch()], ids=["apply", "inverse", "module"]
)
def test_a_sparse_tensor_is_not_normalised(use: Callable[[Any], Any]) -> None:
    with pytest.raises(DataError, match=r"expected a dense one, as .to_dense\(\) gives"):
        use(torch.eye(4).to_sparse())


def test_an_array_whose_conversion_fails_is_none() -> None:
    class Failing:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise ZeroDivisionError("nothing there")

    with pytest.raises(DataError, match="x is no array of numbers"):
        FITTED(Failing())


# --- results and settings made by hand


def test_empty_parts_and_shares_above_one_are_refused() -> None:
    problem = wp.Problem(model=net(), loss=F.cross_entropy, train=(X, Y))
    for keys in (("WP1", ""), "WP1,,WP2", "WP1,"):
        with pytest.raises(ArgumentError, match="a part of select is ''"):
            wp.check(problem, select=keys)
    with pytest.raises(ArgumentError, match="feature_names"):
        wp.Problem(model=net(), feature_names=())
    with pytest.raises(ArgumentError, match=r"dead_share is 1\.5: expected a share of units, from 0 to 1"):
        wp.Limits(dead_share=1.5)
    with pytest.raises(ArgumentError, match="layers is 5"):
        wp.SignalProfile(layers=5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"columns is .*at most"):
        wp.Moments.empty(10**15)


@pytest.mark.parametrize("result", [None, "a", 3])
def test_an_activation_that_gives_no_array_is_refused_with_what_it_gave(result: Any) -> None:
    with pytest.raises(ArgumentError, match="activation returned"):
        wp.gain(lambda z: result)


def test_inputs_of_which_none_is_a_tensor_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"no input is a tensor \('abc'\), and gradient= is missing"):
        wp.check_gradients(np.sum, "abc")
