"""Trials of bad use: wrong calls, wrong command lines, and hostile files; written without a look at the validating code."""
