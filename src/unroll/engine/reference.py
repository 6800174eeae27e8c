"""The network in numpy: each cell's equation on many rows at once, for any float type. The kernels' reference."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.engine.checks import state_shapes
from unroll.engine.draw import nats_of_rows
from unroll.nn.config import ModelConfig
from unroll.state import LayerState, State

Array = NDArray[Any]
Weights = dict[str, Array]

_erf = np.frompyfunc(math.erf, 1, 1)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + e^-x), by the hyperbolic tangent, which never overflows."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def gelu(x: Array) -> Array:
    """Return x Φ(x), exact (Hendrycks & Gimpel 2016)."""
    return np.asarray(0.5 * x * (1 + np.asarray(_erf(x / math.sqrt(2)), x.dtype)))


def fresh_state(config: ModelConfig, rows: int, dtype: Any = np.float32) -> State:
    """Return the state of rows that have read nothing: zeros."""
    return tuple(tuple(np.zeros(shape, dtype) for shape in layer) for layer in state_shapes(config, rows))


def embeddings(config: ModelConfig, weights: Weights) -> Array:
    """Return the first layer's input for each symbol (V, E): its embedding, through the layers before."""
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
    """Run one layer over `x` (T, B, I)."""
    name, hidden, step = f"recurrent.layers.{k}", config.hidden_size, STEPS[config.arch]
    recurrent = weights.get(f"{name}.weight_hh", np.zeros((0, hidden), x.dtype)).T
    bias = weights.get(f"{name}.bias_hh", np.zeros(0, x.dtype))
    inputs = x @ weights[f"{name}.weight_ih"].T + weights[f"{name}.bias_ih"]  # (T, B, G·H)
    outputs = np.empty((*x.shape[:2], hidden), x.dtype)
    for t in range(len(x)):
        state = step(inputs[t], state[0] @ recurrent + bias, state)
        outputs[t] = state[0]
    return outputs, state


# ---- the equations of unroll.nn.cells, from what the input (x) and the state (z) give to the blocks, each (B, G·H)


def lstm_step(x: Array, z: Array, state: LayerState) -> LayerState:
    """c = f · c₋₁ + i · g and h = o · tanh c."""
    hidden, z = state[1].shape[1], z + x
    i, f = np.split(sigmoid(z[:, : 2 * hidden]), 2, axis=1)
    c = f * state[1] + i * np.tanh(z[:, 2 * hidden : 3 * hidden])
    return sigmoid(z[:, 3 * hidden :]) * np.tanh(c), c


def gru_step(x: Array, z: Array, state: LayerState) -> LayerState:
    """h = (1 - z) · n + z · h₋₁, where n = tanh(x + r · z)."""
    (h,), hidden = state, state[0].shape[1]
    r, update = np.split(sigmoid(x[:, : 2 * hidden] + z[:, : 2 * hidden]), 2, axis=1)
    n = np.tanh(x[:, 2 * hidden :] + r * z[:, 2 * hidden :])
    return ((1 - update) * n + update * h,)


def mingru_step(x: Array, z: Array, state: LayerState) -> LayerState:
    """h = (1 - z) · h₋₁ + z · n, of which the state gives nothing."""
    update, n = np.split(x, 2, axis=1)
    update = sigmoid(update)
    return ((1 - update) * state[0] + update * n,)


def rnn_step(x: Array, z: Array, state: LayerState) -> LayerState:
    """h = tanh(x + z)."""
    return (np.tanh(x + z),)


STEPS = {"lstm": lstm_step, "gru": gru_step, "mingru": mingru_step, "rnn": rnn_step}


def _run_window(config: ModelConfig, weights: Weights, x: Array, state: State) -> tuple[Array, State]:
    """Run the fixed-window network (Bengio et al. 2003) over the last n vectors at every step."""
    n, steps = config.window, len(x)
    inputs = np.concatenate([state[0][0].swapaxes(0, 1), x])  # (n-1+T, B, E)
    y = np.concatenate([inputs[k : k + steps] for k in range(n)], axis=2) if n > 1 else x
    for k in range(config.num_layers):
        y = np.tanh(y @ weights[f"recurrent.layers.{k}.weight"].T + weights[f"recurrent.layers.{k}.bias"])
    return y, ((np.ascontiguousarray(inputs[steps:].swapaxes(0, 1)),),)


def logits(config: ModelConfig, weights: Weights, y: Array) -> Array:
    """Return the logits (…, V) after outputs of the recurrent layers (…, H); of an adaptive softmax all ln P."""
    y = _after(config, weights, y)
    if config.cutoffs:
        return _adaptive_logits(config, weights, y)
    return _output(config, weights, y)


def nats(config: ModelConfig, weights: Weights, y: Array, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return -ln P(target) (N,), in nats, after outputs of the recurrent layers (N, H)."""
    y = _after(config, weights, y)
    if config.cutoffs:
        return _adaptive_nats(config, weights, y, targets)
    return nats_of_rows(_output(config, weights, y), targets)


def _after(config: ModelConfig, weights: Weights, y: Array) -> Array:
    for k in range(config.layers_after):
        y = gelu(y @ weights[f"after.{k}.weight"].T + weights[f"after.{k}.bias"])
    return y


def _output(config: ModelConfig, weights: Weights, y: Array) -> Array:
    if not config.tie_weights:
        return np.asarray(y @ weights["head.weight"].T + weights["head.bias"])
    if "projection.weight" in weights:
        y = y @ weights["projection.weight"].T
    return np.asarray(y @ weights["embedding.weight"].T + weights["bias"])


# ---- the adaptive softmax (Grave et al. 2017), as torch.nn.AdaptiveLogSoftmaxWithLoss defines it, without its bias:
#   ln P(w) = ln softmax(A y)[w]                                        of a frequent symbol, w < c₀,
#   ln P(w) = ln softmax(A y)[c₀ + k] + ln softmax(C B y)[w - c_k]      of one of cluster k, c_k <= w < c_k+1.


def _adaptive_logits(config: ModelConfig, weights: Weights, y: Array) -> NDArray[np.float64]:
    """Return ln P of all symbols (…, V) after inputs of the output layer (…, H)."""
    first, head = config.cutoffs[0], _log_softmax(y @ weights["adaptive.head.weight"].T)
    clusters = [head[..., first + k, None] + _log_softmax(_cluster(weights, k, y)) for k in range(len(config.cutoffs))]
    return np.concatenate([head[..., :first], *clusters], axis=-1)


def _adaptive_nats(config: ModelConfig, weights: Weights, y: Array, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return -ln P(target) (N,) after inputs of the output layer (N, H); computes only the clusters of the targets."""
    cuts, rows = np.array(config.cutoffs), np.arange(len(y))
    number = np.searchsorted(cuts, targets, side="right")  # of its cluster, from 1; 0 for a frequent symbol
    column = np.where(number == 0, targets, cuts[0] + number - 1)
    nats = -_log_softmax(y @ weights["adaptive.head.weight"].T)[rows, column]
    for k, start in enumerate(cuts):
        inside = rows[number == k + 1]
        if len(inside):
            of_cluster = _log_softmax(_cluster(weights, k, y[inside]))
            nats[inside] -= of_cluster[np.arange(len(inside)), targets[inside] - start]
    return np.asarray(nats)


def _cluster(weights: Weights, k: int, y: Array) -> Array:
    return np.asarray(y @ weights[f"adaptive.tail.{k}.0.weight"].T @ weights[f"adaptive.tail.{k}.1.weight"].T)


def _log_softmax(x: Array) -> NDArray[np.float64]:
    x = x.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))
