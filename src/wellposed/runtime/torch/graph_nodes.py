"""The nodes of an autograd graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

GRAPH_NODES = 200_000
"""Nodes of a graph that are looked at."""


def graph_nodes(loss: torch.Tensor) -> Iterator[Any]:
    """Every autograd node behind a loss, each once."""
    seen: set[Any] = set()
    stack = [loss.grad_fn]
    while stack and len(seen) < GRAPH_NODES:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(n for n, _ in node.next_functions)
