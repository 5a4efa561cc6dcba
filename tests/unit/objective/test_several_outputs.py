"""Losses of several outputs and several targets: the faulty part is named, and none of what people train is accused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wellposed as wp

from .heads import CLASSES, SIGNS, VALUES, Heads, X, flat, profiled, said

Out = dict[str, Tensor]
TWO = {"kind": CLASSES, "value": VALUES}


def two_tasks(out: Out, y: Out) -> Tensor:
    return F.cross_entropy(out["kind"], y["kind"]) + F.mse_loss(out["value"], y["value"])


def softmax(o: Tensor) -> Tensor:
    return o.softmax(-1)


# What is compared with what


def test_each_output_is_a_component_with_the_target_that_it_is_compared_with() -> None:
    profile = profiled(Heads(kind=3, value=(1, flat)), two_tasks, TWO)
    assert [(c.output_at, c.targets.kind) for c in profile.components] == [
        ("outputs.kind", "classes"),
        ("outputs.value", "values"),
    ]
    assert profile.unexamined == ()


def test_a_matrix_of_targets_is_its_columns_where_there_is_an_output_for_each() -> None:
    class Listed(Heads):
        def forward(self, x: Tensor) -> Any:
            return list(super().forward(x).values())

    def loss(out: list[Tensor], y: Tensor) -> Tensor:
        return F.mse_loss(out[0], y[:, 0]) + F.binary_cross_entropy_with_logits(out[1], y[:, 1])

    profile = profiled(Listed(a=(1, flat), b=(1, flat)), loss, torch.stack([VALUES, SIGNS], 1))
    assert [(c.output_at, c.targets.kind) for c in profile.components] == [
        ("outputs[0]", "values"),
        ("outputs[1]", "binary"),
    ]


def test_outputs_that_enter_one_term_together_are_not_judged_apart() -> None:
    def gated(out: Out, y: Tensor) -> Tensor:
        return F.mse_loss(out["gate"] * out["a"] + (1 - out["gate"]) * out["b"], y)

    profile = profiled(Heads(gate=(1, lambda o: flat(o).sigmoid()), a=(1, flat), b=(1, flat)), gated, VALUES)
    assert profile.components == ()
    assert set(profile.unexamined) == {"outputs.gate", "outputs.a", "outputs.b"}


# The faulty part of several


def test_a_head_that_ends_in_a_softmax_is_named() -> None:
    assert said(Heads(kind=(3, softmax), value=(1, flat)), two_tasks, TWO) == [("WP501", "outputs.kind")]


def overlap(o: Tensor, y: Tensor) -> Tensor:
    return (2 * (o * y).sum() + 1) / (o.sum() + y.sum() + 1)


@pytest.mark.parametrize(
    "distance",
    [
        lambda o, y: 1 - overlap(o, y),
        lambda o, y: -overlap(o, y).clamp(min=1e-6).log(),
        lambda o, y: 1 - ((o * y).sum() + 1) / ((o + y - o * y).sum() + 1),
        lambda o, y: (1 - (2 * (o * y).sum(1) + 1) / (o.sum(1) + y.sum(1) + 1)).mean(),
    ],
)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_an_overlap_wants_shares_and_has_no_floor_for_other_numbers(distance: Any, level: float) -> None:
    where = (level < X).float()
    single = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid())
    assert "WP501" not in dict(said(single, distance, where))

    def loss(out: Out, y: Out) -> Tensor:
        return F.cross_entropy(out["kind"], y["kind"]) + distance(out["where"], y["where"])

    both = Heads(kind=3, where=(6, Tensor.sigmoid))
    assert "WP501" not in dict(said(both, loss, {"kind": CLASSES, "where": where}))


def alike(o: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each row."""
    (a, b), means = (t - t.mean(1, True) for t in (o, y)), (o.mean(1), y.mean(1))
    luminance = (2 * means[0] * means[1] + 0.01) / (means[0] ** 2 + means[1] ** 2 + 0.01)
    return luminance * (2 * (a * b).mean(1) + 0.03) / (o.var(1) + y.var(1) + 0.03)


def test_targets_inside_the_range_can_be_reached_where_descent_gets_stuck() -> None:
    pictures = torch.rand(len(X), 6, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid())
    assert said(model, lambda o, y: 1 - alike(o, y).mean(), pictures) == []


