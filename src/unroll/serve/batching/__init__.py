"""Continuous batching: many streams read and written together."""
