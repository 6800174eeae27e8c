"""An encoder without torch: rows of units in, outputs out; and a classifier, whose head gives the labels logits."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Ragged
from unroll.data.reader import Reading
from unroll.engine import native
from unroll.engine.layers import Layer
from unroll.engine.network import Precision, rounded
from unroll.engine.reference import Array, Weights
from unroll.engine.weights import check_shapes, read_tensors
from unroll.nn.encoder_config import ClassifierConfig, EncoderConfig, classifier_parameters, classifier_shapes
from unroll.threads import threads_up_to


class EncoderNetwork:
    """An encoder's weights and what is computed with them. It stores no state, and threads may share it."""

    def __init__(
        self,
        config: EncoderConfig,
        weights: Weights,
        *,
        precision: Precision = "float32",
        kernel: bool | str = True,
    ) -> None:
        """Use `weights` by the names of the torch model.

        `kernel`: False uses numpy, in the weights' type; a name, that instruction set; True the best. With int8 only
        the recurrent layers compute in eight bits.
        """
        self.config, self.precision = config, precision
        instructions = native.default_instructions() if kernel is True else kernel or None
        recurrent = {name: w for name, w in weights.items() if "wards." in name}
        if precision == "int8" and instructions is None:
            weights = weights | rounded(recurrent)
        self._weights, threads = weights, threads_up_to(16)

        def part(prefix: str) -> Weights:
            return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}

        def layer(directions: list[Weights], symbols: Array | None) -> Layer:
            int8 = precision == "int8"
            return Layer(config.arch, directions, symbols, int8=int8, instructions=instructions, threads=threads)

        self._words: Layer | None = None
        if config.char_hidden_size:
            directions = [part("characters.forwards."), part("characters.backwards.")]
            self._words = layer(directions, weights["characters.embedding.weight"])
        self._ids_alone = config.input_size == config.embedding_size
        self._layers = [
            layer(
                [part(f"{way}.{k}.") for way in config.directions],
                weights["embedding.weight"] if self._ids_alone and not k else None,
            )
            for k in range(config.num_layers)
        ]

    @property
    def embedding(self) -> Array:
        """The vectors of the units, (V, E)."""
        return self._weights["embedding.weight"]

    def outputs(self, texts: Reading) -> tuple[Array, Array]:
        """Return the outputs (N, D·H) of all units, and the last of each direction (B, D·H)."""
        config, lengths = self.config, texts.units.lengths
        x, total = self.inputs(texts), None
        for k, layer in enumerate(self._layers):
            y, last = layer.read(x, lengths)
            if config.skip == "residual" and k:
                y = y + x
            if config.skip == "sum":
                total = y if total is None else total + y
            x = y
        if config.skip != "none":
            x = x if total is None else total
            last = self._ends(x, texts.units)
        return x, last

    def _ends(self, y: Array, units: Ragged) -> Array:
        """Return each direction's output at the unit that it reads last, of every row (B, D·H); without units, zero."""
        size, some = self.config.hidden_size, units.lengths > 0
        last = np.zeros((len(units), y.shape[1]), y.dtype)
        last[some, :size] = y[units.ends[some] - 1, :size]
        last[some, size:] = y[units.starts[some], size:]
        return last

    def inputs(self, texts: Reading) -> Array:
        """Return what the first layer reads of all units: their ids (N,) or, where there is more, vectors (N, I)."""
        if self._ids_alone:
            return texts.units.values
        parts = [self.embedding[texts.units.values]]
        if self._words is not None:
            _, spelt = self._words.read(texts.words.values, texts.words.lengths)
            parts.append(spelt[texts.word_of.values])
        if texts.contexts is not None:
            parts.append(texts.contexts.astype(parts[0].dtype, copy=False))
        return np.concatenate(parts, axis=1)


class ClassifierNetwork(EncoderNetwork):
    """A classifier's weights and what is computed with them."""

    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig, weights: Weights, **options: Any) -> None:
        """Use `weights` as `EncoderNetwork` does; raises ValueError for those of another network."""
        check_shapes(weights, classifier_shapes(config))
        super().__init__(config, weights, **options)

    def logits(self, texts: Reading) -> NDArray[np.float64]:
        """Return the logits (B, K) of texts."""
        pooled = self.pooled(texts)
        return np.asarray(pooled @ self._weights["head.weight"].T + self._weights["head.bias"], np.float64)

    def pooled(self, texts: Reading) -> Array:
        """Return the one vector (B, P) of each text."""
        y, last = self.outputs(texts)
        pools = [self._pool(name, y, last, texts.units) for name in self.config.poolings]
        return pools[0] if len(pools) == 1 else np.concatenate(pools, axis=1)

    def attention(self, y: Array, units: Ragged) -> Array:
        """Return the weight (N,) of each unit in its row's sum, of the pooling `attention`."""
        weights = self._weights
        hidden = np.tanh(y @ weights["attention.weight"].T + weights["attention.bias"])
        scores = hidden @ weights["attention.vector"]
        row = np.repeat(np.arange(len(units)), units.lengths)
        exponentials = np.exp(scores - _reduced(np.maximum, scores, units, 0)[row])
        return np.asarray(exponentials / _reduced(np.add, exponentials, units, 1)[row])

    def _pool(self, name: str, y: Array, last: Array, units: Ragged) -> Array:
        match name:
            case "last":
                return last
            case "mean":
                return np.asarray(_reduced(np.add, y, units, 0) / np.maximum(units.lengths, 1)[:, None], y.dtype)
            case "max":
                return _reduced(np.maximum, y, units, 0)
            case _:
                return _reduced(np.add, self.attention(y, units)[:, None] * y, units, 0)


def _reduced(function: np.ufunc, values: Array, units: Ragged, empty: float) -> Array:
    """Return what the values (N, …) of each row are together, (B, …); `empty` for a row without any."""
    if len(units) == 1 and len(values):  # in a third of the time
        return np.asarray(function.reduce(values, axis=0, keepdims=True))
    result = np.full((len(units), *values.shape[1:]), empty, values.dtype)
    rows = units.lengths > 0
    if rows.any():
        result[rows] = function.reduceat(values, units.starts[rows], axis=0)
    return result


def load_classifier(file: Path, config: ClassifierConfig, *, precision: Precision = "float32") -> ClassifierNetwork:
    """Load the weights of a classifier. Raises UserError for a file that is missing, damaged or of another model."""
    weights = read_tensors(file, classifier_parameters(config), lambda: classifier_shapes(config))
    return ClassifierNetwork(config, weights, precision=precision)
