"""What the contract room returns: does the loss fit the outputs and the targets, and is everything wired up?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["classes", "binary", "values", "other"]
"""``"classes"``: integer targets, one output a class. ``"binary"``: targets 0 and 1 shaped as the outputs. ``"values"``: real targets shaped as the outputs."""


@dataclass(frozen=True, kw_only=True)
class OutputRange:
    """The range that the model's last operation confines its outputs to."""

    operation: str
    """``"softmax"``, ``"sigmoid"``, ``"relu"``, ``"tanh"``, …"""
    low: float
    high: float

    @property
    def probabilities(self) -> bool:
        return self.operation in ("softmax", "sigmoid")

    def holds(self, targets: Targets) -> bool:
        """Whether every one of these values lies in it."""
        return self.low <= targets.low and targets.high <= self.high


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Statistics of the training targets."""

    kind: Kind
    mean: float = 0.0
    std: float = 0.0
    rms: float = 0.0
    low: float = 0.0
    high: float = 0.0
    classes: int = 0
    """One more than the largest class number."""
    outputs: int = 0
    """How many classes the outputs offer."""
    majority_share: float = 0.0
    rows: int = 0
    per_row: bool = True
    """Whether each row has one target (rather than one a token or pixel)."""
    ignored: bool = False
    """Whether every target is a code that is no class of the outputs, as -100 is: losses leave those out."""


@dataclass(frozen=True, kw_only=True)
class SubtractedTerm:
    """A term that the loss subtracts, that has a floor of its own, and without which the loss would have one."""

    outputs: tuple[str, ...]
    """Those that it reads."""
    lowest: float
    """What the loss had come down to when descent on free outputs stopped; it fell on."""
    floor: float
    """The floor of the loss with this term added."""


@dataclass(frozen=True, kw_only=True)
class DirectionFloors:
    """What the loss can come to where every output that it reads keeps one length, as embeddings that are compared by their angles."""

    outputs: tuple[str, ...]
    free: float | None
    """With outputs of any length; None where it falls without bound."""
    kept: float | None
    """With outputs of the length that the model gives them."""


@dataclass(frozen=True, kw_only=True)
class SummedTerm:
    """What is summed over the batch and has no targets, beside a term with targets that is averaged."""

    outputs: tuple[str, ...]
    """Those that it reads."""
    times: float
    """Norm of its gradient over that of the averaged term, on the parameters that both reach, at initialization."""
    rows: int
    """Of the batch by which that was measured."""


Role = Literal["of a head", "weights", "unknown"]
"""What an unread tensor of the targets is there for: for an output that the loss does not read either, or to weight samples."""


@dataclass(frozen=True, kw_only=True)
class UnreadTarget:
    """A tensor of the targets that varies and that the loss does not depend on, to the bit."""

    name: str
    role: Role = "unknown"
    output: str = ""
    """The output that it fits and that the loss does not read either."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveProfile:
    """The loss as a function of the outputs, probed with the user's own targets.

    Losses are means over the probe batch. The *floor* is the lowest value that gradient descent on free outputs reaches.
    """

    initial: float
    """Loss at initialization; NaN or inf when it is not finite."""
    later: float | None = None
    """Loss of the same rows after the short training; None when there was none."""
    repeat_difference: float = 0.0
    """Largest difference between two evaluations with every random state fixed."""
    targets: Targets
    output_range: OutputRange | None = None
    constant: float | None = None
    """Loss of the best constant output."""
    uninformed: float | None = None
    """Loss of outputs that know nothing of their sample: zero logits, even probabilities, the centre of their range."""
    floor: float | None = None
    """Lowest loss that free outputs reach; None when there is no such level (it falls without bound) or it could not be probed."""
    confined_floor: float | None = None
    """Lowest loss that outputs in `output_range` reach."""
    normalises: bool = False
    """Whether the loss does not change when a constant is added to all outputs of a row: it applies a softmax itself."""
    unbounded: bool = False
    """Whether the loss falls linearly and without bound as all outputs grow, as a negative log-likelihood of raw outputs does."""
    log_normaliser: float | None = None
    """Largest |logsumexp| of the outputs of a row: 0 for log-probabilities."""
    quadratic: bool = False
    """Whether the loss grows with the square of the outputs."""
    at_targets: float | None = None
    """Loss of outputs that agree with the targets."""
    away: float | None = None
    """Loss of outputs that disagree with the targets."""
    pairing_ignored: bool = False
    """Whether the loss stays the same when the targets change places among the samples."""
    broadcasts: bool = False
    """Whether outputs and targets meet in shapes that broadcast, so that every row meets every other."""
    output_shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    output_rms: float | None = None
    squashed_twice: str | None = None
    """``"softmax"`` or ``"sigmoid"`` where its output goes, as it is, into an operation that applies the same to logits."""
    constant_output: bool = False
    """Whether every sample gets the same outputs to rounding, before and after the short training."""
    output_at: str = "loss"
    """Dotted name of the module that makes the outputs."""
    reason: str | None = None
    """Why the loss could not be probed beyond its value; None when it could."""
    needs: str = ""
    """What to pass or to change, so that it can be probed."""
    components: tuple[ObjectiveProfile, ...] = ()
    """The same of each other output that the loss compares with a tensor of the targets; `output_at` names it, as ``outputs[1]``."""
    unexamined: tuple[str, ...] = ()
    """Other outputs whose part of the loss depends on targets and could not be probed by itself."""
    endless: tuple[str, ...] = ()
    """Outputs, among several for the same targets, by which the loss falls without end though every sample is given the same."""
    directions: DirectionFloors | None = None
    """None where the loss reads outputs of several lengths."""
    unread: tuple[UnreadTarget, ...] | None = None
    """Tensors of the targets, among others that the loss reads; None where that was not asked."""
    summed: SummedTerm | None = None
    """None where the loss has no such terms."""
    subtracted: tuple[SubtractedTerm, ...] | None = None
    """Terms with the wrong sign; None where the loss was not taken apart."""


