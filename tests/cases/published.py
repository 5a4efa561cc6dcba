"""Faults that people published: programs from Stack Overflow, and the nets of AutoTrainer and DeepDiagnosis.

The numbers are those of the questions, as collected by DeepLocalize (Wardat et al. 2021), DeepDiagnosis
(Wardat et al. 2022) and TheDeepChecker (Ben Braiek and Khomh 2022); AutoTrainer is Zhang et al. 2021.
Each was rebuilt small and executed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from . import data
from .case import Case, Setup, sick_case
from .models import Exp, he_normal, mlp, normal, small_uniform
from .training import (
    adam,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    mean_squared_error,
    negative_log_likelihood,
    sgd,
)

DIGITS_MLP = [64, 64, 32, 10]
RAW_PIXELS = 255 / data.PIXEL_MAXIMUM

classification = partial(Setup, loss=cross_entropy)
regression = partial(Setup, loss=mean_squared_error)
probability = partial(Setup, loss=binary_cross_entropy)
binary = partial(Setup, loss=binary_cross_entropy_with_logits)


def softmax() -> nn.Module:
    return nn.Softmax(1)


def sum_of_cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


def cases() -> Iterator[Case]:
    yield from _stack_overflow_outputs()
    yield from _stack_overflow_scales()
    yield from _deep_nets()


def _stack_overflow_outputs() -> Iterator[Case]:
    """What the last layer gives does not fit the loss or the targets."""
    log_loss = partial(Setup, loss=negative_log_likelihood, data=data.digits(), optimizer=adam())
    yield sick_case(
        "so48385830",
        source="SO48385830 (DeepLocalize)",
        fault="no activations, N(0,1) init, log-loss on raw outputs",
        codes="WP506 WP209",
        sick=log_loss(model=mlp([64, 30, 10], nn.Identity, initialize=normal(1.0))),
        healthy=log_loss(model=mlp([64, 30, 10], nn.Sigmoid, last=lambda: nn.LogSoftmax(1))),
    )
    yield sick_case(
        "so34311586",
        source="SO34311586",
        fault="1-unit softmax output",
        codes="WP502",
        sick=probability(model=mlp([2, 8, 1], nn.Sigmoid, last=softmax), data=data.circles, optimizer=adam()),
        healthy=probability(
            model=mlp([2, 8, 1], nn.Tanh, last=nn.Sigmoid), data=data.circles, optimizer=adam(0.02)
        ),
    )
    bits = partial(probability, data=data.all_ones_or_all_zeros, optimizer=adam())
    yield sick_case(
        "so31880720",
        source="SO31880720",
        fault="1-unit softmax, separable bits",
        codes="WP502",
        sick=bits(model=mlp([128, 50, 50, 1], last=softmax)),
        healthy=bits(model=mlp([128, 50, 50, 1], last=nn.Sigmoid)),
    )
    sine = partial(regression, data=data.sine, optimizer=adam(0.01))
    yield sick_case(
        "so48251943",
        source="SO48251943/44066044",
        fault="ReLU on regression output, negative targets",
        codes="WP503 WP601",
        sick=sine(model=mlp([1, 32, 1], last=nn.ReLU)),
        healthy=sine(model=mlp([1, 32, 1])),
    )
    yield sick_case(
        "so48221692",
        source="SO48221692",
        fault="sigmoid output, targets ~5",
        codes="WP503",
        sick=regression(
            model=mlp([4, 16, 1], last=nn.Sigmoid), data=data.linear_around_five, optimizer=adam(0.01)
        ),
        healthy=regression(model=mlp([4, 16, 1]), data=data.linear_around_five, optimizer=adam(0.03)),
    )
    digits = partial(classification, data=data.digits(), optimizer=adam(0.003))
    yield sick_case(
        "so47352366",
        source="SO47352366",
        fault="ReLU on class outputs",
        codes="WP503",
        sick=digits(model=mlp(DIGITS_MLP, last=nn.ReLU)),
        healthy=digits(model=mlp(DIGITS_MLP)),
    )


def _stack_overflow_scales() -> Iterator[Case]:
    """Inputs, targets or the loss on a scale that the optimizer cannot live with; a value that is missing."""
    wide = mlp([64, 784, 50, 10])
    yield sick_case(
        "so55328966",
        source="SO55328966",
        fault="pixels 0..255 unscaled",
        codes="WP102",
        sick=classification(model=wide, data=data.digits(scale=RAW_PIXELS), optimizer=sgd(0.01)),
        healthy=classification(model=wide, data=data.digits(), optimizer=sgd(0.1)),
    )
    yield sick_case(
        "so39525358",
        source="SO39525358",
        fault="tabular features unscaled",
        codes="WP101 WP102",
        sick=binary(
            model=mlp([3, 12, 3, 1], initialize=small_uniform),
            data=data.table_of_three_units(standardize=False),
            optimizer=adam(),
        ),
        healthy=binary(
            model=mlp([3, 16, 8, 1]), data=data.table_of_three_units(standardize=True), optimizer=adam(0.01)
        ),
    )
    parabola = partial(regression, model=mlp([1, 50, 30, 1]))
    yield sick_case(
        "so48934338",
        source="SO48934338",
        fault="SGD lr=0.1 on y~5x^2 (targets std~40)",
        codes="WP607 WP505",
        sick=parabola(data=data.noisy_parabola(), optimizer=sgd(0.1)),
        healthy=parabola(data=data.noisy_parabola(standardize=True), optimizer=sgd(0.05)),
    )
    far = partial(regression, model=mlp([1, 32, 32, 1]))
    yield sick_case(
        "so52800582",
        source="SO52800582",
        fault="x,y unscaled regression -> explosion",
        codes="WP505 WP102",
        sick=far(data=data.parabola_up_to_500(standardize=False), optimizer=sgd(0.01)),
        healthy=far(data=data.parabola_up_to_500(standardize=True), optimizer=sgd(0.05)),
    )
    digits = partial(Setup, model=mlp(DIGITS_MLP), data=data.digits(), optimizer=sgd(0.3))
    yield sick_case(
        "SO43611745-sum",
        source="SO43611745 (TDC list)",
        fault="reduction=sum loss, lr tuned for mean",
        codes="WP607 WP302",
        sick=digits(loss=sum_of_cross_entropies),
        healthy=digits(loss=cross_entropy),
    )
    digits = partial(classification, model=mlp(DIGITS_MLP), optimizer=adam())
    yield sick_case(
        "SO53640858-nan",
        source="SO53640858",
        fault="NaN in input",
        codes="WP106",
        sick=digits(data=data.digits_with_a_nan),
        healthy=digits(data=data.digits()),
    )


def _deep_nets() -> Iterator[Case]:
    circle = partial(binary, data=data.circles)
    yield sick_case(
        "AT-circle-sigmoid12",
        source="AutoTrainer/DeepDiagnosis Circle",
        fault="12x5 sigmoid MLP",
        codes="WP206 WP203 WP207",
        sick=circle(model=mlp([2, *[5] * 12, 1], nn.Sigmoid), optimizer=sgd(0.1)),
        healthy=circle(model=mlp([2, *[32] * 4, 1], initialize=he_normal), optimizer=sgd(0.3)),
    )
    yield sick_case(
        "AT-circle-exp9",
        source="AutoTrainer/DeepDiagnosis Circle",
        fault="9x5 exp activations",
        codes="WP201 WP202 WP209 WP302",
        sick=circle(model=mlp([2, *[5] * 9, 1], Exp, initialize=he_normal), optimizer=sgd(0.1)),
        healthy=circle(model=mlp([2, *[32] * 3, 1], nn.ELU), optimizer=sgd(0.3)),
    )
    digits = partial(classification, data=data.digits(), optimizer=adam())
    yield sick_case(
        "AT-mnist-relu34",
        source="AutoTrainer Motivation/DyingReLU",
        fault="34-layer ReLU, N(0,.05)",
        codes="WP303 WP203 WP206 WP201 WP202 WP601",
        sick=digits(model=mlp([64, *[32] * 34, 10], initialize=normal(0.05))),
        healthy=digits(model=mlp([64, *[64] * 6, 10], initialize=he_normal)),
    )
