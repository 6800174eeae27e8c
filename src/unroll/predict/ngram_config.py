"""The shape of an n-gram, for those who only read what a model directory says."""

from dataclasses import dataclass
from typing import Literal

from unroll.errors import UserError

MAX_ORDER = 40
"""So that a product of forty shares, each at least one in ten million, is a number above 0."""


@dataclass(frozen=True)
class NgramConfig:
    """The shape of an n-gram."""

    vocab_size: int
    order: int
    """An n-gram of order k predicts a symbol from the k - 1 before it."""
    start_id: int
    """The start symbol: read before a text, and not predicted there."""
    lines: bool = False
    """Each line is a sentence of its own: nothing before the last start symbol is looked at."""
    arch: Literal["ngram"] = "ngram"

    def __post_init__(self) -> None:
        if not 1 <= self.order <= MAX_ORDER:
            raise UserError(
                f"order is {self.order}",
                allowed=f"1 to {MAX_ORDER}",
                fix="5 is usual for words, 10 to 20 for characters",
            )
        if not 1 <= self.vocab_size < 2**31:
            raise UserError(f"vocab_size is {self.vocab_size}", allowed=f"1 to {2**31 - 1:,}", fix="count again")
        if not 0 <= self.start_id < self.vocab_size:
            raise UserError(
                f"start_id is {self.start_id}", allowed=f"0 to {self.vocab_size - 1:,}", fix="restore the directory"
            )

    @property
    def begin_id(self) -> int:
        """The start symbol as it is looked up: where it begins sentences, one of its own, which nothing predicts."""
        return self.vocab_size if self.lines else self.start_id

    @property
    def num_symbols(self) -> int:
        """The number of symbols that can stand in a context."""
        return self.vocab_size + self.lines
