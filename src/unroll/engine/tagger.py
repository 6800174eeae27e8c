"""A tagger without torch: rows of units in, a tag for each unit out, with its probability."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.reader import Reading
from unroll.engine.crf import Chain, Scheme, best_paths, marginals
from unroll.engine.encoder import EncoderNetwork
from unroll.engine.layers import Lengths
from unroll.engine.network import Precision
from unroll.engine.reference import Array, Weights
from unroll.engine.weights import check_shapes, read_tensors
from unroll.nn.tagger_config import TaggerConfig, tagger_parameters, tagger_shapes


class TaggerNetwork(EncoderNetwork):
    """A tagger's weights and what is computed with them."""

    config: TaggerConfig

    def __init__(
        self, config: TaggerConfig, weights: Weights, tags: tuple[str, ...], scheme: Scheme = "none", **options: Any
    ) -> None:
        """Use `weights` as `EncoderNetwork` does, and the names of the tags.

        No predicted path has a move that `scheme` rules out. Raises ValueError for weights of another network.
        """
        check_shapes(weights, tagger_shapes(config))
        super().__init__(config, weights, **options)
        self.chain = chain_of(config, weights, tags, scheme)
        self._by_path = config.crf or scheme != "none"

    def scores(self, reading: Reading) -> Array:
        """Return the logits (N, K) of the tags of all units: of a CRF its emissions."""
        y, _ = self.outputs(reading)
        return np.asarray(y @ self._weights["head.weight"].T + self._weights["head.bias"], np.float64)

    def best(self, scores: Array, lengths: Lengths) -> NDArray[np.int64]:
        """Return the best tags (N,) of rows with `lengths` (B,), given their scores (N, K): exact, by Viterbi."""
        return best_paths(scores, lengths, self.chain) if self._by_path else scores.argmax(axis=1)

    def probabilities(self, scores: Array, lengths: Lengths) -> NDArray[np.float64]:
        """Return the probabilities (N, K) of all tags of all units, given their scores.

        The softmax of a unit's scores or, with a CRF, the share of all paths of its row that have the tag there.
        """
        return marginals(scores, lengths, self.chain) if self.config.crf else _softmax(scores)


def chain_of(config: TaggerConfig, weights: Weights, tags: tuple[str, ...], scheme: Scheme) -> Chain:
    """Return what the moves of a path score: of a CRF as learnt, else nothing, without those a scheme rules out."""
    chain = Chain.free(config.tags)
    if config.crf:
        chain = Chain.of({name: weights[f"crf.{name}"] for name in ("start", "transitions", "end")})
    return chain.within(tags, scheme)


def _softmax(scores: Array) -> NDArray[np.float64]:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def load_tagger(
    file: Path, config: TaggerConfig, tags: tuple[str, ...], scheme: Scheme, *, precision: Precision = "float32"
) -> TaggerNetwork:
    """Load the weights of a tagger. Raises UserError for a file that is missing, damaged or of another model."""
    weights = read_tensors(file, tagger_parameters(config), lambda: tagger_shapes(config))
    return TaggerNetwork(config, weights, tags, scheme, precision=precision)
