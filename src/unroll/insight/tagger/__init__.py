"""How a tagger comes to its tags."""
