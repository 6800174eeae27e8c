"""An encoder and the head of a classifier, without torch: rows of units in, logits out."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Ragged
from unroll.data.reader import Reading
from unroll.engine import native
from unroll.engine.layers import Layer, Order
from unroll.engine.network import Precision, rounded
from unroll.engine.pace import Pace
from unroll.engine.reference import Array, Weights
from unroll.engine.weights import check_shapes, read_tensors
from unroll.nn.encoder_config import ClassifierConfig, classifier_parameters, classifier_shapes


class EncoderNetwork:
    """A classifier's weights and what is computed with them. It stores no state, and threads may share it."""

    def __init__(
        self,
        config: ClassifierConfig,
        weights: Weights,
        *,
        precision: Precision = "float32",
        kernel: bool | str = True,
    ) -> None:
        """Use `weights` by the names of the torch model; raises ValueError for those of another network.

        `kernel`: False uses numpy, in the weights' type; a name, that instruction set; True the best. With int8 only
        the recurrent layers compute in eight bits.
        """
        check_shapes(weights, classifier_shapes(config))
        self.config, self.precision = config, precision
        instructions = native.default_instructions() if kernel is True else kernel or None
        recurrent = {name: w for name, w in weights.items() if "wards." in name}
        if precision == "int8" and instructions is None:
            weights = weights | rounded(recurrent)
        self._weights, threads = weights, Pace(None).most

        def layer(prefix: str) -> Layer:
            start = len(prefix) + 1
            own = {name[start:]: w for name, w in weights.items() if name.startswith(f"{prefix}.")}
            return Layer(config.arch, own, int8=precision == "int8", instructions=instructions, threads=threads)

        self._layers = [[layer(f"{way}.{k}") for way in config.directions] for k in range(config.num_layers)]
        self._words = [layer(f"characters.{way}") for way in ("forwards", "backwards") if config.char_hidden_size]

    def logits(self, texts: Reading) -> NDArray[np.float64]:
        """Return the logits (B, K) of texts."""
        pooled = self.pooled(texts)
        return np.asarray(pooled @ self._weights["head.weight"].T + self._weights["head.bias"], np.float64)

    def pooled(self, texts: Reading) -> Array:
        """Return the one vector (B, P) of each text."""
        y, last = self.outputs(texts)
        return np.concatenate([self._pool(name, y, last, texts.units) for name in self.config.poolings], axis=1)

    def outputs(self, texts: Reading) -> tuple[Array, Array]:
        """Return the outputs (N, D·H) of all units, and the last of each direction (B, D·H)."""
        config, lengths = self.config, texts.units.lengths
        x, total = self.inputs(texts), None
        orders = [Order(lengths, reverse=way == "backwards") for way in config.directions]
        for k, layers in enumerate(self._layers):
            results = [layer.run(x, order) for layer, order in zip(layers, orders, strict=True)]
            y = np.concatenate([outputs for outputs, _ in results], axis=1)
            y = y + x if config.skip == "residual" and k else y
            total = y if total is None else total + y
            x = y
        assert total is not None
        y = total if config.skip == "sum" else x
        last = np.concatenate([self._ends(y, way, texts.units) for way in config.directions], axis=1)
        return y, last

    def _ends(self, y: Array, way: str, units: Ragged) -> Array:
        """Return the output of a direction at the unit that it reads last of each row, (B, H); without units, zero."""
        size, lengths = self.config.hidden_size, units.lengths
        place = units.ends - 1 if way == "forwards" else units.starts
        half = y[:, :size] if way == "forwards" else y[:, size:]
        ends = np.zeros((len(units), size), y.dtype)
        ends[lengths > 0] = half[place[lengths > 0]]
        return ends

    def inputs(self, texts: Reading) -> Array:
        """Return the vectors (N, I) that the first layer reads of all units."""
        x = self._weights["embedding.weight"][texts.units.values]
        if not self._words:
            return x
        letters = self._weights["characters.embedding.weight"][texts.words.values]
        lengths = texts.words.lengths
        last = [layer.run(letters, Order(lengths, reverse=k == 1))[1] for k, layer in enumerate(self._words)]
        return np.concatenate([x, np.concatenate(last, axis=1)[texts.word_of.values]], axis=1)

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
    result = np.full((len(units), *values.shape[1:]), empty, values.dtype)
    rows = units.lengths > 0
    if rows.any():
        result[rows] = function.reduceat(values, units.starts[rows], axis=0)
    return result


def load_encoder(file: Path, config: ClassifierConfig, *, precision: Precision = "float32") -> EncoderNetwork:
    """Load the weights of a classifier. Raises UserError for a file that is missing, damaged or of another model."""
    weights = read_tensors(file, classifier_parameters(config), lambda: classifier_shapes(config))
    return EncoderNetwork(config, weights, precision=precision)
