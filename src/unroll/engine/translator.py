"""A translator without torch: it reads sources once, then writes targets, many side by side, a symbol at a time."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Ragged
from unroll.engine import native
from unroll.engine.checks import check_array, check_ids
from unroll.engine.decoder_kernel import DecoderKernel
from unroll.engine.draw import nats_of_rows
from unroll.engine.layers import THREAD_WORK, Layer, Order
from unroll.engine.network import MAX_LOGITS, Precision, rounded
from unroll.engine.reference import STEPS, Array, Weights
from unroll.engine.weights import check_shapes, read_tensors
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.translator_config import TranslatorConfig, translator_parameters, translator_shapes
from unroll.state import State, select_rows
from unroll.threads import threads_up_to

Ids = NDArray[np.int64]


class Memory(NamedTuple):
    """What a decoder reads of B sources with N units in all: it is computed once."""

    ends: Ids
    """Where each source ends among all units (B,)."""
    outputs: Array
    """The encoder's outputs (N, M)."""
    keys: Array | None
    """What the attention compares with at each unit (N, K); None without attention."""
    start: State
    """The decoder's state before the first step, of B rows."""

    def span(self, source: int) -> slice:
        """Where the units of a source are among all."""
        return slice(int(self.ends[source - 1]) if source else 0, int(self.ends[source]))


class Step(NamedTuple):
    """What a step of the decoder gives for R rows."""

    logits: Array
    """Of the next symbol (R, V)."""
    attention: list[Array] | None
    """The weight of each unit of each row's source, R arrays that sum to 1; None without attention."""
    state: State
    """After the step."""


