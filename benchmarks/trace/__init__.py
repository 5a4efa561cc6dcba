"""Does whatever only looks leave a trace? A fuzzer: ``python -m benchmarks.trace``."""

import os

# Threads of OpenMP that wait in a loop take minutes where other programs keep the cores busy; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
