"""Where two texts meet: the point of each at which the state is patched, so that as much of both is read after it."""

import re

import numpy as np

from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.insight.attribution.scores import Ids


def same_end(first: Ids, second: Ids) -> int:
    """Return the number of symbols that the texts share at their ends."""
    shorter = min(len(first), len(second))
    differ = np.flatnonzero(first[len(first) - shorter :][::-1] != second[len(second) - shorter :][::-1])
    return int(differ[0]) if len(differ) else shorter


def patch_points(
    tokenizer: Tokenizer, texts: tuple[str, str], ids: tuple[Ids, Ids], at: int | None, after: str | None
) -> tuple[int, int]:
    """Return after how many symbols of each text the state is patched; raises UserError if these do not fit."""
    lengths = len(ids[0]), len(ids[1])
    if at is not None and after is not None:
        raise UserError("both a number of symbols and a word are given", allowed="one of them", fix="leave one out")
    if np.array_equal(*ids):
        raise UserError("both texts are the same", allowed="texts that differ", fix="change the name in one of them")
    if after is not None:
        places = _end_of(tokenizer, texts[0], after, "first"), _end_of(tokenizer, texts[1], after, "second")
    elif at is not None:
        largest = min(lengths) - 1
        if not 1 <= at <= largest:
            raise UserError(
                f"a point after {at} symbols of texts of {lengths[0]} and {lengths[1]}",
                allowed=f"1 to {largest}, so that at least one symbol follows"
                if largest
                else "texts of two symbols or more",
                fix="or leave it out: the point is then where the rest of the texts is the same",
            )
        places = at, at
    else:
        shared = same_end(*ids)
        places = lengths[0] - shared, lengths[1] - shared
    rest = lengths[0] - places[0], lengths[1] - places[1]
    if rest[0] != rest[1]:
        raise UserError(
            f"the texts do not align: {rest[0]} and {rest[1]} symbols come after the point",
            allowed="texts with equally many symbols after the point",
            fix="change one of them, or leave out --at and --after",
        )
    if not rest[0]:
        raise UserError(
            "nothing is read after the point",
            allowed="at least one symbol after the point, from which the prediction is made",
            fix="end both texts with the same words, before the target",
        )
    return places


def _end_of(tokenizer: Tokenizer, text: str, word: str, which: str) -> int:
    """Return the number of symbols of a text up to the end of a word that occurs in it once."""
    word_ends = [match.end() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
    if len(word_ends) != 1:
        raise UserError(
            f"{word!r} occurs {len(word_ends)} times in the {which} text",
            allowed="a word that occurs once in each text",
            fix="give the number of symbols instead: --at N",
        )
    symbol_ends = tokenizer.encode_offsets(text)[1][:, 1]
    return int(np.searchsorted(symbol_ends, len(text[: word_ends[0]].encode()), side="right"))
