"""What the signals room returns: forward and backward signal by layer, and how far each parameter moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from ..arguments import several
from ..safe_text import printable

_NAME = 40  # characters of a layer's name that may be shown


@dataclass(frozen=True, kw_only=True)
class LayerSignal:
    """The signal at the output of one layer, over a few batches.

    Spread is measured over samples: the std over the batch at each position, then the rms over positions. The std of
    the whole tensor would count the biases, which carry no signal.
    """

    name: str
    kind: str
    """Class name of the layer."""
    rms: float
    """Root mean square of the output."""
    sample_std: float
    """How much the output differs from sample to sample: rms over positions of the std over the batch."""
    gradient_rms: float | None = None
    """Rms of the gradient of the loss with respect to the output, times the batch size (so: per sample); None when none arrives."""
    dead_share: float = 0.0
    """Share of units through which no sample of any batch sends a gradient."""
    units: int = 0
    """Number of units that `dead_share` counts."""
    saturated_share: float | None = None
    """Share of entries of the squashing function that follows where its slope is below 1 % of its largest; None without one."""
    squashing: str | None = None
    """The squashing function that follows: ``"tanh"``, ``"sigmoid"``."""
    has_parameters: bool = True
    rectified: bool = False
    """Whether a rectifier (ReLU and its kin, exactly flat on one side) follows."""
    normalised_over: int = 0
    """Of a normalization layer: the most values over which it took a mean and a variance; 0 for other layers."""
    line: str | None = None
    """Where the user's code calls it, as ``"net.py:41"``; None where torch's own modules alone do."""

    @property
    def spread(self) -> float:
        """Across-sample std over rms: 1 is all signal, 0 is the same output for every sample."""
        return self.sample_std / self.rms if self.rms > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class AttentionSignal:
    """How one attention spreads its weights over the keys, over a few batches."""

    name: str
    """The module in which the weights are made, or the one before."""
    keys: int
    rows: int
    """Samples times heads times queries that were looked at, those with four keys or more."""
    entropy: float
    """Mean over rows of the entropy of the weights, over that of even ones: 1 looks everywhere, 0 at one key."""
    moving: int
    """Rows that look most at another key than their head usually does, and at another distance from their own place."""
    moving_entropy: float
    """As `entropy`, over those alone; NaN where there are none."""


@dataclass(frozen=True, kw_only=True)
class PredictedSignal:
    """What mean-field theory predicts at one operation before training, beside what was measured there.

    The prediction is for wide layers with independent weights. Weights that were trained, or drawn in another way, need not follow it.
    """

    where: str
    """Dotted name of the module in which it runs."""
    operation: str
    """Name of the torch function."""
    depth: int
    """Layers with weights since the value that the prediction starts from: the input, or what was measured last."""
    rms: float
    measured_rms: float
    band: float
    """Factor by which the rms may differ, up or down, by chance in layers of these widths: four standard deviations."""
    gradient_rms: float | None = None
    """Of the gradient per sample, from what was measured at the end; None where the theory does not reach from there."""
    measured_gradient_rms: float | None = None
    gradient_band: float | None = None


@dataclass(frozen=True, kw_only=True)
class ResidualSum:
    """How large a residual branch is beside the trunk that it is added to, before training.

    A measurement and no verdict: branches that start at zero open later, and some models are meant to be led by their branches.
    """

    where: str
    """Dotted name of the module in which they are added."""
    trunk_rms: float
    branch_rms: float
    line: str | None = None
    """The user's code that adds them, as ``"net.py:41"``."""

    @property
    def ratio(self) -> float:
        """Branch over trunk: far above 1 it drowns the trunk, far below it adds nothing."""
        return self.branch_rms / self.trunk_rms if self.trunk_rms > 0 else math.inf


@dataclass(frozen=True, kw_only=True)
class RecurrentSignal:
    """How much of the first step is left in the last output of a recurrent part, before training.

    A measurement and no verdict: how far back a task reaches is not known.
    """

    where: str
    """Dotted name of the recurrent layer, or of the module that is called in a loop."""
    kind: str
    """Class name."""
    steps: int
    """Of the sequence, or calls of the module."""
    first: float
    """Norm of the gradient of the last output by the first step: its input, or what the first call gave."""
    last: float
    """The same by the last step."""
    forget_bias: float | None = None
    """Of an LSTM: mean bias of the forget gate in its first layer. At 0 the gate halves the memory at each step, at 1 it keeps 73 %."""

    @property
    def remembered(self) -> float:
        """The first step's gradient over the last one's."""
        return self.first / self.last if self.last > 0 else 0.0

    @property
    def gain(self) -> float:
        """By what the gradient is multiplied at each step back: below 1 it forgets, above 1 it explodes."""
        return self.remembered ** (1 / (self.steps - 1))


