"""The tiny models of sequences, and a table of their channels."""

from tasks.sequences.conftest import sides as sides
from tasks.sequences.conftest import slopes as slopes
from tasks.sequences.conftest import unseen as unseen
