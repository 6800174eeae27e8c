"""What comes next: the distribution over symbols, and over whole words by a search that says what it left out."""

import re
from dataclasses import dataclass
from heapq import heappop, heappush, nlargest, nsmallest
from math import fsum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import AnyModel, Opened, as_opened
from unroll.data.tokenizer import Tokenizer
from unroll.data.vocabulary import EOS
from unroll.errors import UserError, check_positive
from unroll.lm.sample import encode_prompt, read_prompt
from unroll.lm.surprisal import token_name
from unroll.predict.predictor import log_probabilities
from unroll.state import State, join_rows, select_rows

MAX_PREFIXES = 10_000
"""Most beginnings of words that a search reads: seconds, and some ten megabytes of states."""
READ_TOGETHER = 64
"""Beginnings of words read side by side."""

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Likely:
    """A symbol or word that may come next, and its probability."""

    token: str
    probability: float
    id: int | None = None
    """The symbol's id; None for a word."""


@dataclass(frozen=True)
class Next:
    """What may come next, the most probable first, and the probability of everything not listed."""

    likely: tuple[Likely, ...]
    rest: float


@dataclass(frozen=True)
class NextWords(Next):
    """Words that may come next."""

    begun: str
    """The unfinished word at the end of the text, which all words complete; empty if there is none."""
    certain: bool
    """Whether the search is complete: no beginning that it left out is more probable than the last word listed."""


class _Prefix(NamedTuple):
    """The beginning of a word; the least `cost` is read first, then the one found first."""

    cost: float  # minus its probability
    number: int
    word: bytes
    symbol: int  # its last
    state: State  # before that


class _Spelling(NamedTuple):
    """What each symbol adds to a word."""

    pieces: tuple[bytes, ...]  # up to the first white space in it
    continues: NDArray[np.int64]  # the ids after which the word continues
    ends: NDArray[np.int64]  # those that begin with white space, and the end symbol
    ends_later: NDArray[np.int64]  # those with white space further on


def next_symbols(model: AnyModel, text: str, top: int = 10, *, replace_unknown: bool = False) -> Next:
    """Return the `top` most probable symbols after `text`, ties by id; all symbols if `top` exceeds the vocabulary.

    The start symbol is read first. Raises UserError naming unknown symbols.
    """
    check_positive("top", top, "ask for at least one")
    opened = as_opened(model)
    p, _ = _read(opened, text, replace_unknown=replace_unknown)
    order = np.argsort(-p, kind="stable")
    likely = tuple(Likely(token_name(opened.tokenizer, id), float(p[id]), id) for id in order[:top].tolist())
    return Next(likely, float(p[order[top:]].sum()))


