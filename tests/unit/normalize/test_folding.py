"""Folding a normalizer into a model: the same function of raw inputs, or a refusal that says why."""

from __future__ import annotations

import contextlib
import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from wellposed import Normalizer
from wellposed.errors import ArgumentError
from wellposed.normalize.torch.fold import fold_into

RNG = np.random.default_rng(0)
TABLE = RNG.normal([5.0, -300.0, 0.02, 40.0], [2.0, 50.0, 0.004, 3.0], size=(64, 4))
IMAGES = RNG.normal([[[100.0]], [[120.0]], [[60.0]]], [[[50.0]], [[3.0]], [[9.0]]], size=(8, 3, 28, 28))


@pytest.fixture(scope="module")
def table() -> Normalizer:
    return Normalizer.fit(TABLE)


@pytest.fixture(scope="module")
def images() -> Normalizer:
    return Normalizer.fit(IMAGES)


def assert_same_function(n: Normalizer, model: nn.Module, folded: nn.Module, *x: torch.Tensor) -> None:
    first, *others = x
    torch.testing.assert_close(
        folded.eval()(first, *others), model.eval()(n(first), *others), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_layer_takes_raw_inputs(table: Normalizer, bias: bool) -> None:
    layer, x = nn.Linear(4, 3, bias=bias, dtype=torch.float64), torch.tensor(TABLE)

    folded = fold_into(table, layer)

    assert_same_function(table, layer, folded, x)
    assert folded is not layer
    assert (layer.bias is not None) == bias


def test_nothing_of_the_users_is_touched(table: Normalizer) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2)).train()
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones(2, 8)
    before = copy.deepcopy(model.state_dict())
    states = torch.get_rng_state(), random.getstate()

    folded = fold_into(table, model)
    with pytest.raises(ArgumentError):
        fold_into(table, nn.Sequential(nn.Dropout(), model))

    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert model.training
    assert folded.training
    assert bool((model[3].weight.grad == 1).all())
    assert not folded[0].weight.requires_grad
    assert not model[0]._forward_pre_hooks
    assert folded.state_dict().keys() == model.state_dict().keys()