def test_an_absolute_error_of_probabilities_is_no_log_likelihood() -> None:
    def chosen(o: Tensor, y: Tensor) -> Tensor:
        return o.gather(1, y[:, None]).mean()

    model = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))
    assert said(model, lambda o, y: 1 - chosen(o, y), CLASSES) == []
    assert said(model, lambda o, y: -chosen(o, y), CLASSES) == [("WP506", "loss")]


def test_a_head_that_cannot_reach_its_targets_is_named() -> None:
    assert said(Heads(kind=3, value=(1, lambda o: flat(o).relu())), two_tasks, TWO) == [
        ("WP503", "outputs.value")
    ]


def test_a_term_that_broadcasts_is_named() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.cross_entropy(out["kind"], y["kind"]) + ((out["value"] - y["value"]) ** 2).mean()

    assert said(Heads(kind=3, value=1), loss, TWO) == [("WP506", "outputs.value")]


def test_one_broadcasting_term_of_two_on_the_same_output_is_named() -> None:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return (out.squeeze(1) - y).abs().mean() + ((out - y) ** 2).mean()

    assert said(nn.Linear(6, 1), loss, VALUES) == [("WP506", "outputs")]


@pytest.mark.parametrize(("weigh", "codes"), [
    (lambda of_row, w: (of_row * w).mean(), ["WP506"]),
    (lambda of_row, w: (of_row * w[:, 0]).mean(), []),
    (lambda of_row, w: of_row.mean() * w.mean(), []),
])  # fmt: skip
def test_weights_that_meet_every_row_are_named(
    weigh: Callable[[Tensor, Tensor], Tensor], codes: list[str]
) -> None:
    targets = {"value": torch.stack([VALUES, -VALUES], 1), "weight": VALUES.exp()[:, None]}

    def loss(out: Tensor, y: Out) -> Tensor:
        return weigh(((out - y["value"]) ** 2).sum(1), y["weight"])

    assert [code for code, _ in said(nn.Linear(6, 2), loss, targets) if code == "WP506"] == codes


def test_terms_of_means_over_the_batch_do_not_broadcast() -> None:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return (
            F.l1_loss(out.squeeze(1), y) + (out.mean() - y.mean()) ** 2 - 0.01 * (out.var() - y.var()).abs()
        )

    assert said(nn.Linear(6, 1), loss, VALUES) == []


@pytest.mark.parametrize(
    "distance",
    [
        lambda o, y: (o.squeeze(1).sort().values - y.sort().values).abs().mean(),
        lambda o, y: (o.mean() - y.mean()) ** 2 + (o.std() - y.std()) ** 2,
        lambda o, y: 2 * (o - y).abs().mean() - (o - o.T).abs().mean(),  # of energy, in shapes that broadcast
    ],
)
def test_a_distance_between_distributions_has_no_pairs_to_keep(distance: Any) -> None:
    profile = profiled(nn.Linear(6, 1), distance, VALUES)
    assert (profile.pairing_ignored, profile.broadcasts) == (True, False)
    assert said(nn.Linear(6, 1), distance, VALUES) == []


def test_raw_outputs_for_log_probabilities_are_named() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.nll_loss(out["kind"], y["kind"]) + F.mse_loss(out["value"], y["value"])

    assert ("WP506", "outputs.kind") in said(Heads(kind=3, value=(1, flat)), loss, TWO)


def test_a_negated_term_is_named() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.mse_loss(out["value"], y["value"]) - F.cross_entropy(out["kind"], y["kind"])

    assert said(Heads(kind=3, value=(1, flat)), loss, TWO)[0] == ("WP504", "outputs.kind")


@pytest.mark.parametrize("reduced", [lambda d: d.mean(), lambda d: d.sum(1).mean()])
def test_a_distance_that_is_subtracted_is_found(reduced: Any) -> None:
    def loss(out: Out, y: Tensor) -> Tensor:
        return F.cross_entropy(out["kind"], y) - 0.5 * reduced((out["a"] - out["b"]) ** 2)

    assert said(Heads(kind=3, a=4, b=4), loss, CLASSES) == [("WP508", "loss")]


