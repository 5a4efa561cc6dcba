"""The table of rules: one line each. It feeds the terminal, JSON, ``explain`` and ``wellposed rules``."""

from __future__ import annotations

from ..gradcheck.result import CustomBackwards, LossGradient
from ..inputs.result import InputProfile
from ..objective.result import LabelProfile, ObjectiveProfile, TargetProfile, TrainableProfile, WiringProfile
from ..report import Severity
from ..signals.result import PrecisionProfile, SignalProfile, TrainingProfile, WeightProfile
from . import connections, data, gradients, objective, precision, signals, updates
from .table import Judge, Rule

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE


def _rule(
    code: str,
    name: str,
    judges: type,
    severity: Severity,
    judge: Judge,
    *,
    limits: tuple[str, ...] = (),
    core: bool = False,
) -> Rule:
    return Rule(code=code, name=name, judges=judges, severity=severity, judge=judge, limits=limits, core=core)


RULES: tuple[Rule, ...] = (
    _rule(
        "WP001",
        "stochastic-loss",
        ObjectiveProfile,
        _N,
        objective.stochastic_loss,
        limits=("repeat_difference",),
    ),
    _rule("WP002", "non-finite-loss", ObjectiveProfile, _E, objective.non_finite_loss),
    _rule(
        "WP101",
        "feature-scale-imbalance",
        InputProfile,
        _E,
        data.feature_scale_imbalance,
        limits=("feature_spread", "feature_dominance", "standardising_share", "standardising_floor"),
    ),
    _rule(
        "WP102",
        "input-scale",
        InputProfile,
        _E,
        data.input_scale,
        limits=("input_rms", "input_largest", "standardising_share", "standardising_floor"),
    ),
    _rule(
        "WP103",
        "fitted-on-held-out-data",
        InputProfile,
        _E,
        data.fitted_on_held_out_data,
        limits=("leak_chance",),
    ),
    _rule("WP104", "constant-feature", InputProfile, _N, data.constant_feature),
    _rule("WP105", "split-shift", InputProfile, _W, data.split_shift, limits=("split_shift", "shift_chance")),
    _rule("WP106", "non-finite-data", InputProfile, _E, data.non_finite_data),
    _rule(
        "WP107",
        "ill-conditioned-inputs",
        InputProfile,
        _N,
        data.ill_conditioned_inputs,
        limits=("correlation_condition",),
    ),
    _rule(
        "WP108",
        "duplicate-across-splits",
        InputProfile,
        _W,
        data.duplicate_across_splits,
        limits=("duplicate_chance",),
    ),
    _rule(
        "WP109",
        "uninformative-labels",
        LabelProfile,
        _W,
        objective.uninformative_labels,
        limits=("label_deviations", "label_learned", "label_resolution"),
    ),
    _rule(
        "WP111",
        "class-imbalance",
        ObjectiveProfile,
        _W,
        objective.class_imbalance,
        limits=("majority_share", "majority_times"),
    ),
    _rule("WP112", "constant-targets", TargetProfile, _E, objective.constant_targets),
    _rule("WP113", "unseen-labels", TargetProfile, _W, objective.unseen_labels, limits=("unseen_chance",)),
    _rule(
        "WP114",
        "unmixed-batches",
        TargetProfile,
        _W,
        objective.unmixed_batches,
        limits=("unmixed_chance", "unmixed_times"),
    ),
    _rule(
        "WP115",
        "sentinel-value",
        InputProfile,
        _W,
        data.sentinel_value,
        limits=("sentinel_distance", "input_rms"),
    ),
    _rule(
        "WP201",
        "vanishing-activations",
        SignalProfile,
        _E,
        signals.vanishing_activations,
        limits=("vanished", "learning", "step_down"),
        core=True,
    ),
    _rule(
        "WP202",
        "exploding-activations",
        SignalProfile,
        _E,
        signals.exploding_activations,
        limits=("exploded",),
    ),
    _rule(
        "WP203",
        "signal-collapse",
        SignalProfile,
        _E,
        signals.signal_collapse,
        limits=("collapsed",),
        core=True,
    ),
    _rule("WP204", "dead-units", SignalProfile, _E, signals.dead_units, limits=("dead_share",)),
    _rule(
        "WP205",
        "saturated-units",
        SignalProfile,
        _E,
        signals.saturated_units,
        limits=("saturated_share", "attention_entropy"),
    ),
    _rule(
        "WP206",
        "vanishing-updates",
        TrainingProfile,
        _E,
        signals.vanishing_updates,
        limits=("slow_movement", "slow_share"),
    ),
    _rule(
        "WP207",
        "exploding-gradients",
        SignalProfile,
        _W,
        signals.exploding_gradients,
        limits=("gradient_growth",),
    ),
    _rule(
        "WP208",
        "precision-underflow",
        PrecisionProfile,
        _E,
        precision.precision_underflow,
        limits=("flushed_share",),
    ),
    _rule("WP209", "non-finite-origin", SignalProfile, _E, signals.non_finite_origin),
    _rule("WP210", "noise-dominates", SignalProfile, _W, signals.noise_dominates, limits=("noise",)),
    _rule("WP211", "norm-over-few", SignalProfile, _W, signals.norm_over_few),
    _rule("WP212", "precision-overflow", PrecisionProfile, _E, precision.precision_overflow),
    _rule("WP213", "lost-updates", TrainingProfile, _W, precision.lost_updates, limits=("lost_updates",)),
    _rule("WP301", "symmetric-weights", TrainingProfile, _E, signals.symmetric_weights),
    _rule(
        "WP302",
        "initial-loss",
        ObjectiveProfile,
        _E,
        objective.initial_loss,
        limits=(
            "initial_healed",
            "initial_extreme",
            "initial_log_ratio",
            "initial_log_excess",
            "initial_square_ratio",
        ),
    ),
    _rule("WP303", "weight-variance", WeightProfile, _E, signals.weight_variance, limits=("variance_ratio",)),
    _rule(
        "WP401",
        "gradient-mismatch",
        CustomBackwards,
        _E,
        gradients.gradient_mismatch,
        limits=("gradient_resolution",),
    ),
    _rule(
        "WP402",
        "gradient-inconclusive",
        CustomBackwards,
        _N,
        gradients.gradient_inconclusive,
        limits=("gradient_resolution",),
    ),
    _rule("WP403", "unchecked-custom-backward", CustomBackwards, _N, gradients.unchecked_custom_backward),
    _rule(
        "WP404", "cut-gradient", LossGradient, _W, gradients.loss_gradient, limits=("gradient_resolution",)
    ),
    _rule(
        "WP501",
        "double-softmax",
        ObjectiveProfile,
        _E,
        objective.double_softmax,
        limits=("unreachable_share",),
        core=True,
    ),
    _rule("WP502", "constant-output", ObjectiveProfile, _E, objective.constant_output),
    _rule(
        "WP503",
        "output-range",
        ObjectiveProfile,
        _E,
        objective.output_range,
        limits=("unreachable_of_directions", "unreachable_share"),
        core=True,
    ),
    _rule("WP504", "loss-sign", ObjectiveProfile, _E, objective.loss_sign, core=True),
    _rule(
        "WP505",
        "target-scale",
        TrainingProfile,
        _E,
        updates.target_scale,
        limits=(
            "target_gain",
            "unlearned_share",
            "learned_share",
            "far_start",
            "closed_share",
            "small_movement",
        ),
    ),
    _rule(
        "WP506",
        "wrong-loss-input",
        ObjectiveProfile,
        _E,
        objective.wrong_loss_input,
        limits=("log_normaliser",),
        core=True,
    ),
    _rule("WP507", "unused-output", TargetProfile, _N, objective.unused_output, limits=("rarest_class",)),
    _rule("WP508", "loss-term-sign", ObjectiveProfile, _W, objective.loss_term_sign),
    _rule("WP509", "unread-target", ObjectiveProfile, _W, objective.unread_target),
    _rule("WP510", "summed-term", ObjectiveProfile, _W, objective.summed_term, limits=("summed_times",)),
    _rule(
        "WP601", "disconnected-parameter", WiringProfile, _E, connections.disconnected_parameter, core=True
    ),
    _rule("WP602", "not-in-optimizer", WiringProfile, _W, connections.not_in_optimizer),
    _rule("WP603", "batch-leak", WiringProfile, _E, connections.batch_leak, limits=("batch_leak",)),
    _rule(
        "WP604",
        "train-eval-gap",
        WiringProfile,
        _E,
        connections.train_eval_gap,
        limits=("eval_gap", "eval_gap_errors", "eval_gap_floor"),
    ),
    _rule("WP605", "ignored-input", WiringProfile, _W, connections.ignored_input),
    _rule("WP606", "future-leak", WiringProfile, _E, connections.future_leak, limits=("future_leak",)),
    _rule(
        "WP607",
        "update-too-large",
        TrainingProfile,
        _E,
        updates.update_too_large,
        limits=("fell_first", "run_away"),
    ),
    _rule(
        "WP608",
        "update-too-small",
        TrainingProfile,
        _E,
        updates.update_too_small,
        limits=("small_movement", "small_gain"),
    ),
    _rule(
        "WP609",
        "weight-decay-dominates",
        TrainingProfile,
        _E,
        updates.weight_decay_dominates,
        limits=("decay_remaining", "decay_share"),
    ),
    _rule("WP610", "nothing-trains", TrainableProfile, _E, connections.nothing_trains),
    _rule("WP611", "unused-slice", WiringProfile, _W, connections.unused_slice),
    _rule(
        "WP612", "padding-matters", WiringProfile, _W, connections.padding_matters, limits=("padding_effect",)
    ),
    _rule("WP613", "inverted-mask", WiringProfile, _E, connections.inverted_mask),
    _rule("WP614", "scrambled-axes", TrainingProfile, _E, updates.scrambled_axes, limits=("axes_gain",)),
    _rule("WP615", "ignored-order", WiringProfile, _W, connections.ignored_order, limits=("order_effect",)),
    _rule("WP616", "shared-noise", WiringProfile, _W, connections.shared_noise),
)