class Backwards(nn.Module):
    """Layers registered in another order than they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))


class Gated(nn.Module):
    """Two layers see the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(4, 3), nn.Linear(4, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value(x) * torch.sigmoid(self.gate(x))


class Sliced(nn.Module):
    """Two layers see parts of the inputs, one of them in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x[:, [3, 0, 1]]) + self.right(x[:, 2:])


@pytest.mark.parametrize("model", [Backwards(), Gated(), Sliced()], ids=lambda m: type(m).__name__)
def test_every_layer_that_sees_the_inputs_takes_its_part(table: Normalizer, model: nn.Module) -> None:
    model = model.double()

    assert_same_function(table, model, fold_into(table, model), torch.tensor(TABLE))


CONVOLUTIONS = {
    "unpadded": {"kernel_size": 3},
    "zero padded": {"kernel_size": 3, "padding": 1},
    "same, even kernel": {"kernel_size": 4, "padding": "same", "dilation": 2},
    "valid": {"kernel_size": 3, "padding": "valid"},
    "strided, one side": {"kernel_size": (3, 5), "padding": (0, 2), "stride": 2},
    "grouped": {"kernel_size": 3, "padding": 2, "groups": 3, "dilation": 2},
    "reflect": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "replicate": {"kernel_size": 3, "padding": 2, "padding_mode": "replicate"},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "bias": False},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_of_any_padding_folds(images: Normalizer, options: dict) -> None:
    layer, x = nn.Conv2d(3, 6, **options, dtype=torch.float64), torch.tensor(IMAGES)

    folded = fold_into(images, layer)

    assert_same_function(images, layer, folded, x)
    assert_same_function(images, layer, copy.deepcopy(folded), x[0])
    assert isinstance(folded, nn.Conv2d)


@pytest.mark.parametrize(("kind", "spatial"), [(nn.Conv1d, (9,)), (nn.Conv3d, (5, 6, 7))])
@pytest.mark.parametrize("padding", [0, 1])
def test_convolutions_over_one_and_three_axes_fold(
    kind: type, spatial: tuple[int, ...], padding: int
) -> None:
    x = RNG.normal(7.0, 2.0, size=(6, 2, *spatial))
    n, layer = Normalizer.fit(x, axis=1), kind(2, 4, 3, padding=padding, dtype=torch.float64)

    assert_same_function(n, layer, fold_into(n, layer), torch.tensor(x))


def test_a_padded_convolution_keeps_its_names_and_adds_its_padding(images: Normalizer) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, dtype=torch.float64), nn.ReLU())

    folded = fold_into(images, model)
    scripted = torch.export.export(folded, (torch.tensor(IMAGES),)).module()

    assert list(folded.state_dict()) == ["0.weight", "0.bias", "0.padding_center"]
    torch.testing.assert_close(scripted(torch.tensor(IMAGES)), folded(torch.tensor(IMAGES)))


def test_centers_of_zero_need_no_other_padding() -> None:
    x = IMAGES
    n, layer = Normalizer.fit(x, method="maxabs"), nn.Conv2d(3, 4, 3, padding=1, dtype=torch.float64)

    folded = fold_into(n, layer)

    assert type(folded) is nn.Conv2d
    assert_same_function(n, layer, folded, torch.tensor(x))


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 5),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 12 * 12, 2),
    )


@pytest.mark.parametrize(
    "model",
    [
        network(),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 4)),
        nn.Sequential(nn.MaxPool2d(3), nn.Conv2d(3, 2, 3)),
    ],
)
def test_models_of_images_fold_without_an_example(images: Normalizer, model: nn.Module) -> None:
    model = model.double()

    assert_same_function(images, model, fold_into(images, model), torch.tensor(IMAGES))


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.permute(0, 3, 1, 2))


def test_channels_may_stand_last_in_the_data() -> None:
    x = np.moveaxis(IMAGES, 1, 3)
    n, model = Normalizer.fit(x, axis=3), ChannelsLast().double()

    assert_same_function(n, model, fold_into(n, model), torch.tensor(x))


def test_statistics_of_each_pixel_fold_into_a_flattened_layer_and_not_into_a_convolution() -> None:
    x = RNG.normal(3.0, 1.0, size=(9, 1, 4, 5))
    n = Normalizer.fit(x, axis=(1, 2, 3))
    model = nn.Sequential(nn.Flatten(), nn.Linear(20, 2)).double()

    assert_same_function(n, model, fold_into(n, model), torch.tensor(x))
    with pytest.raises(ArgumentError, match="each of its channels must be one column"):
        fold_into(n, nn.Conv2d(1, 2, 3))


def test_one_mean_for_all_channels_folds() -> None:
    n, layer = Normalizer.fit(IMAGES, axis=()), nn.Conv2d(3, 2, 3, padding=1).double()

    assert_same_function(n, layer, fold_into(n, layer), torch.tensor(IMAGES))


def test_sequences_fold_along_their_last_axis() -> None:
    x = RNG.normal([1.0, 50.0], [1.0, 9.0], size=(5, 7, 2))
    n, model = Normalizer.fit(x), nn.Sequential(nn.Linear(2, 3), nn.Tanh()).double()

    assert_same_function(n, model, fold_into(n, model), torch.tensor(x))


CORRELATED = RNG.normal(size=(80, 4)) @ RNG.normal(size=(4, 4)) + 20


@pytest.mark.parametrize("method", ["whiten", "zca"])
@pytest.mark.parametrize("model", [nn.Linear(4, 3), Gated()], ids=["layer", "gated"])
def test_whitening_folds_where_a_layer_sees_every_column(method: str, model: nn.Module) -> None:
    n, model = Normalizer.fit(CORRELATED, method=method), copy.deepcopy(model).double()

    assert_same_function(n, model, fold_into(n, model), torch.tensor(CORRELATED))


def test_whitening_of_some_columns_folds() -> None:
    n = Normalizer.fit(CORRELATED, method="zca", columns=[0, 2])
    model = nn.Linear(4, 3).double()

    assert_same_function(n, model, fold_into(n, model), torch.tensor(CORRELATED))


def test_whitening_is_refused_where_a_layer_sees_a_part_of_the_mixture(images: Normalizer) -> None:
    with pytest.raises(ArgumentError, match="left does not see every whitened column once"):
        fold_into(Normalizer.fit(CORRELATED, method="zca"), Sliced())
    with pytest.raises(ArgumentError, match="groups=3, and whitening mixes channels"):
        fold_into(Normalizer.fit(IMAGES, method="zca"), nn.Conv2d(3, 3, 3, groups=3))


class Tabular(nn.Module):
    """Codes through embeddings, joined with numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.shop, self.day = nn.Embedding(11, 3), nn.Embedding(7, 2)
        self.joined, self.alone = nn.Linear(4 + 5, 6), nn.Linear(4, 6)

    def forward(self, x_cat: torch.Tensor, x_num: torch.Tensor, gain: float = 1.0) -> dict[str, torch.Tensor]:
        codes = [self.shop(x_cat[:, 0]), self.day(x_cat[:, 1])]
        return {"logits": gain * self.joined(torch.cat([*codes, x_num], dim=1)) + self.alone(x_num)}


class OfDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = Tabular()

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.table(batch["x_cat"], batch["x_num"])["logits"]


CODES = torch.stack([torch.arange(64) % 11, torch.arange(64) % 7], dim=1)


@pytest.mark.parametrize(
    "example",
    [
        None,
        {"x_cat": CODES, "x_num": torch.tensor(TABLE)},
        (CODES[:5], torch.tensor(TABLE[:5]).float()),
    ],
    ids=["guessed", "by name", "by place"],
)
def test_one_of_several_inputs_folds_by_name(table: Normalizer, example) -> None:
    model, x = Tabular().double(), torch.tensor(TABLE)

    folded = fold_into(table, model, input="x_num", example=example)

    torch.testing.assert_close(
        folded(CODES, x)["logits"], model(CODES, table(x))["logits"], rtol=1e-9, atol=1e-9
    )


def test_a_model_of_one_dict_folds_with_an_example(table: Normalizer) -> None:
    model, x = OfDict().double(), torch.tensor(TABLE)

    folded = fold_into(table, model, input="x_num", example={"x_cat": CODES, "x_num": x})

    expected = model({"x_cat": CODES, "x_num": table(x)})
    torch.testing.assert_close(folded({"x_cat": CODES, "x_num": x}), expected, rtol=1e-9, atol=1e-9)


class Residual(nn.Module):
    """What it does to the inputs beside its layer starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.share = nn.Linear(4, 4), nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.share * x


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.code, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.code.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(torch.tanh(self.code(x)))


def zero_head() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    nn.init.zeros_(model[1].weight)
    return model


def hooked() -> nn.Module:
    layer = nn.Linear(4, 3)
    layer.register_forward_pre_hook(lambda module, args: None)
    return layer


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * 0.0


class NoTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> str:
        return str(self.layer(x).shape)


class Steered(nn.Module):
    """Something beside two layers is given the inputs."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.first, self.second, self._forward = nn.Linear(4, 3), nn.Linear(4, 3), forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward(self, x)


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def swallowing(m: Steered, x: torch.Tensor) -> torch.Tensor:
    with contextlib.suppress(ArgumentError):
        return m.first(x) + 0 * x.clamp(0).sum()
    return m.first(x)


def into_a_buffer(m: Steered, x: torch.Tensor) -> torch.Tensor:
    held = torch.zeros_like(x)
    held[:, 1:] = x[:, :3]
    return m.first(x) + held.sum()


STEERED = {
    "clamp": lambda m, x: m.first(torch.clamp(x, -1000, 1000)),
    "mean": lambda m, x: m.first(x) if x.mean() > -1e9 else m.second(x),
    "abs": lambda m, x: m.first(x) * (x.abs().sum(-1, keepdim=True) > 1e-9),
    "nan_to_num": lambda m, x: m.first(torch.nan_to_num(x)),
    "mul": lambda m, x: m.first(x) + Twice.apply(x).sum(),
    "numpy": lambda m, x: m.first(torch.from_numpy(x.numpy().clip(-1e6))),
    "tolist": lambda m, x: m.first(torch.tensor(x.tolist(), dtype=x.dtype)),
    "local_scalar_dense": lambda m, x: m.first(x) if float(x[0, 0]) < 1e9 else m.second(x),
    "to_copy": lambda m, x: m.first(x.half().double()),
    "add": lambda m, x: m.first(x.data.add_(0)),
    "sum": into_a_buffer,
    "clamp.": swallowing,
}


@pytest.mark.parametrize(("name", "forward"), STEERED.items(), ids=STEERED)
def test_whatever_else_is_given_the_inputs_is_refused_by_name(name: str, forward) -> None:
    holes = TABLE.copy()
    holes[3, 2] = np.nan

    with pytest.raises(ArgumentError, match=rf"in eval mode: something else sees the inputs.*\({name}"):
        fold_into(Normalizer.fit(holes), Steered(forward))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_function_is_looked_into(table: Normalizer) -> None:
    def capped(x: torch.Tensor) -> torch.Tensor:
        return x.clamp(-1e6, 1e6)

    scripted = torch.jit.script(capped)

    with pytest.raises(ArgumentError, match=r"\(clamp\)"):
        fold_into(table, Steered(lambda m, x: m.first(scripted(x))))


MOVED = {
    "copied": lambda m, x: m.first(x.clone().contiguous()[:, [1, 0, 3, 2]]),
    "joined": lambda m, x: m.first(torch.cat([x[:, 2:], torch.ones_like(x[:, :2])], dim=1)),
    "filled in": lambda m, x: m.first(torch.zeros_like(x).index_copy_(1, torch.tensor([2, 0]), x[:, :2])),
    "stacked": lambda m, x: m.first(torch.stack(x.unbind(1), dim=-1)) + m.second(x.flip(-1)).relu(),
}


@pytest.mark.parametrize("forward", MOVED.values(), ids=MOVED)
def test_entries_may_be_moved_about(forward) -> None:
    holes = TABLE.copy()
    holes[3, 2] = np.nan
    n, model = Normalizer.fit(holes), Steered(forward).double()

    assert_same_function(n, model, fold_into(n, model), torch.tensor(TABLE))


def test_a_branch_on_what_a_layer_gives_is_tried_far_beyond_the_training_range(table: Normalizer) -> None:
    def overflowing(m: Steered, x: torch.Tensor) -> torch.Tensor:
        return m.first(x) if m.second(x).abs().max() < 3 else m.first(x.clamp(-1, 1))

    model = Steered(overflowing)
    for p in model.second.parameters():
        nn.init.constant_(p, 0.1)

    with pytest.raises(ArgumentError, match="something else sees the inputs"):
        fold_into(table, model)


def test_a_branch_is_tried_on_the_example(table: Normalizer) -> None:
    def rare(m: Steered, x: torch.Tensor) -> torch.Tensor:
        return m.first(x) if m.second(x)[0, 0] < 1e6 else m.first(x.clamp(-1, 1))

    model = Steered(rare)
    for p in model.second.parameters():
        nn.init.ones_(p)

    assert fold_into(table, model, example=torch.tensor(TABLE)) is not model
    with pytest.raises(ArgumentError, match="something else sees the inputs"):
        fold_into(table, model, example=torch.tensor(TABLE + 1e9))


@pytest.mark.parametrize("far", [1e3, 1e7])
def test_columns_far_from_zero_fold_into_wide_layers(far: float) -> None:
    n = Normalizer.fit(RNG.normal(size=(50, 4)) + far)
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 2)).double()

    folded = fold_into(n, model).eval()

    x = torch.tensor(RNG.normal(size=(50, 4)) + far)
    torch.testing.assert_close(folded(x), model.eval()(n(x)), rtol=0, atol=far * 1e-13)


