"""Texts that the page looks into, symbol by symbol: the user's own, or the part that a model was validated on."""

import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np

from unroll.artifact.directory import data_path
from unroll.artifact.events import SAMPLE, SAMPLES, read_events
from unroll.artifact.open import Opened
from unroll.data.corpus import open_corpus
from unroll.data.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer
from unroll.errors import UserError
from unroll.insight.cells.properties import Text, as_read, decoded
from unroll.lm.surprisal import token_name

PASSAGE = 2000
"""Symbols of a model's own text that are shown unless a text is given."""
MOST_CHARACTERS = 2**20
"""Characters of a text that is kept."""
MOST_KEPT = 2**25
"""Characters of all texts that are kept; those unused the longest go first."""
MOST_UNKNOWN = 8
"""Unknown symbols that are listed."""
SURROGATES = re.compile("[\ud800-\udfff]")


class Texts:
    """Texts by a short name, a digest of their content, so that an address can name them."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def keep(self, content: str) -> str:
        """Keep a text and return its name; raises UserError for one that is empty or too long."""
        if not content:
            raise UserError("the text is empty", allowed="at least one character", fix="type or paste a text")
        if len(content) > MOST_CHARACTERS:
            raise UserError(
                f"the text has {len(content):,} characters",
                allowed=f"at most {MOST_CHARACTERS:,}",
                fix="take the part that matters",
            )
        name = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        with self._lock:
            self._texts[name] = content
            self._texts.move_to_end(name)
            while sum(map(len, self._texts.values())) > MOST_KEPT:
                self._texts.popitem(last=False)
        return name

    def find(self, name: str) -> str:
        """Return the text of a name; raises UserError where it is no longer kept."""
        with self._lock:
            if name not in self._texts:
                raise UserError(
                    f"the text {name[:64]} is no longer kept",
                    allowed="a recent text",
                    fix="send it again",
                )
            self._texts.move_to_end(name)
            return self._texts[name]


@dataclass(frozen=True)
class Passage:
    """A piece of the text that a model was validated on, or else of its own samples."""

    content: str
    source: str
    """What the text is, for people."""
    first: int
    """The index of its first symbol."""
    total: int
    """Symbols of the whole text."""


def passage(opened: Opened, first: int = 0, length: int = PASSAGE) -> Passage:
    """Return symbols, from index `first` on, of a model's validation part, or else of its last sample.

    Raises UserError where there is neither, and for an invalid range.
    """
    if first < 0 or length < 1:
        raise UserError(
            f"{length} symbols from index {first} are not a range",
            allowed="1 or more symbols, from index 0 on",
            fix="request a valid range",
        )
    folder, tokenizer = data_path(opened.path), opened.tokenizer
    corpus = open_corpus(folder) if folder.is_dir() else None
    if corpus is not None and corpus.tokenizer.digest == tokenizer.digest and len(corpus.valid):
        total = len(corpus.valid)
        ids = np.asarray(corpus.valid[min(first, total - 1) :][:length])
        return Passage(decoded(tokenizer, ids), "the validation part", min(first, total - 1), total)
    for event in reversed(read_events(opened.path / SAMPLES, SAMPLE)):
        if event["text"]:
            ids = np.asarray(tokenizer.encode(SURROGATES.sub("\ufffd", event["text"])))
            ids = ids[ids != tokenizer.unknown_id] if tokenizer.unknown_id is not None else ids
            if len(ids):
                piece = ids[min(first, len(ids) - 1) :][:length]
                source = f"the model's own sample at step {event['step']:,}"
                return Passage(decoded(tokenizer, piece), source, min(first, len(ids) - 1), len(ids))
    raise UserError(f"{opened.path.name} has no text of its own", allowed="any text", fix="type or paste one")


def read(opened: Opened, name: str, content: str, most: int) -> Text:
    """Return a text as a model reads it; raises UserError where it has no symbols, or more than `most`."""
    text = as_read(name, content, opened.tokenizer)
    if not len(text.ids):
        raise UserError("the text has no symbols", allowed="at least one", fix="type or paste a text")
    if len(text.ids) > most:
        raise UserError(
            f"the text has {len(text.ids):,} symbols", allowed=f"at most {most:,}", fix="take the part that matters"
        )
    return text


def surfaces(tokenizer: Tokenizer, text: Text) -> list[str]:
    """Return the display form of each symbol (N,); joined, they are the text, except where it is not UTF-8."""
    if isinstance(tokenizer, CharTokenizer):
        return [SURROGATES.sub("\ufffd", letter) for letter in text.content]
    if isinstance(tokenizer, ByteTokenizer):
        return [token_name(tokenizer, int(id)) for id in text.ids]
    data = text.content.encode("utf-8", "surrogateescape")
    starts = tokenizer.encode_offsets(text.content)[1][:, 0].tolist()
    pieces = [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    return [_written(piece, tokenizer, int(id)) for piece, id in zip(pieces, text.ids, strict=True)]


def _written(piece: bytes, tokenizer: Tokenizer, id: int) -> str:
    """Return the text of a piece, or its printable name if it begins or ends within a character."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return token_name(tokenizer, id)


def names(tokenizer: Tokenizer) -> list[str]:
    """Return the printable name of each symbol of a vocabulary (V,)."""
    return [SURROGATES.sub("\ufffd", token_name(tokenizer, id)) for id in range(tokenizer.vocab_size)]


def unknown(tokenizer: Tokenizer, content: str) -> list[str]:
    """Return a note on symbols of a text that the model has never seen and reads as <unk>, if any."""
    symbols = list(dict.fromkeys(symbol for _, symbol in tokenizer.unknown(content)))
    if not symbols:
        return []
    listed = ", ".join(repr(SURROGATES.sub("\ufffd", symbol)) for symbol in symbols[:MOST_UNKNOWN])
    more = f" and {len(symbols) - MOST_UNKNOWN} more" if len(symbols) > MOST_UNKNOWN else ""
    return [f"never seen in training, read as <unk>: {listed}{more}"]
