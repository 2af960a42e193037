"""Data sets, the order of their samples, and the loaders that keep to it."""
