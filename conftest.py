"""Settings of every test run: the same tests see the same numbers, wherever and whenever they run."""

import os
import random
import sys

import numpy as np
import pytest
from hypothesis import settings

# Before anything loads torch: two workers with two threads each would wait for each other on a machine of two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# "repeatable" draws the same examples in every run; `make explore` draws new ones, and prints how to repeat a failure.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def repeatable_random_states():
    """A test that draws from a global random state draws the same, alone and among others."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - tests and what they test may draw from the global state
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
