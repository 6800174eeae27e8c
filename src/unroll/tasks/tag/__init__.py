"""One sequence, as many labels: the tokens of sentences are tagged."""
