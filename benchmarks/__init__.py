"""Measurements of wellposed itself: ``python -m benchmarks`` prints every table of this folder."""
