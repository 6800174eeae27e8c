"""The four levels of a text, each a frozen vocabulary: characters, bytes, words and byte-pair pieces."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import Level
from unroll.data.documents import DocumentTokenizer
from unroll.data.utf8 import Ids, StreamDecoder, WordDecoder, byte_lengths, code_points, encoded, spans_of
from unroll.data.vocabulary import EOS, FORMAT_VERSION, UNK, Vocabulary, json_of
from unroll.data.words import Boundaries, UnicodeWordTokenizer
from unroll.errors import UserError
from unroll.files import read_json

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True)
class CharTokenizer(Vocabulary):
    """Unicode code points; id 0 is `<unk>`, then `symbols`: in order of code point, behind them those added later."""

    symbols: str

    level: ClassVar[Level] = "char"
    lossless: ClassVar[bool] = True
    unknown_id: ClassVar[int] = 0
    specials: ClassVar[Mapping[int, str]] = {0: UNK}

    def __post_init__(self) -> None:
        if len({*self.symbols, "\n"}) != len(self.symbols):
            raise ValueError("the symbols are not unique, or lack the newline")
        code_points(self.symbols)

    @classmethod
    def learn(cls, symbols: Iterable[str]) -> "CharTokenizer":
        """Return the vocabulary of these characters and the newline."""
        return cls("".join(sorted({*symbols, "\n"})))

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each character, U+FFFD for `<unk>`."""
        return ("\ufffd".encode(), *(symbol.encode() for symbol in self.symbols))

    @cached_property
    def start_id(self) -> int:
        """The id of the newline."""
        return 1 + self.symbols.index("\n")

    @cached_property
    def _table(self) -> NDArray[np.unsignedinteger]:
        """The id of each code point up to one beyond the last known, which stands for all further ones."""
        codes = code_points(self.symbols)
        table = np.zeros(int(codes.max()) + 2, self.dtype)
        table[codes] = np.arange(1, len(codes) + 1)
        return table

    def lookup(self, text: str) -> NDArray[np.unsignedinteger]:
        """Return one id per code point in the small `dtype`."""
        return self._table.take(code_points(text), mode="clip")

    def encode(self, text: str) -> Ids:
        """Return one id per code point."""
        return self.lookup(text).astype(np.int64)

    def encode_offsets(self, text: str) -> tuple[Ids, Ids]:
        """Return the ids and their spans (N, 2) in bytes of UTF-8."""
        return self.encode(text), spans_of(byte_lengths(text))

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        """Return the text of the ids, all at once; unknown characters become U+FFFD."""
        codes = code_points("\ufffd" + self.symbols)[np.asarray(ids, dtype=np.int64)]
        return codes.astype("<u4").tobytes().decode("utf-32-le")

    def unknown(self, text: str) -> list[tuple[int, str]]:
        """Return the offset in code points and the symbol of each unknown character."""
        return [(i, text[i]) for i in np.flatnonzero(self.lookup(text) == self.unknown_id).tolist()]

    def to_json(self) -> str:
        """Return the vocabulary as JSON."""
        return json_of(self.level, symbols=self.symbols)


@dataclass(frozen=True)
class ByteTokenizer(Vocabulary):
    """The 256 bytes; any file is a text."""

    level: ClassVar[Level] = "byte"
    lossless: ClassVar[bool] = True
    unknown_id: ClassVar[None] = None
    start_id: ClassVar[int] = ord("\n")

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """Each byte itself."""
        return tuple(bytes([byte]) for byte in range(256))

    def encode(self, text: str) -> Ids:
        """Return one id per byte of UTF-8."""
        return np.frombuffer(encoded(text, "utf-8"), np.uint8).astype(np.int64)

    def encode_offsets(self, text: str) -> tuple[Ids, Ids]:
        """Return the ids and their spans (N, 2) in bytes of UTF-8."""
        ids = self.encode(text)
        return ids, spans_of(np.ones_like(ids))

    def unknown(self, text: str) -> list[tuple[int, str]]:
        """Return nothing: every byte is known."""
        return []

    def to_json(self) -> str:
        """Return the vocabulary as JSON."""
        return json_of(self.level)


