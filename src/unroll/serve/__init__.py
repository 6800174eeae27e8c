"""The HTTP API and the page, one process; the trainer is another."""
