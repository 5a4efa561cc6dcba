"""A custom gradient in JAX: ``wellposed gradcheck examples/backward_jax.py:wrong_side``, whose mask has the wrong sign."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def relu(x):
    return jnp.maximum(x, 0)


def forward(x):
    return relu(x), x


def backward(x, cotangent):
    return (jnp.where(x < 0, cotangent, 0),)


relu.defvjp(forward, backward)


def wrong_side():
    """What to check: the function, and inputs for it."""
    return relu, jax.random.normal(jax.random.key(0), (6, 8))
