"""What comes next: the distribution over symbols, and over whole words by a search that says what it left out."""

import re
from dataclasses import dataclass
from heapq import heappop, heappush, nlargest, nsmallest
from math import fsum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import AnyModel, Opened, as_opened
from unroll.data.tokenizer import EOS, Tokenizer
from unroll.errors import UserError
from unroll.lm.sample import encode_prompt, stepper
from unroll.lm.surprisal import token_name
from unroll.predict.predictor import log_probabilities
from unroll.state import State, join_rows, select_rows

MAX_PREFIXES = 10_000
"""Beginnings of words that a search reads at most: seconds, and some ten megabytes of states."""
READ_TOGETHER = 64
"""Beginnings of words that are read side by side."""

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Likely:
    """A symbol or a word that may come next, and the probability that it does."""

    token: str
    probability: float
    id: int | None = None
    """Of a symbol."""


@dataclass(frozen=True)
class Next:
    """What may come next, the most probable first, and the probability of all that is not listed."""

    likely: tuple[Likely, ...]
    rest: float


@dataclass(frozen=True)
class NextWords(Next):
    """Words that may come next."""

    begun: str
    """The beginning of a word with which the text ends: all words complete it. Empty where it ends with none."""
    certain: bool
    """Whether the search ended by itself: no beginning that it left out is more probable than the last word listed."""


class _Prefix(NamedTuple):
    """The beginning of a word; the least `cost` is read first, then the one found first."""

    cost: float  # minus its probability
    number: int
    word: bytes
    symbol: int  # its last
    state: State  # before that


class _Spelling(NamedTuple):
    """What each symbol adds to a word."""

    pieces: tuple[bytes, ...]  # up to the white space that it holds
    goes_on: NDArray[np.int64]  # the ids after which the word goes on
    ends: NDArray[np.int64]  # those that begin with white space, and the end symbol
    ends_later: NDArray[np.int64]  # those that hold white space further on


def next_symbols(model: AnyModel, text: str, top: int = 10, *, replace_unknown: bool = False) -> Next:
    """Return the `top` most probable symbols after `text`, equal ones by id; above the vocabulary, all of it.

    The start symbol is read first. Raises UserError naming symbols that the model does not know.
    """
    _check(top)
    opened = as_opened(model)
    p, _ = _read(opened, text, replace_unknown=replace_unknown)
    order = np.argsort(-p, kind="stable")
    likely = tuple(Likely(token_name(opened.tokenizer, id), float(p[id]), id) for id in order[:top].tolist())
    return Next(likely, float(p[order[top:]].sum()))


