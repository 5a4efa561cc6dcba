"""Choices that functions and the command line share; they stand apart so that ``--help`` imports no NumPy."""

METHODS = ("standard", "minmax", "maxabs", "robust", "whiten", "zca")
"""Of normalizing: see `Normalizer.fit`."""
ENGINES = ("dask", "spark", "ray")
"""That read beyond one machine: see `wellposed.moments.engines`."""
BUDGETS = ("quick", "normal", "thorough")
"""Of a check: see `wellposed.check`."""
PRECISIONS = ("fp32", "bf16", "fp16", "fp16-scaled", "fp8", "fp8-e4m3", "fp8-e5m2", "mxfp8")
"""That training may run in: see `wellposed.Problem`."""
