"""Healthy problems with skewed classes, counts and scales: half b, drawn at random."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from wellposed import Problem

from .healthy_case import BLIND, HealthyBook
from .skewed_data import (
    RecurrentTagger,
    TransformerTagger,
    UNet,
    UnitNorm,
    adam,
    adamw,
    as_dicts,
    as_loader,
    assembled,
    clusters,
    cnn,
    counts,
    drawn,
    halves,
    long_tail,
    many_labels,
    mlp,
    one_class,
    pictures,
    scenes,
    sentences,
    sgd,
    smooth,
    text,
    token_loss,
    unit,
    vocabulary_of,
    waves,
    zipf,
)

book = HealthyBook()


@book.case("mlp")
def binary_mlp_with_one_class_of_98_percent() -> Problem:
    data = clusters(one_class(2, 0.98), 20, rows=3000, apart=1.2)
    return assembled(mlp(20, 64, 64, 2), nn.CrossEntropyLoss(), data, adam(), as_loader)


@book.case("mlp")
def three_classes_with_half_in_one() -> Problem:
    data = clusters(torch.tensor([0.5, 0.45, 0.05]), 8)
    return assembled(mlp(8, 32, 3, act=nn.Tanh), nn.CrossEntropyLoss(), data, sgd(0.05), as_loader)


@book.case("mlp")
def five_classes_with_seven_tenths_in_one() -> Problem:
    return assembled(
        mlp(16, 48, 48, 5, act=nn.GELU),
        nn.CrossEntropyLoss(),
        clusters(one_class(5, 0.7), 16),
        adamw(2e-3),
        partial(as_dicts, name="input"),
    )


@book.case("mlp")
def fifty_classes_by_zipf_and_dropout() -> Problem:
    model = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 50))
    return assembled(
        model, nn.CrossEntropyLoss(), clusters(zipf(50), 32, rows=3000, apart=1.5), adam(2e-3), as_loader
    )


@book.case("mlp", steps=600)
def hundred_classes_with_95_percent_in_one() -> Problem:
    data = clusters(one_class(100, 0.95), 48, rows=6000, apart=2.0)
    return assembled(mlp(48, 128, 100), nn.CrossEntropyLoss(), data, adam(3e-3))


@book.case("mlp", steps=800)
def two_hundred_classes_with_97_percent_in_one() -> Problem:
    data = clusters(one_class(200, 0.97), 64, rows=12000, apart=2.0)
    return assembled(mlp(64, 128, 200), nn.CrossEntropyLoss(), data, adam(3e-3), as_loader)


@book.case("mlp")
def hundred_classes_of_a_long_tail_with_layer_norm() -> Problem:
    model = mlp(40, 128, 128, 100, between=nn.LayerNorm, act=nn.SiLU)
    return assembled(
        model,
        nn.CrossEntropyLoss(),
        clusters(long_tail(100), 40, rows=4000, apart=1.5),
        adamw(2e-3),
        as_loader,
    )


@book.case("loss")
def logit_adjustment_by_the_prior() -> Problem:
    """Menon et al. 2021: the log prior is added in the loss, so that the logits need not learn it."""
    prior = long_tail(20)
    return assembled(
        mlp(24, 64, 20),
        lambda logits, y: F.cross_entropy(logits + prior.log(), y),
        clusters(prior, 24, rows=3000, apart=1.5),
        adam(3e-3),
        as_loader,
    )


@book.case("cnn")
def twenty_kinds_of_pictures_of_a_long_tail_without_norm() -> Problem:
    data = pictures(long_tail(20), 3, rows=900, noise=0.4)
    return assembled(cnn(3, 20, norm=False), nn.CrossEntropyLoss(), data, adam(3e-3), as_loader)


@book.case("cnn")
def conv1d_finds_the_rare_frequency() -> Problem:
    model = nn.Sequential(
        nn.Conv1d(2, 16, 7, padding=3), nn.ReLU(), nn.Conv1d(16, 16, 5), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip
    return assembled(model, nn.CrossEntropyLoss(), waves(torch.tensor([0.94, 0.06])), adam(3e-3), as_loader)


@book.case("tagger")
def gru_tags_sixteen_entities_in_dicts() -> Problem:
    model = RecurrentTagger(vocabulary_of(16), 17, nn.GRU)
    return assembled(
        model, token_loss, sentences(16, share=0.92), adam(5e-3), partial(as_dicts, name="tokens")
    )


@book.case("tagger")
def transformer_tags_forty_entities_without_padding() -> Problem:
    model = TransformerTagger(vocabulary_of(40), 41)
    return assembled(
        model, token_loss, sentences(40, share=0.95, padded=False, rows=800), adam(2e-3), as_loader
    )


@book.case("language")
def gru_language_model_of_forty_symbols_by_zipf() -> Problem:
    windows = text()
    model = RecurrentTagger(40, 40, nn.GRU, width=48, both=False)
    return assembled(model, token_loss, (windows[:, :-1], windows[:, 1:]), adam(5e-3), as_loader)


@book.case("segmentation")
def unet_segments_twelve_classes_on_nine_tenths_background() -> Problem:
    return assembled(UNet(3, 12), nn.CrossEntropyLoss(), scenes(), adam(5e-3), partial(as_loader, rows=16))


@book.case("binary", steps=500)
def one_percent_positives() -> Problem:
    data = many_labels(torch.tensor([0.01]), 10, rows=6000)
    return assembled(mlp(10, 32, 1), nn.BCEWithLogitsLoss(), data, adam(3e-3), as_loader)


@book.case("binary")
def two_percent_positives_with_pos_weight() -> Problem:
    data = many_labels(torch.tensor([0.02]), 16, rows=4000)
    return assembled(
        mlp(16, 32, 32, 1), nn.BCEWithLogitsLoss(pos_weight=torch.tensor([49.0])), data, adam(2e-3), as_loader
    )


@book.case("counts")
def poisson_counts_mostly_zero() -> Problem:
    x, y = counts()
    return assembled(mlp(10, 32, 1), nn.PoissonNLLLoss(), (x, y[:, None]), adam(3e-3), as_loader)


@book.case("regression")
def two_outputs_around_five_hundred_with_the_bias_there() -> Problem:
    x, y = smooth(2)
    model = mlp(8, 64, 64, 2)
    nn.init.constant_(model[-1].bias, 500.0)  # type: ignore[arg-type]
    return assembled(model, nn.MSELoss(), (x, 500 + 100 * y), adam(2e-2), as_loader)


@book.case("mlp")
def classes_balanced_by_a_weighted_sampler() -> Problem:
    """Training batches are balanced, the held-out rows are as they come."""
    (x, y), held_out = halves(clusters(one_class(6, 0.8), 16, rows=2500, apart=2.0))
    weights = 1 / torch.bincount(y, minlength=6).float().clamp(min=1)[y]
    loader = DataLoader(
        TensorDataset(x, y), batch_size=48, sampler=WeightedRandomSampler(weights.tolist(), len(y))
    )
    model = mlp(16, 64, 6)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader,
        validation=as_loader(held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.block(x))


@book.case("cnn", steps=200)
def small_resnet_on_a_long_tail_with_sgd() -> Problem:
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(144, 10)]
    model = nn.Sequential(*stem, Residual(16), nn.MaxPool2d(2), Residual(16), *head)
    return assembled(
        model, nn.CrossEntropyLoss(), pictures(long_tail(10), 3), sgd(0.05, weight_decay=1e-4), as_loader
    )


@book.case("cnn")
def depthwise_separable_net_on_zipf_classes() -> Problem:
    model = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.ReLU6(),
        nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.Conv2d(24, 32, 1), nn.GroupNorm(4, 32), nn.ReLU6(),
        nn.AvgPool2d(3), nn.Flatten(), nn.Linear(512, 30),
    )  # fmt: skip
    return assembled(
        model, nn.CrossEntropyLoss(), pictures(zipf(30), rows=900, noise=0.4), adam(3e-3), as_loader
    )


@book.case("tagger")
def convolutional_tagger_with_classes_second() -> Problem:
    tokens, tags = sentences(10, share=0.9)

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocabulary_of(10), 24, padding_idx=0)
            self.convs = nn.Sequential(nn.Conv1d(24, 48, 3, padding=1), nn.ReLU(), nn.Conv1d(48, 11, 1))

        def forward(self, tokens: Tensor) -> Tensor:
            return self.convs(self.embedding(tokens).transpose(1, 2))

    return assembled(Tagger(), nn.CrossEntropyLoss(ignore_index=-100), (tokens, tags), adam(5e-3), as_loader)


@book.case("tagger")
def bio_tags_with_smoothing_and_class_weights() -> Problem:
    weights = torch.ones(9)
    weights[0] = 0.2
    return assembled(
        RecurrentTagger(vocabulary_of(8), 9),
        lambda logits, tags: F.cross_entropy(
            logits.transpose(1, 2), tags, weight=weights, label_smoothing=0.05, ignore_index=-100
        ),
        sentences(8, share=0.88, length=12),
        adam(5e-3),
        as_loader,
    )


@book.case("tagger", constant=lambda free: F.log_softmax(free, -1))
def hundred_entities_with_nll_over_all_tokens() -> Problem:
    model = nn.Sequential(RecurrentTagger(vocabulary_of(100), 101, nn.GRU, width=48), nn.LogSoftmax(-1))
    return assembled(
        model,
        lambda scores, tags: F.nll_loss(scores.flatten(0, 1), tags.flatten(), ignore_index=-100),
        sentences(100, share=0.9, rows=900, length=12),
        adam(1e-2),
        as_loader,
    )


@book.case("language", steps=400)
def next_item_of_three_hundred_with_tied_embedding() -> Problem:
    """A recommender: the mean of the items so far scores all items through their own embeddings."""
    windows = text(300, length=6, rows=2500, power=0.8, surprise=0.2)

    class Recommender(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = nn.Embedding(300, 32)
            nn.init.normal_(self.items.weight, std=32**-0.5)
            self.mix = mlp(96, 64, 32)
            self.bias = nn.Parameter(torch.zeros(300))

        def forward(self, seen: Tensor) -> Tensor:
            return self.mix(self.items(seen[:, -3:]).flatten(1)) @ self.items.weight.T + self.bias

    return assembled(
        Recommender(), nn.CrossEntropyLoss(), (windows[:, :-1], windows[:, -1]), adam(5e-3), as_loader
    )


@book.case("language", steps=500, constant=BLIND)
def adaptive_softmax_that_returns_its_own_loss() -> Problem:
    """Grave et al. 2017, for classes by Zipf; the model gives the loss."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU())
            self.head = nn.AdaptiveLogSoftmaxWithLoss(64, 200, [20, 80])

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return self.head(self.body(x), labels).loss

    return assembled(Model(), None, clusters(zipf(200), 32, rows=5000, apart=2.0), adam(3e-3), as_dicts)


