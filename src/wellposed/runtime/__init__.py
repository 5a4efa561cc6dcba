"""Running the user's code without a trace: what it reaches, how that is kept and given back, Ctrl-C, and processes of its own.

What a framework adds stands in `torch/` and `jax/`.
"""