RESULTS: tuple[type, ...] = tuple(dict.fromkeys(rule.judges for rule in RULES))
"""The types of measurements that rules judge."""

CAUSAL_ORDER: tuple[str, ...] = (
    # what goes in, what is asked for, what the weights are, what flows, what the optimizer does: each can cause what stands after it
    "WP106", "WP610", "WP103", "WP112", "WP114", "WP115", "WP506", "WP504", "WP508", "WP510", "WP501", "WP503", "WP509", "WP101", "WP102", "WP505",
    "WP301", "WP303", "WP401", "WP404", "WP211", "WP209", "WP210", "WP204", "WP202", "WP205", "WP201", "WP203", "WP606", "WP603", "WP502", "WP302", "WP212", "WP208", "WP213", "WP613", "WP614", "WP615", "WP604",
    "WP601", "WP611", "WP602", "WP605", "WP612", "WP616",
    "WP609", "WP607", "WP206", "WP207", "WP608", "WP002", "WP109", "WP113", "WP507", "WP111", "WP108", "WP105", "WP001", "WP402", "WP403",
    "WP107", "WP104",
)  # fmt: skip


def matching(rules: tuple[Rule, ...], keys: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules that the keys name: codes, names, or prefixes of codes."""
    wanted = tuple(k.strip().lower() for k in keys)
    return tuple(r for r in rules if any(r.code.lower().startswith(k) or r.name == k for k in wanted))
