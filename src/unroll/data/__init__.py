"""Text to ids on disk to batches with carried state; never torch."""
