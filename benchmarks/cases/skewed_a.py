"""Healthy problems with skewed classes, counts and scales: half a, drawn at random."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed import Problem

from .healthy_case import HealthyBook
from .skewed_data import (
    RecurrentTagger,
    TransformerTagger,
    UNet,
    adam,
    adamw,
    as_dicts,
    as_loader,
    assembled,
    clusters,
    cnn,
    drawn,
    focal,
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
    vocabulary_of,
    waves,
    zipf,
)

book = HealthyBook()


@book.case("mlp")
def binary_mlp_with_one_class_of_nine_tenths() -> Problem:
    return assembled(mlp(12, 32, 2), nn.CrossEntropyLoss(), clusters(one_class(2, 0.9), 12, apart=0.8))


@book.case("mlp")
def ten_classes_with_nine_tenths_in_one() -> Problem:
    return assembled(mlp(20, 64, 10), nn.CrossEntropyLoss(), clusters(one_class(10, 0.9)), adam(2e-3))


@book.case("mlp")
def ten_classes_by_zipf_with_batch_norm() -> Problem:
    model = mlp(20, 64, 64, 10, between=nn.BatchNorm1d)
    return assembled(model, nn.CrossEntropyLoss(), clusters(zipf(10)), adam(), as_loader)


@book.case("mlp", steps=500)
def twenty_classes_with_97_percent_in_one() -> Problem:
    data = clusters(one_class(20, 0.97), 32, rows=4000, apart=1.5)
    return assembled(mlp(32, 64, 20), nn.CrossEntropyLoss(), data, adam(3e-3), as_loader)


@book.case("mlp", steps=600)
def five_hundred_classes_by_zipf() -> Problem:
    return assembled(
        mlp(64, 128, 500), nn.CrossEntropyLoss(), clusters(zipf(500), 64, rows=6000, apart=2.0), adam(3e-3)
    )


@book.case("linear")
def softmax_regression_on_a_long_tail() -> Problem:
    return assembled(nn.Linear(24, 12), nn.CrossEntropyLoss(), clusters(long_tail(12), 24), sgd(0.1))


@book.case("loss", constant=lambda free: F.log_softmax(free, 1))
def nll_of_a_log_softmax_with_nine_tenths_in_one() -> Problem:
    model = nn.Sequential(*mlp(20, 64, 15), nn.LogSoftmax(1))
    return assembled(model, nn.NLLLoss(), clusters(one_class(15, 0.9), rows=2500), adam(3e-3), as_loader)


@book.case("loss")
def label_smoothing_with_skewed_classes() -> Problem:
    data = clusters(one_class(10, 0.8), apart=1.5)
    return assembled(mlp(20, 64, 10), nn.CrossEntropyLoss(label_smoothing=0.1), data, adam(2e-3), as_loader)


@book.case("loss")
def class_weights_by_inverse_frequency() -> Problem:
    prior = one_class(6, 0.85)
    return assembled(
        mlp(16, 64, 6), nn.CrossEntropyLoss(weight=1 / (6 * prior)), clusters(prior, 16), adam(2e-3)
    )


@book.case("cnn")
def ten_kinds_of_pictures_with_nine_tenths_in_one() -> Problem:
    return assembled(
        cnn(1, 10), nn.CrossEntropyLoss(), pictures(one_class(10, 0.9), rows=900), adam(2e-3), as_loader
    )


@book.case("tagger")
def lstm_tags_eight_entities_among_nine_tenths_other() -> Problem:
    model = RecurrentTagger(vocabulary_of(8), 9)
    return assembled(model, token_loss, sentences(8), adam(5e-3), as_loader)


@book.case("tagger")
def transformer_tags_tokens_with_nine_tenths_other() -> Problem:
    model = TransformerTagger(vocabulary_of(6), 7)
    return assembled(model, token_loss, sentences(6), adam(1e-3), as_loader)


@book.case("language")
def causal_transformer_of_two_hundred_tokens_by_zipf_with_tied_embedding() -> Problem:
    windows = text(200, length=12, rows=800, power=1.0)
    model = TransformerTagger(200, 200, layers=1, causal=True, tied=True)
    return assembled(model, token_loss, (windows[:, :-1], windows[:, 1:]), adam(3e-3), as_loader)


@book.case("segmentation")
def binary_masks_with_pos_weight() -> Problem:
    images, masks = scenes(2)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(9.0))
    return assembled(
        UNet(3, 1), loss, (images, masks[:, None].float()), adam(3e-3), partial(as_loader, rows=16)
    )


@book.case("detection")
def objectness_with_focal_loss_and_a_prior_bias() -> Problem:
    """Lin et al. 2017: the last bias makes every place an object with probability 0.01."""
    images, masks = scenes(2, rows=300)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 1, 1),
    )
    nn.init.constant_(model[-1].bias, -math.log(99))  # type: ignore[arg-type]
    return assembled(model, focal, (images, masks[:, None].float()), adam(3e-3), partial(as_loader, rows=16))


@book.case("multi-label")
def twenty_rare_labels() -> Problem:
    data = many_labels(torch.linspace(0.3, 0.02, 20), rows=2500)
    return assembled(mlp(24, 64, 20), nn.BCEWithLogitsLoss(), data, adam(3e-3), as_loader)


@book.case("multi-label", steps=500)
def hundred_labels_of_three_percent() -> Problem:
    data = many_labels(torch.full((100,), 0.03), 32, rows=3000)
    return assembled(mlp(32, 128, 100), nn.BCEWithLogitsLoss(), data, adam(3e-3))


@book.case("mlp")
def self_normalizing_net_with_skewed_classes() -> Problem:
    model = mlp(20, 64, 64, 64, 8, act=nn.SELU)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
    return assembled(model, nn.CrossEntropyLoss(), clusters(one_class(8, 0.85)), sgd(0.02, 0.9), as_loader)


@book.case("mlp")
def seven_classes_by_zipf_squared_with_rmsprop() -> Problem:
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(model.parameters(), lr=1e-3)

    return assembled(mlp(16, 64, 7), nn.CrossEntropyLoss(), clusters(zipf(7, 2.0), 16, rows=2000), optimizer)


@book.case("mlp")
def two_thousand_rows_of_thirty_classes_in_dicts() -> Problem:
    data = clusters(one_class(30, 0.6), 24, rows=3000, apart=1.5)
    model = mlp(24, 96, 30, act=nn.LeakyReLU)
    return assembled(
        model, nn.CrossEntropyLoss(), data, adamw(3e-3, weight_decay=0.01), partial(as_dicts, name="input")
    )


class Patches(nn.Module):
    """A vision transformer of two layers with a class token."""

    def __init__(self, classes: int, width: int = 32):
        super().__init__()
        self.cut = nn.Conv2d(1, width, 3, stride=3)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(17, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 64, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, image: Tensor) -> Tensor:
        patches = self.cut(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(image), -1, -1), patches], 1) + self.place
        return self.head(self.encoder(tokens)[:, 0])


@book.case("transformer")
def vision_transformer_with_eight_tenths_in_one() -> Problem:
    data = pictures(one_class(12, 0.8), rows=1000, noise=0.3)
    return assembled(Patches(12), nn.CrossEntropyLoss(), data, adamw(2e-3), as_loader)


class Documents(nn.Module):
    def __init__(self, vocabulary: int, classes: int):
        super().__init__()
        self.bag = nn.EmbeddingBag(vocabulary, 24, mode="mean")
        self.head = nn.Linear(24, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.bag(tokens))


def documents(
    prior: Tensor, length: int = 20, rows: int = 1500, vocabulary: int = 100
) -> tuple[Tensor, Tensor]:
    """Tokens by Zipf, of which a third are words of the document's class."""
    labels = drawn(prior, rows)
    tokens = drawn(zipf(vocabulary), rows, length)
    own = vocabulary + 3 * labels[:, None] + torch.randint(3, (rows, length))
    return torch.where(torch.rand(rows, length) < 0.3, own, tokens), labels


