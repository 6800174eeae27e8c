"""A network without torch: it reads, scores and generates with the kernels or, where there are none, with numpy."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unroll.engine import draw, native, reference
from unroll.engine.checks import (
    FLOATS,
    INTEGERS,
    check_array,
    check_drawing,
    check_ids,
    check_state,
    check_steps,
)
from unroll.engine.draw import Drawing, Halt, Ids
from unroll.engine.pace import Pace
from unroll.engine.reference import Array, Weights
from unroll.engine.weights import check_weights, read_weights
from unroll.nn.config import ModelConfig
from unroll.state import State, map_state, parts_of

Precision = Literal["float32", "int8"]
Nats = NDArray[np.float64]

MAX_LOGITS = 2**23
"""The most logits that numpy holds at a time when it computes nats."""


class Network:
    """A model's weights and what is computed with them; a predictor. It stores no state, and threads may share it.

    Every method raises ValueError for arrays whose shapes or types do not fit the network or each other, IndexError
    for an id outside the vocabulary. An adaptive softmax, and the layers between it and the recurrent ones, are
    computed with numpy even where there are kernels; int8 then rounds their weights, each row by its own scale, but
    leaves their inputs as they are.
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
        """Use `weights`, by name. `kernel`: False uses numpy, in the weights' type; a name, that instruction set.

        True uses the best instruction set, or the one that the environment variable UNROLL_INSTRUCTIONS names (one of
        `native.instruction_sets()`, or `numpy`). `threads` is the most that may work: by default OMP_NUM_THREADS, or
        the number of cores, up to 16. For few rows, one thread is used if a trial shows that it is faster. Raises
        ValueError for weights of another network, UserError if the variable names none of these.
        """
        check_weights(weights, config)
        self.config, self.precision, self.vocab_size = config, precision, config.vocab_size
        self.embedding: Array = weights["embedding.weight"]
        self._pace = Pace(threads)
        self._kernel: native.Kernel | None = None
        self._head: native.Kernel | None = None
        """The kernel, if it has the output layer too."""
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
    def network(self) -> "Network":
        """This network."""
        return self

    @property
    def torch_model(self) -> None:
        """None: it keeps no gates and has no gradients."""

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
        """Read `inputs` (B, T); return the outputs of the last recurrent layer (B, T, H), and the state."""
        return self._read(inputs, state)

    def nats_after(self, y: Array, targets: Ids) -> Nats:
        """Return -ln P(target) (B, T), in nats, after the outputs (B, T, H) that `hidden` gave."""
        check_array(y, "y", FLOATS, ("B", "T", self.config.hidden_size))
        check_array(targets, "targets", INTEGERS, y.shape[:-1])
        flat, flat_targets = y.reshape(-1, y.shape[-1]), targets.reshape(-1)
        if self._head is not None:
            return self._head.head(flat, flat_targets, self._pace.most).reshape(targets.shape)
        flat_targets = check_ids(flat_targets, "targets", self.vocab_size, flat_targets.shape)
        size = max(1, MAX_LOGITS // self.vocab_size)
        pieces = [
            reference.nats(self.config, self._weights, flat[k : k + size], flat_targets[k : k + size])
            for k in range(0, len(flat), size)
        ]
        return np.concatenate([np.zeros(0), *pieces]).reshape(targets.shape)

    def logits_after(self, y: Array) -> NDArray[np.float64]:
        """Return the logits (B, T, V) after the outputs (B, T, H) that `hidden` gave."""
        check_array(y, "y", FLOATS, ("B", "T", self.config.hidden_size))
        if self._head is None:
            return reference.logits(self.config, self._weights, y).astype(np.float64)
        logits = self._head.head(y.reshape(-1, y.shape[-1]), None, self._pace.most)
        return logits.reshape(*y.shape[:-1], self.vocab_size).astype(np.float64)

    def generate(
        self,
        logits: Array,
        state: State,
        drawing: Drawing,
        uniforms: NDArray[np.float64],
        halt: Halt | None = None,
    ) -> tuple[Ids, Nats, NDArray[np.float64], State]:
        """Draw a symbol of each row from `logits` (B, V), read it, and so on, as often as there are `uniforms` (B, N).

        Returns the ids (B, N), the nats of each under the model itself (B, N), the logits after the last and the
        state. A row's result does not depend on the others. When another thread sets `halt` (1,) to 1, drawing ends
        early, but not before one id per row. A single row always heeds it; several rows may finish first.
        """
        check_array(uniforms, "uniforms", FLOATS, ("B", "N"))
        rows = len(uniforms)
        check_array(logits, "logits", FLOATS, (rows, self.vocab_size))
        check_state(state, self.config, rows)
        if self._head is None:
            check_drawing(drawing, uniforms, halt, self.vocab_size)
            return draw.generate(self.logits, logits, state, drawing, uniforms, halt)
        after, current = _copied(state), np.array(logits, np.float32, order="C")
        left, pieces = uniforms.shape[1], list[tuple[Ids, Nats]]()
        while not pieces or (left and (halt is None or not halt[0])):
            with self._pace.of("generate", rows, left) as block:
                numbers = uniforms[:, uniforms.shape[1] - left :][:, : block.steps]
                pieces.append(self._head.generate(current, parts_of(after), drawing, numbers, block.threads, halt))
                block.steps = pieces[-1][0].shape[1]
            left -= block.steps
        ids, nats = (np.concatenate(part, axis=1) if len(pieces) > 1 else part[0] for part in zip(*pieces, strict=True))
        return ids, nats, current.astype(np.float64), after

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
        after, read, pieces = _copied(state), 0, list[Array]()
        while not pieces or read < inputs.shape[1]:
            with self._pace.of("read", len(inputs), inputs.shape[1] - read) as block:
                ids = inputs[:, read : read + block.steps]
                pieces.append(self._kernel.read(ids, parts_of(after), block.threads))
            read += block.steps
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1), after


def rounded(weights: Weights) -> Weights:
    """Return weights as numpy uses them for int8: matrices rounded by row, but not embeddings, `before` or vectors."""
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
    """Load the weights of a model. Raises UserError for a file that is missing, damaged or of another model."""
    return Network(config, read_weights(file, config), precision=precision)


def _copied(state: State) -> State:
    return map_state(lambda part: np.array(part, np.float32, order="C"), state)
