"""The model directory: written so that a kill leaves it loadable, opened, described, saved states beside it."""