@book.case("text", steps=500)
def bag_of_words_with_skewed_topics() -> Problem:
    data = documents(long_tail(20))
    return assembled(Documents(160, 20), nn.CrossEntropyLoss(), data, adam(2e-2), as_loader)


class LastState(nn.Module):
    def __init__(self, features: int, classes: int, width: int = 32):
        super().__init__()
        self.rnn = nn.GRU(features, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[1][-1])


@book.case("recurrent")
def gru_classifies_rare_waves() -> Problem:
    x, y = waves(one_class(5, 0.85))
    return assembled(LastState(2, 5), nn.CrossEntropyLoss(), (x.transpose(1, 2), y), adam(1e-2), as_loader)


@book.case("language")
def lstm_language_model_over_one_pair() -> Problem:
    windows = text(60, power=1.5)
    model = RecurrentTagger(60, 60, width=48, both=False)
    return assembled(model, token_loss, (windows[:, :-1], windows[:, 1:]), adam(1e-2))


@book.case("segmentation")
def segmentation_that_ignores_the_border_with_255() -> Problem:
    images, masks = scenes(5)
    masks[:, 0] = masks[:, -1] = 255
    return assembled(
        UNet(3, 5),
        nn.CrossEntropyLoss(ignore_index=255),
        (images, masks),
        adam(5e-3),
        partial(as_loader, rows=16),
    )


