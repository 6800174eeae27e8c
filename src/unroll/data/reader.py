"""How texts become rows of units, and distinct words rows of characters, for networks that read whole rows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import AnyRows, Ragged, Vectors, side_by_side
from unroll.data.tokenizer import CharTokenizer, Tokenizer
from unroll.data.utf8 import byte_lengths
from unroll.errors import number_of

Ids = NDArray[np.int64]

LONGEST_WORD = 64
"""Characters of a word that are read: of a longer one the first."""
ROWS = 64
"""Most texts that are read side by side."""


@dataclass(frozen=True)
class Reading:
    """Texts as a network reads them."""

    units: Ragged
    """The ids of each text's units."""
    word_of: Ragged
    """For each unit, which of the distinct words it is."""
    words: Ragged
    """The characters of the distinct words; no rows where words are not read by their characters."""
    cut: int = 0
    """Number of units left out behind the most that is read of a text."""
    contexts: Vectors | None = None
    """What a language model says of each unit in its context; None without one."""

    def __len__(self) -> int:
        return len(self.units)

    def select(self, rows: Any) -> "Reading":
        """Return some texts, by their numbers or a mask, with their own distinct words."""
        units, word_of = self.units.select(rows), self.word_of.select(rows)
        contexts = None if self.contexts is None else self.contexts.select(rows)
        if not len(self.words):
            return Reading(units, word_of, self.words, contexts=contexts)
        used, places = np.unique(word_of.values, return_inverse=True)
        words = self.words.select(used)
        return Reading(units, Ragged(places.astype(np.int64), word_of.ends), words, contexts=contexts)

    def batches(self) -> Iterator[tuple[Ids, "Reading"]]:
        """Yield texts of similar length that are read side by side, with their numbers: the shortest first."""
        lengths = self.units.lengths
        for numbers in side_by_side(lengths, np.argsort(lengths, kind="stable"), ROWS):
            yield numbers, self if len(lengths) == 1 else self.select(numbers)

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return the texts padded, as the arguments of `unroll.nn.encoder.Units`, by name; at least one unit wide."""
        ids, lengths = _padded(self.units)
        arrays: dict[str, NDArray[Any] | None] = {"ids": ids, "lengths": lengths}
        if len(self.words):
            characters, word_lengths = _padded(self.words)
            arrays |= {"characters": characters, "word_lengths": word_lengths, "word_of": _padded(self.word_of)[0]}
        if self.contexts is not None:
            arrays["contexts"] = _padded(self.contexts, np.float32)[0]
        return arrays


def _padded(rows: AnyRows, dtype: Any = np.int64) -> tuple[NDArray[Any], Ids]:
    values, lengths = rows.padded()
    more = ((0, 0), (0, int(not values.shape[1])), *[(0, 0)] * (values.ndim - 2))
    return np.pad(values.astype(dtype), more), lengths


@dataclass(frozen=True)
class Reader:
    """The vocabularies by which texts are read."""

    tokenizer: Tokenizer
    """Of the units: characters, bytes, words or pieces."""
    characters: CharTokenizer | None = None
    """Of words; None where they are not read by their characters."""
    lowercase: bool = False
    """Whether units are looked up in lower case; the characters of words keep their case."""
    max_units: int = 2**20
    """The most units that are read of a text."""

    def read(self, texts: Sequence[str]) -> Reading:
        """Return the texts as rows of ids. An empty text is read as the start symbol alone.

        Raises UserError for text with lone surrogates.
        """
        rows, written, cut = [], [], 0
        for text in texts:
            ids, words = self.units(text)
            cut += max(0, len(ids) - self.max_units)
            rows.append(ids[: self.max_units])
            written.append(words[: self.max_units])
        return replace(self._spelt(Ragged.of(rows), written), cut=cut)

    def read_tokens(self, sentences: Sequence[Sequence[str]]) -> Reading:
        """Return sentences of ready tokens: each is one unit, whatever it contains; no sentence is cut.

        A token is known where it is a word of the vocabulary as a whole, spaces included.
        """
        rows = []
        for sentence in sentences:
            lower = map(lowered, sentence) if self.lowercase else sentence
            rows.append([self._words.get(token, self._unknown) for token in lower])
        return self._spelt(Ragged.of(rows), sentences)

    def known(self, sentences: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
        """Return which tokens of sentences are in the vocabulary (tokens,)."""
        tokens = chain.from_iterable(sentences)
        return np.array([(lowered(token) if self.lowercase else token) in self._words for token in tokens], np.bool_)

    @cached_property
    def _words(self) -> dict[str, int]:
        """The ids of the words of the vocabulary."""
        pieces, specials = self.tokenizer.pieces, self.tokenizer.specials
        return {piece.decode(): id for id, piece in enumerate(pieces) if id not in specials}

    @property
    def _unknown(self) -> int:
        assert self.tokenizer.unknown_id is not None, "a vocabulary of words has an unknown one"
        return self.tokenizer.unknown_id

    def _spelt(self, units: Ragged, written: Sequence[Sequence[str]]) -> Reading:
        """Return rows of units with the characters of the distinct words among them, as they are `written`."""
        if self.characters is None:
            return Reading(units, Ragged(np.zeros_like(units.values), units.ends), Ragged.of([]))
        numbers: dict[str, int] = {}
        places = [numbers.setdefault(word, len(numbers)) for row in written for word in row]
        words = [word[:LONGEST_WORD] for word in numbers]
        # All at once: a character is one id.
        spelt = Ragged(self.characters.encode("".join(words)), np.cumsum([len(word) for word in words], dtype=np.int64))
        return Reading(units, Ragged(np.array(places, np.int64), units.ends), spelt)

    def units(self, text: str) -> tuple[Ids, list[str]]:
        """Return the ids of a text's units and, where words are read by characters, the words as they are written."""
        tokenizer = self.tokenizer
        lower = lowered(text) if self.lowercase else text
        if self.characters is None:
            ids = tokenizer.encode(lower)
            return (ids, []) if len(ids) else (np.array([tokenizer.start_id]), [])
        ids, spans = tokenizer.encode_offsets(lower)
        if not len(ids):
            return np.array([tokenizer.start_id]), [""]
        # Spans are bytes of the lowered text, which has as many characters as the text itself.
        ends = np.concatenate([[0], np.cumsum(byte_lengths(lower))])
        points = np.searchsorted(ends, spans)
        return ids, [text[start:end].strip(" ") for start, end in points.tolist()]

    def unknown(self, text: str) -> list[tuple[int, str]]:
        """Return the offset in code points and the text of each unit that is not in the vocabulary."""
        return self.tokenizer.unknown(lowered(text) if self.lowercase else text)

    def spans(self, text: str) -> Ids:
        """Return the spans (N, 2) of a text's units in code points; of an empty text, (0, 0)."""
        lower = lowered(text) if self.lowercase else text
        _, spans = self.tokenizer.encode_offsets(lower)
        ends = np.concatenate([[0], np.cumsum(byte_lengths(lower))])
        points = np.searchsorted(ends, spans)[: self.max_units] if len(spans) else np.zeros((1, 2))
        return points.astype(np.int64)

    def pieces(self, text: str) -> list[str]:
        """Return the text that is read cut before each of its units, each with the spaces behind it."""
        spans = self.spans(text)
        return [text[start:end] for start, end in pairwise([0, *spans[1:, 0].tolist(), int(spans[-1, 1])])]


def left_out(cut: int) -> str:
    """Return what a person should know where units were left out."""
    return f"{number_of(cut, 'unit')} behind the most that is read of a text were left out"


def learn_characters(words: Iterable[str]) -> CharTokenizer:
    """Return the characters of distinct words; one of a single word is unknown, so that training learns of such."""
    counts = Counter(chain.from_iterable(map(set, set(words))))
    return CharTokenizer.learn(character for character, count in counts.items() if count > 1)


def lowered(text: str) -> str:
    """Return a text in lower case with as many characters: those that would become several stay as they are."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
