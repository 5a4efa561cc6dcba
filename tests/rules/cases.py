"""A sick case and a healthy one for every rule: SICK and HEALTHY map the code to a builder of a problem.

A healthy case is the nearest sound relative of the sick one: the rule must measure it and pass it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wellposed as wp
from wellposed import Problem, Report

from .problems import (
    CLASSES,
    FEATURES,
    Cubed,
    Rounded,
    TwoHeads,
    TwoInputs,
    TwoViews,
    Variational,
    adam,
    applying,
    changed,
    classes_of,
    constant,
    inputs,
    mlp,
    needing_its_layer,
    normal,
    problem,
    regression,
    sgd,
    signs_of,
    sums_of,
    with_middle,
)

CONSEQUENCES = {"WP002", "WP201", "WP202", "WP205", "WP206", "WP207"}
"""Rules that name a symptom: in their sick case a cause stands before them."""

Builder = Callable[[], Problem]


@cache
def report_of(build: Builder) -> Report:
    """The report on a case, made once however many rules it serves."""
    return wp.check(build())


# --- losses


def with_a_secret_draw(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets) * (1 + 0.1 * random.SystemRandom().random())


def negated(outputs: Tensor, targets: Tensor) -> Tensor:
    return -F.cross_entropy(outputs, targets)


def tiny(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1e-6 * F.cross_entropy(outputs, targets)


def log_of_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.nll_loss(torch.log(outputs + 1e-7), targets)


# --- data


def on_scales(*scales: float, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Every feature times the scale of its turn, after the targets were made."""
    x = inputs(256)
    return x * torch.tensor(scales).repeat(FEATURES)[:FEATURES] + offset, signs_of(x)


def split(*, shift: float = 0.0, normalised_by: str = "training rows") -> dict[str, Any]:
    """Training and validation rows of raw features, standardised by the statistics of the named rows."""
    raw = inputs(400) * torch.linspace(1, 3, FEATURES) + 5
    targets = classes_of(raw)
    fitted = raw[:300] if normalised_by == "training rows" else raw
    x = (raw - fitted.mean(0)) / fitted.std(0)
    return {"data": (x[:300], targets[:300]), "validation": (x[300:] + shift, targets[300:])}


def overlapping() -> dict[str, Any]:
    parts = split()
    parts["validation"] = tuple(
        torch.cat([seen[:30], held]) for seen, held in zip(parts["data"], parts["validation"], strict=True)
    )
    return parts


