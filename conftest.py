"""Settings of every test run."""

import os

# Before anything loads torch: two workers with two threads each would wait for each other on a machine of two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