@book.case("segmentation")
def dilated_net_segments_six_classes_in_dicts() -> Problem:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 6, 1),
    )  # fmt: skip
    return assembled(
        model, nn.CrossEntropyLoss(), scenes(6), adam(3e-3), partial(as_dicts, name="input", rows=16)
    )


@book.case("detection", steps=400)
def anchors_of_eighteen_classes_mostly_background() -> Problem:
    """Every anchor has its features; 95 in 100 see the background, class 0."""
    prior = torch.full((19,), 0.05 / 18)
    prior[0] = 0.95
    labels = drawn(prior, 400, 24)
    x = (torch.randn(19, 16)[labels] * 1.5 + torch.randn(400, 24, 16)) / 1.8
    model = mlp(16, 64, 19)
    return assembled(model, token_loss, (x, labels), adam(5e-3), partial(as_loader, rows=16))


@book.case("binary", steps=500)
def logistic_regression_of_rare_fraud_with_sgd() -> Problem:
    return assembled(
        nn.Linear(12, 1),
        nn.BCEWithLogitsLoss(),
        many_labels(torch.tensor([0.03]), 12, rows=4000),
        sgd(0.2),
        as_loader,
    )


@book.case("binary", constant=torch.sigmoid)
def sigmoid_and_bce_with_five_percent_positives() -> Problem:
    model = nn.Sequential(*mlp(12, 32, 1), nn.Sigmoid())
    return assembled(
        model, nn.BCELoss(), many_labels(torch.tensor([0.05]), 12, rows=3000), adam(3e-3), as_loader
    )


