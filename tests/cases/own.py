"""Faults of our own making: deep stacks, wiring, recurrence, precision."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn

from . import data
from .case import Case, Setup, sick_case
from .models import (
    DistanceToItself,
    ThreeLayers,
    TwoLayers,
    he_normal,
    mlp,
    normal,
    with_dead_second_layer,
    xavier_normal,
)
from .published import DIGITS_MLP
from .sequence_models import LastStepRegressor, Transformer
from .training import adam, cross_entropy, mean_squared_error, sgd

classification = partial(Setup, loss=cross_entropy)
regression = partial(Setup, loss=mean_squared_error)
digits = partial(classification, data=data.digits(), optimizer=adam())
standardized = partial(classification, data=data.standardized_digits)


def tiny_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(logits, labels) * 1e-6


def cases() -> Iterator[Case]:
    yield from _deep_stacks()
    yield from _wiring()
    yield from _sequences_and_precision()


def _deep_stacks() -> Iterator[Case]:
    ten_tanh = standardized(
        model=mlp([64, *[64] * 10, 10], nn.Tanh, initialize=xavier_normal), optimizer=sgd(0.1)
    )
    yield sick_case(
        "own-tanh50-small",
        source="own",
        fault="50 tanh, N(0,.01)",
        codes="WP303 WP206 WP201 WP202 WP203",
        sick=standardized(
            model=mlp([64, *[64] * 50, 10], nn.Tanh, initialize=normal(0.01)), optimizer=sgd(0.1)
        ),
        healthy=ten_tanh,
    )
    yield sick_case(
        "own-tanh20-sat",
        source="own",
        fault="20 tanh N(0,1)",
        codes="WP303 WP205 WP207",
        sick=standardized(
            model=mlp([64, *[64] * 20, 10], nn.Tanh, initialize=normal(1.0)), optimizer=sgd(0.01)
        ),
        healthy=ten_tanh,
    )
    yield sick_case(
        "own-relu30-explode",
        source="own",
        fault="30 ReLU N(0,1)",
        codes="WP303 WP201 WP202 WP209 WP302 WP207",
        sick=standardized(model=mlp([64, *[128] * 30, 10], initialize=normal(1.0)), optimizer=adam()),
        healthy=standardized(model=mlp([64, *[64] * 8, 10], initialize=he_normal), optimizer=adam()),
    )


def _wiring() -> Iterator[Case]:
    yield sick_case(
        "own-detach",
        source="own",
        fault=".detach() cuts layer 1",
        codes="WP601",
        sick=digits(model=lambda: ThreeLayers(detached=True)),
        healthy=digits(model=lambda: ThreeLayers(detached=False)),
    )
    yield sick_case(
        "own-batchleak",
        source="Karpathy recipe",
        fault="view instead of transpose mixes batch",
        codes="WP603",
        sick=digits(model=lambda: TwoLayers(mixes_batch=True)),
        healthy=digits(model=lambda: TwoLayers(mixes_batch=False)),
    )
    yield sick_case(
        "own-deadbias",
        source="own",
        fault="layer-2 bias -10 => dead ReLU",
        codes="WP204",
        sick=digits(model=with_dead_second_layer),
        healthy=digits(model=mlp([64, 64, 64, 10], initialize=he_normal)),
    )
    yield sick_case(
        "own-sqrt0",
        source="own",
        fault="sqrt(0) gradient NaN in hidden layer",
        codes="WP209",
        sick=digits(model=lambda: DistanceToItself(eps=0.0)),
        healthy=digits(model=lambda: DistanceToItself(eps=1e-6)),
    )


def _sequences_and_precision() -> Iterator[Case]:
    tokens = partial(classification, data=data.tokens_to_rotate)
    yield sick_case(
        "own-tf-emb1",
        source="own (GPT tied-embedding std=1)",
        fault="tied embedding std 1 => loss0>>lnV",
        codes="WP302",
        sick=tokens(model=lambda: Transformer(embedding_std=1.0), optimizer=adam()),
        healthy=tokens(model=Transformer, optimizer=adam(3e-3)),
    )
    yield sick_case(
        "own-rnn-vanish",
        source="own",
        fault="RNN recurrent gain .3, target depends on t<3, T=60",
        codes="WP606 WP203 WP206",
        sick=regression(
            model=lambda: LastStepRegressor(gain=0.3), data=data.sum_of_first_three(60), optimizer=sgd(0.05)
        ),
        healthy=regression(model=LastStepRegressor, data=data.sum_of_first_three(20), optimizer=adam(3e-3)),
    )
    half = partial(digits, model=mlp(DIGITS_MLP), precision="fp16")
    yield sick_case(
        "own-fp16-under",
        source="own",
        fault="loss x1e-6 in fp16 w/o scaler: grads < 2^-24",
        codes="WP208",
        sick=half(loss=tiny_cross_entropy),
        healthy=half(),
    )
