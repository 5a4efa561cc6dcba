import copy
import math

import pytest
import torch
from sklearn.datasets import load_digits, load_wine
from torch import nn
from torch.nn import functional as F

import wellposed as wp
from wellposed.errors import ArgumentError, DataError, ProblemError, UserCodeError

DIGITS = torch.tensor(load_digits().data[:1024] / 16, dtype=torch.float32)
LABELS = torch.tensor(load_digits().target[:1024])
WINE = torch.tensor(load_wine().data, dtype=torch.float32)
IMAGES = DIGITS.view(-1, 1, 8, 8)


def mlp(*, depth, activation=nn.ReLU, inputs=64, width=64):
    torch.manual_seed(0)
    layers = [nn.Linear(inputs, width), activation()]
    for _ in range(depth - 2):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def before(done):
    assert done.before is not None
    return done.before


def after(done):
    assert done.after is not None
    return done.after


def entry(done, name):
    return next(e for e in done.recipe if e.name == name)


@pytest.mark.parametrize("data", [DIGITS, WINE], ids=["digits", "raw wine"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh, nn.Hardswish])
def test_a_deep_network_keeps_its_signal_from_the_first_layer_to_the_last(activation, data):
    done = wp.initialize(mlp(depth=50, activation=activation, inputs=data.shape[1]), data)

    assert done.kept
    assert before(done).forward_range > 1e5
    assert after(done).forward_range < 2
    assert after(done).gradient_range < 40
    assert after(done).silent == 0


def test_standard_normal_weights_are_mended():
    model = mlp(depth=30)
    for parameter in model.parameters():
        nn.init.normal_(parameter)

    done = wp.initialize(model, DIGITS)

    assert done.kept
    assert before(done).forward_range > 1e10
    assert after(done).forward_range < 2


def test_units_that_are_copies_of_each_other_are_told_apart():
    model = mlp(depth=3)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.05)

    done = wp.initialize(model, DIGITS)

    assert done.kept
    assert (before(done).symmetric, after(done).symmetric) == (3, 0)


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [("he", 2 / 400), ("lecun", 1 / 400), ("glorot", 2 / 700), ("orthogonal", 2 / 400)],
)
def test_a_scheme_draws_the_variance_that_it_is_named_for(scheme, variance):
    model = nn.Sequential(nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 10))

    wp.initialize(model, scheme=scheme)

    assert model[0].weight.var().item() == pytest.approx(variance, rel=0.05)
    assert not model[0].bias.any()


@pytest.mark.parametrize(
    ("scheme", "options", "torchs"),
    [
        ("he", {}, lambda w: nn.init.kaiming_normal_(w, a=0.3)),
        ("he", {"mode": "fan_out"}, lambda w: nn.init.kaiming_normal_(w, a=0.3, mode="fan_out")),
        ("he", {"gain": 5 / 3}, lambda w: nn.init.kaiming_normal_(w, nonlinearity="tanh")),
        ("glorot", {"gain": 2.0}, lambda w: nn.init.xavier_normal_(w, gain=2.0)),
        (
            "lecun",
            {"mode": "fan_out"},
            lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear", mode="fan_out"),
        ),
        ("orthogonal", {"gain": 3.0}, lambda w: nn.init.orthogonal_(w, gain=3.0)),
    ],
)
def test_slopes_gains_and_fans_count_as_in_torch(scheme, options, torchs):
    for inputs in (None, torch.randn(8, 400)):
        model = nn.Sequential(nn.Linear(400, 300), nn.LeakyReLU(0.3), nn.Linear(300, 10))
        wp.initialize(model, inputs, scheme=scheme, **options)
        theirs = torchs(torch.empty(300, 400))
        assert model[0].weight.std().item() == pytest.approx(theirs.std().item(), rel=0.02)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gain": 2.0}, "gain goes with a named scheme"),
        ({"scheme": "he", "gain": 0}, "gain is 0"),
        ({"scheme": "he", "gain": "relu"}, "gain is 'relu'"),
        ({"scheme": "he", "gain": True}, "gain is True"),
        ({"scheme": "he", "mode": "fan_avg"}, "mode is 'fan_avg'"),
        ({"scheme": "glorot", "mode": "fan_out"}, "goes with scheme='he' or 'lecun', not with 'glorot'"),
    ],
)
def test_gains_and_fans_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        wp.initialize(nn.Linear(3, 2), **options)