@dataclass(frozen=True, kw_only=True)
class NonFiniteOrigin:
    """Where the first NaN or infinity came from."""

    where: str
    """Dotted name of the module."""
    operation: str
    """The layer's class, or the torch function before it, going forward; the autograd node's name going backward."""
    direction: str
    """``"forward"`` or ``"backward"``."""
    step: int
    """Training step at which it was seen; 0 is before any update."""
    line: str | None = None
    """The user's code at the operation, as ``"net.py:41"``; None where torch's own modules alone call it."""
    batch: int = 0
    """In which batch it was seen first."""
    rows: tuple[int, ...] = ()
    """Rows of that batch without which it does not happen, where that was tried; empty where no rows alone make it."""


@dataclass(frozen=True, kw_only=True)
class SignalProfile:
    """Signals at initialization and after a few steps of the user's optimizer on a copy.

    The layers stand in the order in which they run.
    """

    layers: tuple[LayerSignal, ...]
    later: tuple[LayerSignal, ...] = ()
    """The same layers after `steps` steps; empty when no step could be taken."""
    attention: tuple[AttentionSignal, ...] = ()
    """In the order in which they run."""
    attention_later: tuple[AttentionSignal, ...] = ()
    """The same after `steps` steps."""
    mean_field: tuple[PredictedSignal, ...] = ()
    """Before training, in the order in which they run, wherever mean-field theory reaches."""
    residuals: tuple[ResidualSum, ...] = ()
    """Before training, in the order in which they run: each sum of a tensor and of what was made from it."""
    recurrence: tuple[RecurrentSignal, ...] = ()
    """Before training: the recurrent layers, and the modules that are called in a loop."""
    steps: int = 0
    input_std: float | None = None
    """Across-sample std of the model's first floating-point input."""
    output: str | None = None
    """Name of the layer whose output is the model's output."""
    nonfinite: NonFiniteOrigin | None = None
    learned: float | None = None
    """Share of a constant prediction's loss that the steps got rid of; None where it is not known."""
    noise: float | None = None
    """After the steps: variance of the outputs over draws of dropout, over that across samples; None without dropout."""
    noisiest: str | None = None
    """The dropout layer with the highest rate."""

    def __post_init__(self) -> None:
        for name in ("layers", "later"):
            entries = several(getattr(self, name), name, LayerSignal, expected="a tuple of LayerSignal")
            object.__setattr__(self, name, entries)

    def __str__(self) -> str:
        lines = [f"{'layer':<34} {'kind':<14} {'rms':>9} {'std/sample':>10} {'gradient':>9}"]
        for layer in self.layers:
            gradient = "-" if layer.gradient_rms is None else f"{layer.gradient_rms:.2e}"
            kind = printable(layer.kind[:_NAME])
            lines.append(
                f"{_short(layer.name):<34} {kind[:14]:<14} {layer.rms:9.2e} {layer.sample_std:10.2e} {gradient:>9}"
            )
        if self.attention:
            lines += ["", f"{'attention':<34} {'keys':>6}   entropy of its weights, 1 for even ones"]
        lines += [f"{_short(x.name):<34} {x.keys:6}   {x.entropy:.2f}" for x in self.attention]
        if self.residuals:
            lines += ["", f"{'residual sum':<34} {'trunk':>9} {'branch':>9} {'ratio':>9}"]
        lines += [
            f"{_short(x.where or x.line or '+'):<34} {x.trunk_rms:9.2e} {x.branch_rms:9.2e} {x.ratio:9.2g}"
            for x in self.residuals
        ]
        if self.recurrence:
            lines += ["", f"{'recurrence':<34} {'steps':>6} {'gain a step':>12}   first step over last"]
        lines += [
            f"{_short(x.where):<34} {x.steps:6} {x.gain:12.3f}   {x.remembered:.2g}" for x in self.recurrence
        ]
        lines += _in_lines(self.mean_field)
        return "\n".join(lines)


def _in_lines(mean_field: tuple[PredictedSignal, ...]) -> list[str]:
    if not mean_field:
        return []
    return ["", f"{'mean field':<34} {'predicted':>9} {'measured':>9} {'chance':>8}"] + [
        f"{_short(x.where or x.operation):<34} {x.rms:9.2e} {x.measured_rms:9.2e} {'x/' + format(x.band, '.3g'):>8}"
        for x in mean_field
    ]


def _short(name: str, width: int = 34) -> str:
    """A layer's name as wide as its column at most."""
    name = printable(name[-_NAME:])
    return name if len(name) <= width else "…" + name[1 - width :]


@dataclass(frozen=True, kw_only=True)
class RoundedNumbers:
    """What rounding to a format does to the numbers in one place of a layer, over one batch."""

    largest: float
    """The largest magnitude."""
    beyond: float
    """Share of the entries that are too large for the format."""
    vanished: float
    """Share of the nonzero entries that round to zero."""
    headroom: float | None = None
    """Bits between the largest magnitude and the largest number of the format; None where tensors are scaled to fill it."""


