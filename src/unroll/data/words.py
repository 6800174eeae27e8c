"""Words and punctuation marks of raw text, and how a text is found to be tokenised already."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal
from unicodedata import category

import numpy as np

from unroll.data.blocks import Level
from unroll.data.utf8 import Ids, StreamDecoder, WordDecoder, byte_lengths, encoded
from unroll.data.vocabulary import EOS, UNK, Vocabulary, json_of

if TYPE_CHECKING:
    import tokenizers

Boundaries = Literal["space", "unicode"]
"""Where words begin and end: at white space, or also at everything that is not a letter, a digit or the like."""

LETTER = r"[\p{L}\p{M}\p{N}\p{Pc}\u200c\u200d]"
MARK = r"[^\p{L}\p{M}\p{N}\p{Pc}\u200c\u200d\s]"
BETWEEN_WORDS = rf"(?<={LETTER}) (?={LETTER}|\z)"
"""The space that belongs to no symbol."""
PATTERN = rf"{LETTER}+(?:['’]{LETTER}+)*|\n| ?{MARK}(?: (?={LETTER}|\z))?|(?!{BETWEEN_WORDS})[^\S\n]+"
"""A word, a newline, a punctuation mark with the spaces beside it, or other white space; in Oniguruma's syntax."""


TOGETHER = 2**15
"""Characters up to which a text is encoded on one core."""


