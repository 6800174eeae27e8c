"""Sampling, written once over whatever can step: reproducible from its seed, streaming, honest about its nats."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import AnyModel, as_opened
from unroll.data.tokenizer import Tokenizer
from unroll.engine.draw import Drawing, nats_of_rows
from unroll.engine.draw import draw as draw
from unroll.engine.draw import probabilities as distribution
from unroll.engine.network import Network
from unroll.errors import UserError
from unroll.predict.predictor import Predictor
from unroll.state import State

Stepper = Callable[[Sequence[int], State | None], tuple[NDArray[np.float64], State]]
"""Reads ids from a state; returns the logits (V,) of what comes next, and the state."""


BLOCK = 64
"""Symbols that the engine draws before it hands them on, at most."""
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
) -> Iterator[Drawn]:
    """Yield up to `length` symbols that follow the prompt, each as soon as it is drawn.

    It ends before the text `stop`, of several before the first that comes. The same seed and stream give the same text;
    the streams of one seed are independent. The defaults are those of the samples taken while training. Raises
    UserError.
    """
    if length < 1:
        raise UserError(f"length is {length}", allowed="1 or more", fix="ask for one symbol at least")
    options = SampleOptions(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    opened = as_opened(model)
    ids = encode_prompt(opened.tokenizer, prompt, replace_unknown=replace_unknown)
    network = opened.predictor if isinstance(opened.predictor, Network) else None
    step = stepper(opened.predictor)
    return generate(step, opened.tokenizer, ids, length, options, network=network, stream=stream, stop=stop)


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
    return distribution(logits, options.temperature, options.top_k, options.top_p, options.min_p, never)


def nats_of(logits: NDArray[np.float64], chosen: int) -> float:
    """Return -ln softmax(logits)[chosen], in nats."""
    return float(nats_of_rows(logits[None], np.array([chosen]))[0])


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
    network: Network | None = None,
    stream: int = 0,
    stop: str | Sequence[str] = (),
) -> Iterator[Drawn]:
    """Yield up to `length` symbols after the prompt's ids, each as soon as it is drawn.

    The start symbol is read first. Streams of one seed are independent. With one or several texts to `stop` at, text
    that could begin one is held back until it is known not to, and sampling ends before the first that is complete, of
    those that are complete with the same character before the longest. A `network` of the engine draws and reads
    itself, in blocks that grow from one symbol; otherwise each goes through `step`. The symbols are the same.
    """
    stops = checked_stops(stop)
    return _generate(step, tokenizer, prompt, length, options, network, stream, stops)


def checked_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Return the texts to stop at; raises UserError for an empty one, before which nothing could be written."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in stops:
        raise UserError("a text to stop at is empty", allowed="one character or more", fix="leave it out")
    return stops


def _generate(
    step: Stepper,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    length: int,
    options: SampleOptions,
    network: Network | None,
    stream: int,
    stops: tuple[str, ...],
) -> Iterator[Drawn]:
    logits, state = step([tokenizer.start_id, *prompt], None)
    never = tokenizer.unknown_id
    if network is None:
        symbols = _stepped(step, logits, state, options, never, stream)
    else:
        symbols = _in_blocks(network, logits, state, options, never, stream, length)
    decoder = tokenizer.stream_decoder()
    for symbol in prompt:
        decoder.push(symbol)
    held = ""
    for position, (chosen, nats) in zip(range(length), symbols, strict=False):
        last = position == length - 1
        held += decoder.push(chosen) + (decoder.flush() if last else "")
        place = _first_stop(held, stops)
        ended = last or place is not None
        shown = len(held) - (0 if ended else _beginning(held, stops)) if place is None else place
        yield Drawn(chosen, held[:shown], nats)
        if ended:
            return
        held = held[shown:]


def _stepped(
    step: Stepper,
    logits: NDArray[np.float64],
    state: State | None,
    options: SampleOptions,
    never: int | None,
    stream: int,
) -> Iterator[tuple[int, float]]:
    """Yield symbols and their nats, each read before the next is drawn."""
    for uniform in uniforms(options.seed, stream):
        chosen = draw(probabilities(logits, options, never), uniform)
        yield chosen, nats_of(logits, chosen)
        logits, state = step([chosen], state)


def _in_blocks(
    network: Network,
    logits: NDArray[np.float64],
    state: State,
    options: SampleOptions,
    never: int | None,
    stream: int,
    length: int,
) -> Iterator[tuple[int, float]]:
    """Yield symbols and their nats; the network draws and reads several before any is handed on."""
    drawing = Drawing(options.temperature, options.top_k, options.top_p, options.min_p, never)
    numbers, now, size, left = uniforms(options.seed, stream), logits[None], 1, length
    while left:
        size = min(size, left)
        block = np.array([[next(numbers) for _ in range(size)]])
        ids, nats, now, state = network.generate(now, state, drawing, block)
        yield from zip(ids[0].tolist(), nats[0].tolist(), strict=True)
        left -= size
        size = min(2 * size, BLOCK)


def _first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Return where the first stop begins that is complete in a text, of several that end together the longest."""
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return min(found)[1] if found else None


def _beginning(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at the end of a text may yet become a stop."""
    return max(
        (k for stop in stops for k in range(1, min(len(stop) - 1, len(text)) + 1) if stop.startswith(text[-k:])),
        default=0,
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