class Pairs(nn.Module):
    """Two views through one encoder; unit vectors, side by side."""

    def __init__(self, features: int):
        super().__init__()
        self.encoder = nn.Sequential(mlp(features, 64, 16), UnitNorm())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.stack([self.encoder(first), self.encoder(second)], 1)


def info_nce(views: Tensor, _: Any = None, temperature: float = 0.1) -> Tensor:
    likeness = views[:, 0] @ views[:, 1].T / temperature
    return F.cross_entropy(likeness, torch.arange(len(views)))


@book.case("contrastive", constant=unit)
def contrastive_views_with_a_temperature() -> Problem:
    """Both views hide half the noise of one origin; the targets say which origin and are not needed."""
    origin = torch.randn(1500, 12) @ torch.randn(12, 24) / 12**0.5
    views = tuple(origin + 0.4 * torch.randn(1500, 24) for _ in range(2))
    return assembled(
        Pairs(24), info_nce, (views, torch.arange(1500)), adam(2e-3), partial(as_loader, rows=64)
    )


def supervised_contrast(z: Tensor, labels: Tensor, temperature: float = 0.2) -> Tensor:
    """Khosla et al. 2020."""
    apart = torch.eye(len(z), dtype=torch.bool)
    scores = (z @ z.T / temperature).masked_fill(apart, -1e9).log_softmax(1)
    same = (labels[:, None] == labels) & ~apart
    return -((scores * same).sum(1) / same.sum(1).clamp(min=1)).mean()


