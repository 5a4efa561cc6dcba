"""Gradient checks of JAX functions."""
