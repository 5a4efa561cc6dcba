"""Draw a model's weights, calibrate them on data, and keep them only when they are measured to be better."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from ..arguments import callable_or_none, choice, number
from ..arguments import seed as checked_seed
from ..errors import ArgumentError, MissingDependency
from ..lazy import lazy
from ..runtime.interrupts import unbroken
from ..runtime.scope import exclusive
from .policy import SCHEMES, SchemeOptions, plan
from .result import Initialization, ParameterRecipe, SignalSummary

torch_initializer = lazy("wellposed.initialization.torch.initializer")

# Two draws by the same recipe differ by about this factor in range at width 64, so less is no improvement.
DRAW_NOISE = 1.25


def initialize(
    model: Any,
    inputs: Any = None,
    *,
    scheme: str = "auto",
    seed: int = 0,
    loss: Any = None,
    targets: Any = None,
    gain: float | None = None,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
) -> Initialization:
    """Initialize a torch model's weights in place, and keep them only when they are measured to be better.

    Parameters
    ----------
    model
        A ``torch.nn.Module``.
    inputs
        One batch of training inputs, at least 4 rows: a tensor or array of shape (rows, ...), a tuple for
        ``model(*inputs)`` or a dict for ``model(**inputs)``. Every other row calibrates, and the rest
        measure. Without inputs nothing is measured, and what follows a layer is guessed from the order of
        the modules.
    scheme
        ``"auto"``: each layer gets the gain of the activation that follows it, and is then scaled, in one
        pass, so that the std over samples of its units is 1 (Mishkin and Matas 2016). ``"he"``,
        ``"glorot"``, ``"lecun"`` and ``"orthogonal"`` draw every ordinary layer so, do not calibrate, and
        are kept because they were asked for.
    seed
        Each parameter has a generator of its own, seeded by `seed` and its name; no random state is touched.
    loss, targets
        When given, ``loss(model(inputs), targets)`` decides: what trains better for a few steps, by held-out
        loss, stays.
    gain
        In place of the scheme's own: sqrt(2) of ``"he"`` (or ``sqrt(2 / (1 + a**2))`` before a rectifier of slope a below zero), 1 of
        ``"glorot"`` and ``"lecun"``, that of the activation that follows of ``"orthogonal"``. Not for ``"auto"``.
    mode
        ``"fan_out"`` keeps the size of the gradients rather than that of the activations: variance gain^2 / fan_out. For ``"he"`` and
        ``"lecun"``.

    Returns
    -------
    Initialization
        ``.kept``, ``.reason``, ``.recipe`` (one entry a parameter), ``.before`` and ``.after``.

    Raises
    ------
    ArgumentError
        When the model is no module, has no parameters, or the scheme is unknown or does not take `gain` or `mode`.
    ProblemError
        When the weights cannot be drawn: they are lazy, on the meta device, or sharded.
    DataError
        When the inputs have fewer than 4 rows, or NaN in them.
    UserCodeError
        When the model or the loss raises; ``__cause__`` is what it raised.

    Notes
    -----
    Left alone, each with its reason in the recipe: norms, embeddings and what is tied to them, recurrent and
    attention weights, gates, exact zeros (set on purpose), frozen parameters, and, in ``"auto"``,
    weights whose scale a norm undoes. Whatever is raised, the model is then bit for bit what it was.

    Trained weights cannot be told from drawn ones by their signal: give `loss` and `targets`, and they stay.
    A deep sigmoid network is not rescued by any variance: with the std of every layer at 1, one of depth 50
    on digits still learns next to nothing. Change the activation.

    Examples
    --------
    >>> import torch, wellposed as wp
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    >>> done = wp.initialize(model, scheme="he")
    >>> done.kept, round(done.recipe[0].gain, 3)
    (True, 1.414)
    """
    scheme, seed = choice(scheme, "scheme", SCHEMES), checked_seed(seed)
    options = _scheme_options(scheme, gain, mode)
    callable_or_none(loss, "loss", expected="a function of outputs and targets, or None")
    if (loss is None) != (targets is None):
        raise ArgumentError(
            f"{'targets' if loss is None else 'loss'} came alone: give loss and targets together"
        )
    if loss is not None and inputs is None:
        raise ArgumentError("inputs is None: loss and targets need the inputs that they belong to")
    with exclusive("wp.initialize", model, loss):
        return _initialized(model, inputs, options=options, seed=seed, loss=loss, targets=targets)


def _scheme_options(scheme: str, gain: Any, mode: Any) -> SchemeOptions:
    mode = choice(mode, "mode", ("fan_in", "fan_out"))
    if gain is not None:
        gain = number(
            gain,
            "gain",
            above=0,
            expected="a finite number above 0, or None; wp.gain(activation).forward is one",
        )
        if scheme == "auto":
            raise ArgumentError(
                "gain goes with a named scheme: 'auto' measures its own; pass scheme='he', say"
            )
    if mode == "fan_out" and scheme not in ("he", "lecun"):
        raise ArgumentError(f"mode='fan_out' goes with scheme='he' or 'lecun', not with {scheme!r}")
    return SchemeOptions(scheme=scheme, gain=gain, mode=mode)


def _initialized(
    model: Any, inputs: Any, *, options: SchemeOptions, seed: int, loss: Any, targets: Any
) -> Initialization:
    weights = _weights()(model, inputs=inputs, targets=targets, loss=loss, seed=seed)
    before = after = None
    stds_before: dict[str, float] = {}
    stds_after: dict[str, float] = {}
    with weights.borrowed():
        facts = weights.facts()
        draws, zeroed, recipe = plan(facts, options)
        if inputs is not None:
            before, stds_before = weights.measure(facts.layers)
        weights.redraw(draws, zeroed)
        if inputs is not None:
            weights.calibrate(draws)
            after, stds_after = weights.measure(facts.layers)
        new = weights.values(set(draws) | zeroed)
    _refuse_overflow(new, options)
    kept, reason = _judge(before, after, scheme=options.scheme, drawn=len(draws))
    if kept:
        with unbroken():
            weights.assign(new)
    return Initialization(
        scheme=options.scheme,
        seed=seed,
        kept=kept,
        reason=reason,
        recipe=tuple(_measured(entry, stds_before, stds_after, kept=kept) for entry in recipe.values()),
        before=before,
        after=after,
    )


def _refuse_overflow(new: Mapping[str, Any], options: SchemeOptions) -> None:
    for name, value in new.items():
        if options.gain is not None and not value.isfinite().all():
            raise ArgumentError(
                f"gain={options.gain:g} draws values of {name} beyond what {value.dtype} holds: expected a smaller one"
            )


def _weights() -> Any:
    try:
        return torch_initializer.TorchInitializer
    except ImportError as error:
        raise MissingDependency("initialize needs torch: pip install 'wellposed[torch]'") from error


def _judge(
    before: SignalSummary | None, after: SignalSummary | None, *, scheme: str, drawn: int
) -> tuple[bool, str]:
    """Whether to keep the new weights, and why."""
    if not drawn:
        return False, "no weight of this model is one that initialize may redraw"
    if before is None or after is None:
        return True, "nothing was measured, for there were no inputs"
    better, why = _compare(before, after)
    if scheme != "auto":
        return True, f"scheme {scheme} was asked for; " + (
            f"it is better: {why}" if better else f"not better: {why}"
        )
    return better, why if better else f"not better: {why}"


def _compare(before: SignalSummary, after: SignalSummary) -> tuple[bool, str]:
    """Soundness first, then how it trains where that was tried, then the range of the signal."""
    if before.finite != after.finite:
        return after.finite, f"the signal {'is finite now' if after.finite else 'became infinite or NaN'}"
    if before.symmetric != after.symmetric:
        better = after.symmetric < before.symmetric
        return (
            better,
            f"{before.symmetric} layers had units that are copies of each other, now {after.symmetric}",
        )
    if before.trained_loss is not None and after.trained_loss is not None:
        better = after.trained_loss < before.trained_loss
        losses = f"{before.trained_loss:.4g}, with new weights {after.trained_loss:.4g}"
        return better, f"held-out loss after a few steps was {losses}"
    if before.silent != after.silent:
        return (
            after.silent < before.silent,
            f"{before.silent} layers passed no signal or gradient, now {after.silent}",
        )
    worst_before, worst_after = _worst_range(before), _worst_range(after)
    better = worst_before > DRAW_NOISE * worst_after
    return (
        better,
        f"largest range of signal or gradient over the layers was {worst_before:.3g}, now {worst_after:.3g}",
    )


def _worst_range(summary: SignalSummary) -> float:
    ranges = [summary.forward_range, summary.gradient_range]
    return max((r for r in ranges if not math.isnan(r)), default=1.0)


def _measured(
    entry: ParameterRecipe, before: dict[str, float], after: dict[str, float], *, kept: bool
) -> ParameterRecipe:
    action = entry.action if kept or entry.action == "left alone" else "rolled back"
    return dataclasses.replace(
        entry, action=action, std_before=before.get(entry.name), std_after=after.get(entry.name)
    )
