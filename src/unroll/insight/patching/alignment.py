"""Where two texts meet: the point of each at which the state is patched, so that as much of both is read after it."""

import re

import numpy as np
from numpy.typing import NDArray

from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError

Ids = NDArray[np.int64]


def same_end(ours: Ids, theirs: Ids) -> int:
    """Return how many symbols at their ends the texts share."""
    most = min(len(ours), len(theirs))
    differ = np.flatnonzero(ours[len(ours) - most :][::-1] != theirs[len(theirs) - most :][::-1])
    return int(differ[0]) if len(differ) else most


def patch_points(
    tokenizer: Tokenizer, texts: tuple[str, str], ids: tuple[Ids, Ids], at: int | None, after: str | None
) -> tuple[int, int]:
    """Return after how many symbols of each text the state is patched; raises UserError where they do not fit."""
    lengths = len(ids[0]), len(ids[1])
    if at is not None and after is not None:
        raise UserError("both a number of symbols and a word are given", allowed="one of them", fix="leave one out")
    if np.array_equal(*ids):
        raise UserError("both texts are the same", allowed="texts that differ", fix="change the name in one of them")
    if after is not None:
        places = _end_of(tokenizer, texts[0], after, "first"), _end_of(tokenizer, texts[1], after, "second")
    elif at is not None:
        most = min(lengths) - 1
        if not 1 <= at <= most:
            raise UserError(
                f"a point after {at} symbols of texts of {lengths[0]} and {lengths[1]}",
                allowed=f"1 to {most}: one symbol or more follow it" if most else "texts of two symbols or more",
                fix="or leave it out: the point is then where the texts have become the same",
            )
        places = at, at
    else:
        same = same_end(*ids)
        places = lengths[0] - same, lengths[1] - same
    left = lengths[0] - places[0], lengths[1] - places[1]
    if left[0] != left[1]:
        raise UserError(
            f"the texts do not align: {left[0]} and {left[1]} symbols come after the point",
            allowed="texts that go on alike, with as many symbols after it",
            fix="change one of them, or leave out --at and --after",
        )
    if not left[0]:
        raise UserError(
            "nothing is read after the point",
            allowed="one symbol at least that comes after it: a prediction is made of what is read then",
            fix="let both texts end with the same words, before the target",
        )
    return places


def _end_of(tokenizer: Tokenizer, text: str, word: str, which: str) -> int:
    """Return how many symbols of a text there are up to the end of a word that stands in it once."""
    found = [match.end() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
    if len(found) != 1:
        raise UserError(
            f"{word!r} stands in the {which} text {len(found)} times",
            allowed="a word that stands in both texts once",
            fix="give the number of symbols instead: --at N",
        )
    ends = tokenizer.encode_offsets(text)[1][:, 1]
    return int(np.searchsorted(ends, len(text[: found[0]].encode()), side="right"))
