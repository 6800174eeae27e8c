"""A network over sequences of vectors, without torch: standardised vectors in, labels' logits or numbers out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Vectors
from unroll.engine.network import Precision
from unroll.engine.pooled import PooledNetwork
from unroll.engine.reference import Weights
from unroll.engine.weights import check_shapes, read_tensors
from unroll.nn.series_config import SeriesConfig, series_parameters, series_shapes


class SeriesEngine(PooledNetwork):
    """The weights of a network over sequences and what is computed with them."""

    config: SeriesConfig

    def __init__(self, config: SeriesConfig, weights: Weights, **options: Any) -> None:
        """Use `weights` as `LayersNetwork` does; raises ValueError for those of another network."""
        check_shapes(weights, series_shapes(config))
        super().__init__(config, weights, **options)

    def outputs(self, rows: Vectors) -> NDArray[np.float64]:
        """Return the outputs (B, K) for rows of vectors (N, I), as `Scaling.read` gives them."""
        return self.answers(rows.values, rows)


def load_series(file: Path, config: SeriesConfig, *, precision: Precision = "float32") -> SeriesEngine:
    """Load the weights of a network over sequences; raises UserError for a file that is damaged or of another model."""
    weights = read_tensors(file, series_parameters(config), lambda: series_shapes(config))
    return SeriesEngine(config, weights, precision=precision)