@dataclass(frozen=True)
class WordTokenizer(Vocabulary):
    """Words between white space, for text that is tokenised already; newline as `<eos>`.

    Id 0 is `<unk>`, 1 `<eos>`, then `words` by falling frequency, behind them those added later.
    """

    words: tuple[str, ...]

    level: ClassVar[Level] = "word"
    boundaries: ClassVar[Boundaries] = "space"
    lossless: ClassVar[bool] = False
    unknown_id: ClassVar[int] = 0
    start_id: ClassVar[int] = 1
    specials: ClassVar[Mapping[int, str]] = {0: UNK, 1: EOS}

    def __post_init__(self) -> None:
        if len(self._index) != 2 + len(self.words):
            raise ValueError("a word occurs twice")
        if any(word.split() != [word] for word in self.words):
            raise ValueError("a word is empty or holds white space")
        encoded("".join(self.words), "utf-8")

    @classmethod
    def learn(cls, counts: Mapping[str, int], *, min_count: int = 1, vocab_size: int = 0) -> "WordTokenizer":
        """Return the words counted at least `min_count` times, at most `vocab_size` ids in all (0: no limit)."""
        ranked = sorted(
            (word for word, count in counts.items() if count >= min_count and word not in (UNK, EOS)),
            key=lambda word: (-counts[word], word),
        )
        return cls(tuple(ranked[: vocab_size - 2] if vocab_size else ranked))

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each word, `<unk>` itself, a newline for `<eos>`."""
        return (UNK.encode(), b"\n", *(word.encode() for word in self.words))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: id for id, word in enumerate((UNK, EOS, *self.words))}

    def gap(self, before: int, after: int) -> str:
        """Return the space between two words."""
        return "" if self.start_id in (before, after) else " "

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder that takes one id at a time and sets the spaces between words."""
        return WordDecoder(self.pieces, self.gap)

    def encode(self, text: str) -> Ids:
        """Return one id per word and newline; a literal `<unk>` or `<eos>` is that symbol."""
        encoded(text, "utf-8")
        words = text.replace("\n", f" {EOS} ").split()
        return np.fromiter(map(self._index.get, words, repeat(self.unknown_id)), np.int64, len(words))

    def encode_offsets(self, text: str) -> tuple[Ids, Ids]:
        """Return the ids and their spans (N, 2) in bytes of UTF-8."""
        ends = np.concatenate([[0], np.cumsum(byte_lengths(text))])
        spans = np.array([match.span() for match in _WORD.finditer(text)], np.int64).reshape(-1, 2)
        return self.encode(text), ends[spans]

    def unknown(self, text: str) -> list[tuple[int, str]]:
        """Return the offset in code points and the text of each unknown word."""
        matches = ((match.start(), match.group()) for match in _WORD.finditer(text))
        return [(start, word) for start, word in matches if word not in self._index and not word.isspace()]

    def to_json(self) -> str:
        """Return the vocabulary as JSON."""
        return json_of(self.level, words=self.words)


@dataclass(frozen=True)
class BpeTokenizer(Vocabulary):
    """Byte-level byte-pair pieces (Sennrich 2016, in GPT-2's alphabet); id 0 is `<eos>`, which no text produces.

    Newline is always a piece of its own, so lines may be encoded one by one.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    level: ClassVar[Level] = "bpe"
    lossless: ClassVar[bool] = True
    unknown_id: ClassVar[None] = None
    start_id: ClassVar[int] = 0
    specials: ClassVar[Mapping[int, str]] = {0: EOS}

    def __post_init__(self) -> None:
        if self.tokens[:1] != (EOS,) or len(set(self.tokens)) != len(self.tokens):
            raise ValueError(f"the tokens do not begin with {EOS} or are not unique")
        if not set(_byte_alphabet()) <= set(self.tokens) or not {*"".join(self.tokens[1:])} <= set(_byte_alphabet()):
            raise ValueError("the tokens are not made of the 256 bytes")
        if not {token for pair in self.merges for token in (*pair, "".join(pair))} <= set(self.tokens[1:]):
            raise ValueError("a merge joins or makes a token that does not exist")

    @classmethod
    def learn(cls, texts: Iterable[str], *, vocab_size: int) -> "BpeTokenizer":
        """Return the pieces of the most frequent pairs in the texts, at most `vocab_size` ids."""
        from tokenizers import Tokenizer, models, trainers

        learner = Tokenizer(models.BPE())
        learner.pre_tokenizer = _bpe_pieces()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[EOS],
            initial_alphabet=list(_byte_alphabet()),
            show_progress=False,
        )
        learner.train_from_iterator(texts, trainer)
        model = json.loads(learner.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        return cls(tuple(tokens), tuple((first, second) for first, second in model["merges"]))

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The bytes of each piece, none for `<eos>`."""
        byte_of = _byte_alphabet()
        return (b"", *(bytes(byte_of[letter] for letter in token) for token in self.tokens[1:]))

    @cached_property
    def _encoder(self) -> "tokenizers.Tokenizer":
        from tokenizers import Tokenizer, models

        ids = {token: id for id, token in enumerate(self.tokens)}
        encoder = Tokenizer(models.BPE(vocab=ids, merges=list(self.merges)))
        encoder.pre_tokenizer = _bpe_pieces()
        return encoder

    def encode(self, text: str) -> Ids:
        """Return the ids of the pieces."""
        encoded(text, "utf-8")
        return np.array(self._encoder.encode_batch_fast([text])[0].ids, np.int64)

    def encode_offsets(self, text: str) -> tuple[Ids, Ids]:
        """Return the ids and their spans (N, 2) in bytes of UTF-8."""
        ids = self.encode(text)
        lengths = np.array([len(piece) for piece in self.pieces], np.int64)
        return ids, spans_of(lengths[ids])

    def unknown(self, text: str) -> list[tuple[int, str]]:
        """Return nothing: every byte is known."""
        return []

    def to_json(self) -> str:
        """Return the vocabulary as JSON."""
        return json_of(self.level, tokens=self.tokens, merges=self.merges)


