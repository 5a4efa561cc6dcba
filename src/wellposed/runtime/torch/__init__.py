"""The same for torch."""