def test_a_distance_that_is_subtracted_in_each_row_is_found() -> None:
    def loss(out: Out, y: Tensor) -> Tensor:
        rows = F.cross_entropy(out["kind"], y, reduction="none")
        rows -= 0.1 * (out["a"] - out["b"]).abs().sum(1)
        return rows.mean()

    assert said(Heads(kind=3, a=4, b=4), loss, CLASSES) == [("WP508", "loss")]


def test_a_forgotten_head_and_its_targets_are_found() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.cross_entropy(out["kind"], y["kind"])

    assert said(Heads(kind=3, value=(1, flat)), loss, TWO) == [("WP509", "targets.value")]


@pytest.mark.parametrize("name", ["weight", "sample_weight"])
def test_weights_that_are_not_used_are_found(name: str) -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.cross_entropy(out["kind"], y["kind"])

    assert said(Heads(kind=3), loss, {"kind": CLASSES, name: SIGNS}) == [("WP509", f"targets.{name}")]


def test_what_is_only_carried_along_in_the_targets_is_a_note() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.cross_entropy(out["kind"], y["kind"])

    targets = {"kind": CLASSES, "id": torch.arange(len(X)), "weight": 60 + 10 * SIGNS}
    assert said(Heads(kind=3), loss, targets) == []
    assert said(Heads(kind=3), loss, targets, notes=True) == [("WP509", "targets.id")]


def test_hidden_features_among_the_outputs_are_no_forgotten_head() -> None:
    class WithFeatures(Heads):
        def forward(self, x: Tensor) -> Out:
            h = self.body(x)
            return {"kind": self.heads["kind"](h), "features": h}

    def loss(out: Out, y: Out) -> Tensor:
        return F.cross_entropy(out["kind"], y["kind"])

    targets = {"kind": CLASSES, "attributes": torch.randn(len(X), 16)}
    assert said(WithFeatures(kind=3), loss, targets) == []


def test_two_views_that_read_no_target_carry_what_they_like() -> None:
    targets = {"kind": CLASSES, "weight": SIGNS}
    assert said(Heads(a=4, b=4), contrastive, targets, notes=True) == []


@pytest.mark.parametrize(
    ("reduced", "accused"),
    [
        (lambda kl, again: kl.sum() + again.mean(), True),
        (lambda kl, again: kl.sum() / len(X) + again.mean(), False),
        (lambda kl, again: kl.sum() + again.sum(), False),
        (lambda kl, again: 1e-4 * kl.sum() + again.mean(), False),
        (lambda kl, again: kl.sum(1).mean() + again.mean(), False),
        (lambda kl, again: 0.01 * kl.mean() + again.sum(), False),
    ],
)
def test_a_divergence_that_is_summed_beside_a_mean_is_found(reduced: Any, accused: bool) -> None:
    class Autoencoder(Heads):
        def forward(self, x: Tensor) -> Out:
            h = self.body(x)
            mean, log_var = self.heads["mean"](h), self.heads["log_var"](h)
            code = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
            return {"again": self.decoder(code), "mean": mean, "log_var": log_var}

    def loss(out: Out, y: Tensor) -> Tensor:
        mean, log_var = out["mean"], out["log_var"]
        kl = -0.5 * (1 + log_var - mean**2 - log_var.exp())
        return reduced(kl, (out["again"] - y) ** 2)

    model = Autoencoder(mean=4, log_var=4)
    model.decoder = nn.Linear(4, 6)
    assert said(model, loss, X) == ([("WP510", "loss")] if accused else [])


def unit(o: Tensor) -> Tensor:
    return F.normalize(o, dim=1)


@pytest.mark.parametrize(
    ("temperature", "accused"), [(0.05, False), (0.5, False), (1.0, False), (10.0, True), (100.0, True)]
)
def test_a_temperature_that_levels_all_similarities_is_found(temperature: float, accused: bool) -> None:
    def loss(out: Out, y: Tensor) -> Tensor:
        return F.cross_entropy(out["a"] @ out["b"].T / temperature, y)

    found = said(Heads(a=(4, unit), b=(4, unit)), loss, torch.arange(len(X)))
    assert found == ([("WP503", "outputs.a and outputs.b")] if accused else [])


# What people train


def detector(out: Out, y: Out) -> Tensor:
    """Classes and boxes, the boxes where there is an object."""
    there = y["there"] > 0
    boxes = F.smooth_l1_loss(out["box"][there], y["box"][there])
    seen = F.binary_cross_entropy_with_logits(out["there"], y["there"])
    return F.cross_entropy(out["kind"][there], y["kind"][there]) + 5 * boxes + seen


