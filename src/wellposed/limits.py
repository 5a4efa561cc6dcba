"""Every threshold of the rules, each with its unit and its source. ``Limits(feature_spread=50)`` overrides one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from .arguments import number


def _limit(default: float, *, unit: str, source: str) -> Any:
    return field(default=default, metadata={"unit": unit, "source": source})


_AT_MOST_ONE = ("probability", "share of rows", "share of units", "share of entries")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The thresholds that the rules judge by.

    Each is a finite number, zero or more; a probability, and a share of rows, units or entries, is at most 1. Anything else is an `ArgumentError`.

    Examples
    --------
    >>> Limits(feature_spread=50).feature_spread
    50.0
    """

    def __post_init__(self) -> None:
        for limit in fields(self):
            unit = limit.metadata["unit"]
            at_most_one = unit in _AT_MOST_ONE
            expected = f"a {unit}, from 0 to 1" if at_most_one else "a finite number, zero or more"
            value = number(
                getattr(self, limit.name),
                limit.name,
                least=0,
                most=1 if at_most_one else math.inf,
                expected=expected,
            )
            object.__setattr__(self, limit.name, value)

    feature_spread: float = _limit(
        100.0,
        unit="ratio of stds",
        source="standardised, min-max scaled and one-hot columns stay below 30; the pixels of digits reach 277, and their dominance clears them",
    )
    feature_dominance: float = _limit(
        1e3,
        unit="largest E[x²] over the typical",
        source="a thousandfold spread of curvature costs gradient descent a thousandfold of steps",
    )
    input_rms: float = _limit(
        10.0,
        unit="rms",
        source="digits in 0 to 16 have 7.8; pixels in 0 to 255 about 130",
    )
    input_largest: float = _limit(
        0.05,
        unit="largest absolute input",
        source="columns of unit norm over some hundred rows, as in diabetes, reach 0.2",
    )
    standardising_share: float = _limit(
        0.5,
        unit="share of what standardised inputs learn",
        source="less than half as much learned in the same steps",
    )
    standardising_floor: float = _limit(
        0.05,
        unit="share of the loss of a constant prediction",
        source="a trial that learns less than this says nothing",
    )
    sentinel_distance: float = _limit(
        3.0,
        unit="range of the other values of the column",
        source="-999 beside temperatures from -30 to 40 is 14 away, 99 beside ages up to 90 less than 1",
    )
    leak_chance: float = _limit(
        1e-6,
        unit="probability",
        source="that random data look fitted on held-out rows",
    )
    split_shift: float = _limit(
        0.5,
        unit="training stds",
        source="a medium effect in Cohen's terms; random splits are held off by shift_chance",
    )
    shift_chance: float = _limit(
        1e-4,
        unit="probability",
        source="that a random split shows it in any column, by a bound that needs no distribution",
    )
    correlation_condition: float = _limit(
        1e6,
        unit="condition number",
        source="breast_cancer, with its near copies radius and perimeter, has 1.0e5",
    )
    duplicate_chance: float = _limit(
        1e-4,
        unit="probability",
        source="that a random split of the same rows shares as many of them",
    )
    repeat_difference: float = _limit(
        1e-4, unit="relative difference", source="healthy problems show at most 5.4e-7"
    )
    initial_healed: float = _limit(
        0.5,
        unit="share of the excess over knowing nothing",
        source="what closes by half within 30 steps is closed long before training ends",
    )
    initial_extreme: float = _limit(
        10.0,
        unit="times the loss of knowing nothing",
        source="sick starts at 17 to 250 times close 95 % in 30 steps and remain worse than knowing nothing; healthy ones start within 4 times",
    )
    initial_log_ratio: float = _limit(
        2.0,
        unit="times the loss of knowing nothing",
        source="confident random logits; held up over healthy models",
    )
    initial_log_excess: float = _limit(
        1.0, unit="nat", source="added to the ratio, so that two classes are not judged by a tenth of a nat"
    )
    initial_square_ratio: float = _limit(
        10.0,
        unit="times the loss of knowing nothing",
        source="outputs of three times the targets' size",
    )
    unreachable_share: float = _limit(
        0.1, unit="share of the achievable improvement", source="floors are found by descent to about 1 %"
    )
    unreachable_of_directions: float = _limit(
        0.95,
        unit="share of the achievable improvement",
        source="similarities from -1 to 1 in a softmax, not divided by any temperature, leave 0.91 out of reach for 65,000 rows",
    )
    summed_times: float = _limit(
        100.0,
        unit="gradient over gradient",
        source="a sum over a batch beside a mean is as many times too large as the batch has rows",
    )
    log_normaliser: float = _limit(
        1e-2, unit="|logsumexp|", source="log-probabilities give 0 to rounding; bf16 to 4e-3"
    )
    majority_share: float = _limit(
        0.5, unit="share of rows", source="a constant prediction is right on most rows"
    )
    majority_times: float = _limit(
        5.0, unit="times an even share", source="skew beyond what sampling noise or ordinary data show"
    )
    rarest_class: float = _limit(
        20.0,
        unit="rows of the rarest class",
        source="a class as frequent as that is missed by chance once in e²⁰ times",
    )
    unseen_chance: float = _limit(
        1e-4,
        unit="probability",
        source="that a random split leaves out of training a class of that many rows",
    )
    unmixed_times: float = _limit(
        1.5,
        unit="ratio of classes in a batch",
        source="24 shuffled batches hold what is expected within a quarter, for 2 to 300 classes, even or skewed",
    )
    unmixed_chance: float = _limit(
        1e-6, unit="probability", source="that random batches hold as few classes, by a union bound"
    )
    label_deviations: float = _limit(
        3.0,
        unit="standard deviations of shuffled skill",
        source="of 19 shuffles; unrelated targets go beyond it by chance about once in 250",
    )
    label_learned: float = _limit(
        0.05,
        unit="share of a constant prediction's loss",
        source="a model that learns this much on held-out rows has seen something",
    )
    label_resolution: float = _limit(
        0.25, unit="correlation", source="a test that only sees more than this is not worth a verdict"
    )
    variance_ratio: float = _limit(
        2.0,
        unit="ratio of variances",
        source="the usual rules for one layer, 1/n, 2/(n + m) and 2/n, lie within 2 of each other; PyTorch's default is 6 times below what ReLU needs",
    )
    vanished: float = _limit(
        1e-4,
        unit="share of the input's std",
        source="below it the signal is lost among biases within a few steps",
    )
    learning: float = _limit(
        0.02,
        unit="share of a constant prediction's loss",
        source="a model that loses less in the steps has not begun to learn",
    )
    step_down: float = _limit(
        1e-2, unit="share of the input's std", source="where the fall is called to have begun"
    )
    exploded: float = _limit(
        1e3, unit="times the input's std", source="growth with the square root of depth stays far below"
    )
    collapsed: float = _limit(
        1e-2,
        unit="across-sample std over rms",
        source="samples that differ by less than a hundredth of the signal",
    )
    dead_share: float = _limit(
        0.8, unit="share of units", source="narrow rectified bottlenecks show 0.6 and recover"
    )
    attention_entropy: float = _limit(
        0.25,
        unit="share of the entropy of even weights",
        source="logits of std 1, 3 and 5 leave 0.8 to 0.9, 0.4 to 0.5 and 0.25, whatever the number of keys",
    )
    saturated_share: float = _limit(
        0.5, unit="share of entries", source="half of the entries pass no gradient"
    )
    gradient_growth: float = _limit(
        1e4,
        unit="ratio",
        source="healthy problems of the benchmark stay below 2.8; deep nets that train may reach hundreds",
    )
    flushed_share: float = _limit(
        0.5, unit="share of the squared gradient", source="half of the gradient of a layer is lost"
    )
    noise: float = _limit(
        30.0, unit="variance ratio", source="seven healthy problems with dropout stay below 0.6"
    )
    lost_updates: float = _limit(
        0.5, unit="share of weights", source="most weights stay where their float32 copies move"
    )
    slow_movement: float = _limit(
        1e-4,
        unit="relative movement in the steps",
        source="the slowest weight of a healthy problem moves 37 times as far",
    )
    slow_share: float = _limit(
        1e-2,
        unit="share of the largest movement",
        source="rates of layers differ by tens in healthy nets, by thousands in sick ones",
    )
    target_gain: float = _limit(
        3.0,
        unit="times the standardised loss",
        source="a gain of less is within what another rate would give",
    )
    unlearned_share: float = _limit(
        0.9, unit="share of a constant prediction's loss", source="nothing was learned in the steps"
    )
    learned_share: float = _limit(
        0.9,
        unit="share of a constant prediction's loss",
        source="the same steps learn something once the targets are standardised",
    )
    far_start: float = _limit(
        10.0, unit="times the loss of a constant prediction", source="the targets lie three of their stds off"
    )
    closed_share: float = _limit(
        1e-4,
        unit="share of the distance to a constant prediction",
        source="at this pace 30 steps would have to be repeated ten thousand times",
    )
    small_movement: float = _limit(
        1e-4, unit="relative movement in the steps", source="fine-tuning at 1e-6 with Adam moves more"
    )
    fell_first: float = _limit(
        0.9,
        unit="share of the starting loss",
        source="at rates that are too long the lowest average of five losses was 0.97 of the start and more; a quantiser that learns reaches 0.82",
    )
    run_away: float = _limit(
        2.0,
        unit="times the starting loss",
        source="a quantiser that learns rises to 1.35 once; rates that blow up reach a thousand",
    )
    small_gain: float = _limit(
        1e-3,
        unit="share of the loss",
        source="what a larger rate must gain to prove that the rate is too small",
    )
    decay_remaining: float = _limit(
        0.5,
        unit="share of the weights' size after 30 steps",
        source="no useful weight decay halves the weights in 30 steps",
    )
    decay_share: float = _limit(1.0, unit="weight decay over gradient", source="the two pull equally hard")
    batch_leak: float = _limit(
        1e-3,
        unit="change over std",
        source="healthy problems show exactly 0; rounding of batched kernels may differ by batch size",
    )
    padding_effect: float = _limit(
        0.2,
        unit="std of the outputs",
        source="masked attention and packed recurrence: rounding; three convolutions that read over the end 0.08 to 0.18; forgotten in attention 0.25 to 0.33, in a recurrent layer 0.6 to 1, in a mean 1.8 to 2.5",
    )
    future_leak: float = _limit(
        1e-3,
        unit="change over std",
        source="causal models show exactly 0; a mask that is wrong by one position changes outputs by more than their std",
    )
    order_effect: float = _limit(
        1e-4,
        unit="share of the change by other inputs",
        source="without positions rounding, below 1e-5; positions of a hundredth of the tokens' size, and two causal layers without any, above 5e-3",
    )
    axes_gain: float = _limit(
        0.05,
        unit="share of the loss at the start",
        source="beyond the scatter over three orders of the batches",
    )
    eval_gap: float = _limit(
        1.0, unit="share of the train-mode loss", source="statistics of a few batches differ by less"
    )
    eval_gap_errors: float = _limit(
        5.0, unit="standard errors over batches", source="five standard errors of a mean are no chance"
    )
    eval_gap_floor: float = _limit(0.5, unit="loss", source="a gap below half a nat is not judged")

    # WP4xx, gradients
    gradient_resolution: float = _limit(
        1e-2,
        unit="relative error of a tensor's gradient",
        source="a pass promises to have seen 1 % of a tensor's gradient norm; a larger error changes the direction of the update",
    )