Tokenizer = CharTokenizer | ByteTokenizer | WordTokenizer | UnicodeWordTokenizer | BpeTokenizer | DocumentTokenizer

_WORD = re.compile(r"\r?\n|\S+")


def learn_tokenizer(
    texts: Sequence[str], level: Level, *, words: Boundaries, min_count: int, pieces: int
) -> CharTokenizer | ByteTokenizer | WordTokenizer | UnicodeWordTokenizer | BpeTokenizer:
    """Return the vocabulary of the texts: words or characters that occur `min_count` times, or at most `pieces`."""
    if level == "byte":
        return ByteTokenizer()
    if level == "bpe":
        return BpeTokenizer.learn(texts, vocab_size=pieces)
    if level == "char":
        counts = Counter(chain.from_iterable(texts))
        return CharTokenizer.learn(letter for letter, count in counts.items() if count >= min_count)
    if words == "unicode":
        return UnicodeWordTokenizer.learn(texts, min_count=min_count)
    return WordTokenizer.learn(Counter(chain.from_iterable(text.split() for text in texts)), min_count=min_count)


def grown(old: Vocabulary, new: Vocabulary) -> Tokenizer:
    """Return a vocabulary with the symbols that only another one of its kind has added behind its own.

    The old ones keep their ids, but for `<end>`, which is always last. Bytes and pieces know every text, and stay.
    """
    match old, new:
        case CharTokenizer(), CharTokenizer():
            return CharTokenizer("".join(dict.fromkeys(old.symbols + new.symbols)))
        case ((WordTokenizer() | UnicodeWordTokenizer()), (WordTokenizer() | UnicodeWordTokenizer())):
            return replace(old, words=tuple(dict.fromkeys(old.words + new.words)))
        case DocumentTokenizer(), DocumentTokenizer():
            return replace(old, base=grown(old.base, new.base))
        case ((ByteTokenizer() | BpeTokenizer()), _):
            return old
        case _:
            raise TypeError("vocabularies of two kinds")


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a vocabulary that `save` wrote; raises UserError when it is missing, damaged or of another kind."""
    data = read_json(path, "a tokenizer of unroll")
    try:
        if data["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {data['format_version']!r}")
        tokenizer = _of_level(data)
        separator = data.get("separator")
        return tokenizer if separator is None else DocumentTokenizer(tokenizer, _string(separator))
    except (KeyError, TypeError, ValueError, UserError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{path} is not a tokenizer of unroll: {reason}",
            allowed=f"format version {FORMAT_VERSION}, level char, byte, word or bpe",
            fix="restore the file, or train again",
        ) from None


@cache
def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's letter for each byte: the printable Latin-1 characters themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _bpe_pieces() -> "tokenizers.pre_tokenizers.PreTokenizer":
    from tokenizers import pre_tokenizers
    from tokenizers.pre_tokenizers import ByteLevel, Split

    return pre_tokenizers.Sequence([Split("\n", "isolated"), ByteLevel(add_prefix_space=False)])


def _of_level(
    data: Mapping[str, Any],
) -> CharTokenizer | ByteTokenizer | WordTokenizer | UnicodeWordTokenizer | BpeTokenizer:
    match data["level"]:
        case "char":
            return CharTokenizer(_string(data["symbols"]))
        case "byte":
            return ByteTokenizer()
        case "word":
            words = tuple(map(_string, data["words"]))
            match data.get("boundaries", "space"):
                case "space":
                    return WordTokenizer(words)
                case "unicode":
                    return UnicodeWordTokenizer(words)
                case boundaries:
                    raise ValueError(f"boundaries {boundaries!r}")
        case "bpe":
            pairs = ((_string(first), _string(second)) for first, second in data["merges"])
            return BpeTokenizer(tuple(map(_string, data["tokens"])), tuple(pairs))
        case level:
            raise ValueError(f"level {level!r}")


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a string belongs")
    return value