def actor_critic(out: Out, y: Out) -> Tensor:
    advantage = y["return"] - out["value"].detach()
    policy = torch.distributions.Categorical(logits=out["policy"])
    actor = -(policy.log_prob(y["action"]) * advantage).mean()
    return actor + 0.5 * F.mse_loss(out["value"], y["return"]) - 0.01 * policy.entropy().mean()


def logged_policy(out: Out, y: Out) -> Tensor:
    """A policy gradient with advantages of both signs among the targets."""
    return (F.cross_entropy(out["policy"], y["action"], reduction="none") * y["advantage"]).mean()


def clipped_policy(out: Out, y: Out) -> Tensor:
    ratio = (F.log_softmax(out["policy"], 1).gather(1, y["action"][:, None])[:, 0] - y["old"]).exp()
    clipped = torch.min(ratio * y["advantage"], ratio.clamp(0.8, 1.2) * y["advantage"])
    return -clipped.mean() + 0.5 * F.mse_loss(out["value"], y["return"])


def variational(out: Out, y: Tensor) -> Tensor:
    mean, log_var = out["mean"], out["log_var"]
    divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
    return F.mse_loss(out["again"], y) + 0.1 * divergence


def evidence_bound(out: Out, y: Tensor) -> Tensor:
    likelihood = torch.distributions.Normal(out["again"], 1.0).log_prob(y).sum(1)
    prior = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(out["mean"], (0.5 * out["log_var"]).exp())
    return -(likelihood - torch.distributions.kl_divergence(posterior, prior).sum(1)).mean()


def quantised(out: Out, y: Tensor) -> Tensor:
    commitment = F.mse_loss(out["z"], out["code"].detach())
    return F.mse_loss(out["again"], y) + F.mse_loss(out["code"], out["z"].detach()) + 0.25 * commitment


def contrastive(out: Out, y: Tensor) -> Tensor:
    alike = F.normalize(out["a"], dim=1) @ F.normalize(out["b"], dim=1).T / 0.1
    return F.cross_entropy(alike, torch.arange(len(alike)))


def contrastive_by_hand(out: Out, y: Tensor) -> Tensor:
    alike = out["a"] @ out["b"].T
    return torch.logsumexp(alike, 1).mean() - alike.diagonal().mean()


def margin_pairs(out: Out, y: Tensor) -> Tensor:
    distance = (out["a"] - out["b"]).norm(dim=1)
    return (y * distance**2 + (1 - y) * (1 - distance).relu() ** 2).mean()


def deep_supervision(out: Out, y: Tensor) -> Tensor:
    return F.cross_entropy(out["kind"], y) + 0.3 * F.cross_entropy(out["early"], y)


def mixture(out: Out, y: Tensor) -> Tensor:
    each = torch.distributions.Normal(out["mean"], out["log_std"].exp()).log_prob(y[:, None])
    return -torch.logsumexp(out["weight"].log_softmax(1) + each, 1).mean()


def gaussian(out: Out, y: Tensor) -> Tensor:
    return (0.5 * (y - out["mean"]) ** 2 * (-out["log_var"]).exp() + 0.5 * out["log_var"]).mean()


def uncertain_tasks(out: Out, y: Out) -> Tensor:
    kind, value = F.cross_entropy(out["kind"], y["kind"]), F.mse_loss(out["value"], y["value"])
    s = out["log_var"].mean(0)
    return (-s[0]).exp() * kind + s[0] + (-s[1]).exp() * value + s[1]


def distillation(out: Out, y: Out) -> Tensor:
    soft = F.kl_div(F.log_softmax(out["kind"], 1), y["teacher"].softmax(1), reduction="batchmean")
    return 0.3 * F.cross_entropy(out["kind"], y["kind"]) + 0.7 * soft


def masked(out: Out, y: Out) -> Tensor:
    return ((out["value"] - y["value"]) ** 2 * y["mask"]).sum() / y["mask"].sum()


def quantiles(out: Out, y: Tensor) -> Tensor:
    def pinball(o: Tensor, q: float) -> Tensor:
        return torch.max(q * (y - o), (q - 1) * (y - o)).mean()

    return pinball(out["low"], 0.1) + pinball(out["middle"], 0.5) + pinball(out["high"], 0.9)


