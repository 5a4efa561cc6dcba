"""The answer of one gradient check, for the parts that ask for some."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

import wellposed as wp

from .answers import Answer, Value, error_in_words, words


def told(f: Any, inputs: tuple[Any, ...], **options: Any) -> str:
    """Verdict, name and place of one check on one line, tensor by tensor where there are several; or the error that it raised."""
    try:
        torch.manual_seed(0)
        return in_words(wp.check_gradients(f, *inputs, **options))
    except Exception as error:
        return f"raised {error_in_words(error)}"


def in_words(check: wp.GradientCheck) -> str:
    place = f" at {check.where}" if check.where else ""
    worst = f", worst {check.worst.place}" if check.worst else ""
    tensors = ", ".join(f"{t.name} {t.verdict} {t.cause or '-'}" for t in check.tensors)
    return f"{check.verdict}, {check.cause or 'no name'}{place}{worst}; {tensors}"


def in_full(check: wp.GradientCheck) -> Answer:
    """Every field of a check, its numbers to the last bit."""
    answer = _flat("", dataclasses.asdict(check))
    answer["detail"] = words(check.detail)
    return answer


def _flat(name: str, value: Any) -> Answer:
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(v, dict) for v in value):
        parts = enumerate(value)
    else:
        return {name: _plain(value)}
    merged: Answer = {}
    for key, part in parts:
        merged |= _flat(f"{name}.{key}" if name else str(key), part)
    return merged


def _plain(value: Any) -> Value:
    if isinstance(value, float):
        return repr(value)
    return value if isinstance(value, bool | int | str | None) else str(value)