def dice_and_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    shares = logits.softmax(1)
    truth = F.one_hot(masks, logits.shape[1]).movedim(-1, 1)
    overlap = 2 * (shares * truth).sum((0, 2, 3)) + 1
    return (
        F.cross_entropy(logits, masks)
        + 1
        - (overlap / (shares.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)).mean()
    )


@book.case("segmentation", steps=400)
def dice_and_cross_entropy_over_eight_classes() -> Problem:
    return assembled(
        UNet(3, 8), dice_and_cross_entropy, scenes(8, channels=3), adam(5e-3), partial(as_loader, rows=16)
    )


def heatmap_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """The focal loss of CornerNet and CenterNet, for heatmaps that are 1 at the centres of objects."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    at_centres = heat >= 1 - 1e-4
    hit = (1 - p) ** 2 * p.log() * at_centres
    miss = (1 - heat) ** 4 * p**2 * (1 - p).log() * ~at_centres
    return -(hit.sum() + miss.sum()) / at_centres.sum().clamp(min=1)


@book.case("detection")
def heatmaps_of_centres() -> Problem:
    rows, size = 300, 14
    axis = torch.arange(size)
    centres = torch.randint(2, size - 2, (rows, 2))
    distance = (axis[None, :, None] - centres[:, 0, None, None]) ** 2 + (
        axis[None, None] - centres[:, 1, None, None]
    ) ** 2
    heat = (-distance / 2.0).exp()[:, None]
    images = 3 * heat.sqrt() + 0.5 * torch.randn(rows, 1, size, size)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 1, 1),
    )
    nn.init.constant_(model[-1].bias, -2.19)  # type: ignore[arg-type]
    return assembled(model, heatmap_loss, (images, heat), adam(5e-3), partial(as_loader, rows=16))


@book.case("multi-label")
def multi_label_soft_margin_with_rare_labels() -> Problem:
    data = many_labels(zipf(30), rows=2500)
    return assembled(mlp(24, 96, 30), nn.MultiLabelSoftMarginLoss(), data, adam(3e-3), as_loader)


@book.case("multi-label")
def pos_weights_of_twelve_rare_labels() -> Problem:
    rates = torch.linspace(0.2, 0.02, 12)
    loss = nn.BCEWithLogitsLoss(pos_weight=(1 - rates) / rates)
    return assembled(mlp(24, 64, 12), loss, many_labels(rates, rows=2500), adam(3e-3), as_loader)


class Recognizer(nn.Module):
    """Frames to log-probabilities of six symbols, of which 0 is CTC's blank."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 32, 3, padding=1)
        self.rnn = nn.LSTM(32, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 6)

    def forward(self, frames: Tensor) -> Tensor:
        return F.log_softmax(
            self.head(self.rnn(F.relu(self.conv(frames.transpose(1, 2))).transpose(1, 2))[0]), -1
        )


