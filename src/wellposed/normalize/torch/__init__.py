"""A fitted normalizer in torch: as a module, and folded into a model's first layers."""
