"""Long-range tasks: what each architecture can learn to remember."""