def test_a_head_of_zeros_hides_nothing_and_folds(table: Normalizer) -> None:
    model = zero_head().double()

    assert_same_function(table, model, fold_into(table, model), torch.tensor(TABLE))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(5, 3)), "0 takes 5 features, the normalizer has 4 columns"),
        (nn.Linear(5, 3), "the layer takes 5 features, the normalizer has 4"),
        (nn.Sequential(nn.Dropout(), nn.Linear(4, 3)), "into 1 changes the model's outputs in train mode"),
        (nn.Sequential(nn.ReLU(), nn.Linear(4, 3)), "folding into 1 changes the model's outputs: each of"),
        (nn.Sequential(nn.Tanh(), nn.Linear(4, 3)), "no layer with weights is given the inputs"),
        (nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)), "first layer, 0, is a LayerNorm"),
        (Residual(), "something else sees the inputs"),
        (Tied(), "code shares its weights with other"),
        (hooked(), "hooks"),
        (Constant(), "do not change with the inputs"),
        (NoTensor(), "returns no tensor"),
        (nn.ReLU(), "no layer with weights"),
        (nn.LazyLinear(3), "LazyLinear without weights yet"),
        (nn.Linear(4, 3, device="meta"), "meta device"),
        (
            nn.Linear(4, 3).half().requires_grad_(False),
            "column . lies .* stds from 0, so in torch.float16 a folded layer blurs",
        ),
        (np.ones(3), "model is a ndarray: expected a torch.nn.Module"),
        (Tabular(), "takes x_cat, x_num: say which"),
    ],
    ids=lambda m: type(m).__name__ if isinstance(m, nn.Module) else "",
)
def test_what_does_not_fold_exactly_is_refused_with_the_reason(table: Normalizer, model, words: str) -> None:
    n = Normalizer.fit(TABLE + 60 * TABLE.std(axis=0)) if words.startswith("column") else table
    with pytest.raises(ArgumentError, match=words):
        fold_into(n, model)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.ConvTranspose2d(3, 4, 3), "is a ConvTranspose2d"),
        (nn.Conv2d(1, 4, 3), "takes 1 channels, the normalizer has 3 columns"),
        (nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)), "entries that are none"),
        (nn.Sequential(nn.Flatten(), nn.Linear(35, 4)), "give example="),
    ],
)
def test_what_does_not_fold_into_images_is_refused(images: Normalizer, model: nn.Module, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        fold_into(images, model)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input": "z"}, "input='z' is no argument of the model, which takes x_cat, x_num, gain"),
        ({"input": "x_num", "example": {"x_num": torch.ones(3, 5)}}, r"shape \(3, 5\): expected \(rows, 4\)"),
        ({"example": {"x_num": torch.ones(3, 4), "x_cat": CODES}}, "expected the one of x_num, x_cat"),
        ({"input": "x_num", "example": {"x_num": [1.0], "x_cat": CODES}}, "is a list: expected a tensor"),
        ({"input": "x_num", "example": 3}, "example is 3"),
        ({"input": "x_num", "example": (CODES,)}, "expected the one of x_cat that is normalised"),
        ({"input": "x_num", "example": (CODES,) * 4}, "example has 4 inputs"),
    ],
)
def test_a_bad_input_or_example_is_named(table: Normalizer, options: dict, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        fold_into(table, Tabular(), **options)
