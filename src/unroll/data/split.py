"""How a text is cut into parts: the shares of a split, in characters, bytes, lines or words."""

from collections.abc import Sequence
from fractions import Fraction

from unroll.data.encode import Survey, Text
from unroll.errors import UserError

LONG_LINE = 10_000
"""Bytes of an average line from which a text is cut into parts between words, and not between lines."""


def shares_of(split: str) -> tuple[Fraction, ...]:
    """Return the shares of the parts of a split such as 90/5/5, or 100."""
    try:
        shares = tuple(Fraction(percent) / 100 for percent in split.split("/"))
    except ValueError:
        shares = ()
    if len(shares) not in (1, 2, 3) or sum(shares) != 1 or min(shares) <= 0:
        raise UserError(
            f"split is {split!r}",
            allowed="one to three percentages above 0 that make 100: train/valid, train/valid/test, or all in one",
            fix="write for example 90/10 or 80/10/10",
        )
    return shares


def has_few_lines(surveyed: Survey, shares: Sequence[Fraction]) -> bool:
    """Tell whether a text is cut between words: where it has no lines, or fewer than its parts need."""
    size = sum(source.bytes for source in surveyed.sources)
    return len(shares) > 1 and (size > LONG_LINE * surveyed.units or 0 in _sizes(surveyed.units, shares))


def _sizes(count: int, shares: Sequence[Fraction]) -> list[int]:
    """Return the units of each part, rounded down; the last takes the rest."""
    sizes = [int(count * share) for share in shares[:-1]]
    return [*sizes, count - sum(sizes)]


def part_sizes(count: int, shares: Sequence[Fraction], text: Text) -> list[int]:
    """Return the units of each part; raises UserError where one has none."""
    sizes = _sizes(count, shares[: len(text.names)])
    if 0 in sizes:
        raise UserError(
            f"the {text.names[sizes.index(0)]} part is empty: the text has {count:,} {text.unit}",
            allowed="at least one in every part",
            fix="give more text, or a split with a larger share for it",
        )
    return sizes
