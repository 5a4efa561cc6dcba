"""What belongs to the whole process: random states, flags, hooks, filters, handlers."""

from __future__ import annotations

import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from decimal import getcontext
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

_HOOKS = (
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
    "_global_forward_hooks",
    "_global_forward_hooks_always_called",
    "_global_forward_hooks_with_kwargs",
    "_global_forward_pre_hooks",
    "_global_parameter_registration_hooks",
    "_global_buffer_registration_hooks",
    "_global_module_registration_hooks",
)


def process_state() -> dict[str, Any]:
    """Everything of the process that user code reads, in plain values and generators."""
    return {
        "torch random": torch.get_rng_state(),
        "numpy random": np.random.get_state(legacy=False),  # noqa: NPY002
        "python random": random.getstate(),
        "torch flags": _torch_flags(),
        "global hooks": {name: list(getattr(torch.nn.modules.module, name, {})) for name in _HOOKS},
        "optimizer hooks": [
            len(_global_optimizer_pre_hooks),
            len(_global_optimizer_post_hooks),
        ],
        "warnings": [[str(part) for part in entry] for entry in warnings.filters],
        "numpy errors": np.geterr(),
        "numpy print": repr(np.get_printoptions()),
        "decimal": repr(getcontext()),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "interrupt handler": repr(signal.getsignal(signal.SIGINT)),
        "alarm handler": repr(signal.getsignal(signal.SIGALRM)),
        "alarm": signal.getitimer(signal.ITIMER_REAL)[1],
        "excepthook": repr(sys.excepthook),
        "hooks of the interpreter": [
            repr(hook) for hook in (sys.displayhook, sys.breakpointhook, sys.unraisablehook)
        ],
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "gc": [gc.isenabled(), list(gc.get_threshold()), gc.get_freeze_count()],
        "standard streams": [id(sys.stdin), id(sys.stdout), id(sys.stderr)],
        "logging": [logging.root.level, logging.root.manager.disable, len(logging.root.handlers)],
        "locale": list(locale.getlocale()),
        "threads": sorted(thread.name for thread in threading.enumerate() if not thread.daemon),
    }


def _torch_flags() -> dict[str, Any]:
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "anomaly": [torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()],
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "deterministic": [
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ],
        "matmul": torch.get_float32_matmul_precision(),
        "autocast": [
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.is_autocast_cache_enabled(),
        ],
        "mkldnn": torch.backends.mkldnn.enabled,
        "cudnn": [torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic],
        "flush denormal": float(torch.tensor([1e-40]) * 1.0),
        "function modes": torch._C._len_torch_function_stack(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "warn always": torch.is_warn_always_enabled(),
        "printing": repr(vars(torch._tensor_str.PRINT_OPTS)),
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "validation of distributions": torch.distributions.Distribution._validate_args,
    }
