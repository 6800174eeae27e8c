"""A network in use without torch: it reads, scores and generates, by the kernels or, where there are none, by numpy."""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unroll.engine import native, reference
from unroll.engine.checks import (
    FLOATS,
    INTEGERS,
    check_array,
    check_drawing,
    check_ids,
    check_state,
    check_steps,
)
from unroll.engine.draw import Drawing, draw_rows, nats_of_rows
from unroll.engine.reference import Array, Weights
from unroll.engine.weights import check_weights, read_weights
from unroll.nn.config import ModelConfig
from unroll.state import State, map_state, parts_of

__all__ = ["Drawing", "Network", "Precision", "load_network"]

Precision = Literal["float32", "int8"]
Ids = NDArray[np.int64]
Nats = NDArray[np.float64]

MAX_LOGITS = 2**23
"""Held at a time by the numpy way."""


class Network:
    """A model's weights and what can be done with them; a predictor. It stores no state, and threads may share it.

    Every method raises ValueError for arrays whose shapes or types do not fit the network or each other, IndexError
    for an id that is no symbol's. An adaptive softmax and the layers before it are computed by numpy, also beside
    kernels; int8 rounds their weights, each row by its own scale, and not their inputs.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        *,
        precision: Precision = "float32",
        threads: int | None = None,
        kernel: bool | str = True,
    ) -> None:
        """Use `weights`, by name; `kernel` False keeps to numpy (in their type), a name takes that instruction set.

        True takes the best instruction set, or what the environment variable UNROLL_INSTRUCTIONS names (one of
        `native.instruction_sets()`, or `numpy`). `threads` is how many may work; by default as many as there are
        cores, where a trial says that it pays. Raises ValueError for weights of another network, UserError for a
        variable that names nothing.
        """
        check_weights(weights, config)
        self.config, self.precision = config, precision
        self.embedding: Array = weights["embedding.weight"]
        self._pace = Pace(threads)
        self._kernel: native.Kernel | None = None
        self._head: native.Kernel | None = None
        """The kernel where it has the output layer too."""
        instructions = native.default_instructions() if kernel is True else kernel or None
        if instructions is not None:
            self._kernel = native.Kernel(config, weights, int8=precision == "int8", instructions=instructions)
            if not config.cutoffs:
                self._head = self._kernel
                return
            weights = {name: weight for name, weight in weights.items() if name.startswith(("after", "adaptive"))}
        self._weights: Weights = rounded(weights) if precision == "int8" else weights
        if self._kernel is None:
            self._inputs = reference.embeddings(config, self._weights)

    @property
    def vocab_size(self) -> int:
        """The number V of symbols."""
        return self.config.vocab_size

    @property
    def native(self) -> bool:
        """Whether the kernels do the work."""
        return self._kernel is not None

    def fresh_state(self, rows: int) -> State:
        """Return the state of rows that have read nothing."""
        return reference.fresh_state(self.config, rows, np.float32 if self._kernel else self.embedding.dtype)

    def nats(self, inputs: Ids, targets: Ids, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (B, T); return -ln P(target) after each of them (B, T), in nats, and the state."""
        check_array(inputs, "inputs", INTEGERS, ("B", "T"))
        check_array(targets, "targets", INTEGERS, inputs.shape)
        y, after = self._read(inputs, state)
        return self.nats_after(y, targets), after

    def logits(self, inputs: Ids, state: State | None = None) -> tuple[NDArray[np.float64], State]:
        """Read `inputs` (B, T); return the logits (B, V) of what follows the last of them, and the state."""
        check_steps(inputs)
        y, after = self._read(inputs, state)
        return self.logits_after(y[:, -1:])[:, 0], after

    def hidden(self, inputs: Ids, state: State | None = None) -> tuple[Array, State]:
        """Read `inputs` (B, T); return what the last recurrent layer hands on after each (B, T, H), and the state."""
        return self._read(inputs, state)

    def nats_after(self, y: Array, targets: Ids) -> Nats:
        """Return -ln P(target) (B, T), in nats, after the outputs (B, T, H) that `hidden` gave."""
        check_array(y, "y", FLOATS, ("B", "T", self.config.hidden_size))
        check_array(targets, "targets", INTEGERS, y.shape[:-1])
        flat, wanted = y.reshape(-1, y.shape[-1]), targets.reshape(-1)
        if self._head is not None:
            _, nats = self._head.head(flat, wanted, self._pace.most)
            assert nats is not None
            return nats.reshape(targets.shape)
        wanted = check_ids(wanted, "targets", self.vocab_size, wanted.shape)
        size = max(1, MAX_LOGITS // self.vocab_size)
        pieces = [
            reference.nats(self.config, self._weights, flat[k : k + size], wanted[k : k + size])
            for k in range(0, len(flat), size)
        ]
        return np.concatenate([np.zeros(0), *pieces]).reshape(targets.shape)

    def logits_after(self, y: Array) -> NDArray[np.float64]:
        """Return the logits (B, T, V) after the outputs (B, T, H) that `hidden` gave."""
        check_array(y, "y", FLOATS, ("B", "T", self.config.hidden_size))
        if self._head is None:
            return reference.logits(self.config, self._weights, y).astype(np.float64)
        logits, _ = self._head.head(y.reshape(-1, y.shape[-1]), None, self._pace.most)
        assert logits is not None
        return logits.reshape(*y.shape[:-1], self.vocab_size).astype(np.float64)

    def generate(
        self,
        logits: Array,
        state: State,
        drawing: Drawing,
        uniforms: NDArray[np.float64],
        halt: NDArray[np.int32] | None = None,
    ) -> tuple[Ids, Nats, NDArray[np.float64], State]:
        """Draw a symbol of each row from `logits` (B, V), read it, and so on, as often as there are `uniforms` (B, N).

        Returns the ids (B, N), the nats of each under the model itself (B, N), the logits after the last and the
        state. A row's result does not depend on the others. Where another thread sets `halt` (1,) to 1 a single row
        ends sooner, with fewer ids, but at least one; more rows may.
        """
        check_array(uniforms, "uniforms", FLOATS, ("B", "N"))
        rows = len(uniforms)
        check_array(logits, "logits", FLOATS, (rows, self.vocab_size))
        check_state(state, self.config, rows)
        if self._head is None:
            check_drawing(drawing, uniforms, halt, self.vocab_size)
            ids, nats = np.empty(uniforms.shape, np.int64), np.empty(uniforms.shape)
            for n in range(uniforms.shape[1]):
                if n and halt is not None and halt[0]:
                    return ids[:, :n], nats[:, :n], np.asarray(logits, np.float64), state
                ids[:, n] = draw_rows(logits, drawing, uniforms[:, n])
                nats[:, n] = nats_of_rows(logits, ids[:, n])
                logits, state = self.logits(ids[:, n : n + 1], state)
            return ids, nats, np.asarray(logits, np.float64), state
        after, now = _copied(state), np.array(logits, np.float32, order="C")
        left, pieces = uniforms.shape[1], list[tuple[Ids, Nats]]()
        while not pieces or (left and (halt is None or not halt[0])):
            with self._pace.of("generate", rows, left) as block:
                numbers = uniforms[:, uniforms.shape[1] - left :][:, : block.steps]
                pieces.append(self._head.generate(now, parts_of(after), drawing, numbers, block.threads, halt))
                block.steps = pieces[-1][0].shape[1]
            left -= block.steps
        ids, nats = (np.concatenate(part, axis=1) if len(pieces) > 1 else part[0] for part in zip(*pieces, strict=True))
        return ids, nats, now.astype(np.float64), after

    def _read(self, inputs: Ids, state: State | None) -> tuple[Array, State]:
        check_array(inputs, "inputs", INTEGERS, ("B", "T"))
        if state is None:
            state = self.fresh_state(len(inputs))
        else:
            check_state(state, self.config, len(inputs))
        if self._kernel is None:
            x = self._inputs[check_ids(inputs, "inputs", self.vocab_size).T]
            state = map_state(lambda part: part.astype(self.embedding.dtype, copy=False), state)
            y, after = reference.run(self.config, self._weights, x, state)
            return y.swapaxes(0, 1), after
        after, done, pieces = _copied(state), 0, list[Array]()
        while not pieces or done < inputs.shape[1]:
            with self._pace.of("read", len(inputs), inputs.shape[1] - done) as block:
                some = inputs[:, done : done + block.steps]
                outputs = self._kernel.read(some, parts_of(after), block.threads, outputs=True)
            assert outputs is not None
            pieces.append(outputs)
            done += block.steps
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1), after