class TranslatorNetwork:
    """A translator's weights and what is computed with them. It stores no state, and threads may share it.

    A state has an entry for each layer of the decoder, (h,) or (h, c), each (R, H), and with input feeding a last one,
    the readout (R, E). A row's results do not depend on the others: with kernels not by a bit.
    """

    def __init__(
        self,
        config: TranslatorConfig,
        weights: Weights,
        *,
        precision: Precision = "float32",
        kernel: bool | str = True,
    ) -> None:
        """Use `weights` by the names of the torch model; raises ValueError for those of another network.

        `kernel`: False uses numpy, in the weights' type; a name, that instruction set; True the best. With int8 the
        recurrent layers, the readout and the output layer compute in eight bits, the attention does not.
        """
        check_shapes(weights, translator_shapes(config))
        self.config, self.precision, self._threads = config, precision, threads_up_to(16)
        instructions = native.default_instructions() if kernel is True else kernel or None
        embedding = weights["encoder.embedding.weight"]
        self._embedding = weights["embedding.weight"] if config.source_size else embedding
        head = self._embedding if config.tie_weights else weights["head.weight"]
        products = {name: w for name, w in weights.items() if "wards." in name or name.startswith(("dec", "com"))}
        products["head.weight"] = head
        if precision == "int8" and instructions is None:
            products = rounded(products)
        self._weights = weights | products

        def part(prefix: str) -> Weights:
            return {name.removeprefix(prefix): w for name, w in self._weights.items() if name.startswith(prefix)}

        int8, several = precision == "int8", range(config.num_layers)
        self._encoder = [
            Layer(
                config.arch,
                [part(f"encoder.{way}.{k}.") for way in config.encoder.directions],
                None if k else embedding,
                int8=int8,
                instructions=instructions,
                threads=self._threads,
            )
            for k in several
        ]
        self._decoder = [part(f"decoder.{k}.") for k in several]
        self._combine = self._weights["combine.weight"], weights["combine.bias"]
        self._head = self._weights["head.weight"], weights["head.bias"]
        self._kernel: DecoderKernel | None = None
        if instructions is not None:
            self._kernel = DecoderKernel(
                config.arch, self._decoder, self._combine, self._head, int8=int8, instructions=instructions
            )
        self._size = sum(w.size for layer in self._decoder for w in layer.values()) + head.size

    def read(self, sources: Ragged) -> Memory:
        """Read sources, rows of ids. Raises IndexError for an id of no unit."""
        x, last = sources.values, np.zeros(0)
        for layer in self._encoder:
            x, last = layer.read(x, sources.lengths)
        # A source by itself, so that the order of its sums does not depend on the others.
        weight, bias = self._weights["start.weight"].T, self._weights["start.bias"]
        u = np.concatenate([np.zeros((0, len(bias)), x.dtype), *(row @ weight + bias for row in last[:, None])])
        memory = Memory(sources.ends, x, None, self._start(u))
        if self.config.attention == "none":
            return memory
        spans = [x[memory.span(source)] for source in range(len(sources))]
        key = self._weights["attention.key"].T
        keys = np.concatenate([np.zeros((0, key.shape[1]), x.dtype), *(y @ key for y in spans)])
        if self.config.attention == "additive":
            keys += self._weights["attention.bias"]
        return memory._replace(keys=keys)

    def _start(self, u: Array) -> State:
        """Return the state that sources begin with, given u (B, L·H)."""
        config, several = self.config, len(ARCHITECTURES[self.config.arch].state) > 1
        parts = np.split(u, config.num_layers, axis=1)
        state: State = tuple((np.tanh(part), part) if several else (np.tanh(part),) for part in parts)
        return (*state, (np.zeros((len(u), config.embedding_size), u.dtype),)) if config.input_feeding else state

    def step(self, ids: Ids, state: State, memory: Memory, sources: Ids) -> Step:
        """Read a symbol `ids` (R,) in each row, whose source is that with the number in `sources` (R,).

        Rows of one source stand side by side. Raises ValueError for arrays that do not fit, IndexError for an id of no
        symbol.
        """
        readout, attention, after = self._advance(ids, state, memory, sources)
        return Step(self._logits(readout), attention, after)

    def nats(self, memory: Memory, targets: Ragged, start: int) -> tuple[NDArray[np.float64], list[Array] | None]:
        """Return -ln P of each symbol of targets (N,), in nats, after those before it, and the attention at each, (S,).

        There is a target for each source, which ends with its end symbol; `start` is the symbol read first.
        """
        order, values = Order(targets.lengths, reverse=False), targets.values.astype(np.int64)
        readouts = np.empty((len(values), self.config.embedding_size), self._embedding.dtype)
        state, ids = select_rows(memory.start, order.rows), np.full(len(targets), start)
        attention = list[Any]([None] * len(values))
        for count, places in zip(order.alive.tolist(), order.places, strict=True):
            state = select_rows(state, slice(count))
            readouts[places], weights, state = self._advance(ids[:count], state, memory, order.rows[:count])
            ids = values[places]
            for place, row in zip(places.tolist(), weights or (), strict=False):
                attention[place] = row
        return self._nats(readouts, values), attention if memory.keys is not None else None

    def _advance(self, ids: Ids, state: State, memory: Memory, sources: Ids) -> tuple[Array, list[Array] | None, State]:
        config = self.config
        x = self._embedding[check_ids(ids, "ids", config.vocab_size, ("R",))]
        check_array(sources, "sources", "iu", (len(ids),))
        if config.input_feeding:
            x = np.concatenate([x, state[-1][0]], axis=1)
        after = self._cells(x, state[: config.num_layers])
        joined, attention = after[-1][0], None
        if memory.keys is not None:
            context, attention = self._attend(joined, memory, memory.keys, sources)
            joined = np.concatenate([context, joined], axis=1)
        readout = self._readout(joined)
        return readout, attention, (*after, (readout,)) if config.input_feeding else after

    def _attend(self, h: Array, memory: Memory, keys: Array, sources: Ids) -> tuple[Array, list[Array]]:
        """Return what rows attend to (R, M) and the weights, given the decoder's outputs (R, H)."""
        context, attention = np.empty((len(h), memory.outputs.shape[1]), h.dtype), list[Array]()
        for rows, units, count in stacks(sources, memory.ends):
            scores = self._scores(h[rows].reshape(count, -1, h.shape[1]), keys[units].reshape(count, -1, keys.shape[1]))
            scores -= scores.max(axis=2, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=2, keepdims=True)
            attended = scores @ memory.outputs[units].reshape(count, -1, context.shape[1])
            context[rows] = attended.reshape(-1, context.shape[1])
            attention += list(scores.reshape(-1, scores.shape[2]))
        return context, attention

    def _scores(self, h: Array, keys: Array) -> Array:
        """Return the score (B, R, S) of each unit of B sources, with keys (B, S, K), for outputs (B, R, H) of each."""
        if self.config.attention == "dot":
            return np.asarray(h @ keys.swapaxes(1, 2))
        query = h @ self._weights["attention.query"].T
        return np.asarray(np.tanh(query[:, :, None] + keys[:, None]) @ self._weights["attention.vector"])

    # ---- with the kernels or with numpy

    def _cells(self, x: Array, state: State) -> State:
        """Return the state of the layers after reading vectors (R, I)."""
        if self._kernel is not None:
            return self._kernel.step(x, state, self._threads_for(x))
        after, step, none = list[Any](), STEPS[self.config.arch], np.zeros(())
        for weights, layer in zip(self._decoder, state, strict=True):
            inputs = x @ weights["weight_ih"].T + weights["bias_ih"]
            recurrent = layer[0] @ weights["weight_hh"].T + weights["bias_hh"] if "weight_hh" in weights else none
            after.append(step(inputs, recurrent, layer))
            x = after[-1][0]
        return tuple(after)

    def _readout(self, joined: Array) -> Array:
        if self._kernel is not None:
            return self._kernel.readout(joined, self._threads_for(joined))
        weight, bias = self._combine
        return np.asarray(np.tanh(joined @ weight.T + bias))

    def _logits(self, readout: Array) -> Array:
        if self._kernel is not None:
            return self._kernel.logits(readout, self._threads_for(readout))
        weight, bias = self._head
        return np.asarray(readout @ weight.T + bias)

    def _nats(self, readouts: Array, targets: Ids) -> NDArray[np.float64]:
        if self._kernel is not None:
            return self._kernel.nats(readouts, targets, self._threads)
        size = max(1, MAX_LOGITS // self.config.vocab_size)
        pieces = [
            nats_of_rows(self._logits(readouts[k : k + size]), targets[k : k + size])
            for k in range(0, len(targets), size)
        ]
        return np.concatenate([np.zeros(0), *pieces])

    def _threads_for(self, rows: Array) -> int:
        return max(1, min(self._threads, len(rows), len(rows) * self._size // THREAD_WORK))


def stacks(sources: Ids, ends: Ids) -> Iterator[tuple[slice, slice, int]]:
    """Yield neighbours that can be stacked: sources of equal length with as many rows each, one after the other.

    `sources` (R,) has the number of each row's source, `ends` (B,) where each source ends. Yields the rows, the units,
    and the number of sources.
    """
    if len(ends) == 1:  # at once: a source alone waits for this
        yield slice(0, len(sources)), slice(0, int(ends[0])), 1
        return
    first = np.flatnonzero(np.diff(sources, prepend=-1))
    number, rows = sources[first], np.diff(first, append=len(sources))
    start = np.concatenate([[0], ends[:-1]])[number]
    units = ends[number] - start
    begins = (np.diff(number, prepend=-2) != 1) | (np.diff(units, prepend=-1) != 0) | (np.diff(rows, prepend=-1) != 0)
    places = [*np.flatnonzero(begins).tolist(), len(first)]
    for at, end in pairwise(places):
        count = end - at
        row, unit = int(first[at]), int(start[at])
        yield slice(row, row + count * int(rows[at])), slice(unit, unit + count * int(units[at])), count


def load_translator(file: Path, config: TranslatorConfig, *, precision: Precision = "float32") -> TranslatorNetwork:
    """Load the weights of a translator. Raises UserError for a file that is missing, damaged or of another model."""
    weights = read_tensors(file, translator_parameters(config), lambda: translator_shapes(config))
    return TranslatorNetwork(config, weights, precision=precision)
