"""Cases that only count: nobody who writes rules reads them: healthy, part 3."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed import Problem

from . import data
from .book import Book, scheduled

book = Book()


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def rotated(x: Tensor) -> Tensor:
    """Rotary position embedding of (batch, heads, length, width)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] / 100 ** (torch.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    return torch.cat(
        [first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], -1
    )


class LlamaBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(rotated(query), rotated(key), value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        hidden = self.norm2(x)
        return x + self.down(F.silu(self.gate(hidden)) * self.up(hidden))


@book.healthy
def rms_norm_rotary_and_swiglu() -> Problem:
    class Llama(nn.Module):
        def __init__(self, vocabulary: int, width: int = 48):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.blocks = nn.Sequential(LlamaBlock(width, 4), LlamaBlock(width, 4))
            self.norm = RMSNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)
            nn.init.normal_(self.embedding.weight, std=0.02)
            nn.init.normal_(self.head.weight, std=0.02)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.norm(self.blocks(self.embedding(tokens))))

    windows, vocabulary = data.letters()
    train, held_out = data.split(windows[:, :-1], windows[:, 1:])
    model = Llama(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=30)
    return Problem(
        model=model,
        loss=lambda logits, targets: F.cross_entropy(logits.transpose(1, 2), targets),
        train=data.loader(*train, batch_size=16),
        validation=data.loader(*held_out, batch_size=16),
        optimizer=scheduled(optimizer, schedule),
    )


@book.healthy
def diabetes_with_huber_loss() -> Problem:
    x, y = data.diabetes()
    train, held_out = data.standardized(*data.split(x, (y - 150) / 77))
    model = nn.Sequential(nn.Linear(10, 24), nn.ELU(), nn.Linear(24, 1))
    return Problem(
        model=model,
        loss=nn.HuberLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    )


@book.healthy
def logistic_regression_from_zero() -> Problem:
    """Zero weights are the right start where there is no hidden layer."""
    train, held_out = data.standardized(*data.split(*data.wine()))
    model = nn.Linear(13, 3)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16))
        self.document = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, query: Tensor, document: Tensor) -> Tensor:
        left = F.normalize(self.query(query), dim=1)
        right = F.normalize(self.document(document), dim=1)
        return left @ right.T / 0.1


@book.healthy
def two_towers_with_in_batch_softmax() -> Problem:
    """The loss compares every query with every document of its batch: that is meant."""
    g = data.seeded(12)
    meaning = torch.randn(640, 6, generator=g)
    queries = meaning @ torch.randn(6, 12, generator=g) + 0.3 * torch.randn(640, 12, generator=g)
    documents = torch.tanh(meaning @ torch.randn(6, 20, generator=g) / 2)
    batches = [((queries[i : i + 32], documents[i : i + 32]), torch.arange(32)) for i in range(0, 640, 32)]
    model = TwoTowers()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=batches[:16],
        validation=batches[16:],
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class DeepFM(nn.Module):
    def __init__(self, sizes: tuple[int, ...] = (50, 20, 7), width: int = 6):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.first_order = nn.ModuleList(nn.Embedding(size, 1) for size in sizes)
        self.deep = nn.Sequential(nn.Linear(len(sizes) * width + 4, 32), nn.ReLU(), nn.Linear(32, 1))
        for table in (*self.tables, *self.first_order):
            nn.init.normal_(table.weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, categories: Tensor, dense: Tensor) -> Tensor:
        vectors = torch.stack([table(categories[:, i]) for i, table in enumerate(self.tables)], 1)
        linear = sum(table(categories[:, i]) for i, table in enumerate(self.first_order))
        pairs = (vectors.sum(1).square() - vectors.square().sum(1)).sum(1, keepdim=True) / 2
        return (linear + pairs + self.deep(torch.cat([vectors.flatten(1), dense], 1)))[:, 0]


@book.healthy
def deep_factorization_machine() -> Problem:
    categories, dense, clicked = data.clicks()
    batches = [
        ({"categories": categories[i : i + 60], "dense": dense[i : i + 60]}, clicked[i : i + 60])
        for i in range(0, 1200, 60)
    ]
    model = DeepFM()
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=batches[:16],
        validation=batches[16:],
        optimizer=torch.optim.Adagrad(model.parameters(), lr=0.05),
    )


