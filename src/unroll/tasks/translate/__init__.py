"""One sequence, another sequence: texts are translated."""
