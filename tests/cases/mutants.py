"""Synthetic mutants: a sound net for the digits, and one fault at a time.

The faults are those of TheDeepChecker (Ben Braiek and Khomh 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn

from . import data
from .case import Case, Setup, sick_case
from .models import DigitsConvNet, constant, he_normal, mlp, normal
from .published import DIGITS_MLP, RAW_PIXELS, softmax
from .training import adam, cross_entropy, sgd

classification = partial(Setup, loss=cross_entropy)
digits = partial(classification, model=mlp(DIGITS_MLP), data=data.digits(), optimizer=adam())


def negated_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -cross_entropy(logits, labels)


def cases() -> Iterator[Case]:
    yield from _initialization()
    yield from _data()
    yield from _objective_and_update()


def _initialization() -> Iterator[Case]:
    yield sick_case(
        "TDC-const-init",
        source="TheDeepChecker wrong_init",
        fault="constant init",
        codes="WP301",
        sick=digits(model=mlp(DIGITS_MLP, initialize=constant(0.05))),
        healthy=digits(model=mlp(DIGITS_MLP, initialize=he_normal)),
    )
    yield sick_case(
        "TDC-random-init",
        source="TheDeepChecker wrong_init",
        fault="N(0,1) init",
        codes="WP302",
        sick=digits(model=mlp([64, 128, 128, 10], initialize=normal(1.0))),
        healthy=digits(model=mlp([64, 128, 128, 10], initialize=he_normal)),
    )


def _data() -> Iterator[Case]:
    yield sick_case(
        "TDC-dbl-norm",
        source="TheDeepChecker double_normalization",
        fault="/16 then /255",
        codes="WP102",
        sick=digits(data=data.digits(scale=1 / data.PIXEL_MAXIMUM / 255), optimizer=sgd(0.05)),
        healthy=digits(optimizer=sgd(0.3)),
    )
    tanh = partial(digits, model=mlp(DIGITS_MLP, nn.Tanh))
    yield sick_case(
        "TDC-miss-norm",
        source="TheDeepChecker missing_normalization",
        fault="raw 0..255, tanh",
        codes="WP102 WP205",
        sick=tanh(data=data.digits(scale=RAW_PIXELS), optimizer=sgd(0.05)),
        healthy=tanh(optimizer=sgd(0.3)),
    )
    yield sick_case(
        "TDC-wrong-labels",
        source="TheDeepChecker wrong_labels / SO40467990",
        fault="labels misaligned",
        codes="WP109",
        sick=digits(data=data.digits_with_shuffled_labels, optimizer=adam(0.003)),
        healthy=digits(optimizer=adam(0.003)),
    )
    yield sick_case(
        "TDC-unbalanced",
        source="TheDeepChecker unbalanced_data",
        fault="one class ~80%",
        codes="WP111",
        sick=digits(data=data.digits_mostly_zeros),
        healthy=digits(),
    )
    images = partial(classification, model=DigitsConvNet, data=data.digits(images=True))
    yield sick_case(
        "TDC-bn-infer",
        source="TheDeepChecker miss_infer_batchnorm",
        fault="BN running stats never updated (momentum 0)",
        codes="WP604",
        sick=images(
            model=lambda: DigitsConvNet(momentum=0.0),
            data=data.digits(scale=RAW_PIXELS, images=True),
            optimizer=adam(),
        ),
        healthy=images(optimizer=adam(0.003)),
    )


def _objective_and_update() -> Iterator[Case]:
    yield sick_case(
        "TDC-red-softmax",
        source="TheDeepChecker redundant_softmax",
        fault="softmax then CE",
        codes="WP501",
        sick=digits(model=mlp(DIGITS_MLP, last=softmax)),
        healthy=digits(),
    )
    yield sick_case(
        "TDC-flip-sign",
        source="TheDeepChecker flipped_sign",
        fault="gradient ascent",
        codes="WP607 WP504",
        sick=digits(loss=negated_cross_entropy),
        healthy=digits(),
    )
    yield sick_case(
        "TDC-high-lr",
        source="TheDeepChecker high_lr",
        fault="Adam lr=1",
        codes="WP607",
        sick=digits(optimizer=adam(1.0)),
        healthy=digits(),
    )
    yield sick_case(
        "TDC-low-lr",
        source="TheDeepChecker low_lr",
        fault="SGD lr=1e-6",
        codes="WP608 WP606",
        sick=digits(optimizer=sgd(1e-6)),
        healthy=digits(optimizer=sgd(0.3)),
    )
    yield sick_case(
        "TDC-over-reg",
        source="TheDeepChecker over_regularization",
        fault="wd=10",
        codes="WP609 WP606",
        sick=digits(optimizer=sgd(0.05, weight_decay=10.0)),
        healthy=digits(optimizer=sgd(0.3, weight_decay=1e-4)),
    )
