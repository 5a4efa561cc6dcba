"""Choices that functions and the command line share; they stand apart so that ``--help`` imports no NumPy."""

METHODS = ("standard", "minmax", "maxabs", "robust", "whiten", "zca")
"""Of normalizing: see `Normalizer.fit`."""
ENGINES = ("dask", "spark", "ray")
"""That read beyond one machine: see `wellposed.moments.engines`."""
BUDGETS = ("quick", "normal", "thorough")
"""Of a check: see `wellposed.check`."""
