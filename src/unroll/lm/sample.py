"""Sampling, written once over the `Predictor`: reproducible from its seed, streaming, honest about its nats.

And how much of a sample is memory: the longest stretch of it that stands in the training text word for word.
"""

import mmap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from unroll.artifact.open import AnyModel, as_opened
from unroll.data.tokenizer import Tokenizer
from unroll.engine.draw import Drawing
from unroll.errors import UserError, check_fields, check_positive
from unroll.predict.predictor import Logits, Predictor
from unroll.state import State

BLOCK, BLOCK_SECONDS = 64, 0.05
"""The most symbols drawn before they are handed on, and how long that may take; one symbol may take longer."""
PROMPT_WINDOW = 1024
"""Symbols of a prompt read at a time, so that memory does not grow with its length."""


@dataclass(frozen=True)
class SampleOptions:
    """How symbols are drawn from the model's distribution. The filters apply after the temperature."""

    temperature: float = 1.0
    """0 takes the most probable symbol."""
    top_k: int = 0
    """Only the k most probable symbols; 0 is off."""
    top_p: float = 1.0
    """Only the most probable symbols that together reach p (Holtzman et al. 2020)."""
    min_p: float = 0.0
    """Only symbols at least `min_p` times as probable as the most probable one."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(
            self,
            ("temperature", 0 <= self.temperature < float("inf"), "0 (the most probable symbol) or more", ""),
            ("top_k", self.top_k >= 0, "0 (off) or more", ""),
            ("top_p", 0 < self.top_p <= 1, "above 0, up to 1 (off)", ""),
            ("min_p", 0 <= self.min_p <= 1, "0 (off) to 1", ""),
            ("seed", 0 <= self.seed < 2**64, "0 to 2^64-1", ""),
        )

    def drawing(self, never: int | None) -> Drawing:
        """Return these options for the predictor; the symbol `never` is not drawn."""
        return Drawing(self.temperature, self.top_k, self.top_p, self.min_p, never)


@dataclass(frozen=True)
class SampledSymbol:
    """A sampled symbol: its id, the text it completes, and -ln P of it under the model itself, unfiltered, in nats."""

    id: int
    text: str
    nats: float


def sample(
    model: AnyModel,
    prompt: str = "",
    length: int = 500,
    *,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    stop: str | Sequence[str] = (),
    seed: int = 0,
    stream: int = 0,
    replace_unknown: bool = False,
    label: str | Sequence[str] = (),
) -> Iterator[SampledSymbol]:
    """Yield up to `length` symbols that follow the prompt, each as soon as it is drawn.

    It ends before the text `stop`, of several before the first that comes, and with a document: the text of its
    `<end>` is empty. The same seed and stream give the same text; the streams of one seed are independent. The text
    begins with the start state of the `label`, or of several of different columns, of a model that labels steer. The
    defaults are those of the samples taken while training. Raises UserError.
    """
    check_positive("length", length, "ask for one symbol at least")
    options = SampleOptions(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    opened = as_opened(model)
    ids = encode_prompt(opened.tokenizer, prompt, replace_unknown=replace_unknown)
    spaced = opened.tokenizer.leaves_space(prompt, ids)
    return generate(
        opened.predictor, opened.tokenizer, ids, length, options, stream=stream, stop=stop, spaced=spaced,
        state=opened.start_state(label),
    )  # fmt: skip


def uniforms(seed: int, stream: int, start: int = 0, block: int = 256) -> Iterator[float]:
    """Yield the uniform numbers in [0, 1) of a stream from position `start` on.

    Counter-based (Philox4x64-10, Salmon et al. 2011): number k depends on seed, stream and k alone.
    """
    while True:
        philox = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
        philox.advance(start // 4)
        yield from np.random.Generator(philox).random(start % 4 + block)[start % 4 :].tolist()
        start += block


def read_prompt(predictor: Predictor, ids: Sequence[int], state: State | None = None) -> tuple[Logits, State]:
    """Read ids as one row, in windows; return the logits (1, V) of what follows them, and the state."""
    for first in range(0, len(ids), PROMPT_WINDOW):
        logits, state = predictor.logits(np.array([ids[first : first + PROMPT_WINDOW]], np.int64), state)
    assert state is not None
    return logits, state


def generate(
    predictor: Predictor,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    length: int,
    options: SampleOptions,
    *,
    stream: int = 0,
    stop: str | Sequence[str] = (),
    spaced: bool = False,
    state: State | None = None,
) -> Iterator[SampledSymbol]:
    """Yield up to `length` symbols after the prompt's ids, a few at a time; `spaced`: after a space besides.

    The start symbol is read first, from `state` where it is given. Streams of one seed are independent. With one or
    several texts to `stop` at, text that could begin one is held back until it is known not to, and sampling ends
    before the first that is complete, of those that are complete with the same character before the longest. It also
    ends with `<end>`, which has no text. Symbols are drawn in blocks that grow from one symbol while they are quick,
    which changes no symbol.
    """
    return _generate(predictor, tokenizer, prompt, length, options, stream, check_stops(stop), spaced, state)


def _generate(
    predictor: Predictor,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    length: int,
    options: SampleOptions,
    stream: int,
    stops: tuple[str, ...],
    spaced: bool,
    start: State | None,
) -> Iterator[SampledSymbol]:
    logits, state = read_prompt(predictor, [tokenizer.start_id, *prompt], start)
    decoder = tokenizer.decoder_after(prompt, spaced=spaced)
    pending = ""
    drawing = options.drawing(tokenizer.unknown_id)
    for position, (id, nats) in enumerate(_symbols(predictor, logits, state, drawing, options.seed, stream, length), 1):
        last = position == length or id == tokenizer.end_id
        pending += ("" if id == tokenizer.end_id else decoder.push(id)) + (decoder.flush() if last else "")
        place = first_stop(pending, stops)
        ended = last or place is not None
        free = len(pending) - (0 if ended else _beginning(pending, stops)) if place is None else place
        yield SampledSymbol(id, pending[:free], nats)
        if ended:
            return
        pending = pending[free:]


def _symbols(
    predictor: Predictor, logits: Logits, state: State, drawing: Drawing, seed: int, stream: int, length: int
) -> Iterator[tuple[int, float]]:
    """Yield symbols and their nats, drawn in blocks; one that took too long is followed by a smaller one."""
    numbers, size = uniforms(seed, stream), 1
    while length:
        size = min(size, length)
        started = time.perf_counter()
        block = np.array([list(islice(numbers, size))])
        ids, nats, logits, state = predictor.generate(logits, state, drawing, block)
        slow = time.perf_counter() - started > BLOCK_SECONDS
        yield from zip(ids[0].tolist(), nats[0].tolist(), strict=True)
        length -= size
        size = max(1, size // 2) if slow else min(2 * size, BLOCK)


def check_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Return the texts to stop at; raises UserError for an empty one."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in stops:  # it would stop before the first symbol
        raise UserError("a stop text is empty", allowed="one character or more", fix="leave it out")
    return stops


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Return where the first complete stop in a text begins; of several that end together, the longest."""
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return min(ends)[1] if ends else None


