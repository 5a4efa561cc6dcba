"""The problem of `make demo`, as a file of one's own: ``wellposed check examples/wine.py:problem``."""

from wellposed.demo import wine_problem as problem

__all__ = ["problem"]
