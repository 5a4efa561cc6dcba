"""A regression check: what the package answers today, stored, and compared with what it answers later.

It calls the public API alone, on the cases of ``benchmarks`` and ``tests/cases``, so it runs unchanged before and after files of
``src/wellposed`` are moved, renamed or rewritten. See ``python -m benchmarks.oracle --help``.
"""

import os

# Before anything loads NumPy or torch: the order of additions in BLAS depends on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