@book.case("contrastive", constant=unit)
def supervised_contrast_of_skewed_classes() -> Problem:
    model = nn.Sequential(mlp(20, 64, 16), UnitNorm())
    return assembled(
        model,
        supervised_contrast,
        clusters(zipf(8), rows=2000, apart=1.5),
        adam(2e-3),
        partial(as_loader, rows=64),
    )


@book.case("policy", constant=lambda free: F.log_softmax(free, -1))
def policy_gradient_on_recorded_actions() -> Problem:
    """Actions of a lazy policy, nine in ten "wait", each weighted by an advantage that depends on the state."""
    x = torch.randn(2500, 8)
    best = (x[:, :4] * 2).argmax(1)
    taken = torch.where(torch.rand(2500) < 0.85, 0, torch.randint(4, (2500,)))
    advantage = (taken == best).float() - 0.25
    model = nn.Sequential(mlp(8, 64, 4, act=nn.Tanh), nn.LogSoftmax(-1))

    def loss(log_policy: Tensor, step: Tensor) -> Tensor:
        chosen = log_policy.gather(1, step[:, :1].long()).squeeze(1)
        entropy = -(log_policy.exp() * log_policy).sum(1)
        # the recorded policy is that of the start: an importance ratio, clipped as in PPO
        ratio = (chosen - math.log(0.25)).exp()
        gain = torch.minimum(ratio * step[:, 1], ratio.clamp(0.5, 2.0) * step[:, 1])
        return -(gain + 0.05 * entropy).mean()

    return assembled(model, loss, (x, torch.stack([taken.float(), advantage], 1)), adam(2e-3), as_loader)


@book.case("policy", constant=lambda free: free.softmax(-1))
def behaviour_cloning_with_softmax_probabilities() -> Problem:
    """Nine actions in ten are "straight on"; the model gives probabilities, the loss takes their log."""
    x, y = clusters(one_class(7, 0.9), 16, rows=2500, apart=1.5)
    model = nn.Sequential(*mlp(16, 64, 7, act=nn.Tanh), nn.Softmax(-1))
    return assembled(
        model,
        lambda p, a: -p.gather(1, a[:, None]).clamp(min=1e-8).log().mean(),
        (x, y),
        adam(3e-3),
        as_loader,
    )


@book.case("ranking", constant=BLIND)
def pairwise_ranking_with_few_clicks() -> Problem:
    """Lists of twelve; about one item in twelve is clicked; logistic loss over pairs of clicked and not."""
    x = torch.randn(700, 12, 8)
    scores = x[..., 0] - x[..., 1] + 0.5 * x[..., 2] * x[..., 3]
    clicked = (scores + 0.2 * torch.randn(scores.shape) > 2.0).float()
    model = nn.Sequential(mlp(8, 48, 48, 1), nn.Flatten(1))

    def loss(s: Tensor, clicks: Tensor) -> Tensor:
        gaps = s[:, :, None] - s[:, None, :]
        counted = clicks[:, :, None] * (1 - clicks[:, None, :])
        return (F.softplus(-gaps) * counted).sum() / counted.sum().clamp(min=1)

    return assembled(model, loss, (x, clicked), adam(3e-3), as_loader)


@book.case("ranking", steps=400)
def listwise_softmax_over_fifty_candidates() -> Problem:
    x = torch.randn(800, 50, 6)
    best = (2 * x[..., 0] - x[..., 1] * x[..., 2]).argmax(1)
    return assembled(
        nn.Sequential(mlp(6, 48, 1), nn.Flatten(1)), nn.CrossEntropyLoss(), (x, best), adam(3e-3), as_loader
    )