def next_words(
    model: AnyModel, text: str, top: int = 10, *, replace_unknown: bool = False, limit: int = MAX_PREFIXES
) -> NextWords:
    """Return the `top` most probable words after `text`: P(its characters, and then white space or the end symbol).

    Where the text ends inside a word, they are words that complete it; where it does not, the empty word stands for
    more white space. White space is Unicode's at level char, ASCII's at levels byte and bpe.

    Best-first search over beginnings of words, each at least as probable as anything it may become: it ends when none
    is more probable than the last word listed, or after reading `limit` of them. The rest is 1 minus the words listed.
    At level bpe a word's probability is the sum over the spellings found. Words with `<unk>` count toward the rest.
    Raises UserError at level word, and naming unknown symbols.
    """
    check_positive("top", top, "ask for at least one")
    opened = as_opened(model)
    tokenizer = opened.tokenizer
    if tokenizer.level == "word":
        raise UserError(
            "the symbols of this model are already whole words",
            allowed="models of characters, bytes or BPE pieces",
            fix="leave out --whole-words",
        )
    spelling = first = _spelling(tokenizer)
    # A piece includes the space before it. So a final space is not read: the pieces that come next must begin with it.
    space = " " if tokenizer.level == "bpe" and text.endswith(" ") else ""
    p, state = _read(opened, text.removesuffix(space), replace_unknown=replace_unknown)
    if space:
        first = _spelling(tokenizer, space.encode())
        p /= p[np.concatenate(first[1:])].sum()

    words: dict[bytes, float] = {}
    queue: list[_Prefix] = []
    number = count = 0
    floor = 0.0

    def add(word: bytes, p: Probabilities, spelling: _Spelling, state: State) -> None:
        """Add what may follow a beginning: its distribution (V,) times the beginning's probability."""
        nonlocal number
        words[word] = words.get(word, 0.0) + float(p[spelling.ends].sum())
        for id in spelling.ends_later.tolist():
            longer = word + spelling.pieces[id]
            words[longer] = words.get(longer, 0.0) + float(p[id])
        likely = spelling.continues[p[spelling.continues] > floor]
        for id in likely[np.argsort(-p[likely], kind="stable")][: limit - count].tolist():
            number += 1
            heappush(queue, _Prefix(-float(p[id]), number, word + spelling.pieces[id], id, state))

    add(b"", p, first, state)
    while queue and -queue[0].cost > floor and count < limit:
        batch = [heappop(queue) for _ in range(min(READ_TOGETHER, limit - count, len(queue)))]
        count += len(batch)
        inputs = np.array([[prefix.symbol] for prefix in batch], np.int64)
        logits, states = opened.predictor.logits(inputs, join_rows([prefix.state for prefix in batch]))
        probabilities = np.exp(log_probabilities(logits))
        for row, prefix in enumerate(batch):
            add(prefix.word, -prefix.cost * probabilities[row], spelling, select_rows(states, [row]))
        if len(words) >= top:
            floor = nlargest(top, words.values())[-1]
    best = nsmallest(top, words.items(), key=lambda item: (-item[1], item[0]))
    begun = _begun(tokenizer, text)
    return NextWords(
        tuple(Likely(begun + word.decode(errors="backslashreplace"), probability) for word, probability in best),
        max(0.0, 1 - fsum(probability for _, probability in best)),
        begun,
        certain=len(best) == top and not (queue and -queue[0].cost > floor),
    )


def _read(opened: Opened, text: str, *, replace_unknown: bool) -> tuple[Probabilities, State]:
    """Return the distribution (V,) of what follows a text, and the state after it."""
    prompt = encode_prompt(opened.tokenizer, text, replace_unknown=replace_unknown)
    logits, state = read_prompt(opened.predictor, [opened.tokenizer.start_id, *prompt])
    return np.exp(log_probabilities(logits[0])), state


def _spelling(tokenizer: Tokenizer, beginning: bytes = b"") -> _Spelling:
    """Return what each symbol adds to a word: all of it after `beginning`; symbols that begin otherwise add nothing."""
    pieces, kinds = [], []
    for id, whole_piece in enumerate(tokenizer.pieces):
        piece = whole_piece.removeprefix(beginning)
        end = _white_space(tokenizer, piece)
        pieces.append(piece[:end])
        if tokenizer.specials.get(id) == EOS and not beginning:
            kinds.append(1)
        elif id in tokenizer.specials or not whole_piece.startswith(beginning):
            kinds.append(3)
        else:
            kinds.append(0 if end is None else 2 if end else 1)
    continues, ends, ends_later = (np.flatnonzero(np.array(kinds) == kind) for kind in range(3))
    return _Spelling(tuple(pieces), continues, ends, ends_later)


def _white_space(tokenizer: Tokenizer, piece: bytes) -> int | None:
    """Return where white space begins in a piece; None if it has none."""
    if tokenizer.level == "char":
        return 0 if piece.decode().isspace() else None
    match = re.search(rb"\s", piece)
    return match.start() if match else None


def _begun(tokenizer: Tokenizer, text: str) -> str:
    """Return the unfinished word at the end of a text."""
    start = len(text)
    while start and _white_space(tokenizer, text[start - 1].encode()) is None:
        start -= 1
    return text[start:]
