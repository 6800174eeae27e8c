"""Sampling, written once over whatever can step: reproducible from its seed, streaming, honest about its nats."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.lm.predict import Predictor, State

Stepper = Callable[[Sequence[int], State | None], tuple[NDArray[np.float64], State]]
"""Reads ids from a state; returns the logits (V,) of what comes next, and the state."""


PROMPT_WINDOW = 1024
"""Symbols of a prompt read at a time, so that memory does not grow with it."""


@dataclass(frozen=True)
class SampleOptions:
    """How the next symbol is drawn from the model's distribution. The filters apply after the temperature."""

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
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature is {self.temperature}", allowed="0 (the most probable symbol) or more")
        if self.top_k < 0:
            raise UserError(f"top_k is {self.top_k}", allowed="0 (off) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}", allowed="above 0, up to 1 (off)")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"min_p is {self.min_p}", allowed="0 (off) to 1")
        if not 0 <= self.seed < 2**64:
            raise UserError(f"seed is {self.seed}", allowed="0 to 2^64-1")


@dataclass(frozen=True)
class Drawn:
    """One sampled symbol: its id, the text it completes, and -ln P(it) under the model itself, unfiltered, in nats."""

    id: int
    text: str
    nats: float


def uniforms(seed: int, stream: int, start: int = 0, block: int = 256) -> Iterator[float]:
    """Yield the uniform numbers in [0, 1) of a stream from position `start` on.

    Counter-based (Philox4x64-10, Salmon et al. 2011): number k depends on seed, stream and k alone.
    """
    while True:
        philox = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
        philox.advance(start // 4)
        yield from np.random.Generator(philox).random(start % 4 + block)[start % 4 :].tolist()
        start += block


def probabilities(logits: NDArray[np.float64], options: SampleOptions, never: int | None) -> NDArray[np.float64]:
    """Return the distribution (V,) that is sampled from: logits without `never`, sharpened and filtered."""
    logits = logits.astype(np.float64)
    if never is not None:
        logits[never] = -np.inf
    if options.temperature == 0:
        certain = np.zeros(len(logits))
        certain[np.argmax(logits)] = 1.0
        return certain
    p = np.exp((logits - logits.max()) / max(options.temperature, 1e-100))  # below it the quotient may overflow
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    keep = np.ones(len(p), dtype=bool)
    if options.top_k:
        keep[order[options.top_k :]] = False
    if options.top_p < 1:
        before = np.cumsum(p[order]) - p[order]
        keep[order[before >= options.top_p]] = False
    if options.min_p:
        keep &= p >= options.min_p * p.max()
    p = np.where(keep, p, 0.0)
    return np.asarray(p / p.sum())


def draw(p: NDArray[np.float64], uniform: float) -> int:
    """Return the symbol at `uniform` by the inverse of the cumulative distribution in id order."""
    cumulative = np.cumsum(p)
    chosen = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    # Rounding may leave the last sum a hair below the number drawn: then it is the last symbol that can be drawn.
    return chosen if chosen < len(p) else int(np.flatnonzero(p)[-1])


def nats_of(logits: NDArray[np.float64], chosen: int) -> float:
    """Return -ln softmax(logits)[chosen], in nats."""
    top = logits.max()
    return float(top + np.log(np.exp(logits - top).sum()) - logits[chosen])


def stepper(predictor: Predictor) -> Stepper:
    """Read ids with a predictor, as one row, in windows."""

    def step(ids: Sequence[int], state: State | None) -> tuple[NDArray[np.float64], State]:
        for first in range(0, len(ids), PROMPT_WINDOW):
            logits, state = predictor.logits(np.array([ids[first : first + PROMPT_WINDOW]], np.int64), state)
        assert state is not None
        return logits[0], state

    return step


def generate(
    step: Stepper,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    length: int,
    options: SampleOptions,
    *,
    stream: int = 0,
    stop: str = "",
) -> Iterator[Drawn]:
    """Yield up to `length` symbols after the prompt's ids, each as soon as it is drawn.

    The start symbol is read first. Streams of one seed are independent. With `stop`, text that could begin it is held
    back until it is known not to, and sampling ends before it.
    """
    logits, state = step([tokenizer.start_id, *prompt], None)
    decoder = tokenizer.stream_decoder()
    for symbol in prompt:
        decoder.push(symbol)
    held = ""
    for position, uniform in zip(range(length), uniforms(options.seed, stream), strict=False):
        chosen = draw(probabilities(logits, options, tokenizer.unknown_id), uniform)
        last = position == length - 1
        held += decoder.push(chosen) + (decoder.flush() if last else "")
        shown = _shown(held, stop, last=last)
        yield Drawn(chosen, held[:shown], nats_of(logits, chosen))
        held = held[shown:]
        if last or (stop and held.startswith(stop)):
            return
        logits, state = step([chosen], state)


def _shown(text: str, stop: str, *, last: bool) -> int:
    """Return how many characters of `text` can be shown: all before `stop`, or before what may yet become it."""
    found = text.find(stop) if stop else -1
    if found >= 0:
        return found
    if last or not stop:
        return len(text)
    return next(
        (len(text) - k for k in range(min(len(stop) - 1, len(text)), 0, -1) if stop.startswith(text[-k:])), len(text)
    )


def encode_prompt(tokenizer: Tokenizer, prompt: str, *, replace_unknown: bool = False) -> list[int]:
    """Return the ids of a prompt; raises UserError naming symbols it does not know, unless they are replaced."""
    unknown = tokenizer.unknown(prompt)
    if unknown and not replace_unknown:
        shown = ", ".join(f"{symbol!r} at {offset}" for offset, symbol in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UserError(
            f"the prompt has symbols that the model has never seen: {shown}{more}",
            allowed="symbols of the training text",
            fix="change the prompt, or replace them by <unk> with --replace-unknown",
        )
    return [int(symbol) for symbol in tokenizer.encode(prompt)]
