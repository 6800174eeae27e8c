"""An encoder without torch: rows of units in, outputs out; and a classifier, whose head gives the labels logits."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.reader import Reading
from unroll.engine.layers import Layer
from unroll.engine.network import Precision
from unroll.engine.pooled import LayersNetwork, PooledNetwork
from unroll.engine.reference import Array, Weights
from unroll.engine.weights import check_shapes, read_tensors
from unroll.nn.encoder_config import ClassifierConfig, EncoderConfig, classifier_parameters, classifier_shapes


class EncoderNetwork(LayersNetwork):
    """An encoder's weights and what is computed with them."""

    config: EncoderConfig

    def __init__(self, config: EncoderConfig, weights: Weights, **options: Any) -> None:
        """Use `weights` by the names of the torch model, with the options of `LayersNetwork`."""
        self._ids_alone = config.input_size == config.embedding_size
        symbols = weights["embedding.weight"] if self._ids_alone else None
        super().__init__(config, weights, symbols, **options)
        self._words: Layer | None = None
        if config.char_hidden_size:
            ways = ["characters.forwards.", "characters.backwards."]
            self._words = self._layer(ways, weights["characters.embedding.weight"])

    @property
    def embedding(self) -> Array:
        """The vectors of the units, (V, E)."""
        return self._weights["embedding.weight"]

    def outputs(self, texts: Reading) -> tuple[Array, Array]:
        """Return the outputs (N, D·H) of all units, and the last of each direction (B, D·H)."""
        return self.read(self.inputs(texts), texts.units)

    def inputs(self, texts: Reading) -> Array:
        """Return what the first layer reads of all units: their ids (N,) or, where there is more, vectors (N, I)."""
        if self._ids_alone:
            return texts.units.values
        parts = [self.embedding[texts.units.values]]
        if self._words is not None:
            _, spelt = self._words.read(texts.words.values, texts.words.lengths)
            parts.append(spelt[texts.word_of.values])
        if texts.contexts is not None:
            parts.append(texts.contexts.values.astype(parts[0].dtype, copy=False))
        return np.concatenate(parts, axis=1)


class ClassifierNetwork(EncoderNetwork, PooledNetwork):
    """A classifier's weights and what is computed with them."""

    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig, weights: Weights, **options: Any) -> None:
        """Use `weights` as `EncoderNetwork` does; raises ValueError for those of another network."""
        check_shapes(weights, classifier_shapes(config))
        super().__init__(config, weights, **options)

    def logits(self, texts: Reading) -> NDArray[np.float64]:
        """Return the logits (B, K) of texts."""
        return self.answers(self.inputs(texts), texts.units)

    def pooled(self, texts: Reading) -> Array:
        """Return the one vector (B, P) of each text."""
        return self.pool(*self.outputs(texts), texts.units)


def load_classifier(file: Path, config: ClassifierConfig, *, precision: Precision = "float32") -> ClassifierNetwork:
    """Load the weights of a classifier. Raises UserError for a file that is missing, damaged or of another model."""
    weights = read_tensors(file, classifier_parameters(config), lambda: classifier_shapes(config))
    return ClassifierNetwork(config, weights, precision=precision)
