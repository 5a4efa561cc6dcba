"""Does a loss squash what is squashed already? Read off its graph: also where the softmax is no layer, but stands in the loss itself."""

from __future__ import annotations

from typing import Any

import torch

from ..runtime.torch.graph_nodes import graph_nodes
from .torch_outputs import before_rearranging

_SOFTMAX, _SIGMOID = (
    ("softmax", ("SoftmaxBackward", "SafeSoftmaxBackward")),
    ("sigmoid", ("SigmoidBackward",)),
)
_EXPECT_LOGITS = {
    "LogSoftmaxBackward": _SOFTMAX,
    "LogsumexpBackward": _SOFTMAX,
    "BinaryCrossEntropyWithLogitsBackward": _SIGMOID,
    "LogSigmoidBackward": _SIGMOID,
}


def squashed_twice(loss: torch.Tensor) -> str | None:
    """``"softmax"`` or ``"sigmoid"`` where its output goes, as it is, into an operation that applies the same to logits."""
    return next((found for node in graph_nodes(loss) if (found := _squashed_before(node))), None)


def _squashed_before(node: Any) -> str | None:
    for prefix, (squashing, makers) in _EXPECT_LOGITS.items():
        if type(node).__name__.startswith(prefix):
            maker = before_rearranging(node.next_functions[0][0])
            return squashing if type(maker).__name__.startswith(makers) else None
    return None
