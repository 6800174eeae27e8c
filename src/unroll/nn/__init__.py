"""The mathematics: cells, layers, models and their loss. Knows nothing of files or text."""
