"""The verbs of a language model: train, keep, sample, evaluate."""
