"""Gradient checks of torch functions, modules, problems, and hand-written autograd functions."""