def next_words(
    model: AnyModel, text: str, top: int = 10, *, replace_unknown: bool = False, limit: int = MAX_PREFIXES
) -> NextWords:
    """Return the `top` most probable words after `text`: P(its characters, and then white space or the end symbol).

    Where the text ends inside a word, they are words that complete it. Where it does not, the empty word stands for
    more white space. White space is Unicode's at level char, ASCII's in bytes and pieces.

    Best first, over beginnings of words, each of which is at least as probable as all that it may become: the search
    ends when none is more probable than the last word listed, at the latest after reading `limit` of them. The rest is
    1 less the words listed. In pieces of BPE, a word's probability is the sum over the spellings that were found.
    Words with `<unk>` count for the rest. Raises UserError at level word, and naming symbols that are not known.
    """
    _check(top)
    opened = as_opened(model)
    tokenizer = opened.tokenizer
    if tokenizer.level == "word":
        raise UserError(
            "the symbols of this model are whole words already",
            allowed="models of characters, bytes or BPE pieces",
            fix="leave out --whole-words",
        )
    spelling = first = _spelling(tokenizer)
    # A piece brings the space before it along. So the last space is not read but asked of the pieces that come next.
    given = " " if tokenizer.level == "bpe" and text.endswith(" ") else ""
    p, state = _read(opened, text.removesuffix(given), replace_unknown=replace_unknown)
    if given:
        first = _spelling(tokenizer, given.encode())
        p /= p[np.concatenate(first[1:])].sum()

    found: dict[bytes, float] = {}
    waiting: list[_Prefix] = []
    number = read = 0
    floor = 0.0

    def note(word: bytes, p: Probabilities, spelling: _Spelling, state: State) -> None:
        """Take in the distribution (V,) of what follows a beginning, times the probability of that."""
        nonlocal number
        found[word] = found.get(word, 0.0) + float(p[spelling.ends].sum())
        for id in spelling.ends_later.tolist():
            longer = word + spelling.pieces[id]
            found[longer] = found.get(longer, 0.0) + float(p[id])
        likely = spelling.goes_on[p[spelling.goes_on] > floor]
        for id in likely[np.argsort(-p[likely], kind="stable")][: limit - read].tolist():
            number += 1
            heappush(waiting, _Prefix(-float(p[id]), number, word + spelling.pieces[id], id, state))

    note(b"", p, first, state)
    while waiting and -waiting[0].cost > floor and read < limit:
        some = [heappop(waiting) for _ in range(min(READ_TOGETHER, limit - read, len(waiting)))]
        read += len(some)
        inputs = np.array([[prefix.symbol] for prefix in some], np.int64)
        logits, states = opened.predictor.logits(inputs, join_rows([prefix.state for prefix in some]))
        said = np.exp(log_probabilities(logits))
        for row, prefix in enumerate(some):
            note(prefix.word, -prefix.cost * said[row], spelling, select_rows(states, [row]))
        if len(found) >= top:
            floor = nlargest(top, found.values())[-1]
    best = nsmallest(top, found.items(), key=lambda item: (-item[1], item[0]))
    begun = _begun(tokenizer, text)
    return NextWords(
        tuple(Likely(begun + word.decode(errors="backslashreplace"), probability) for word, probability in best),
        max(0.0, 1 - fsum(probability for _, probability in best)),
        begun,
        certain=len(best) == top and not (waiting and -waiting[0].cost > floor),
    )


def _read(opened: Opened, text: str, *, replace_unknown: bool) -> tuple[Probabilities, State]:
    """Return the distribution (V,) of what follows a text, and the state after it."""
    prompt = encode_prompt(opened.tokenizer, text, replace_unknown=replace_unknown)
    logits, state = stepper(opened.predictor)([opened.tokenizer.start_id, *prompt], None)
    return np.exp(log_probabilities(logits)), state


def _check(top: int) -> None:
    if top < 1:
        raise UserError(f"top is {top}", allowed="1 or more", fix="ask for one at least")


def _spelling(tokenizer: Tokenizer, given: bytes = b"") -> _Spelling:
    """Return what each symbol adds to a word after the bytes `given`, which are its own first ones."""
    pieces, kinds = [], []
    for id, whole in enumerate(tokenizer.pieces):
        piece = whole.removeprefix(given)
        place = _white_space(tokenizer, piece)
        pieces.append(piece[:place])
        if tokenizer.specials.get(id) == EOS and not given:
            kinds.append(1)
        elif id in tokenizer.specials or not whole.startswith(given):
            kinds.append(3)
        else:
            kinds.append(0 if place is None else 2 if place else 1)
    goes_on, ends, ends_later = (np.flatnonzero(np.array(kinds) == kind) for kind in range(3))
    return _Spelling(tuple(pieces), goes_on, ends, ends_later)


def _white_space(tokenizer: Tokenizer, piece: bytes) -> int | None:
    """Return where the white space in a piece begins; None where there is none."""
    if tokenizer.level == "char":
        return 0 if piece.decode().isspace() else None
    match = re.search(rb"\s", piece)
    return match.start() if match else None


def _begun(tokenizer: Tokenizer, text: str) -> str:
    """Return the beginning of a word with which a text ends."""
    place = len(text)
    while place and _white_space(tokenizer, text[place - 1].encode()) is None:
        place -= 1
    return text[place:]
