"""What decided the label of a sequence of numbers."""