def test_orthogonal_rows_are_orthogonal():
    model = nn.Sequential(nn.Linear(40, 30), nn.Identity(), nn.Linear(30, 10))

    wp.initialize(model, DIGITS[:, :40], scheme="orthogonal")

    assert torch.allclose(model[0].weight @ model[0].weight.T, torch.eye(30), atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv2d(8, 64, 3), 72),
        (nn.Conv2d(64, 64, 3, groups=64), 9),
        (nn.ConvTranspose2d(64, 64, 4, stride=2), 64 * 4),
        (nn.ConvTranspose2d(64, 64, 4, stride=2, groups=8), 8 * 4),
    ],
)
def test_fan_in_is_what_one_output_sums_over(layer, fan_in):
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    inputs = torch.randn(8, layer.in_channels, 8, 8)
    model(inputs)
    by_order, by_trace = copy.deepcopy(model), model

    wp.initialize(by_order, scheme="lecun")
    wp.initialize(by_trace, inputs, scheme="lecun")

    assert by_order[0].weight.std().item() == pytest.approx(1 / math.sqrt(fan_in), rel=0.1)
    assert torch.equal(by_order[0].weight, by_trace[0].weight)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.middle = nn.Parameter(torch.randn(64, 32) * 0.001)
        self.last = nn.Linear(32, 10)

    def forward(self, x):
        return self.last(F.gelu(F.silu(self.first(x)) @ self.middle))


def test_functional_activations_and_raw_weights_are_followed():
    done = wp.initialize(Functional(), DIGITS)

    assert done.kept
    assert entry(done, "first.weight").gain == pytest.approx(wp.gain("silu").forward)
    assert entry(done, "middle").gain == pytest.approx(wp.gain("gelu").forward)
    assert entry(done, "middle").std_after == pytest.approx(1, abs=0.1)
    assert entry(done, "last.weight").role == "final layer"


