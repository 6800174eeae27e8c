"""Models of sequences of vectors: a label, a number, or what follows."""
