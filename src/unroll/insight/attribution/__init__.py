"""Which earlier symbols made a prediction."""
