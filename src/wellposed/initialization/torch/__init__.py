"""Initialization of torch modules."""