def ctc(scores: Tensor, symbols: Tensor) -> Tensor:
    rows, frames, _ = scores.shape
    lengths = (symbols > 0).sum(1)
    return F.ctc_loss(scores.transpose(0, 1), symbols, torch.full((rows,), frames), lengths)


@book.case("ctc", steps=250, constant=lambda free: F.log_softmax(free, -1))
def ctc_with_symbols_by_zipf_and_much_silence() -> Problem:
    """Each symbol sounds for two frames of five, somewhere; the others are silent."""
    sounds = torch.randn(6, 8)
    sounds[0] = 0
    lengths = torch.randint(2, 5, (400, 1))
    symbols = (1 + drawn(zipf(5), 400, 4)).masked_fill(torch.arange(4) >= lengths, 0)
    frames = torch.zeros(400, 20, 8)
    for k in range(4):
        frames[:, 5 * k + 1 : 5 * k + 3] = sounds[symbols[:, k]][:, None]
    return assembled(
        Recognizer(), ctc, (frames + 0.2 * torch.randn(frames.shape), symbols), adam(1e-2), as_loader
    )


class Cosine(nn.Module):
    """Cosines to a vector for each class, times a scale (Wang et al. 2017)."""

    def __init__(self, features: int, classes: int, scale: float = 16.0):
        super().__init__()
        self.body = mlp(features, 64, 24)
        self.classes = nn.Parameter(torch.randn(classes, 24))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.normalize(self.body(x), dim=1) @ F.normalize(self.classes, dim=1).T


@book.case("contrastive")
def cosine_classifier_on_a_long_tail() -> Problem:
    return assembled(
        Cosine(24, 25),
        nn.CrossEntropyLoss(),
        clusters(long_tail(25), 24, rows=2500, apart=1.5),
        adam(3e-3),
        as_loader,
    )


