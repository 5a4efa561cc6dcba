"""What running the user's JAX functions needs."""