@dataclass(frozen=True)
class UnicodeWordTokenizer(Vocabulary):
    """Words and punctuation marks of raw text; id 0 is `<unk>`, 1 the newline, then `words` by falling frequency.

    A word is letters, digits, combining marks and `_`, with apostrophes inside. Any other character that is not white
    space is a punctuation mark, a symbol together with one space before it and one before a word after it. A space
    between two words belongs to no symbol, and is written between them. Other white space is a symbol, run by run. So
    known text comes back as it was, but for a single space at its very end after a word: prompts may end with one.
    """

    words: tuple[str, ...]
    """By falling frequency, behind them those added later."""

    level: ClassVar[Level] = "word"
    boundaries: ClassVar[Boundaries] = "unicode"
    lossless: ClassVar[bool] = True
    unknown_id: ClassVar[int] = 0
    start_id: ClassVar[int] = 1
    specials: ClassVar[Mapping[int, str]] = {0: UNK, 1: EOS}

    def __post_init__(self) -> None:
        if len(self._index) != 2 + len(self.words):
            raise ValueError("a word occurs twice")
        if any(not word or "\n" in word for word in self.words):
            raise ValueError("a word is empty or holds a newline")
        encoded("".join(self.words), "utf-8")

    @classmethod
    def learn(cls, texts: Iterable[str], *, min_count: int = 1, vocab_size: int = 0) -> "UnicodeWordTokenizer":
        """Return the words and marks counted at least `min_count` times, at most `vocab_size` ids (0: no limit)."""
        from tokenizers import Tokenizer, models, trainers

        learner = Tokenizer(models.WordLevel(unk_token=UNK))
        learner.pre_tokenizer = _words_and_marks()
        trainer = trainers.WordLevelTrainer(
            vocab_size=2**32, min_frequency=min_count, special_tokens=[UNK], show_progress=False
        )
        learner.train_from_iterator(texts, trainer)
        ids = learner.get_vocab()
        ranked = [word for word in sorted(ids, key=ids.__getitem__) if word not in (UNK, "\n")]
        return cls(tuple(ranked[: vocab_size - 2] if vocab_size else ranked))

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each symbol, `<unk>` itself, a newline for `<eos>`."""
        return (UNK.encode(), b"\n", *(word.encode() for word in self.words))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: id for id, word in enumerate((UNK, "\n", *self.words))}

    @cached_property
    def is_word(self) -> tuple[bool, ...]:
        """Whether each symbol is a word, `<unk>` included."""
        return (True, False, *(_is_letter(word[0]) for word in self.words))

    @cached_property
    def _encoder(self) -> "tokenizers.Tokenizer":
        from tokenizers import Tokenizer, models

        encoder = Tokenizer(models.WordLevel(self._index, unk_token=UNK))
        encoder.pre_tokenizer = _words_and_marks()
        return encoder

    def gap(self, before: int, after: int) -> str:
        """Return the space between two words, which belongs to neither."""
        return " " if self.is_word[before] and self.is_word[after] else ""

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder that takes one id at a time and sets the spaces between words."""
        return WordDecoder(self.pieces, self.gap)

    def encode(self, text: str) -> Ids:
        """Return the ids of the words, the marks and the other white space."""
        encoded(text, "utf-8")
        middle = text.find("\n", len(text) // 2) + 1 if len(text) > TOGETHER else 0
        halves = self._encoder.encode_batch_fast([text[:middle], text[middle:]])  # side by side
        return np.concatenate([np.array(half.ids, np.int64) for half in halves])

    def encode_offsets(self, text: str) -> tuple[Ids, Ids]:
        """Return the ids and their spans (N, 2) in bytes of UTF-8."""
        ends = np.concatenate([[0], np.cumsum(byte_lengths(text))])
        encoding = self._encoder.encode(text)
        return np.array(encoding.ids, np.int64), ends[np.array(encoding.offsets, np.int64).reshape(-1, 2)]

    def unknown(self, text: str) -> list[tuple[int, str]]:
        """Return the offset in code points and the text of each unknown symbol."""
        encoding = self._encoder.encode(text)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        return [(start, text[start:end]) for id, (start, end) in spans if id == self.unknown_id]

    def to_continue(self, text: str) -> str:
        """Return a prompt, with a space after its last mark where the mark has one more often."""
        plain, spaced = self.encode(text).tolist(), self.encode(text + " ").tolist()
        if not plain or plain[:-1] != spaced[:-1] or not any(spaced[-1:]) or 0 < plain[-1] <= spaced[-1]:
            return text
        return text + " "

    def to_json(self) -> str:
        """Return the vocabulary as JSON."""
        return json_of(self.level, boundaries=self.boundaries, words=self.words)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of the words and of the punctuation marks of a text, in code points, without white space."""
    encoded(text, "utf-8")
    spans = []
    for piece, (start, end) in _words_and_marks().pre_tokenize_str(text):
        if not piece.isspace():
            spans.append((start + piece.startswith(" "), end - piece.endswith(" ")))
    return spans


def _words_and_marks() -> "tokenizers.pre_tokenizers.PreTokenizer":
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    return Split(Regex(PATTERN), "removed", invert=True)


def _is_letter(character: str) -> bool:
    """Tell whether a character is part of words: `LETTER`."""
    kind = category(character)
    return kind[0] in "LMN" or kind == "Pc" or character in "\u200c\u200d"


# ---- which of the two a text needs

STOPS = ".,;:!?"
APART_FROM = 0.75
"""Share of full stops, commas and the like apart from words from which a text is tokenised already.

It is below 0.05 in books, code, LaTeX and logs, and above 0.85 in WikiText-2, Multi30k, TREC and SST-2.
"""
UNSPACED_FROM = 0.3
"""Share of characters in scripts without spaces from which words are not what a reader calls words."""
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, the Japanese syllabaries, and Chinese characters."""


@dataclass(frozen=True)
class Spacing:
    """How the words of a training text stand: why its words end at white space, or at punctuation too."""

    stops: int = 0
    """Number of `.` `,` `;` `:` `!` `?` before white space."""
    stops_apart: int = 0
    """How many of them stand apart from the word before."""
    unknown: int = 0
    """How often `<unk>` stands between white space: the text has a vocabulary already."""
    characters: int = 0
    unspaced: int = 0
    """Characters of scripts that set no spaces between words."""

    def __add__(self, other: "Spacing") -> "Spacing":
        return Spacing(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def boundaries(self) -> Boundaries:
        """Where words end: at white space in a text that is tokenised already."""
        tokenised = self.unknown or (self.stops and self.stops_apart >= APART_FROM * self.stops)
        return "space" if tokenised else "unicode"

    @property
    def reason(self) -> str:
        """Why, for people."""
        if self.unknown:
            return f"the text is tokenised already: {UNK} occurs {self.unknown:,} times"
        if not self.stops:
            return "the text has no full stops or commas"
        share = (
            f"{100 * self.stops_apart / self.stops:.1f} % of its full stops, commas and the like stand apart from words"
        )
        return f"the text is {'tokenised already' if self.boundaries == 'space' else 'raw'}: {share}"

    @property
    def warning(self) -> str | None:
        """What words cannot do for a text in a script without spaces."""
        if self.unspaced < UNSPACED_FROM * self.characters or not self.unspaced:
            return None
        return (
            f"{100 * self.unspaced / self.characters:.0f} % of the characters belong to scripts without spaces between "
            "words, where level word takes whole phrases for words: --level char or --level bpe fits such a text"
        )


def spacing(text: str) -> Spacing:
    """Return how the words of a text stand."""
    ends = [f"{stop}{space}" for stop in STOPS for space in " \n"]
    return Spacing(
        stops=sum(map(text.count, ends)),
        stops_apart=sum(text.count(f" {end}") for end in ends),
        unknown=sum(text.count(f"{UNK}{space}") for space in " \n"),
        characters=len(text),
        unspaced=0 if text.isascii() else len(UNSPACED.findall(text)),
    )


def lines_spacing(lines: Iterable[str]) -> Spacing:
    """Return how the words of lines stand, given without their ends: a stop at the end of one counts, too."""
    return sum((spacing(f"{line}\n") for line in lines), Spacing())
