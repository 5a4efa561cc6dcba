"""What wellposed asks of JAX: the only folder that imports it."""