@dataclass(frozen=True, kw_only=True)
class TrainableProfile:
    """What there is to train."""

    parameters: int
    """Parameters of the model, and of a loss that has some."""
    trainable: int
    """Those that have ``requires_grad``."""
    connected: bool | None = None
    """Whether the loss has a path to any of them; None without a loss."""


@dataclass(frozen=True, kw_only=True)
class Unreached:
    """A trainable parameter to which no gradient comes."""

    name: str
    absent: bool
    """Whether the gradient is None (no path), rather than exactly zero."""
    loss_depends: bool
    """Whether the loss changes when the parameter is changed."""
    in_optimizer: bool = True
    """Whether the optimizer holds it; True without one."""
    softmax_of_one: bool = False
    """Whether it is used through a softmax over an axis of length 1, which is always 1."""


PaddingReader = Literal["attention", "outputs"]
SharedNoise = Literal["used", "predicted"]
"""What is done with random numbers that all samples of a batch share."""


@dataclass(frozen=True, kw_only=True)
class UnusedSlice:
    """Neighbouring rows of a weight (the weights into some units) that the loss does not depend on."""

    name: str
    start: int
    stop: int
    """Rows `start` to `stop` - 1."""
    rows: int
    """Of the whole weight."""


@dataclass(frozen=True, kw_only=True)
class WiringProfile:
    """Who is connected to whom."""

    trainable: int
    unreached: tuple[Unreached, ...] = ()
    outside_optimizer: tuple[str, ...] | None = None
    """Trainable parameters that reach the loss and that the optimizer does not hold; None without an optimizer."""
    apart: tuple[str, ...] = ()
    """Of those, the ones of whole networks that the optimizer leaves out and that run after all that it holds."""
    foreign: int = 0
    """Parameters that the optimizer holds and the problem does not."""
    leak: float | None = None
    """Largest relative change of other samples' outputs when one sample changes, in eval mode; None when it could not be asked."""
    leak_reason: str = ""
    leak_at: str = ""
    train_loss: float | None = None
    """Loss in train mode on fixed batches, after the short training."""
    eval_loss: float | None = None
    """Loss in eval mode on the same batches, after running statistics had the time to settle."""
    gap_error: float | None = None
    """Standard error of `eval_loss` minus `train_loss`, over batches; None where they are too few."""
    constant_loss: float | None = None
    """Loss of the best constant prediction; None where it is not known."""
    frozen_statistics: tuple[str, ...] = ()
    """Normalization layers whose running statistics do not move in train mode."""
    gap_reason: str = ""
    ignored: tuple[str, ...] = ()
    """Inputs that change nothing in the outputs."""
    ignored_entries: tuple[str, ...] = ()
    """The same of entries of a dict that the model takes whole: row numbers and names may stand there for nobody."""
    future_leak: float | None = None
    """Largest change of outputs, over their std, when later inputs are replaced, where the targets are the inputs one step on; None elsewhere."""
    order_effect: float | None = None
    """Change of later outputs when earlier inputs change places, over that when others stand there; None as of `future_leak`."""
    attends: bool = False
    """Whether the model weighs positions by products of what stands there; not asked where `order_effect` is None."""
    padding_effect: float | None = None
    """Rms change of the outputs, over their std, when shorter sequences lose padding; None where no input says what is padding."""
    unused_slices: tuple[UnusedSlice, ...] = ()
    """After the steps."""
    choosing: tuple[str, ...] = ()
    """Parameters that decide outputs by choices alone, and whose gradient is the same whatever the targets are."""
    shared_noise: SharedNoise | None = None
    """In train mode; None where each sample has its own random numbers, or none are drawn."""
    inverted_mask: PaddingReader | None = None
    """Where padding is read and what is real is hidden."""


@dataclass(frozen=True, kw_only=True)
class BatchClasses:
    """How many classes the batches hold, as the data give them, beside batches of rows drawn at random."""

    drawn: float
    """Different classes in a batch, mean over batches."""
    expected: float
    """The same of batches of rows drawn at random."""
    chance: float
    """Upper bound of the probability that random batches are as poor."""
    batches: int


@dataclass(frozen=True, kw_only=True)
class TargetProfile:
    """The targets by themselves: do they vary, which outputs do they use, and do both splits have the same?"""

    kind: Kind
    rows: int
    """Training rows that were read."""
    constant: float | None = None
    """The first number of every row's target where all rows have the same; None where they differ."""
    loss_depends: bool = True
    """Whether the loss tells right outputs from wrong ones."""
    outputs: int = 0
    """Of class numbers: how many outputs there are to choose from."""
    counts: dict[int, int] = field(default_factory=dict)
    """Of class numbers, one a row: training rows of each that occurs."""
    held_out: dict[int, int] | None = None
    """The same of the validation rows; None without them."""
    complete: bool = True
    """Whether all training rows were read."""
    batches: BatchClasses | None = None
    """Of class numbers, one a row, in batches that the user's own loader made; None elsewhere."""


@dataclass(frozen=True, kw_only=True)
class LabelProfile:
    """Can simple probes predict the targets from the inputs better than chance?"""

    rows: int
    score: float
    """Held-out correlation between what the best probe predicts and the truth."""
    chance: float
    """The same for shuffled targets, mean over shuffles."""
    chance_std: float
    """Standard deviation over shuffles."""
    learned: float = 0.0
    """Share of a constant prediction's loss that the model itself gets rid of on held-out rows in the short training."""
