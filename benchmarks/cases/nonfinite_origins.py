"""Problems in which one operation makes the first NaN or infinity, each with its module, operation, line and the rows that make it.

The line is the one that ends in ``# origin``; where torch's own module does it, there is none.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from wellposed import Problem

BATCH = 16
ROOT = ""
"""The place of what the outermost module does itself."""
_MARK = "# origin"


@dataclass(frozen=True, kw_only=True)
class Planted:
    name: str
    operation: tuple[str, ...]
    """Names of the operation that are right, in lower case."""
    direction: str
    where: str
    rows: frozenset[int] | None
    """Of the whole data, those that make it; None where all do, or the data are not to blame."""
    line: str | None
    problem: Callable[[], Problem]


CASES: list[Planted] = []


def planted(
    operation: str,
    direction: str = "forward",
    *,
    where: str = "score",
    rows: Iterable[int] | None = None,
    line_in: Any = None,
) -> Callable[[Callable[[], Problem]], Callable[[], Problem]]:
    def enter(build: Callable[[], Problem]) -> Callable[[], Problem]:
        def problem() -> Problem:
            torch.manual_seed(0)
            return build()

        CASES.append(
            Planted(
                name=build.__name__.replace("_", "-"),
                operation=tuple(operation.split("|")),
                direction=direction,
                where=where,
                rows=None if rows is None else frozenset(rows),
                line=_marked(line_in or build),
                problem=problem,
            )
        )
        return build

    return enter


def _marked(build: Any) -> str | None:
    lines, first = inspect.getsourcelines(build)
    marked = [first + i for i, line in enumerate(lines) if line.rstrip().endswith(_MARK)]
    return f"{Path(__file__).name}:{marked[0]}" if marked else None


def _data(x: torch.Tensor, y: torch.Tensor | None = None, *, batch: int = BATCH) -> DataLoader[Any]:
    """Rows in order, so that the batches are known."""
    if y is None:
        y = x.flatten(1)[:, :1].nan_to_num(0, 0, 0).clone()
    return DataLoader(TensorDataset(x, y), batch_size=batch)


def _rows(count: int = 64, width: int = 4, *, least: float | None = None) -> torch.Tensor:
    x = torch.randn(count, width)
    return x if least is None else x.abs() + least


def _scored(score: nn.Module, width: int = 4, out: int = 4) -> nn.Module:
    """The operation at the inputs, and a head."""
    return nn.Sequential(OrderedDict(score=score, head=nn.Linear(out, 1)))


def _lifted(score: nn.Module, width: int = 4, out: int = 4) -> nn.Module:
    """The operation behind weights that need its gradient."""
    lift = nn.Linear(width, width, bias=False)
    return nn.Sequential(OrderedDict(lift=lift, score=score, head=nn.Linear(out, 1)))


def _problem(model: nn.Module, loss: Any, train: DataLoader[Any]) -> Problem:
    return Problem(model=model, loss=loss, train=train)


class Applied(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


# Forward, elementwise.


@planted("log", rows=[3])
def log_of_zero() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(x)  # origin

    x = _rows(least=0.1)
    x[3, 1] = 0.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("div|truediv", rows=[5, 9])
def zero_over_zero() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = x.sum(1, keepdim=True)
            return x / total  # origin

    x = _rows(least=0.1)
    x[5] = x[9] = 0.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("exp", rows=[2])
def exp_overflow() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scaled = 2.0 * x
            e = scaled.exp()  # origin
            return e / (1 + e)

    x = _rows()
    x[2, 0] = 60.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("square|pow", rows=[7])
def half_precision_square_overflows() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = (100 * x).half()
            h = h.square()  # origin
            return h.float().log1p()

    x = _rows()
    x.clamp_(-2, 2)
    x[7, 3] = 4.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("pow", rows=[11])
def root_of_a_negative_by_power() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x**0.5  # origin

    x = _rows(least=0.1)
    x[11, 0] = -1.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("asin|arcsin", rows=[0])
def asin_above_one() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.asin(x)  # origin

    x = _rows().clamp(-0.9, 0.9)
    x[0, 0] = 1.0001
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("logit", rows=[15])
def logit_of_one() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.logit(x)  # origin

    x = torch.rand(64, 4) * 0.9 + 0.05
    x[15, 2] = 1.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("rsqrt", rows=[4])
def reciprocal_root_of_zero() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            power = x.pow(2).mean(1, keepdim=True)
            scale = torch.rsqrt(power)  # origin
            return x * scale

    x = _rows()
    x[4] = 0.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("div_|idiv|__itruediv__|itruediv|div")
def in_place_division_by_a_zero_temperature() -> Problem:
    class Score(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x /= self.temperature  # origin
            return x

    return _problem(_scored(Score()), F.mse_loss, _data(_rows()))


@planted("cosh", rows=[1])
def cosh_overflow_in_a_lambda() -> Problem:
    score = Applied(lambda x: torch.cosh(x))  # origin
    x = _rows()
    x[1, 1] = 95.0
    return _problem(_scored(score), F.mse_loss, _data(x))


@planted("log", rows=[20])
def only_in_the_second_batch() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.log()  # origin

    x = _rows(least=0.1)
    x[20, 0] = 0.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("reciprocal")
def one_column_is_zero() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            spread = x.std(0)
            inverse = spread.reciprocal()  # origin
            return x * inverse

    x = _rows()
    x[:, 2] = 3.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


@planted("log", rows=[6])
def log_of_an_underflowed_softmax() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            p = torch.softmax(x, dim=1)
            return p.log()  # origin

    x = _rows()
    x[6, 0] = 200.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


# Forward, over a dimension.


@planted("softmax", where="attend", rows=[8])
def softmax_of_a_row_that_is_all_masked() -> Problem:
    class Attend(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = x @ x.transpose(1, 2)
            mask = x.abs().sum(2) == 0
            scores = scores.masked_fill(mask[:, None, :], float("-inf"))
            weights = F.softmax(scores, dim=-1)  # origin
            return (weights @ x).mean(1)

    x = torch.randn(64, 5, 4)
    x[8] = 0.0
    x[30, 3:] = 0.0
    model = nn.Sequential(OrderedDict(attend=Attend(), head=nn.Linear(4, 1)))
    return _problem(model, F.mse_loss, _data(x, torch.randn(64, 1)))


@planted("std", where="normalise")
def std_over_groups_of_one() -> Problem:
    class Normalise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            groups = x.view(len(x), 4, 1)
            spread = groups.std(2, keepdim=True)  # origin
            return ((groups - groups.mean(2, keepdim=True)) / (spread + 1e-5)).flatten(1)

    model = nn.Sequential(OrderedDict(normalise=Normalise(), head=nn.Linear(4, 1)))
    return _problem(model, F.mse_loss, _data(_rows()))


@planted("mean", where=ROOT, rows=None)
def mean_over_an_empty_selection() -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            centre = x[x > 100].mean()  # origin
            return self.head(x - centre)

    return _problem(Net(), F.mse_loss, _data(_rows()))


@planted("div|truediv", where="pool", rows=[12])
def masked_mean_of_an_empty_sequence() -> Problem:
    class Pool(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mask = (x.abs().sum(-1, keepdim=True) > 0).float()
            return (x * mask).sum(1) / mask.sum(1)  # origin

    x = torch.randn(64, 5, 4)
    x[12] = 0.0
    model = nn.Sequential(OrderedDict(lift=nn.Linear(4, 4, bias=False), pool=Pool(), head=nn.Linear(4, 1)))
    return _problem(model, F.mse_loss, _data(x, torch.randn(64, 1)))


@planted("matmul|mm|linear|__matmul__", where=ROOT)
def product_overflows() -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.key = nn.Linear(4, 4)
            self.head = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            big = 1e20 * self.key(x)
            scores = big @ (1e20 * self.key.weight)  # origin
            return self.head(torch.tanh(scores))

    return _problem(Net(), F.mse_loss, _data(_rows()))


@planted("layernorm|layer_norm", where="norm", rows=[10])
def layer_norm_without_eps_over_a_constant_row() -> Problem:
    x = _rows()
    x[10] = 2.0
    model = nn.Sequential(OrderedDict(norm=nn.LayerNorm(4, eps=0.0), head=nn.Linear(4, 1)))
    return _problem(model, F.mse_loss, _data(x))


@planted("multiheadattention|softmax|_softmax", where="attention", rows=[3])
def every_key_is_padding() -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            padding = x.abs().sum(-1) == 0
            y, _ = self.attention(x, x, x, key_padding_mask=padding)  # origin
            return self.head(y.mean(1))

    x = torch.randn(64, 5, 4)
    x[3] = 0.0
    return _problem(Net(), F.mse_loss, _data(x, torch.randn(64, 1)))


@planted("linear", where="1", rows=None)
def half_precision_layer_overflows() -> Problem:
    class Scale(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 4e4

    class Float(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.float()

    x = torch.rand(64, 4, dtype=torch.float16) + 0.5
    layer = nn.Linear(4, 4).half()
    with torch.no_grad():
        layer.weight.fill_(1.0)
    model = nn.Sequential(Scale(), layer, Float(), nn.Linear(4, 1))
    return _problem(model, F.mse_loss, _data(x, torch.randn(64, 1)))


@planted("div|truediv", where="gather")
def a_node_without_neighbours() -> Problem:
    class Gather(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("target", torch.tensor([0, 1, 1, 3]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sums = torch.zeros_like(x).index_add(1, self.target, x)
            counts = torch.zeros(4).index_add(0, self.target, torch.ones(4))
            return sums / counts  # origin

    model = nn.Sequential(OrderedDict(gather=Gather(), head=nn.Linear(4, 1)))
    return _problem(model, F.mse_loss, _data(_rows()))


# Forward, where the code is nested, functional or recurrent.


@planted("div|truediv", where="encoder.blocks.1.scale", rows=[13])
def deep_in_nested_modules() -> Problem:
    class Scale(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x.abs().amax(1, keepdim=True)  # origin

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = Scale()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale(x) if x.shape[1] == 4 else x

    class First(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clamp(min=0.0)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([First(), Block()])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = block(x)
            return x

    x = _rows(least=0.1)
    x[13] = -1.0
    model = nn.Sequential(OrderedDict(encoder=Encoder(), head=nn.Linear(4, 1)))
    return _problem(model, F.mse_loss, _data(x))


@planted("div|truediv", where=ROOT, rows=[14])
def in_functional_code() -> Problem:
    weight = nn.Parameter(torch.randn(4, 1))

    def unit(x: torch.Tensor) -> torch.Tensor:
        length = x.norm(dim=1, keepdim=True)
        return x / length  # origin

    def inner(x: torch.Tensor) -> torch.Tensor:
        return unit(x) + 1.0

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return inner(x) @ self.weight

    x = _rows()
    x[14] = 0.0
    return _problem(Net(), F.mse_loss, _data(x))


@planted("exp", where="cell", rows=None)
def in_a_recurrent_cell_after_some_steps() -> Problem:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(4))

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            pre = x.abs() + (2.5 * h) @ self.weight
            return pre.clamp(min=0.1).exp() if pre.max() > 1e3 else pre + 1  # origin

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Cell()
            self.head = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.zeros(len(x), 4)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
            return self.head(h)

    return _problem(Net(), F.mse_loss, _data(torch.randn(64, 12, 4), torch.randn(64, 1)))


@planted("log", where="teacher", rows=[2])
def under_no_grad_in_a_teacher() -> Problem:
    class Teacher(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu().log()  # origin

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.teacher = Teacher()
            self.head = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                known = self.teacher(x)
            return self.head(x + known)

    x = _rows(least=0.1)
    x[2, 3] = -1.0
    return _problem(Net(), F.mse_loss, _data(x))


@planted("sqrt", rows=[9])
def after_an_infinity_that_was_meant_and_replaced() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logs = x.abs().log().nan_to_num(neginf=-20.0)
            return (logs + 21 - 100 * (x > 5)).sqrt()  # origin

    x = _rows().clamp(-3, 3)
    x[1, 0] = 0.0
    x[9, 1] = 6.0
    return _problem(_scored(Score()), F.mse_loss, _data(x))


class Inverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 1 / x  # origin

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad


@planted("inverse|div|truediv|rtruediv|__rtruediv__|reciprocal", rows=[4], line_in=Inverse)
def forward_of_a_custom_function() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Inverse.apply(x)

    x = _rows(least=0.1)
    x[4, 0] = 0.0
    return _problem(_lifted_identity(Score()), F.mse_loss, _data(x))


def _lifted_identity(score: nn.Module) -> nn.Module:
    lift = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        lift.weight.copy_(torch.eye(4))
    return nn.Sequential(OrderedDict(lift=lift, score=score, head=nn.Linear(4, 1)))


@planted("parameter", where="table.weight", rows=None)
def a_row_of_an_embedding_is_nan() -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 1)
            with torch.no_grad():
                self.table.weight[7] = float("nan")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(x).mean(1))

    x = torch.randint(0, 10, (64, 6))
    return _problem(Net(), F.mse_loss, _data(x, torch.randn(64, 1)))


@planted("linear|matmul|__matmul__|mm", where=ROOT)
def overflow_under_autocast() -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 4))
            self.head = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", torch.float16):
                h = x @ self.weight  # origin
            return self.head(h.float())

    x = _rows(least=0.5) * 6e4 / 4
    return _problem(Net(), F.mse_loss, _data(x.clamp(max=6e4), torch.randn(64, 1)))


# Forward, in the loss.


@planted("log", where="loss", rows=[5])
def log_of_zero_in_the_loss() -> Problem:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(outputs)
        logs = torch.log(p)  # origin
        return -(targets * logs).mean()

    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
    x = _rows()
    x[5] = -100.0
    return _problem(model, loss, _data(x, torch.ones(64, 1)))


@planted("cross_entropy|cross_entropy_loss|nll_loss|crossentropyloss", where="loss")
def every_target_of_the_second_batch_is_ignored() -> Problem:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs, targets, ignore_index=-1)  # origin

    y = torch.randint(0, 3, (64,))
    y[BATCH : 2 * BATCH] = -1
    return _problem(nn.Linear(4, 3), loss, _data(_rows(), y))


@planted("exp", where="loss")
def exp_of_a_learned_log_variance() -> Problem:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_variance = nn.Parameter(torch.tensor(-100.0))

        def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            weight = torch.exp(-self.log_variance)  # origin
            return (weight * (outputs - targets).square() + self.log_variance).mean()

    return _problem(nn.Linear(4, 1), Loss(), _data(_rows()))


@planted("kl_div|kldivloss", where="loss", rows=[1])
def divergence_from_a_negative_target() -> Problem:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logs = F.log_softmax(outputs, dim=1)
        return F.kl_div(logs, targets, reduction="batchmean")  # origin

    y = torch.rand(64, 3)
    y[1, 0] = -0.5
    return _problem(nn.Linear(4, 3), loss, _data(_rows(), y))


@planted("poisson_nll_loss|exp|poissonnllloss", where="loss", rows=[6])
def poisson_rate_overflows() -> Problem:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.poisson_nll_loss(outputs, targets)  # origin

    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
    x = _rows()
    x[6] = 50.0
    return _problem(model, loss, _data(x, torch.ones(64, 1)))


# Backward.


@planted("sqrt", "backward", rows=[8])
def slope_of_a_root_at_zero() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = x.square().sum(1, keepdim=True)
            return torch.sqrt(total)  # origin

    x = _rows()
    x[8] = 0.0
    return _problem(_lifted(Score(), out=1), F.mse_loss, _data(x))


@planted("pow", "backward", rows=[8])
def slope_of_a_power_at_zero() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * x).sum(1, keepdim=True) ** 0.5  # origin

    x = _rows()
    x[8] = 0.0
    return _problem(_lifted(Score(), out=1), F.mse_loss, _data(x))


@planted("sqrt", "backward", rows=[3])
def spread_of_a_constant_row() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            centred = x - x.mean(1, keepdim=True)
            variance = centred.square().mean(1, keepdim=True)
            spread = variance.sqrt()  # origin
            return centred / (spread + 1e-5)

    x = _rows()
    x[3] = 0.0
    return _problem(_lifted(Score()), F.mse_loss, _data(x))


@planted("acos|arccos", "backward", rows=[6])
def slope_of_acos_at_one() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.acos(x.clamp(-1, 1))  # origin

    x = _rows().clamp(-0.9, 0.9)
    x[6, 0] = 1.0
    return _problem(_lifted_identity(Score()), F.mse_loss, _data(x))


@planted("hypot", "backward", rows=[2])
def length_of_the_zero_vector() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.hypot(x[:, :1], x[:, 1:2])  # origin

    x = _rows()
    x[2] = 0.0
    return _problem(_lifted(Score(), out=1), F.mse_loss, _data(x))


@planted("log", "backward", rows=[10])
def where_does_not_guard_a_logarithm() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logs = x.log()  # origin
            return torch.where(x > 0, logs, torch.zeros_like(x))

    x = _rows(least=0.1)
    x[10, 2] = 0.0
    return _problem(_lifted_identity(Score()), F.mse_loss, _data(x))


@planted("div|truediv", "backward", rows=[4])
def where_does_not_guard_a_division() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            ratio = 1.0 - x / x.sum(1, keepdim=True)  # origin
            return torch.where(x.sum(1, keepdim=True) != 0, ratio, x)

    x = _rows(least=0.1)
    x[4] = 0.0
    return _problem(_lifted_identity(Score()), F.mse_loss, _data(x))


class Root(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = x.abs().sqrt()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return grad / (2 * y)


@planted("root", "backward", rows=[7])
def backward_of_a_custom_function() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Root.apply(x)  # origin

    x = _rows(least=0.1)
    x[7, 1] = 0.0
    return _problem(_lifted_identity(Score()), F.mse_loss, _data(x))


@planted("sqrt", "backward", where="loss", rows=[5])
def root_of_a_residual_that_is_zero() -> Problem:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        errors = (outputs - targets).square().mean(1)
        return errors.sqrt().mean()  # origin

    model = nn.Linear(4, 1, bias=False)
    x = _rows()
    x[5] = 0.0
    y = torch.randn(64, 1)
    y[5] = 0.0
    return _problem(model, loss, _data(x, y))


@planted("linalg_eigh|linalgeigh|eigh", "backward", where="whiten")
def eigenvectors_of_equal_eigenvalues() -> Problem:
    class Whiten(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, vectors = torch.linalg.eigh(torch.diag(self.scale))  # origin
            return x @ vectors

    model = nn.Sequential(OrderedDict(whiten=Whiten(), head=nn.Linear(4, 1)))
    return _problem(model, F.mse_loss, _data(_rows()))


@planted("mul", "backward")
def the_gradient_itself_overflows() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x * 1e-35
            x = x * 1e22  # origin
            return x * 1e22

    return _problem(_lifted(Score()), F.mse_loss, _data(_rows()))


@planted("sqrt", "backward", where="body.inner", rows=[1])
def in_a_checkpointed_module() -> Problem:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sqrt()  # origin

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    lift = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        lift.weight.copy_(torch.eye(4))
    x = _rows(least=0.1)
    x[1, 0] = 0.0
    model = nn.Sequential(OrderedDict(lift=lift, body=Body(), head=nn.Linear(4, 1)))
    return _problem(model, F.mse_loss, _data(x))


@planted("sqrt", "backward", where="cell", rows=[0])
def the_slope_in_a_recurrent_cell() -> Problem:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(4))

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return (x.abs() @ self.weight.abs() + h).sqrt()  # origin

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Cell()
            self.head = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.zeros(len(x), 4)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
            return self.head(h)

    x = torch.randn(64, 3, 4)
    x[0] = 0.0
    return _problem(Net(), F.mse_loss, _data(x, torch.randn(64, 1)))


@planted("log", "backward", where=ROOT, rows=[11])
def entropy_of_a_zero_probability() -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            p = self.head(x)
            logs = p.log()  # origin
            entropy = torch.where(p > 0, p * logs, torch.zeros_like(p))
            return entropy.sum(1, keepdim=True)

    net = Net()
    with torch.no_grad():
        net.head.weight.copy_(torch.eye(4))
        net.head.bias.zero_()
    x = _rows(least=0.1)
    x[11, 0] = 0.0
    return _problem(net, F.mse_loss, _data(x))


@planted("rsqrt", "backward", rows=[18])
def backward_in_the_second_batch() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            power = x.square().sum(1, keepdim=True)
            inverse = power.rsqrt()  # origin
            return torch.where(power > 0, x * inverse, x)

    x = _rows()
    x[18] = 0.0
    return _problem(_lifted(Score()), F.mse_loss, _data(x))


@planted("asin|arcsin", "backward", rows=[2])
def two_operations_on_one_line() -> Problem:
    class Score(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(torch.asin(x)) * torch.exp(x)  # origin

    x = _rows().clamp(-0.9, 0.9)
    x[2, 0] = -1.0
    return _problem(_lifted_identity(Score()), F.mse_loss, _data(x))