def _beginning(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at the end of a text may still become a stop."""
    return max(
        (k for stop in stops for k in range(1, min(len(stop) - 1, len(text)) + 1) if stop.startswith(text[-k:])),
        default=0,
    )


def encode_prompt(tokenizer: Tokenizer, prompt: str, *, replace_unknown: bool = False) -> list[int]:
    """Return the ids of a prompt; raises UserError naming unknown symbols, unless they are replaced."""
    prompt = tokenizer.to_continue(prompt)
    unknown = tokenizer.unknown(prompt)
    if unknown and not replace_unknown:
        names = ", ".join(f"{symbol!r} at {offset}" for offset, symbol in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UserError(
            f"the prompt has symbols that the model has never seen: {names}{more}",
            allowed="symbols of the training text",
            fix="change the prompt, or replace them with <unk> by --replace-unknown",
        )
    return [int(symbol) for symbol in tokenizer.encode(prompt)]


# ---- how much of a sample is memory


@dataclass(frozen=True)
class Copy:
    """A run of symbols of a sample that also stands in the training text."""

    start: int
    length: int
    """In symbols."""


def longest_copy(ids: Sequence[int], file: Path, dtype: np.dtype[np.unsignedinteger]) -> Copy:
    """Return the longest run of `ids` that occurs in a file of ids of type `dtype`; the first one of that length.

    One search of the file per symbol: the longest run that ends at a symbol is at most one longer than the longest run
    before it, so all there is to ask is whether a longer one ends here.
    """
    best = Copy(0, 0)
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        symbols = np.asarray(ids, dtype).tobytes()
        for end in range(1, len(ids) + 1):
            start = end - best.length - 1
            if _occurs(symbols[start * dtype.itemsize : end * dtype.itemsize], text, dtype.itemsize):
                best = Copy(start, best.length + 1)
    return best


def _occurs(symbols: bytes, text: mmap.mmap, width: int) -> bool:
    """Tell whether the bytes occur at a place where a symbol of `width` bytes begins."""
    place = text.find(symbols)
    while place % width and place >= 0:
        place = text.find(symbols, place + 1)
    return place >= 0
