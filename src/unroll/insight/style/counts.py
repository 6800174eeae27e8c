"""What a text is counted by: its words, its pairs of words, and how its marks and capitals stand."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unroll.data.words import UNSPACED, UNSPACED_FROM
from unroll.insight.style.closing import FEWEST
from unroll.progress import Progress, Work

LETTERS = r"[^\W\d_]+(?:['’][^\W\d_]+)*"
WORD = re.compile(LETTERS)
CUT = re.compile(rf"(?:{LETTERS})\Z")
TOKEN = re.compile(rf"{LETTERS}|[\d_]+|[^\w\s]")
SHORTEST = 3
"""Letters of a word that is not there by chance."""
BLOCK = 2**20
"""Characters counted at a time."""
MOST = 2**24
"""Characters of a text that are counted, the first."""

LINE, SPACE, LETTER, CAPITAL, DIGIT, MARK = range(6)
"""Classes of characters; what lies beyond the ends of a text is a line's end."""


@dataclass
class Places:
    """How often each mark stands between which classes of characters, and capitals likewise."""

    characters: int = 0
    letters: int = 0
    marks: Counter[int] = field(default_factory=Counter)
    capitals: Counter[int] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Count a text."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        table = np.zeros(int(codes.max(initial=0)) + 1, np.uint8)
        for character in set(text):
            table[ord(character)] = class_of(character)
        classes = np.concatenate([[LINE], table[codes], [LINE]]).astype(np.int64)
        here = classes[1:-1]
        beside = 8 * classes[:-2] + classes[2:]
        self.characters += len(text)
        self.letters += int(((here == LETTER) | (here == CAPITAL)).sum())
        for places, keys in (
            (self.marks, (64 * codes.astype(np.int64) + beside)[here == MARK]),
            (self.capitals, beside[here == CAPITAL]),
        ):
            values, counts = np.unique(keys, return_counts=True)
            places.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def class_of(character: str) -> int:
    """Return the class of a character."""
    if character.isspace():
        return LINE if character == "\n" else SPACE
    if character.isalpha():
        return CAPITAL if character.isupper() else LETTER
    return DIGIT if character.isdigit() else MARK


def agreement(here: Counter[int], size: int, there: Counter[int], whole: int) -> float | None:
    """Return how far two rates by place agree: 2 Σ min(p, q) / Σ (p + q), of counts by `size` and by `whole`.

    1 where all rates are equal, 0 where no place is shared (Bray & Curtis 1957). None where neither has, or should
    have, `FEWEST` of them.
    """
    if not size or not whole:
        return None
    expected = there.total() * size / whole
    if max(here.total(), expected) < FEWEST:
        return None
    shared = sum(min(count, there[place] * size / whole) for place, count in here.items())
    return 2 * shared / (here.total() + expected)


@dataclass(frozen=True)
class Counts:
    """What was counted of a training text."""

    words: frozenset[str]
    pairs: NDArray[np.int64]
    """The hashes of its pairs of words, sorted."""
    places: Places
    has_words: bool
    """Whether its script sets spaces between words."""


def counted(text: str) -> Work[Counts]:
    """Count a text, up to its first `MOST` characters, yielding progress."""
    words: set[str] = set()
    pairs: list[NDArray[np.int64]] = []
    places, last, unspaced = Places(), [""], 0
    size = min(len(text), MOST)
    for block in blocks(text[:size]):
        tokens = TOKEN.findall(block)
        words.update(tokens)
        row = last + tokens
        pairs.append(np.unique(np.fromiter(map(hash, zip(row, tokens, strict=False)), np.int64, len(tokens))))
        last = row[-1:]
        places.add(block)
        unspaced += 0 if block.isascii() else len(UNSPACED.findall(block))
        yield Progress("counting words", places.characters, size, "characters")
    hashes = np.unique(np.concatenate(pairs)) if pairs else np.zeros(0, np.int64)
    return Counts(frozenset(words), hashes, places, unspaced < UNSPACED_FROM * size)


def blocks(text: str) -> Iterator[str]:
    """Yield a text in blocks, cut at white space."""
    start = 0
    while start < len(text):
        cut = re.compile(r"\s").search(text, start + BLOCK)
        end = cut.end() if cut else len(text)
        yield text[start:end]
        start = end


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of the words of a text that have at least `SHORTEST` letters."""
    return [match.span() for match in WORD.finditer(text) if match.end() - match.start() >= SHORTEST]


def punctuation_and_capitals(text: str, counts: Counts) -> tuple[float | None, float | None]:
    """Return how far the rates of marks and of capitals, by where they stand, agree with those of a training text."""
    here, there = Places(), counts.places
    here.add(text)
    return (
        agreement(here.marks, here.characters, there.marks, there.characters),
        agreement(here.capitals, here.letters, there.capitals, there.letters),
    )


def known_words(text: str, counts: Counts) -> float | None:
    """Return the share of the words of at least `SHORTEST` letters that a training text has.

    The last word may be cut, and is left out where the text ends in it.
    """
    words = [text[start:end] for start, end in word_spans(CUT.sub("", text))]
    if len(words) < FEWEST or not counts.has_words:
        return None
    return sum(word in counts.words for word in words) / len(words)


def known_pairs(text: str, counts: Counts) -> float | None:
    """Return the share of the pairs of words with nothing but white space between that a training text has."""
    tokens = TOKEN.findall(CUT.sub("", text))
    pairs = np.array([hash(pair) for pair in pairwise(tokens) if all(map(WORD.match, pair))], np.int64)
    if len(pairs) < FEWEST or not counts.has_words:
        return None
    first, behind = (np.searchsorted(counts.pairs, pairs, side) for side in ("left", "right"))
    return float((first < behind).mean())