@dataclass
class _Block:
    pace: "Pace"
    kind: str
    rows: int
    steps: int
    threads: int = 1
    started: float = 0.0

    def __enter__(self) -> "_Block":
        self.threads, most = self.pace.choose(self.kind, self.rows)
        self.steps = min(self.steps, most)
        self.started = time.perf_counter()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        if failure is None and self.steps:
            self.pace.note(self.kind, self.rows, self.threads, (time.perf_counter() - self.started) / self.steps)


@dataclass
class _Known:
    """What is known of blocks of one kind and so many rows."""

    seconds: dict[int, float] = field(default_factory=dict)
    """That a step takes lately, by the number of threads."""
    gap: float = 0.0
    """Seconds between the last trial of the other number and the next."""
    due: float = 0.0
    """When that is, on the clock time.perf_counter."""

    @property
    def better(self) -> int:
        return min(self.seconds, key=self.seconds.__getitem__)


class Pace:
    """How many threads a block of steps gets: one, or as many as may work, whichever was faster lately.

    Threads that share the steps of few rows wait for each other at every layer: beside other busy processes that is
    slower than one. Both ways are tried, and tried again now and then. The result is the same, bit for bit.
    """

    SOONEST, LATEST = 0.05, 5.0
    """Seconds until the other way is tried again: twice as long each time that it was slower."""
    FEW, SECONDS = 8, 0.001
    """A trial has so many steps, or as many as the better way takes in so many seconds."""
    SLOWLY = 8
    """Blocks that a way which has become slower takes to be known as such."""

    def __init__(self, threads: int | None) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        told = os.environ.get("OMP_NUM_THREADS", "")
        if threads is not None and not 1 <= threads < 2**31:
            raise ValueError(f"threads is {threads}; allowed: 1 or more, or None for as many as pay")
        self.most = threads or (int(told) if told.isdigit() and int(told) > 0 else min(cores, 16))
        self._known: dict[tuple[str, int], _Known] = {}

    def of(self, kind: str, rows: int, steps: int) -> _Block:
        """Return the context of a block of up to so many steps; `kind` is what they do.

        It knows how many they are, and its threads. It is told of steps that were not taken.
        """
        return _Block(self, kind, rows, steps)

    def choose(self, kind: str, rows: int) -> tuple[int, int]:
        """Return how many threads a block of so many rows gets, and the most steps that it may have."""
        if self._certain(rows):
            return self.most, sys.maxsize
        known = self._known.get((kind, rows), _Known())
        for threads in (1, self.most):
            if threads not in known.seconds:
                return threads, self.FEW
        left, seconds = known.due - time.perf_counter(), known.seconds[known.better]
        if left > 0:
            return known.better, max(self.FEW, round(left / seconds))
        return self.most if known.better == 1 else 1, max(self.FEW, round(self.SECONDS / seconds))

    def note(self, kind: str, rows: int, threads: int, seconds: float) -> None:
        """Take down how long a step took: the best lately, for a single slow one says nothing about the way."""
        if self._certain(rows):
            return
        if len(self._known) > 32:
            self._known.clear()
        known = self._known.setdefault((kind, rows), _Known())
        trial = len(known.seconds) < 2 or threads != known.better
        before = known.seconds.get(threads, seconds)
        known.seconds[threads] = min(seconds, before + (seconds - before) / self.SLOWLY)
        if trial:
            lost = len(known.seconds) == 2 and threads != known.better
            known.gap = min(max(self.SOONEST, 2 * known.gap), self.LATEST) if lost else self.SOONEST
            known.due = time.perf_counter() + known.gap

    def _certain(self, rows: int) -> bool:
        """Tell whether each thread has rows of its own, or there is but one."""
        return rows >= 2 * self.most or self.most == 1


def rounded(weights: Weights) -> Weights:
    """Return weights as eight bits hold them, each row with its own scale: what the numpy way has of int8."""
    return {
        name: w
        if w.ndim < 2 or name.startswith(("embedding", "before"))
        else np.asarray(np.rint(w / _scale(w)) * _scale(w), w.dtype)
        for name, w in weights.items()
    }


def _scale(w: Array) -> Array:
    top = np.abs(w).max(axis=1, keepdims=True) / 127
    return np.where(top > 0, top, 1).astype(w.dtype)


def load_network(file: Path, config: ModelConfig, *, precision: Precision = "float32") -> Network:
    """Load the weights of a model. Raises UserError for a file that is missing, damaged or not of this model."""
    return Network(config, read_weights(file, config), precision=precision)


def _copied(state: State) -> State:
    return map_state(lambda part: np.array(part, np.float32, order="C"), state)
