"""Training problems written apart from the rules.

``calibration``: the rules may be tuned on them. ``heldout``: they are only counted, and nobody who writes
rules reads them. Both offer ``sick()`` and ``healthy()``, like ``tests.cases``. A case went to one or
the other by lot.
"""