class Everything(nn.Module):
    """One of each kind that must be left alone, in a network whose ordinary layer is badly drawn."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(17, 16)
        self.bad = nn.Linear(16, 16)
        self.rest = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.zero = nn.Linear(16, 16)
        self.gate = nn.Parameter(torch.full((16,), 1e-4))
        self.frozen = nn.Linear(16, 16)
        self.head = nn.Linear(16, 17, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.zeros_(self.zero.weight)
        nn.init.normal_(self.bad.weight, std=1e-6)
        self.frozen.requires_grad_(False)

    def forward(self, tokens):
        x = self.rest(torch.relu(self.bad(self.embedding(tokens))))
        x = x + self.attention(self.norm(x), x, x, need_weights=False)[0]
        x = x + self.gate * self.lstm(x)[0]
        return self.head(self.frozen(x + self.zero(x)))


def test_what_is_no_ordinary_weight_is_left_alone():
    torch.manual_seed(0)
    model = Everything()
    shipped = state(model)

    done = wp.initialize(model, (DIGITS[:, :12] * 16).long())

    assert done.kept
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, shipped[name])}
    assert changed == {"bad.weight", "bad.bias", "rest.weight", "rest.bias"}
    assert [e.name for e in done.recipe] == [name for name, _ in model.named_parameters()]
    assert all(e.reason for e in done.recipe)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, x):
        return x + self.outer(F.relu(self.inner(x)))


def test_residual_branches_share_what_the_stream_may_grow():
    done = wp.initialize(
        nn.Sequential(nn.Linear(64, 64), *[Residual(64) for _ in range(32)], nn.Linear(64, 10)), DIGITS
    )

    assert entry(done, "1.outer.weight").role == "residual branch"
    assert entry(done, "1.outer.weight").target == pytest.approx(1 / math.sqrt(64))
    assert entry(done, "33.weight").std_after < 2


def test_a_weight_that_only_a_norm_reads_is_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))

    done = wp.initialize(model, IMAGES)

    assert "norm" in entry(done, "0.weight").reason


def test_a_prior_in_the_output_bias_survives():
    model = mlp(depth=30)
    nn.init.constant_(model[-1].bias, -4.6)

    wp.initialize(model, DIGITS)

    assert (model[-1].bias == -4.6).all()


def test_the_same_seed_gives_the_same_weights_whatever_happened_before():
    first, second = mlp(depth=8), mlp(depth=8)
    wp.initialize(first, DIGITS, seed=3)
    torch.manual_seed(99)
    wp.initialize(second, DIGITS, seed=3)

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_nothing_but_the_weights_is_touched():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(288, 10)
    )
    model[1].eval()
    model(IMAGES[:8]).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    flags = [m.training for m in model.modules()]
    random_state = torch.get_rng_state()

    wp.initialize(model, IMAGES)

    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(b, buffers[name]) for name, b in model.named_buffers())
    assert [m.training for m in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random_state)


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = mlp(depth=20)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3:
            raise RuntimeError("the third call fails")
        return self.layers(x)


def test_a_model_that_raises_half_way_is_what_it_was():
    model = Failing()
    shipped = state(model)

    with pytest.raises(UserCodeError, match="the model raised RuntimeError: the third call fails"):
        wp.initialize(model, DIGITS)

    assert unchanged(model, shipped)
    assert model.calls == 0


def test_a_healthy_network_is_rolled_back_whole():
    model = mlp(depth=6)
    wp.initialize(model, DIGITS)
    shipped = state(model)

    done = wp.initialize(model, DIGITS, seed=1)

    assert not done.kept
    assert unchanged(model, shipped)
    assert {e.action for e in done.recipe} == {"rolled back"}
    assert "not better" in str(done)


def test_trained_weights_are_not_thrown_away_when_the_loss_is_known():
    model = mlp(depth=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(model(DIGITS), LABELS).backward()
        optimizer.step()
    shipped = state(model)

    done = wp.initialize(model, DIGITS, loss=F.cross_entropy, targets=LABELS)

    assert not done.kept
    assert unchanged(model, shipped)


def test_a_network_that_could_not_train_trains_after_it():
    model = mlp(depth=20)

    done = wp.initialize(model, DIGITS, loss=F.cross_entropy, targets=LABELS)

    assert done.kept
    assert before(done).trained_loss > 2.2
    assert after(done).trained_loss < 1.5


def test_the_recipe_reads_well_at_eighty_columns():
    text = str(wp.initialize(Everything(), (DIGITS[:, :12] * 16).long()))

    assert max(map(len, text.splitlines())) <= 80
    assert "left alone" in text


@pytest.mark.parametrize("inputs", [DIGITS.numpy(), DIGITS.double().numpy(), (DIGITS,), {"input": DIGITS}])
def test_inputs_come_in_the_forms_that_people_have(inputs):
    done = wp.initialize(mlp(depth=20), inputs)

    assert done.kept


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "relu"}, ArgumentError, "model is 'relu'"),
        ({"model": nn.ReLU()}, ArgumentError, "no parameters"),
        ({"model": nn.Sequential(nn.LazyLinear(3))}, ProblemError, "lazy"),
        ({"scheme": "kaiming"}, ArgumentError, "scheme is 'kaiming'"),
        ({"seed": "a"}, ArgumentError, "seed"),
        ({"inputs": DIGITS[:0]}, DataError, "0 rows"),
        ({"inputs": DIGITS[:1]}, DataError, "1 rows"),
        ({"inputs": DIGITS * math.nan}, DataError, "NaN"),
        ({"inputs": iter([DIGITS])}, ArgumentError, "expected one batch"),
        ({"inputs": ()}, ArgumentError, "without a tensor"),
        ({"inputs": DIGITS, "loss": F.cross_entropy}, ArgumentError, "loss came alone"),
        ({"inputs": DIGITS, "loss": F.cross_entropy, "targets": LABELS[:9]}, DataError, "rows"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        wp.initialize(**{"model": mlp(depth=3), **arguments})


def test_a_gain_beyond_what_the_weights_hold_is_refused_and_nothing_is_drawn() -> None:
    model = nn.Linear(4, 3)
    before = model.weight.detach().clone()
    with pytest.raises(
        ArgumentError, match=r"gain=1e\+300 draws values of weight beyond what torch.float32 holds"
    ):
        wp.initialize(model, scheme="he", gain=1e300)
    assert torch.equal(model.weight, before)