@dataclass(frozen=True, kw_only=True)
class LayerPrecision:
    """One layer in a lower precision."""

    name: str
    kind: str
    """Class name; ``"loss"`` for what runs outside of all modules."""
    line: str | None
    forward: RoundedNumbers | None
    """Its activations; None where none would be held in the lower precision."""
    weights: RoundedNumbers | None
    backward: RoundedNumbers | None
    """The gradients by its outputs, with the loss as it is."""
    gradient_error: float | None
    """Of the gradient by its parameters, as the emulated step has it: the norm of what is wrong over its norm. None where it has none."""
    gradient_vanished: float | None
    """Share of the squared norm of that gradient in entries that became zero."""


@dataclass(frozen=True, kw_only=True)
class PrecisionProfile:
    """A training step in a lower precision, emulated, beside the same step in float32."""

    precision: str
    layers: tuple[LayerPrecision, ...]
    """In the order in which they run; with the loss scale `scale`."""
    finite: bool
    """Whether the loss and all gradients stay finite."""
    gradient_error: float
    """Over all parameters: norm of what is wrong over the norm of the gradient in float32; inf where not finite."""
    survives: bool
    """Whether it stays finite, and no layer loses most of its gradient."""
    largest: float = math.inf
    """The largest number of the format going forward."""
    flushed_up_to: float | None = None
    """The largest gradient that rounds to zero; None where tensors are scaled to fill the format."""
    scale: float = 1.0
    """What the loss was multiplied by on the way back."""
    scaled: bool = False
    """Whether training scales the loss, as ``precision="fp16-scaled"`` says."""
    scales: tuple[float, float] | None = None
    """The least and the largest power of two, as loss scales, with which it survives; None where none was needed, or none works."""
    worst: str | None = None
    """The layer that loses most of its gradient, with the loss as it is."""
    worst_vanished: float = 0.0
    """Share of the squared norm of its gradient that it loses."""
    lost_layers: float = 0.0
    """Share of the layers that lose most of their gradient, with the loss as it is."""
    overflows: str | None = None
    """The first layer with values that are too large, where the step does not survive."""
    starved: str | None = None
    """The layer most of whose activations or weights become zero beside much larger ones, where gradients are wrong with it."""
    keep: tuple[str, ...] | None = ()
    """The layers to keep in float32 so that the rest survives, found one by one, none of which can be left out; None where not found."""

    @property
    def in_words(self) -> str:
        """What became of the step, in a sentence."""
        if self.overflows is not None:
            return f"does not survive: values at {printable(self.overflows)} are too large"
        if not self.survives:
            return "the gradient does not survive" + (
                ", with no loss scale" if self.precision == "fp16" else ""
            )
        scales = (
            ""
            if self.scales is None
            else " with a loss scale of 2^{:.0f} to 2^{:.0f}".format(*map(math.log2, self.scales))
        )
        return f"survives{scales}; the gradient is {self.gradient_error:.1%} from that in float32"

    def __str__(self) -> str:
        header = f"{'layer':<26} {'largest':>8} {'beyond':>7} {'to zero':>7}   {'gradient to zero':>16} {'error':>7}"
        return "\n".join([header, *map(_precision_row, self.layers)])


