"""The network in numpy: each cell's equation on many rows at once, for any float type. What the kernels are held to."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.nn.config import ModelConfig

Array = NDArray[Any]
Weights = dict[str, Array]
LayerState = tuple[Array, ...]
State = tuple[LayerState, ...]

_erf = np.frompyfunc(math.erf, 1, 1)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + e^-x), by the hyperbolic tangent, which never overflows."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def gelu(x: Array) -> Array:
    """Return x Φ(x), exact (Hendrycks & Gimpel 2016)."""
    return np.asarray(0.5 * x * (1 + np.asarray(_erf(x / math.sqrt(2)), x.dtype)))


def fresh_state(config: ModelConfig, rows: int, dtype: Any = np.float32) -> State:
    """Return the state of rows that have read nothing: zeros."""
    if config.arch == "window":
        return ((np.zeros((rows, config.window - 1, config.embedding_size), dtype),),)
    parts = 2 if config.arch == "lstm" else 1
    return tuple(
        tuple(np.zeros((rows, config.hidden_size), dtype) for _ in range(parts)) for _ in range(config.num_layers)
    )


def embeddings(config: ModelConfig, weights: Weights) -> Array:
    """Return what the first layer reads of each symbol (V, E): its vector, through the layers before."""
    x = weights["embedding.weight"]
    for k in range(config.layers_before):
        x = gelu(x @ weights[f"before.{k}.weight"].T + weights[f"before.{k}.bias"])
    return x


def run(config: ModelConfig, weights: Weights, x: Array, state: State) -> tuple[Array, State]:
    """Read vectors `x` (T, B, E) from `state`; return the outputs of the recurrent layers (T, B, H) and the state."""
    if config.arch == "window":
        return _run_window(config, weights, x, state)
    after: list[LayerState] = []
    total: Array | None = None
    for k in range(config.num_layers):
        y, layer_state = _run_layer(config, weights, k, x, state[k])
        after.append(layer_state)
        y = y + x if config.skip == "residual" and k else y
        total = y if total is None else total + y
        x = y
    assert total is not None
    return (total if config.skip == "sum" else x), tuple(after)


def _run_layer(config: ModelConfig, weights: Weights, k: int, x: Array, state: LayerState) -> tuple[Array, LayerState]:
    """Run one layer over `x` (T, B, I): the equations of unroll.nn.cells."""
    name, hidden = f"recurrent.layers.{k}", config.hidden_size
    recurrent, bias = weights[f"{name}.weight_hh"].T, weights[f"{name}.bias_hh"]
    inputs = x @ weights[f"{name}.weight_ih"].T + weights[f"{name}.bias_ih"]  # (T, B, G·H)
    h, outputs = state[0], np.empty((*x.shape[:2], hidden), x.dtype)
    c = state[-1]
    for t in range(len(x)):
        z = h @ recurrent + bias
        if config.arch == "rnn":
            h = np.tanh(inputs[t] + z)
        elif config.arch == "gru":
            r, update = np.split(sigmoid(inputs[t, :, : 2 * hidden] + z[:, : 2 * hidden]), 2, axis=1)
            n = np.tanh(inputs[t, :, 2 * hidden :] + r * z[:, 2 * hidden :])
            h = (1 - update) * n + update * h
        else:
            z += inputs[t]
            i, f = np.split(sigmoid(z[:, : 2 * hidden]), 2, axis=1)
            c = f * c + i * np.tanh(z[:, 2 * hidden : 3 * hidden])
            h = sigmoid(z[:, 3 * hidden :]) * np.tanh(c)
        outputs[t] = h
    return outputs, ((h, c) if config.arch == "lstm" else (h,))


def _run_window(config: ModelConfig, weights: Weights, x: Array, state: State) -> tuple[Array, State]:
    """Run the fixed-window network (Bengio et al. 2003) over the last n vectors at every step."""
    n, steps, rows = config.window, len(x), x.shape[1]
    seen = np.concatenate([state[0][0].swapaxes(0, 1), x])  # (n-1+T, B, E)
    y = np.concatenate([seen[k : k + steps] for k in range(n)], axis=2) if n > 1 else x
    for k in range(config.num_layers):
        y = np.tanh(y @ weights[f"recurrent.layers.{k}.weight"].T + weights[f"recurrent.layers.{k}.bias"])
    before = np.ascontiguousarray(seen[steps:].swapaxes(0, 1))
    assert before.shape == (rows, n - 1, config.embedding_size)
    return y, ((before,),)


def logits(config: ModelConfig, weights: Weights, y: Array) -> Array:
    """Return the logits (…, V) after outputs of the recurrent layers (…, H)."""
    for k in range(config.layers_after):
        y = gelu(y @ weights[f"after.{k}.weight"].T + weights[f"after.{k}.bias"])
    if not config.tie_weights:
        return np.asarray(y @ weights["head.weight"].T + weights["head.bias"])
    if "projection.weight" in weights:
        y = y @ weights["projection.weight"].T
    return np.asarray(y @ weights["embedding.weight"].T + weights["bias"])
