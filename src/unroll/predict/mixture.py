"""Mixtures of models: the probability of a symbol is the weighted mean of the models' probabilities."""

import numpy as np
from numpy.typing import NDArray

from unroll.predict.predictor import Nats

ROUNDS = 200


def mixed_nats(nats: NDArray[np.float64], weights: NDArray[np.float64]) -> Nats:
    """Return -ln Σ_k weight_k exp(-nats_k) (N,) from the nats (K, N) of K models, whose weights sum to one."""
    used = weights > 0
    shifted = np.log(weights[used])[:, None] - nats[used]
    top = shifted.max(axis=0)
    return np.asarray(-top - np.log(np.exp(shifted - top).sum(axis=0)))


def fit_weights(nats: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights (K,) that minimise the mixture's nats, given the nats (K, N) of each model.

    Expectation maximisation (Jelinek & Mercer 1980), which climbs to the only optimum.
    """
    count = len(nats)
    p = np.exp(nats.min(axis=0) - nats)  # scaled per symbol, which changes no weight
    weights = np.full(count, 1 / count)
    for _ in range(ROUNDS):
        shares = weights[:, None] * p
        updated = (shares / shares.sum(axis=0)).mean(axis=1)
        if np.abs(updated - weights).max() < 1e-6:
            return np.asarray(updated)
        weights = updated
    return weights
