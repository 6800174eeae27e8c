"""How far back models remember."""
