"""Models that ``fully_shard`` (FSDP2) spread over a group of one process, lent as the plain models that they were.

FSDP2 changes a module's class, registers DTensors as its parameters, and gathers them in hooks around the forward pass from storage of
its own, past whatever is lent. In a group of one process a shard is the whole tensor: plain parameters over the same storage take the
place of the DTensors in the modules and in the optimizer, and the hooks rest.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...errors import ProblemError
from ..reachable import Reached

_STATE = "__composable_api_state"
"""How the name of the attribute begins in which FSDP2 keeps its own account of a module."""
Undo = list[Callable[[], Any]]


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is a DTensor."""
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and isinstance(tensor, distributed.DTensor)


def fully_sharded(found: Reached) -> list[Any]:
    """The modules that ``fully_shard`` was called on."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return [] if fsdp is None else list(found.of(fsdp.FSDPModule))


def unshard(found: Reached, undo: Undo) -> None:
    """Put plain parameters in the place of shards; what gives the shards back is appended to `undo`.

    Raises
    ------
    ProblemError
        When the model casts what it gathers, or shares its shards with other processes.
    """
    shards = fully_sharded(found)
    for module in shards:
        _refuse_casts(module)
    plain: dict[int, nn.Parameter] = {}
    for module in found.of(nn.Module) if shards else ():
        _assign(module, "__dict__", _attributes(module, plain), undo)
    for module in shards:
        _assign(module, "__class__", type(module).__mro__[module._orig_cls_mro_index], undo)
    for optimizer in found.of(torch.optim.Optimizer) if shards else ():
        _lend_to_optimizer(optimizer, plain, undo)


def _refuse_casts(module: Any) -> None:
    """Refuse a policy that casts: without the hooks the model would compute in another precision than it trains in."""
    policy = module._get_fsdp_state()._mp_policy
    own = {parameter.dtype for parameter in module.parameters()}
    for name in ("param_dtype", "output_dtype"):
        cast = getattr(policy, name)
        if cast is not None and own != {cast}:
            raise ProblemError(
                f"the model is sharded with MixedPrecisionPolicy({name}={cast}): check the model before it is sharded, "
                "and say precision='bf16' or 'fp16'"
            )


def _assign(holder: Any, name: str, value: Any, undo: Undo) -> None:
    own = getattr(holder, name)
    undo.append(lambda: object.__setattr__(holder, name, own))
    object.__setattr__(holder, name, value)


def _attributes(module: nn.Module, plain: dict[int, nn.Parameter]) -> dict[str, Any]:
    """The attributes of a module with plain parameters, and without FSDP2's hooks and state.

    A hook has one key in all tables of hooks.
    """
    own = vars(module)
    tables = [table for name, table in own.items() if "_hooks" in name and isinstance(table, dict)]
    theirs = {k for table in tables for k, hook in table.items() if _is_of_fsdp(hook)}
    lent = {name: value for name, value in own.items() if not name.startswith(_STATE)}
    for name, table in lent.items():
        if any(table is t for t in tables):
            lent[name] = type(table)((k, hook) for k, hook in table.items() if k not in theirs)
    lent["_parameters"] = {
        name: _plain(p, plain) if is_sharded(p) else p for name, p in module._parameters.items()
    }
    return lent


def _is_of_fsdp(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("torch.distributed.fsdp")


def _plain(shard: Any, plain: dict[int, nn.Parameter]) -> nn.Parameter:
    """One plain parameter for each shard, so that tied weights stay tied."""
    if id(shard) not in plain:
        parameter = nn.Parameter(_whole(shard), requires_grad=shard.requires_grad)
        vars(parameter).update(vars(shard))
        plain[id(shard)] = parameter
    return plain[id(shard)]


def _whole(shard: Any) -> torch.Tensor:
    processes = shard.device_mesh.size()
    if processes > 1:
        raise ProblemError(
            f"the model's parameters are sharded over {processes} processes: check the model before it is sharded"
        )
    return shard.detach().to_local()


def _lend_to_optimizer(optimizer: torch.optim.Optimizer, plain: dict[int, nn.Parameter], undo: Undo) -> None:
    groups = [
        {**group, "params": [plain.get(id(p), p) for p in group["params"]]}
        for group in optimizer.param_groups
    ]
    state = defaultdict(dict)
    for parameter, kept in optimizer.state.items():
        state[plain.get(id(parameter), parameter)] = {
            key: _whole(value) if is_sharded(value) else value for key, value in kept.items()
        }
    if any(is_sharded(p) for group in groups for p in group["params"]):
        raise ProblemError(
            "the optimizer holds shards that the model does not: after a forward pass call model.reshard(), "
            "and make the optimizer after fully_shard"
        )
    _assign(optimizer, "param_groups", groups, undo)
    _assign(optimizer, "state", state, undo)
