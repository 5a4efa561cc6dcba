"""Running torch models: lent tensors, batches, calls of model and loss, hooks that measure each layer, short trainings."""
