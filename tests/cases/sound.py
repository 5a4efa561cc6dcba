"""Healthy problems that fool naive rules: whatever is said against them is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn

from . import data
from .case import Case, Setup, healthy_case
from .models import (
    BagOfWords,
    DigitsConvNet,
    ResidualMLP,
    he_normal,
    lecun_normal,
    mlp,
    orthogonal,
    with_frozen_first_layer,
    xavier_normal,
    zero_gamma_resnet,
)
from .published import DIGITS_MLP
from .sequence_models import LastStepRegressor, Transformer
from .training import adam, binary_cross_entropy, cross_entropy, mean_squared_error, sgd

classification = partial(Setup, loss=cross_entropy)
regression = partial(Setup, loss=mean_squared_error)
standardized = partial(classification, data=data.standardized_digits)
images = partial(classification, data=data.digits(images=True), optimizer=sgd(0.1, momentum=0.9))
tokens = partial(classification, data=data.tokens_to_rotate)
series = partial(regression, data=data.sum_of_first_three(20))


def cases() -> Iterator[Case]:
    yield from _stacks()
    yield from _images()
    yield from _sequences()
    yield from _others()


def _stacks() -> Iterator[Case]:
    yield healthy_case(
        "h-mlp-std-sgd",
        standardized(model=mlp(DIGITS_MLP, initialize=he_normal), optimizer=sgd(0.1)),
    )
    yield healthy_case("h-resmlp50-zeroinit", standardized(model=ResidualMLP, optimizer=adam()))
    yield healthy_case(
        "h-tanh50-orth",
        standardized(
            model=mlp([64, *[64] * 50, 10], nn.Tanh, initialize=orthogonal(1.05)), optimizer=adam(3e-4)
        ),
    )
    yield healthy_case(
        "h-selu20",
        standardized(model=mlp([64, *[64] * 20, 10], nn.SELU, initialize=lecun_normal), optimizer=adam(3e-4)),
    )


def _images() -> Iterator[Case]:
    yield healthy_case("h-bnconv", images(model=DigitsConvNet))
    yield healthy_case("h-resnet-zerogamma", images(model=zero_gamma_resnet))


def _sequences() -> Iterator[Case]:
    yield healthy_case(
        "h-prenorm-tf-gpt2init", tokens(model=lambda: Transformer(depth=6), optimizer=adam(3e-3))
    )
    yield healthy_case(
        "h-postnorm-tf4",
        tokens(model=lambda: Transformer(depth=2, pre_norm=False, tied=False), optimizer=adam(1e-3)),
    )
    yield healthy_case("h-gru", series(model=lambda: LastStepRegressor("gru"), optimizer=adam(0.005)))
    yield healthy_case("h-lstm", series(model=lambda: LastStepRegressor("lstm"), optimizer=adam(0.01)))


def _others() -> Iterator[Case]:
    yield healthy_case(
        "h-ae-sigmoid-bce",
        Setup(
            model=mlp([64, 32, 8, 32, 64], last=nn.Sigmoid),
            data=data.digits_to_reconstruct,
            loss=binary_cross_entropy,
            optimizer=adam(0.003),
        ),
    )
    words = partial(classification, optimizer=adam(0.01))
    yield healthy_case("h-embbag-sparsegrad", words(model=BagOfWords, data=data.bags_of_words))
    yield healthy_case(
        "h-bow-onehot-relu",
        words(model=mlp([5000, 64, 2]), data=data.one_hot_bags_of_words, optimizer=adam(0.003)),
    )
    yield healthy_case(
        "h-reg-std",
        regression(
            model=mlp([1, 64, 64, 1], nn.Tanh, initialize=xavier_normal),
            data=data.sine,
            optimizer=adam(0.005),
        ),
    )
    yield healthy_case(
        "h-finetune-frozen",
        classification(model=with_frozen_first_layer, data=data.digits(), optimizer=adam(0.003)),
    )
