"""Where in the state a fact is kept."""
