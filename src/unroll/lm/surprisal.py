"""Surprisal of texts, symbol by symbol, and what symbols cost that the model has never seen.

`unroll score TEXT` calls `score`, which calls `score_texts` or, where a state is carried, `score_on`; `units` scores
files.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import AnyModel, Opened, as_opened
from unroll.artifact.saved_state import Reading, load_reading, read_on, save_reading
from unroll.data.blocks import Block, text_of
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError, check_choice
from unroll.files import StrPath
from unroll.predict.predictor import Nats
from unroll.predict.protocols import Ids, lines
from unroll.state import State, select_rows

UnknownRule = Literal["as-unk", "exclude", "penalise", "refuse"]
"""What a symbol costs that the model has never seen; the model reads it as `<unk>` in any case.

`as-unk`: the nats of `<unk>`. `exclude`: nothing, and it is not counted. `penalise`: the nats of `<unk>`, and those of
spelling it in bytes of UTF-8 when each of the 256 is equally probable, for a word with one more for its end: so the
probabilities of all texts sum to at most one, and models with different vocabularies can be compared. `refuse`:
an error that names it. A literal `<unk>` in a text of words counts as unknown too.
"""

LN_256 = math.log(256)


class Token(NamedTuple):
    """One symbol of a text: the bytes of UTF-8 that it stands for, and -ln P(it), None where it is excluded."""

    token: str
    start: int
    end: int
    nats: float | None


@dataclass(frozen=True)
class TextScore:
    """How probable a text is: -ln P(text) in nats, over the symbols that are counted."""

    text: str
    tokens: int
    nats: float
    unknown: int
    per_token: tuple[Token, ...]

    @property
    def nats_per_token(self) -> float | None:
        """Nats per counted symbol; None where there is none."""
        return self.nats / self.tokens if self.tokens else None


class Symbols(NamedTuple):
    """Symbols in a row, and where they stand in their text."""

    data: bytes
    """The text, in UTF-8."""
    ids: Ids  # (N,)
    spans: Ids  # (N, 2) in bytes of the data
    offset: int  # of the data in its text


def symbols_of(block: Block, tokenizer: Tokenizer, offset: int) -> Symbols:
    """Return the symbols of a block that begins at `offset` of its file."""
    if isinstance(block.content, bytes):
        edges = np.arange(len(block.content) + 1)
        ids = np.frombuffer(block.content, np.uint8).astype(np.int64)
        return Symbols(block.content, ids, np.stack([edges[:-1], edges[1:]], axis=1), offset)
    text = text_of(block)
    return Symbols(text.encode(), *tokenizer.encode_offsets(text), offset)


def token_name(tokenizer: Tokenizer, id: int) -> str:
    """Return the text of a symbol where it is one, else its printable name: `<unk>`, `\\xff`."""
    try:
        return tokenizer.specials.get(id) or tokenizer.pieces[id].decode()
    except UnicodeDecodeError:
        return tokenizer.symbol(id)


def beginning(opened: Opened, start: State | None = None) -> Reading:
    """Return the reading of nothing: a fresh state, or that of `start`, and the start symbol, which is read first."""
    return Reading(start, opened.tokenizer.start_id)


def score(
    model: AnyModel,
    texts: str | Sequence[str],
    *,
    eos: bool = False,
    unknown: UnknownRule = "as-unk",
    state: StrPath | None = None,
    save_state: StrPath | None = None,
    label: str | Sequence[str] = (),
) -> list[TextScore]:
    """Return how probable texts are, each from a fresh state after the start symbol, or from that in the file `state`.

    Of a model that labels steer each begins with the start state of the `label`, or of several of different columns.
    With `eos` the end of each is scored too; `unknown` says what a symbol costs that the model has never seen. The
    state after a single text is written to the file `save_state`: score(a + b) = score(a) + score(b | state after a).
    Raises UserError.
    """
    texts = [texts] if isinstance(texts, str) else texts
    opened = as_opened(model)
    start = opened.start_state(label)
    if start is not None and state is not None:
        raise UserError(
            "both a label and a saved state are given to begin with", allowed="one of them", fix="leave one out"
        )
    if state is None and save_state is None:
        return list(score_texts(opened, texts, eos=eos, unknown=unknown, start=start))
    if save_state is not None and len(texts) != 1:
        raise UserError(f"there is no one state after {len(texts)} texts", allowed="one text", fix="score them singly")
    reading = beginning(opened, start) if state is None else load_reading(Path(state), opened)
    scores = [score_on(opened, text, reading, eos=eos, unknown=unknown) for text in texts]
    if save_state is not None:
        save_reading(Path(save_state), scores[0][1], opened.path)
    return [score for score, _ in scores]


def score_texts(
    opened: Opened,
    texts: Sequence[str],
    *,
    eos: bool = False,
    unknown: UnknownRule = "as-unk",
    start: State | None = None,
) -> Iterator[TextScore]:
    """Yield the score of every text, each from a fresh state after the start symbol; those of like length side by side.

    They begin with the one row of `start` where it is given. With `eos` the end of the line is scored too. Raises
    UserError for unknown symbols where they are refused.
    """
    encoded = [_encoded(opened, text, eos, unknown, f"text {number}") for number, text in enumerate(texts, 1)]
    states = None if start is None else select_rows(start, [0] * len(texts))
    batches = lines(opened.predictor, (symbols.ids for symbols in encoded), opened.tokenizer.start_id, states)
    for text, symbols, nats in zip(texts, encoded, chain.from_iterable(batches), strict=True):
        yield _text_score(opened.tokenizer, text, symbols, nats, unknown)


def score_on(
    opened: Opened, text: str, reading: Reading, *, eos: bool = False, unknown: UnknownRule = "as-unk"
) -> tuple[TextScore, Reading]:
    """Return the score of a text that continues from `reading`, and the reading after it."""
    symbols = _encoded(opened, text, eos, unknown, "the text")
    nats, after = read_on(opened.predictor, symbols.ids, reading)
    return _text_score(opened.tokenizer, text, symbols, nats, unknown), after


# ---- texts


def _encoded(opened: Opened, text: str, eos: bool, rule: UnknownRule, where: str) -> Symbols:
    ids, spans = opened.tokenizer.encode_offsets(text)
    data = text.encode()
    if eos:
        end = opened.tokenizer.end_id
        ids = np.append(ids, opened.tokenizer.newline_id if end is None else end)
        spans = np.concatenate([spans, [[len(data), len(data)]]])
    symbols = Symbols(data, ids, spans, 0)
    refuse_unknown(opened.tokenizer, symbols, rule, where)
    return symbols


def _text_score(tokenizer: Tokenizer, text: str, symbols: Symbols, nats: Nats, rule: UnknownRule) -> TextScore:
    nats, counted, unknown = by_rule(tokenizer, symbols, nats, rule)
    names = {id: token_name(tokenizer, id) for id in np.unique(symbols.ids).tolist()}
    rows = zip(symbols.ids.tolist(), symbols.spans.tolist(), nats.tolist(), counted.tolist(), strict=True)
    return TextScore(
        text,
        int(counted.sum()),
        float(nats[counted].sum()),
        int(unknown.sum()),
        tuple(Token(names[id], start, end, value if count else None) for id, (start, end), value, count in rows),
    )


# ---- unknown symbols


def by_rule(
    tokenizer: Tokenizer, symbols: Symbols, nats: Nats, rule: UnknownRule
) -> tuple[Nats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the nats of each symbol by the rule, whether it is counted, and whether it is unknown, (N,) each."""
    unknown = symbols.ids == (-1 if tokenizer.unknown_id is None else tokenizer.unknown_id)
    if rule == "penalise":
        num_bytes = symbols.spans[:, 1] - symbols.spans[:, 0] + (tokenizer.level == "word")
        nats = nats + LN_256 * np.where(unknown, num_bytes, 0)
    return nats, ~unknown if rule == "exclude" else np.ones_like(unknown), unknown


def refuse_unknown(tokenizer: Tokenizer, symbols: Symbols, rule: UnknownRule, where: str) -> None:
    """Raise UserError where unknown symbols are refused and some occur, or the rule does not exist."""
    check_choice("the rule for unknown symbols", rule, get_args(UnknownRule))
    if rule != "refuse" or tokenizer.unknown_id is None:
        return
    spans = symbols.spans[symbols.ids == tokenizer.unknown_id].tolist()
    if spans:
        first = ", ".join(
            f"{symbols.data[start:end].decode()!r} at byte {symbols.offset + start:,}" for start, end in spans[:5]
        )
        more = f" and {len(spans) - 5:,} more" if len(spans) > 5 else ""
        raise UserError(
            f"{where} has symbols that the model has never seen: {first}{more}",
            allowed="symbols of the training text",
            fix="change the text, or choose another rule for them: --unknown as-unk, exclude or penalise",
        )