def energy_score(out: Out, y: Tensor) -> Tensor:
    """Two draws: what they differ by is subtracted, and their distances to the target outgrow it."""
    near = (out["a"] - y).abs().mean() + (out["b"] - y).abs().mean()
    return near - (out["a"] - out["b"]).abs().mean()


def critic(out: Out, y: Tensor) -> Tensor:
    return out["fake"].mean() - out["real"].mean() + 0.001 * out["real"].square().mean()


def disagreeing_classifiers(out: Out, y: Tensor) -> Tensor:
    apart = (out["kind"].softmax(1) - out["early"].softmax(1)).abs().mean()
    return deep_supervision(out, y) - apart


def alike_with_a_confidence_penalty(out: Out, y: Tensor) -> Tensor:
    p = out["kind"].softmax(1)
    entropy = -(p * p.clamp_min(1e-9).log()).sum(1).mean()
    return (
        F.cross_entropy(out["kind"], y) - 0.1 * entropy - 0.5 * F.cosine_similarity(out["a"], out["b"]).mean()
    )


def decorrelated(out: Out, y: Tensor) -> Tensor:
    """A variance as a mean of squares less the square of the mean."""
    spread = out["a"].square().mean() - out["a"].mean().square()
    return F.cross_entropy(out["kind"], y) + 0.1 * spread


def flow_of_clamped_scales(out: Out, y: Tensor) -> Tensor:
    """The logarithm that is subtracted has a floor, and grows without bound, but slowly."""
    return out["z"].square().sum(1).mean() / 2 - out["scale"].clamp(min=1e-4).log().sum(1).mean()


def one_task_at_a_time(out: Out, y: Out) -> Tensor:
    if torch.rand(()) < 0.5:
        return F.cross_entropy(out["kind"], y["kind"])
    return F.mse_loss(out["value"], y["value"])


def ctc(out: Out, y: Out) -> Tensor:
    steps = out["steps"].view(len(X), 8, 4).log_softmax(2).transpose(0, 1)
    lengths = torch.full((len(X),), 8)
    return F.ctc_loss(steps, y["text"], lengths, y["length"])


