"""`wp.check` and `Normalizer` read the same targets and inputs out of one dict."""

import pytest
import torch

import wellposed as wp
from wellposed.errors import DataError
from wellposed.runtime.batch_keys import INPUT_KEYS, TARGET_KEYS
from wellposed.runtime.torch.batch import as_batch

ROWS = 4


def batch(*keys: str) -> dict[str, torch.Tensor]:
    return {key: torch.full((ROWS, 1), float(i + 1)) for i, key in enumerate(keys)}


PAIRS = [(a, b) for a in TARGET_KEYS for b in TARGET_KEYS if a != b]


@pytest.mark.parametrize("keys", [("x", "y"), *(("x", *pair) for pair in PAIRS)], ids=",".join)
def test_both_read_the_same_targets(keys: tuple[str, ...]) -> None:
    data = batch(*keys)

    read_by_check = as_batch(data).targets
    read_by_fit = wp.Normalizer.fit(data, of="targets")

    assert read_by_fit.mean.tolist() == read_by_check.mean(0).tolist()


def test_the_targets_are_the_first_of_the_keys_in_the_order_of_the_docs() -> None:
    assert TARGET_KEYS == ("labels", "label", "targets", "target", "y")
    assert as_batch(batch("y", "target", "labels", "x")).targets[0] == 3


@pytest.mark.parametrize("key", INPUT_KEYS)
def test_what_is_normalised_is_an_input_of_the_model(key: str) -> None:
    data = batch("y", key, "weight")

    read_by_check = as_batch(data)
    assert read_by_check.kwargs is not None

    assert wp.Normalizer.fit(data).mean.tolist() == read_by_check.kwargs[key].mean(0).tolist()


def test_a_dict_without_targets_is_refused_by_both_with_the_same_keys() -> None:
    for read in (as_batch, lambda data: wp.Normalizer.fit(data, of="targets")):
        with pytest.raises(DataError, match="labels, label, targets, target, y"):
            read(batch("x"))
