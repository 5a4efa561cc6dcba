"""Rules of JAX functions that were wrong in released or reported code."""

from __future__ import annotations

import numpy as np

from .real_backward_bug import Built, RealBug


def chained_products(wrong: bool) -> Built:
    """jax#17496: a product with a rule for its matrix alone; in a chain, the first matrix is reached through the second's vector."""
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def product(a, x):
        return a @ x

    def forward(a, x):
        return a @ x, (a, x)

    def backward(saved, d):
        a, x = saved
        return jnp.outer(d, x), jnp.zeros_like(x) if wrong else a.T @ d

    product.defvjp(forward, backward)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=4))

    def f(first, second):
        return jnp.tanh(product(second, product(first, x)))

    return f, (jnp.asarray(rng.normal(size=(3, 4))), jnp.asarray(rng.normal(size=(2, 3)))), None


BUGS = (
    RealBug(
        name="chain of products with half a rule",
        issue="jax#17496",
        build=chained_products,
        at_fault=("first",),
    ),
)