TEXT = torch.randint(1, 4, (len(X), 3), generator=torch.Generator().manual_seed(1))
HEALTHY = {
    "two tasks": (Heads(kind=3, value=(1, flat)), two_tasks, TWO),
    "detector": (Heads(kind=3, box=4, there=(1, flat)), detector, {"kind": CLASSES, "box": X[:, :4], "there": SIGNS}),
    "actor-critic": (Heads(policy=3, value=(1, flat)), actor_critic, {"action": CLASSES, "return": VALUES}),
    "logged policy": (Heads(policy=3), logged_policy, {"action": CLASSES, "advantage": VALUES - 0.5}),
    "clipped policy": (
        Heads(policy=3, value=(1, flat)), clipped_policy,
        {"action": CLASSES, "advantage": VALUES, "old": torch.full((len(X),), -math.log(3)), "return": VALUES},
    ),
    "variational": (Heads(again=6, mean=2, log_var=2), variational, X),
    "evidence bound": (Heads(again=6, mean=6, log_var=6), evidence_bound, X),
    "quantised": (Heads(again=6, z=4, code=4), quantised, X),
    "contrastive": (Heads(a=4, b=4), contrastive, CLASSES),
    "contrastive by hand": (Heads(a=4, b=4), contrastive_by_hand, CLASSES),
    "pairs with a margin": (Heads(a=4, b=4), margin_pairs, SIGNS),
    "deep supervision": (Heads(kind=3, early=3), deep_supervision, CLASSES),
    "mixture": (Heads(weight=3, mean=3, log_std=3), mixture, VALUES),
    "gaussian": (Heads(mean=(1, flat), log_var=(1, flat)), gaussian, VALUES),
    "uncertain tasks": (Heads(kind=3, value=(1, flat), log_var=2), uncertain_tasks, TWO),
    "distillation": (Heads(kind=3), distillation, {"kind": CLASSES, "teacher": X[:, :3] * 2}),
    "masked": (Heads(value=(1, flat)), masked, {"value": VALUES, "mask": SIGNS}),
    "quantiles": (Heads(low=(1, flat), middle=(1, flat), high=(1, flat)), quantiles, VALUES),
    "energy score": (Heads(a=(1, flat), b=(1, flat)), energy_score, VALUES),
    "critic": (Heads(real=(1, flat), fake=(1, flat)), critic, SIGNS),
    "disagreeing classifiers": (Heads(kind=3, early=3), disagreeing_classifiers, CLASSES),
    "confidence penalty": (Heads(kind=3, a=4, b=4), alike_with_a_confidence_penalty, CLASSES),
    "a variance in two terms": (Heads(kind=3, a=4), decorrelated, CLASSES),
    "flow": (Heads(z=2, scale=2), flow_of_clamped_scales, VALUES),
    "one task at a time": (Heads(kind=3, value=(1, flat)), one_task_at_a_time, TWO),
    "ctc": (Heads(steps=32), ctc, {"text": TEXT, "length": torch.full((len(X),), 3)}),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_what_people_train_is_not_accused(name: str) -> None:
    model, loss, targets = HEALTHY[name]
    assert said(model, loss, targets) == []


def test_a_step_against_a_network_that_the_optimizer_leaves_out_is_not_accused() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.cross_entropy(out["kind"], y["kind"]) - 0.1 * F.mse_loss(out["value"], y["value"])

    model = Heads(kind=3, value=(1, flat))
    held = [*model.body.parameters(), *model.heads["kind"].parameters()]
    assert profiled(model, loss, TWO, optimizer=torch.optim.SGD(held, 0.1)).subtracted is None
    assert profiled(model, loss, TWO).subtracted


def test_a_sign_is_right_where_the_network_behind_it_is_left_out_or_the_optimizer_goes_up() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.mse_loss(out["value"], y["value"]) - 0.1 * F.cross_entropy(out["kind"], y["kind"])

    model = Heads(kind=3, value=(1, flat))
    assert ("WP504", "outputs.kind") in said(model, loss, TWO)
    held = [*model.body.parameters(), *model.heads["value"].parameters()]
    assert said(model, loss, TWO, optimizer=torch.optim.SGD(held, 0.1)) == []
    upwards = nn.Linear(6, 3)
    rising = torch.optim.SGD(upwards.parameters(), 0.1, maximize=True)
    assert said(upwards, lambda o, y: -F.cross_entropy(o, y), CLASSES, optimizer=rising) == []


def test_targets_that_the_loss_reads_in_another_batch_are_read() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        there = y["there"] > 0
        seen = F.binary_cross_entropy_with_logits(out["there"], y["there"])
        return seen + F.mse_loss(out["box"][there], y["box"][there]) if there.any() else seen

    def report(last: Tensor) -> wp.Report:
        x, box = torch.randn(512, 6), torch.randn(512, 4)
        rows = [(x[i], {"there": last[i], "box": box[i]}) for i in range(512)]
        loader = torch.utils.data.DataLoader(rows, batch_size=64)
        return wp.check(Heads(there=(1, flat), box=4), loss, loader, select="WP509")

    never = torch.zeros(512)
    (finding,) = [f for f in report(never).findings if f.severity is wp.Severity.WARNING]
    assert finding.where == "targets.box"
    assert not report(torch.cat([never[:-5], torch.ones(5)])).findings


def test_outputs_that_the_model_keeps_bounded_may_be_driven_apart() -> None:
    def loss(out: Out, y: Tensor) -> Tensor:
        return F.cross_entropy(out["kind"], y) - 0.1 * F.mse_loss(out["a"], out["b"])

    bounded = Heads(kind=3, a=(4, unit), b=(4, unit))
    assert said(bounded, loss, CLASSES) == []


def test_one_output_with_one_target_has_no_components() -> None:
    profile = profiled(nn.Linear(6, 3), F.cross_entropy, CLASSES)
    assert (profile.components, profile.unexamined, profile.unread) == ((), (), None)


def test_a_sum_over_many_steps_is_no_sum_of_terms() -> None:
    def loss(out: Out, y: Tensor) -> Tensor:
        total = F.cross_entropy(out["kind"], y)
        for _ in range(2000):
            total = total - 1e-4 * (out["a"] - out["b"]).square().mean()
        return total

    def doubling(out: Out, y: Tensor) -> Tensor:
        total = F.cross_entropy(out["kind"], y)
        for _ in range(60):
            total = (total + total) / 2
        return total

    assert said(Heads(kind=3, a=4, b=4), loss, CLASSES) == []
    assert said(Heads(kind=3), doubling, CLASSES) == []


def test_a_loss_that_is_another_one_in_each_call_is_not_taken_apart() -> None:
    calls = iter(range(10**6))

    def loss(out: Out, y: Out) -> Tensor:
        return two_tasks(out, y) * (1 + next(calls) / 100)

    profile = profiled(Heads(kind=3, value=(1, flat)), loss, TWO)
    assert (profile.components, profile.unread, profile.subtracted) == ((), None, None)


def test_a_report_of_several_outputs_can_be_saved_and_judged_again() -> None:
    targets = {"kind": CLASSES, "value": VALUES, "weight": SIGNS}
    report = wp.check(Heads(kind=(3, softmax), value=(1, flat)), two_tasks, (X, targets))
    again = wp.Report.from_json(report.to_json()).judged()
    assert {"WP501", "WP509"} <= set(report.codes)
    assert [str(f) for f in again.findings] == [str(f) for f in report.findings]


# Outputs, targets and losses of other kinds


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.int8, torch.bool])
def test_codes_of_every_integer_type_are_read(dtype: torch.dtype) -> None:
    def loss(out: Out, y: Out) -> Tensor:
        return F.cross_entropy(out["kind"], y["kind"].long())

    codes = CLASSES.clamp(max=1).to(dtype)
    profile = profiled(Heads(kind=3), loss, {"kind": codes, "weight": codes})
    assert [(t.name, t.role) for t in profile.unread or ()] == [("targets.weight", "weights")]
    alone = profiled(nn.Linear(6, 3), lambda o, y: F.cross_entropy(o, y.long()), codes)
    assert alone.targets.kind == "classes"