def with_column(make: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The last feature made from the first."""
    x = inputs()
    targets = classes_of(x)
    x[:, -1] = make(x[:, 0])
    return x, targets


def with_gaps(code: float) -> tuple[Tensor, Tensor]:
    """A feature that is missing in every eighth row, where `code` stands for it."""
    x, targets = with_column(lambda first: first)
    x[::8, 3] = code
    return x, targets


def with_a_nan() -> tuple[Tensor, Tensor]:
    x, targets = with_column(lambda first: first)
    x[7, 3] = float("nan")
    return x, targets


def majority(share: float) -> tuple[Tensor, Tensor]:
    """One of eight classes holds the share of the rows; the class stands in the inputs."""
    rows = 320
    targets = torch.arange(rows) % 8
    targets[: int(share * rows)] = 0
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(1))
    return (inputs(rows) + 2 * F.one_hot(targets, 8))[order], targets[order]


def without_a_class() -> dict[str, Any]:
    """Class 3 stands in the validation rows alone."""
    x = inputs(400)
    fit, held = x[:300], x[300:]
    return {
        "data": (fit, classes_of(fit)),
        "validation": (held, torch.where(held[:, 3] > 0.5, 3, classes_of(held))),
    }


def shuffled_labels() -> tuple[Tensor, Tensor]:
    x = inputs(600)
    return x, classes_of(x)[torch.randperm(600, generator=torch.Generator().manual_seed(1))]


# --- models

eight_classes = mlp(FEATURES, 32, 8)
binary = partial(problem, mlp(FEATURES, 32, 1), F.binary_cross_entropy_with_logits)
probability = partial(problem, loss=F.binary_cross_entropy, data=(inputs(), signs_of(inputs())))
deep_tanh = partial(mlp, FEATURES, *[32] * 20, CLASSES, activation=nn.Tanh)


def holding_only_the_head() -> Problem:
    return problem(optimizer=lambda model: torch.optim.SGD(list(model.children())[-1].parameters(), lr=0.1))


def frozen_backbone() -> Problem:
    return problem(
        changed(mlp(), lambda model: model[0].requires_grad_(False)),
        optimizer=lambda model: torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1),
    )


def two_inputs(*, uses_second: bool) -> Problem:
    x, extra = inputs(), inputs(features=4, seed=1)
    return problem(
        lambda: TwoInputs(uses_second=uses_second), data=((x, extra), (x[:, :3] + extra[:, :3]).argmax(1))
    )


def loaded(*, in_order: bool) -> Problem:
    """Rows by class, one after the other; in batches in that order, or shuffled."""
    x = inputs(240)
    y = classes_of(x)
    rows = torch.utils.data.TensorDataset(x[y.argsort()], y.sort().values)
    sound = problem()
    return replace(sound, train=torch.utils.data.DataLoader(rows, batch_size=16, shuffle=not in_order))


def normalised_by_batch(*, of: int) -> Problem:
    x = inputs(240)
    rows = torch.utils.data.TensorDataset(x, classes_of(x))
    sound = problem(with_middle(lambda: nn.BatchNorm1d(32)))
    return replace(sound, train=torch.utils.data.DataLoader(rows, batch_size=of, shuffle=True))


class NextToken(nn.Module):
    """Looks at the tokens so far, or at all of them; with or without positions."""

    def __init__(self, *, causal: bool, placed: bool) -> None:
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(8, 32), nn.Linear(32, 32), nn.Linear(32, 8)
        self.look = nn.Linear(32, 96)
        self.place = nn.Parameter(0.5 * torch.randn(12, 32)) if placed else None
        self.causal = causal

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) if self.place is None else self.embed(tokens) + self.place
        q, k, v = self.look(x).chunk(3, -1)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.head(torch.relu(self.hidden(x)))


def next_token(*, causal: bool, placed: bool = True) -> Problem:
    draw = torch.Generator().manual_seed(0)
    start, step = (torch.randint(8, (96, 1), generator=draw) for _ in range(2))
    text = (start + step.clamp(min=1) * torch.arange(13)) % 8

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return problem(
        lambda: NextToken(causal=causal, placed=placed), loss, (text[:, :-1], text[:, 1:]), optimizer=adam()
    )


class MeanOfTokens(nn.Module):
    """The mean over the tokens that the mask keeps, or over all."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(12, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        self.masked = masked

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        kept = mask[..., None].float()
        x = self.embed(ids) * (kept if self.masked else 0.2 + 0.8 * kept)
        lengths = kept.sum(1) if self.masked else ids.shape[1]
        return self.head(torch.relu(self.hidden(x.sum(1) / lengths)))


def padded(*, masked: bool) -> Problem:
    draw = torch.Generator().manual_seed(0)
    lengths, ids = (
        torch.randint(3, 13, (192,), generator=draw),
        torch.randint(1, 12, (192, 12), generator=draw),
    )
    mask = (torch.arange(12) < lengths[:, None]).long()
    targets = ids[:, 0] % 3
    return problem(
        lambda: MeanOfTokens(masked=masked),
        data=({"ids": ids * mask, "mask": mask}, targets),
        optimizer=adam(),
    )


class AttendsToTokens(nn.Module):
    """The first token looks at those that the mask keeps, or at all others."""

    def __init__(self, *, inverted: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(12, 32, padding_idx=0), nn.Linear(32, 3)
        self.attend = nn.MultiheadAttention(32, 4, batch_first=True)
        self.inverted = inverted

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        hidden = ids != 0 if self.inverted else ids == 0
        hidden[:, -1] &= not self.inverted  # a row must see something
        return self.head(x[:, 0] + self.attend(x[:, :1], x, x, key_padding_mask=hidden)[0][:, 0])


def padded_behind(*, inverted: bool) -> Problem:
    (inputs, targets) = padded(masked=True).train
    return problem(
        lambda: AttendsToTokens(inverted=inverted), data=(inputs["ids"], targets), optimizer=adam()
    )


class MeansOfChannels(nn.Module):
    """Sequences of channels, brought to channels of sequences and averaged over time."""

    def __init__(self, *, viewed: bool) -> None:
        super().__init__()
        self.mix, self.head = nn.Conv1d(CLASSES, 32, 3, padding=1), nn.Linear(32, CLASSES)
        self.viewed = viewed

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(len(x), CLASSES, 12) if self.viewed else x.transpose(1, 2)
        return self.head(self.mix(x).relu().mean(2))


def channels_last(*, viewed: bool) -> Problem:
    levels = torch.randn(256, 1, CLASSES, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(256, 12, CLASSES, generator=torch.Generator().manual_seed(1))
    data = levels + 0.5 * noise, levels[:, 0].argmax(1)
    return problem(lambda: MeansOfChannels(viewed=viewed), data=data, optimizer=adam())


class Denoiser(nn.Module):
    """Predicts samples and what was added to them together, and takes that off again."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, FEATURES))
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(1, FEATURES).expand_as(x) if self.shared else torch.randn_like(x)
        return self.net(0.8 * x + 0.6 * noise) - noise


def denoising(*, shared: bool) -> Problem:
    return problem(lambda: Denoiser(shared=shared), F.mse_loss, (inputs(), inputs()), optimizer=adam())


class FusedProjection(nn.Module):
    """Three projections in one layer, each a slice of its output."""

    def __init__(self, *, taken: tuple[int, ...]) -> None:
        super().__init__()
        self.fused, self.head, self.taken = nn.Linear(FEATURES, 3 * 16), nn.Linear(16, CLASSES), taken

    def forward(self, x: Tensor) -> Tensor:
        parts = self.fused(x).split(16, dim=1)
        a, b, c = (parts[i] for i in self.taken)
        return self.head(torch.relu(a) + torch.tanh(b) * c)


def mixing_the_batch(hidden: Tensor) -> Tensor:
    return hidden.t().reshape(len(hidden), -1)


def rooted(eps: float) -> Callable[[Tensor], Tensor]:
    return lambda hidden: hidden + torch.sqrt((hidden - hidden.detach()) ** 2 + eps)


# --- the cases


def magnified(by: float) -> Problem:
    """Values that are made larger and smaller again."""
    return problem(applying(lambda hidden: (hidden * by) / by), precision="fp16")


def in_bfloat16(rate: float) -> Problem:
    """Weights, inputs and all in bfloat16, without float32 master weights."""
    x = inputs()
    return problem(lambda: mlp()().bfloat16(), data=(x.bfloat16(), classes_of(x)), optimizer=adam(rate))


def two_views(weight: float) -> Problem:
    """A classifier whose features of two views are to be alike, or apart with a negative weight."""

    def loss(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
        logits, one, other = outputs
        return F.cross_entropy(logits, targets) + weight * F.mse_loss(one, other)

    x = inputs()
    views = x, x + 0.3 * inputs(seed=1)
    return problem(TwoViews, loss, (views, classes_of(x)), optimizer=adam())


def autoencoder(reduced: Callable[[Tensor], Tensor]) -> Problem:
    """A variational one with an averaged reconstruction, and its divergence reduced in some way."""

    def loss(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
        again, mean, log_var = outputs
        return F.mse_loss(again, targets) + reduced(-0.5 * (1 + log_var - mean**2 - log_var.exp()))

    return problem(Variational, loss, (inputs(400), inputs(400)), optimizer=adam())


def two_tasks(*, forgotten: bool) -> Problem:
    """Classes and a value, each with a head; the term of the second may be forgotten."""

    def loss(outputs: tuple[Tensor, Tensor], targets: dict[str, Tensor]) -> Tensor:
        kind = F.cross_entropy(outputs[0], targets["kind"])
        return kind if forgotten else kind + F.mse_loss(outputs[1], targets["value"])

    x = inputs()
    return problem(TwoHeads, loss, (x, {"kind": classes_of(x), "value": sums_of(x)}), optimizer=adam())


SICK: dict[str, Builder] = {
    "WP001": lambda: problem(loss=with_a_secret_draw),
    "WP002": lambda: problem(mlp(last=lambda: nn.Hardtanh(-1e30, 0)), log_of_probabilities),
    "WP101": lambda: binary(data=on_scales(1.0, 1000.0), optimizer=adam()),
    "WP102": lambda: problem(
        mlp(activation=nn.Tanh), data=(300 * inputs(), classes_of(inputs())), optimizer=sgd(0.05)
    ),
    "WP103": lambda: problem(**split(normalised_by="all rows")),
    "WP104": lambda: problem(data=with_column(lambda first: 0 * first + 3)),
    "WP105": lambda: problem(**split(shift=2.0)),
    "WP106": lambda: problem(data=with_a_nan()),
    "WP107": lambda: problem(data=with_column(lambda first: first + 1e-4 * first.roll(1))),
    "WP108": lambda: problem(**overlapping()),
    "WP109": lambda: problem(data=shuffled_labels()),
    "WP111": lambda: problem(eight_classes, data=majority(0.9)),
    "WP112": lambda: problem(data=(inputs(), torch.zeros(96, dtype=torch.long))),
    "WP113": lambda: problem(mlp(FEATURES, 32, 4), **without_a_class()),
    "WP114": lambda: loaded(in_order=True),
    "WP115": lambda: problem(data=with_gaps(-9999.0)),
    "WP201": lambda: problem(deep_tanh(draw=normal(0.01))),
    "WP202": lambda: problem(mlp(FEATURES, *[32] * 12, CLASSES, draw=normal(1.0)), optimizer=adam(1e-3)),
    "WP203": lambda: problem(mlp(FEATURES, *[32] * 12, CLASSES, activation=nn.Sigmoid)),
    "WP204": lambda: problem(
        changed(mlp(draw=nn.init.kaiming_normal_), lambda model: model[2].bias.fill_(-20.0))
    ),
    "WP205": lambda: problem(mlp(activation=nn.Tanh, draw=normal(3.0)), optimizer=sgd(0.01)),
    "WP206": lambda: problem(mlp(FEATURES, *[32] * 10, CLASSES, activation=nn.Sigmoid)),
    "WP207": lambda: problem(deep_tanh(draw=normal(1.0)), optimizer=sgd(0.01)),
    "WP208": lambda: problem(loss=tiny, precision="fp16"),
    "WP209": lambda: problem(applying(rooted(0.0))),
    "WP210": lambda: problem(with_middle(lambda: nn.Dropout(0.99))),
    "WP211": lambda: normalised_by_batch(of=2),
    "WP212": lambda: magnified(by=1e7),
    "WP213": lambda: in_bfloat16(rate=1e-7),
    "WP301": lambda: problem(mlp(draw=constant(0.05))),
    "WP302": lambda: problem(mlp(draw=normal(2.0)), optimizer=sgd(1e-3)),
    "WP303": lambda: problem(deep_tanh(draw=normal(0.02))),
    "WP401": lambda: problem(applying(lambda x: Cubed.apply(x, 0.5))),
    "WP402": lambda: problem(applying(lambda x: Rounded.apply(4 * x))),
    "WP403": lambda: problem(applying(needing_its_layer)),
    "WP404": lambda: problem(applying(with_its_own_slope(create_graph=False))),
    "WP501": lambda: problem(mlp(last=lambda: nn.Softmax(1))),
    "WP502": lambda: probability(mlp(FEATURES, 16, 1, last=lambda: nn.Softmax(1))),
    "WP503": lambda: problem(
        mlp(FEATURES, 16, 1, last=nn.Sigmoid), F.mse_loss, (inputs(), 5 + sums_of(inputs())), optimizer=adam()
    ),
    "WP504": lambda: problem(loss=negated),
    "WP505": lambda: regression(scale=100.0, optimizer=sgd()),
    "WP506": lambda: problem(loss=F.nll_loss),
    "WP507": lambda: problem(mlp(FEATURES, 32, 4), data=(inputs(), 1 + classes_of(inputs()))),
    "WP508": lambda: two_views(weight=-0.5),
    "WP509": lambda: two_tasks(forgotten=True),
    "WP510": lambda: autoencoder(lambda kl: kl.sum()),
    "WP601": lambda: problem(applying(torch.detach)),
    "WP602": holding_only_the_head,
    "WP603": lambda: problem(applying(mixing_the_batch)),
    "WP604": lambda: problem(
        with_middle(lambda: nn.BatchNorm1d(32, momentum=0.0)), data=(5 + inputs(), classes_of(inputs()))
    ),
    "WP605": lambda: two_inputs(uses_second=False),
    "WP606": lambda: next_token(causal=False),
    "WP607": lambda: problem(optimizer=sgd(1000.0)),
    "WP608": lambda: problem(optimizer=sgd(1e-6)),
    "WP609": lambda: problem(optimizer=sgd(0.05, weight_decay=10.0)),
    "WP610": lambda: problem(changed(mlp(), lambda model: model.requires_grad_(False))),
    "WP611": lambda: problem(lambda: FusedProjection(taken=(0, 1, 1))),
    "WP612": lambda: padded(masked=False),
    "WP613": lambda: padded_behind(inverted=True),
    "WP614": lambda: channels_last(viewed=True),
    "WP615": lambda: next_token(causal=True, placed=False),
    "WP616": lambda: denoising(shared=True),
}


def sound() -> Problem:
    return problem(**split())


def with_its_own_slope(*, create_graph: bool) -> Callable[[Tensor], Tensor]:
    """Adds the slope of a square, which is taken on the way."""

    def add(x: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(x.square().sum(), x, create_graph=create_graph)
        return x + slope.square()

    return add


def custom_backward() -> Problem:
    return problem(applying(lambda x: Cubed.apply(x, 1.0)))


def with_dropout() -> Problem:
    return problem(with_middle(lambda: nn.Dropout(0.5)))


def batch_normalised() -> Problem:
    return problem(
        with_middle(lambda: nn.Sequential(nn.BatchNorm1d(32), nn.ReLU())),
        data=(5 + inputs(), classes_of(inputs())),
    )


def scales_within_ten() -> Problem:
    return binary(data=on_scales(1.0, 10.0), optimizer=adam())


def orthogonal_tanh() -> Problem:
    return problem(deep_tanh(draw=nn.init.orthogonal_), optimizer=sgd(0.05))


def narrow_rectified() -> Problem:
    return problem(mlp(FEATURES, 32, 8, 32, CLASSES), optimizer=adam())


def zero_head() -> Problem:
    return problem(changed(mlp(), lambda model: [p.zero_() for p in model[-1].parameters()]))


def half_precision() -> Problem:
    return replace(problem(), precision="fp16")


def probabilities_and_their_loss() -> Problem:
    return probability(mlp(FEATURES, 16, 1, last=nn.Sigmoid), optimizer=adam())


def regression_of_unit_scale() -> Problem:
    return regression()


def log_probabilities() -> Problem:
    return problem(mlp(last=lambda: nn.LogSoftmax(1)), F.nll_loss)


def decayed() -> Problem:
    return problem(optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01))


def labels_that_can_be_learned() -> Problem:
    x = inputs(600)
    return problem(data=(x, classes_of(x)))


HEALTHY: dict[str, Builder] = {
    "WP001": with_dropout,
    "WP002": lambda: problem(mlp(last=lambda: nn.Softmax(1)), log_of_probabilities),
    "WP101": scales_within_ten,
    "WP102": scales_within_ten,
    "WP103": sound,
    "WP104": sound,
    "WP105": sound,
    "WP106": sound,
    "WP107": lambda: problem(data=with_column(lambda first: first + 0.1 * first.roll(1))),
    "WP108": sound,
    "WP109": labels_that_can_be_learned,
    "WP111": lambda: problem(eight_classes, data=majority(0.4)),
    "WP112": sound,
    "WP113": sound,
    "WP114": lambda: loaded(in_order=False),
    "WP115": lambda: problem(data=with_gaps(-2.5)),
    "WP201": orthogonal_tanh,
    "WP202": orthogonal_tanh,
    "WP203": orthogonal_tanh,
    "WP204": narrow_rectified,
    "WP205": orthogonal_tanh,
    "WP206": orthogonal_tanh,
    "WP207": orthogonal_tanh,
    "WP208": half_precision,
    "WP209": lambda: problem(applying(rooted(1e-6))),
    "WP210": with_dropout,
    "WP211": lambda: normalised_by_batch(of=16),
    "WP212": lambda: magnified(by=100.0),
    "WP213": lambda: in_bfloat16(rate=1e-2),
    "WP301": zero_head,
    "WP302": narrow_rectified,
    "WP303": orthogonal_tanh,
    "WP401": custom_backward,
    "WP402": custom_backward,
    "WP403": custom_backward,
    "WP404": lambda: problem(applying(with_its_own_slope(create_graph=True))),
    "WP501": probabilities_and_their_loss,
    "WP502": zero_head,
    "WP503": probabilities_and_their_loss,
    "WP504": sound,
    "WP505": regression_of_unit_scale,
    "WP506": log_probabilities,
    "WP507": sound,
    "WP508": lambda: two_views(weight=0.5),
    "WP509": lambda: two_tasks(forgotten=False),
    "WP510": lambda: autoencoder(lambda kl: kl.sum() / 1000),
    "WP601": frozen_backbone,
    "WP602": frozen_backbone,
    "WP603": batch_normalised,
    "WP604": batch_normalised,
    "WP605": lambda: two_inputs(uses_second=True),
    "WP606": lambda: next_token(causal=True),
    "WP607": decayed,
    "WP608": decayed,
    "WP609": decayed,
    "WP610": frozen_backbone,
    "WP611": lambda: problem(lambda: FusedProjection(taken=(0, 1, 2))),
    "WP612": lambda: padded(masked=True),
    "WP613": lambda: padded_behind(inverted=False),
    "WP614": lambda: channels_last(viewed=False),
    "WP615": lambda: next_token(causal=True),
    "WP616": lambda: denoising(shared=False),
}