def _precision_row(layer: LayerPrecision) -> str:
    there, back = layer.forward, layer.backward
    return (
        f"{_short(layer.name, 26):<26} {_number(there and there.largest):>8} {_percent(there and there.beyond):>7} "
        f"{_percent(there and there.vanished):>7}   {_percent(back and back.vanished):>16} {_percent(layer.gradient_error):>7}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


@dataclass(frozen=True, kw_only=True)
class ParameterUpdate:
    """How one trainable parameter moves under the user's optimizer."""

    name: str
    size: int
    dimensions: int
    rms: float
    """Root mean square of the parameter at initialization."""
    gradient_rms: float
    first_step: float
    """Norm of the first update over the norm of the parameter; inf for a parameter that starts at zero."""
    movement: float
    """Norm of the change after all steps over the norm of the parameter at the start."""
    touched: float = 1.0
    """Share of its rows that moved at all: of an embedding, those that were looked up."""
    remaining: float = 1.0
    """Norm after all steps over the norm at the start."""
    decay_share: float = 0.0
    """Norm of the weight-decay term over the norm of the gradient."""
    rows_equal: bool = False
    """Whether all rows (the weights into each unit) are the same, before and after the steps."""
    fan_in: int = 0
    steps_to_move: float | None = None
    """Steps at this rate until it has moved by 1 % of its size, about; inf when it stands still, None when it starts at zero, and where
    the steps broke off."""
    rate: float = 0.0
    """Learning rate of its parameter group; 0 when the optimizer does not hold it."""


@dataclass(frozen=True, kw_only=True)
class LostUpdates:
    """What rounding takes from the updates of half-precision weights: they stay, where float32 copies given the same gradients move."""

    dtype: str
    weights: int
    """Those that move in float32 in the steps."""
    first_step: float
    """Share of them that stay in the first step."""
    all_steps: float
    """Share of them that have not moved after all steps."""
    worst: str
    """The parameter that most of those belong to."""
    worst_share: float
    kept_for_later: bool
    """Whether many equal steps move them after all: the optimizer keeps what rounding leaves over, or rounds at random."""


@dataclass(frozen=True, kw_only=True)
class WeightVariance:
    """How large the weights of a plain layer are drawn, and how large its place in the model asks for."""

    name: str
    """Dotted name of the parameter."""
    has: float
    """Mean square of its entries."""
    needs: float
    """That which gives outputs of mean square 1 for inputs of the size that the activation before makes of such: gain squared over fan-in."""
    mean: float
    """Mean of its entries."""
    fan_in: int
    activation: str
    """The activation that reads the layer."""


@dataclass(frozen=True, kw_only=True)
class WeightProfile:
    """The variances of the weights of plain layers, and whether they are what symptoms in the signal come from.

    Where there are symptoms, the layers whose variance is off are drawn again with the one that they need, on a copy that takes the same steps.
    """

    layers: tuple[WeightVariance, ...]
    """The dense and convolutional layers that an activation reads, in the order in which they run."""
    redrawn: tuple[str, ...] = ()
    """Names of those that were drawn again."""
    symptoms: tuple[str, ...] = ()
    """Codes of the rules that find something in the signal or the updates."""
    left: tuple[str, ...] = ()
    """Codes of those that find something with the weights drawn again."""

    @property
    def cured(self) -> tuple[str, ...]:
        """The symptoms that went away, if none took their place."""
        replaced = set(self.left) - set(self.symptoms)
        return () if replaced or not self.redrawn else tuple(c for c in self.symptoms if c not in self.left)


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """How a short training on a copy went."""

    losses: tuple[float, ...]
    """Training loss before each step."""
    start: float
    """Held-out loss before the first step."""
    end: float
    """Held-out loss after the last step; NaN or inf when training blew up."""


class TrainingChange(StrEnum):
    """What an intervention changes before the same steps are taken."""

    STANDARDISED_INPUTS = "standardised inputs"
    STANDARDISED_TARGETS = "standardised targets"
    STANDARDISED_BOTH = "standardised inputs and targets"
    SMALLER_RATE = "smaller rate"
    LARGER_RATE = "larger rate"
    NO_WEIGHT_DECAY = "no weight decay"


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A short training with one thing changed, and how it went."""

    change: TrainingChange
    factor: int = 1
    """By which a rate was divided or multiplied; 1 for other changes."""
    outcome: TrainingOutcome


@dataclass(frozen=True, kw_only=True)
class RegroupedAxes:
    """A view that regroups numbers where axes could have changed places, and the same steps with these exchanged."""

    where: str
    """The line of the user's code, or the model."""
    before: tuple[int, ...]
    after: tuple[int, ...]
    """Shapes of one batch."""
    views: int
    """How many there are; all are exchanged together."""
    ends: tuple[float, ...]
    """Held-out loss after the steps, for each of several orders of the batches."""
    exchanged: tuple[float, ...]
    """The same with axes exchanged, in the same orders."""


@dataclass(frozen=True, kw_only=True)
class TrainingProfile:
    """A few steps of the user's optimizer on a copy, and what changes under an intervention."""

    outcome: TrainingOutcome
    steps: int
    optimizer: str
    """Class name, or ``"reference"`` when the user gave none and Adam at 1e-3 stood in."""
    learning_rate: float
    weight_decay: float
    warming_up: bool
    """Whether a scheduler holds the rate below its base value at step 0."""
    updates: tuple[ParameterUpdate, ...]
    constant_loss: float | None = None
    """Loss of the best constant prediction, for scale; None where it is not known."""
    stable_rate: float | None = None
    """Largest rate at which the first step does not raise the loss of its own batch; None where that was not found."""
    what_if: tuple[Intervention, ...] = ()
    """The same steps under one change each."""
    views: int = 0
    """Those that regroup numbers where axes could have changed places."""
    regrouped: RegroupedAxes | None = None
    """None where none of them regroups numbers."""
    lost: LostUpdates | None = None
    """None where no weight is in half precision."""

    @property
    def given(self) -> bool:
        return self.optimizer != "reference"

    def under(self, *changes: TrainingChange) -> tuple[Intervention, ...]:
        """The interventions of these kinds, in the order in which they were tried."""
        return tuple(tried for tried in self.what_if if tried.change in changes)