def test_complex_targets_and_empty_outputs_are_left_alone() -> None:
    wave = torch.fft.rfft(X)
    profile = profiled(nn.Linear(6, 6), lambda o, y: (torch.fft.rfft(o) - y).abs().mean(), wave)
    assert profile.targets.kind == "other"
    none = Heads(kind=3, none=(1, lambda o: o[:, :0]))
    assert said(none, lambda o, y: F.cross_entropy(o["kind"], y["kind"]), TWO) == []


def test_a_loss_may_write_into_its_targets_and_take_entries_out() -> None:
    def loss(out: Out, y: Out) -> Tensor:
        y["value"].mul_(0.5)
        return F.cross_entropy(out["kind"], y.pop("kind")) + F.mse_loss(out["value"], y["value"])

    targets = {"kind": CLASSES, "value": VALUES.clone()}
    profile = profiled(Heads(kind=3, value=(1, flat)), loss, targets)
    assert [c.output_at for c in profile.components] == ["outputs.kind", "outputs.value"]
    assert profile.repeat_difference == 0.0
    assert torch.equal(targets["value"], VALUES)


def test_outputs_in_a_container_that_cannot_be_made_again_are_not_examined() -> None:
    class Pair(list[Tensor]):
        def __init__(self, kind: Tensor, value: Tensor) -> None:
            super().__init__([kind, value])

    class Paired(Heads):
        def forward(self, x: Tensor) -> Any:
            return Pair(*super().forward(x).values())

    def loss(out: list[Tensor], y: Out) -> Tensor:
        return F.cross_entropy(out[0], y["kind"]) + F.mse_loss(out[1], y["value"])

    assert profiled(Paired(kind=3, value=(1, flat)), loss, TWO).components == ()


@pytest.mark.parametrize(
    ("shaped", "distance", "accused"),
    [
        (lambda o: o, lambda o, y: ((o - y) ** 2).mean(), True),
        (flat, lambda o, y: ((o - y) ** 2).mean(), False),
        (lambda o: o, lambda o, y: ((o.squeeze(1) - y) ** 2).mean(), False),
        (lambda o: o, lambda o, y: (o.mean() - y.mean()) ** 2, False),
    ],
)
def test_shapes_that_broadcast_in_a_loss_of_the_models_own_are_named(
    shaped: Any, distance: Any, accused: bool
) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 1)

        def forward(self, x: Tensor, targets: Tensor) -> Out:
            o = shaped(self.head(x))
            return {"loss": distance(o, targets), "logits": o}

    assert said(Own(), None, VALUES) == ([("WP506", "loss")] if accused else [])