class Ordinal(nn.Module):
    """One score and increasing cuts: the logits of "more than k"."""

    def __init__(self, features: int, levels: int):
        super().__init__()
        self.score = mlp(features, 48, 1)
        self.cuts = nn.Parameter(torch.linspace(-1, 1, levels - 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.score(x) - self.cuts


@book.case("ordinal")
def ordinal_levels_mostly_the_lowest() -> Problem:
    x, score = smooth(1, rows=2000)
    level = torch.bucketize(score.squeeze(1), torch.tensor([0.8, 1.2, 1.6, 2.0]))
    above = (level[:, None] > torch.arange(4)).float()
    return assembled(Ordinal(8, 5), nn.BCEWithLogitsLoss(), (x, above), adam(5e-3), as_loader)


@book.case("multi-output")
def two_heads_with_skewed_labels_each() -> Problem:
    """Logits of both heads side by side: six kinds with one of 85 percent, four by Zipf."""
    (x, first), (z, second) = (
        clusters(one_class(6, 0.85), 12, apart=1.5),
        clusters(zipf(4, 2.0), 12, apart=1.5),
    )

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits[:, :6], labels[:, 0]) + F.cross_entropy(logits[:, 6:], labels[:, 1])

    data = (torch.cat([x, z], 1), torch.stack([first, second], 1))
    return assembled(mlp(24, 96, 10), loss, data, adam(2e-3), as_loader)


@book.case("survival")
def discrete_hazards_of_rare_events() -> Problem:
    """Ten months; in each an event of about two percent, by the features."""
    x = torch.randn(2000, 8)
    hazard = torch.sigmoid(-5 + 2.5 * x[:, :1] + 0.8 * x[:, 1:2]).expand(-1, 10)
    event = torch.bernoulli(hazard)
    alive = (event.cumsum(1) - event == 0).float()
    model = mlp(8, 48, 10)

    def loss(logits: Tensor, months: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(logits, months[..., 0], reduction="none")
        return (each * months[..., 1]).sum() / months[..., 1].sum()

    return assembled(model, loss, (x, torch.stack([event, alive], 2)), adam(3e-3), as_loader)


@book.case("regression")
def two_outputs_around_five_hundred_standardized() -> Problem:
    x, y = smooth(2)
    raw = 500 + 100 * y
    return assembled(mlp(8, 64, 64, 2), nn.MSELoss(), (x, (raw - 500) / 100), adam(3e-3), as_loader)


@book.case("regression", steps=1500)
def two_raw_outputs_around_five_hundred_with_a_high_rate() -> Problem:
    """The targets are as they come, and Adam's rate is such that the outputs get there within an epoch or two."""
    x, y = smooth(2, rows=2000)
    return assembled(mlp(8, 128, 2), nn.MSELoss(), (x, 500 + 100 * y), adam(0.1), as_loader)


@book.case("regression")
def prices_of_a_million_standardized() -> Problem:
    x, y = smooth(1)
    prices = 1e6 * (0.4 * y + 0.1).exp()
    return assembled(mlp(8, 64, 1), nn.MSELoss(), (x, (prices - 1.2e6) / 5e5), adam(5e-3), as_loader)


@book.case("regression")
def prices_of_a_million_scaled_inside_the_model() -> Problem:
    """The model ends in a fixed affine map to the targets' scale, and the loss divides by it again."""

    class Prices(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp(8, 64, 1)

        def forward(self, x: Tensor) -> Tensor:
            return 1e6 + 3e5 * self.body(x)

    x, y = smooth(1)
    return assembled(
        Prices(), lambda out, y: F.mse_loss(out / 3e5, y / 3e5), (x, 1e6 + 3e5 * y), adam(5e-3), as_loader
    )


@book.case("loss")
def one_hot_targets_of_a_long_tail() -> Problem:
    x, y = clusters(long_tail(15), 24, rows=2000, apart=1.5)
    return assembled(
        mlp(24, 64, 15), nn.CrossEntropyLoss(), (x, F.one_hot(y, 15).float()), adam(3e-3), as_loader
    )


@book.case("loss")
def multi_class_hinge_with_skewed_classes() -> Problem:
    return assembled(
        mlp(20, 64, 8), nn.MultiMarginLoss(), clusters(one_class(8, 0.8), apart=1.5), adam(3e-3), as_loader
    )


@book.case("bags")
def bags_by_their_largest_instance_with_rare_positives() -> Problem:
    """A bag of ten is positive, one in seven, when it holds one of the rare instances."""
    x = torch.randn(1500, 10, 8)
    marked = torch.rand(1500, 10) < 0.015
    x[..., :3] += 3 * marked[..., None]

    class Bags(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.instance, self.head = nn.Sequential(nn.Linear(8, 32), nn.ReLU()), nn.Linear(32, 1)

        def forward(self, bags: Tensor) -> Tensor:
            return self.head(self.instance(bags).amax(1))

    return assembled(
        Bags(), nn.BCEWithLogitsLoss(), (x, marked.any(1, keepdim=True).float()), adam(5e-3), as_loader
    )


@book.case("graph", steps=400)
def graph_convolution_with_skewed_communities() -> Problem:
    """One graph a row, with its adjacency; every node has a community, by Zipf."""
    labels = drawn(zipf(5, 1.5), 300, 14)
    same = labels[:, :, None] == labels[:, None]
    links = (torch.rand(300, 14, 14) < torch.where(same, 0.6, 0.05)).float()
    links = torch.maximum(links, links.transpose(1, 2))
    links = links + torch.eye(14) * (1 - links)
    links = links / links.sum(2, keepdim=True)
    x = 0.9 * torch.randn(5, 8)[labels] + torch.randn(300, 14, 8)

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(64, 5)

        def forward(self, x: Tensor, links: Tensor) -> Tensor:
            hidden = F.relu(self.first(x))
            return self.head(torch.cat([hidden, F.relu(self.second(links @ hidden))], 2))

    return assembled(Graph(), token_loss, ((x, links), labels), adam(5e-3), as_loader)