@book.healthy
def three_quantiles_of_house_prices() -> Problem:
    train, held_out = data.standardized(*data.split(*data.housing()))
    quantiles = torch.tensor([0.1, 0.5, 0.9])

    def pinball(predicted: Tensor, price: Tensor) -> Tensor:
        error = price - predicted
        return torch.maximum(quantiles * error, (quantiles - 1) * error).mean()

    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
    return Problem(
        model=model,
        loss=pinball,
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.healthy
def poisson_counts() -> Problem:
    g = data.seeded(13)
    x = torch.randn(800, 5, generator=g)
    rate = torch.exp(0.5 + x @ torch.tensor([[0.4], [-0.3], [0.2], [0.0], [0.3]]))
    train, held_out = data.split(x, torch.poisson(rate, generator=g))
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))
    return Problem(
        model=model,
        loss=nn.PoissonNLLLoss(log_input=True),
        train=data.loader(*train, batch_size=40),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


class Ordinal(nn.Module):
    """One score, and ordered thresholds (Cao et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 1))
        self.thresholds = nn.Parameter(torch.tensor([1.5, 0.5, -0.5, -1.5]))

    def forward(self, x: Tensor) -> Tensor:
        return self.score(x) + self.thresholds


@book.healthy
def ordered_price_bands() -> Problem:
    x, price = data.housing()
    bands = torch.bucketize(price[:, 0], torch.tensor([1.2, 1.7, 2.2, 3.0]))
    reached = (bands[:, None] > torch.arange(4)).float()
    train, held_out = data.standardized(*data.split(x, reached))
    model = Ordinal()
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=data.loader(*train, batch_size=50),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.healthy
def sparse_bag_of_words_linear_svm() -> Problem:
    """2,000 columns of which a row has about 15; most columns of a batch are zero throughout."""
    g = data.seeded(15)
    words = torch.randint(2000, (700, 15), generator=g)
    labels = torch.randint(2, (700,), generator=g)
    words[:, :4] = 40 * labels[:, None] + torch.randint(40, (700, 4), generator=g)
    counts = torch.zeros(700, 2000).scatter_add_(1, words, torch.ones(700, 15))
    train, held_out = data.split(counts, 2.0 * labels[:, None] - 1)
    model = nn.Linear(2000, 1)
    return Problem(
        model=model,
        loss=lambda margin, sign: F.relu(1 - sign * margin).mean() + 1e-4 * model.weight.square().sum(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
    )


@book.healthy
def rare_labels_with_positive_weights() -> Problem:
    """Six labels a row, of frequency 3 to 20 %, weighted."""
    g = data.seeded(16)
    x = torch.randn(900, 12, generator=g)
    score = x @ torch.randn(12, 6, generator=g) / math.sqrt(12)
    labels = (score > torch.tensor([0.9, 1.1, 1.3, 1.5, 1.7, 1.8])).float()
    train, held_out = data.split(x, labels)
    weights = (1 - train[1]).sum(0) / train[1].sum(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 6))
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(pos_weight=weights),
        train=data.loader(*train, batch_size=60),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.healthy
def one_hot_columns_and_numbers() -> Problem:
    categories, dense, clicked = data.clicks()
    columns = [F.one_hot(categories[:, i], size) for i, size in enumerate((50, 20, 7))]
    x = torch.cat([*columns, dense], 1).float()
    train, held_out = data.split(x, clicked[:, None])
    model = nn.Sequential(nn.Linear(81, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.AdamW(model.parameters(), lr=5e-3),
    )


class Highway(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.transform, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        open_ = torch.sigmoid(self.gate(x))
        return open_ * F.relu(self.transform(x)) + (1 - open_) * x


@book.healthy
def highway_with_closed_gates() -> Problem:
    train, held_out = data.split(*data.digit_rows())
    model = nn.Sequential(nn.Linear(64, 48), *[Highway(48) for _ in range(10)], nn.Linear(48, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    )