@book.case("language", steps=500)
def skip_gram_with_negative_sampling() -> Problem:
    """Words of one topic occur together; five words drawn at random for each true one."""
    topics = 10
    words = 20 * torch.randint(topics, (6000, 1)) + drawn(zipf(20), 6000, 2)
    negatives = torch.randint(20 * topics, (6000, 5))
    context = torch.cat([words[:, 1:], negatives], 1)
    truth = torch.zeros(6000, 6)
    truth[:, 0] = 1
    order = torch.rand(6000, 6).argsort(1)
    context, truth = context.gather(1, order), truth.gather(1, order)

    class SkipGram(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centre, self.context = nn.Embedding(200, 16), nn.Embedding(200, 16)
            self.bias = nn.Embedding(200, 1)
            nn.init.zeros_(self.bias.weight)

        def forward(self, word: Tensor, context: Tensor) -> Tensor:
            scores = (self.context(context) @ self.centre(word)[:, :, None]).squeeze(2)
            return scores / 4 + self.bias(context).squeeze(2)

    data = ((words[:, 0], context), truth)
    return assembled(SkipGram(), nn.BCEWithLogitsLoss(), data, adam(2e-2), partial(as_loader, rows=64))


@book.case("counts")
def negative_binomial_counts() -> Problem:
    """Counts with more spread than Poisson's; the model gives the log of the mean and of the spread."""
    x, y = counts(0.2, rows=2500)
    y = torch.poisson(y * torch.distributions.Gamma(2.0, 2.0).sample(y.shape))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        mean, size = out[:, 0].clamp(-8, 6).exp(), out[:, 1].clamp(-5, 5).exp()
        return -torch.distributions.NegativeBinomial(size, logits=(mean / size).log()).log_prob(y).mean()

    return assembled(mlp(10, 48, 2), loss, (x, y), adam(3e-3), as_loader)


@book.case("counts")
def zero_inflated_poisson_counts() -> Problem:
    x, y = counts(0.4, rows=2500)
    y = y * (torch.rand(len(y)) < torch.sigmoid(2 * x[:, 2]))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        rate, never = out[:, 0].clamp(-8, 5), out[:, 1]
        none = torch.logsumexp(torch.stack([F.logsigmoid(never), F.logsigmoid(-never) - rate.exp()]), 0)
        some = F.logsigmoid(-never) + y * rate - rate.exp() - torch.lgamma(y + 1)
        return -torch.where(y == 0, none, some).mean()

    return assembled(mlp(10, 48, 2), loss, (x, y), adam(3e-3), as_loader)


@book.case("survival", constant=BLIND)
def cox_partial_likelihood_with_three_in_four_censored() -> Problem:
    x = torch.randn(1500, 8)
    risk = 1.5 * x[:, 0] - x[:, 1] * x[:, 2]
    times = torch.distributions.Exponential(risk.exp()).sample()
    censor = torch.distributions.Exponential(torch.full((1500,), 2.5)).sample()
    seen = torch.stack([torch.minimum(times, censor), (times < censor).float()], 1)

    def loss(scores: Tensor, seen: Tensor) -> Tensor:
        order = seen[:, 0].argsort(descending=True)
        s, event = scores.squeeze(1)[order], seen[order, 1]
        return -((s - s.logcumsumexp(0)) * event).sum() / event.sum().clamp(min=1)

    return assembled(mlp(8, 48, 48, 1), loss, (x, seen), adam(3e-3), partial(as_loader, rows=64))


@book.case("regression")
def quantiles_of_claims_mostly_zero() -> Problem:
    """Nine policies in ten claim nothing; the pinball loss of three high quantiles."""
    x = torch.randn(2500, 8)
    claims = (torch.rand(2500) < torch.sigmoid(3 * x[:, 0] - 3)) * (0.5 * torch.randn(2500) + 0.5).exp()
    levels = torch.tensor([0.8, 0.9, 0.95])

    def pinball(q: Tensor, y: Tensor) -> Tensor:
        gap = y[:, None] - q
        return torch.maximum(levels * gap, (levels - 1) * gap).mean()

    return assembled(mlp(8, 64, 3), pinball, (x, claims), adam(3e-3), as_loader)


@book.case("loss")
def distillation_of_skewed_soft_labels() -> Problem:
    """A fixed teacher's probabilities are the targets; KL at temperature 2."""
    x, y = clusters(one_class(10, 0.8), 20, rows=2000, apart=1.5)
    soft = (0.9 * F.one_hot(y, 10) + 0.1 * one_class(10, 0.8)).float()

    def loss(logits: Tensor, teacher: Tensor) -> Tensor:
        return 4 * F.kl_div(F.log_softmax(logits / 2, 1), teacher, reduction="batchmean")

    return assembled(mlp(20, 64, 10), loss, (x, soft), adam(3e-3), as_loader)
