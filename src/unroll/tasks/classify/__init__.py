"""One sequence, one label: texts are classified."""
