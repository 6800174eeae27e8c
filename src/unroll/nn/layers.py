"""Recurrent layers over rows of vectors of different length, from one end or from both, and a head on them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unroll.nn.arch import ARCHITECTURES
from unroll.nn.cells import CellWeights
from unroll.nn.dropout import drop
from unroll.nn.layers_config import LayersConfig, PoolingConfig
from unroll.nn.learner import Learner
from unroll.nn.pooling import Attention, inside, pool_max, pool_mean
from unroll.nn.recurrent import Engine, RecurrentLayer, run_fused, run_stepwise
from unroll.state import LayerState, State

Run = Callable[[str, Tensor, LayerState, CellWeights], Tensor]
"""Runs a layer, called `forwards0`, `characters/backwards` and so on, from a state over vectors (T, B, I), in the order
in which it reads them; returns its outputs (T, B, H)."""


def backwards(x: Tensor, lengths: Tensor) -> Tensor:
    """Return `x` (T, B, …) with each row reversed within its own length; what lies behind it stays. Undoes itself."""
    steps = torch.arange(len(x), device=x.device).unsqueeze(1)
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x[places, torch.arange(x.shape[1], device=x.device)]


def last_of(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the output (B, H) at the last unit of each row of `y` (T, B, H); of an empty row, zero."""
    last = y[(lengths - 1).clamp(min=0), torch.arange(y.shape[1], device=y.device)]
    return last.masked_fill((lengths == 0).unsqueeze(1), 0.0)


class Layers(Learner):
    """Recurrent layers in one direction or two.

    Layer k of two directions reads the concatenated outputs of both directions of layer k-1, as in torch.nn. Rows are
    padded at the end and read in one direction; for the other, each is reversed within its own length. So a row's
    result does not depend on what pads it, and fused kernels read whole batches.
    """

    config: LayersConfig

    def __init__(self, config: LayersConfig) -> None:
        super().__init__()
        self.config = config

    def add_layers(self) -> None:
        """Make the weights of all layers, after those below them."""
        config = self.config
        for direction in config.directions:
            sizes = [config.input_size, *[config.output_size] * (config.num_layers - 1)]
            layers = (
                RecurrentLayer(config.arch, size, config.hidden_size, config.forget_bias, "torch") for size in sizes
            )
            self.add_module(direction, nn.ModuleList(layers))

    def fresh_state(self, batch_size: int) -> State:
        """Return (): every row is read from its start, and nothing is carried on."""
        return ()

    def read(self, x: Tensor, lengths: Tensor, engine: Engine | Run = "fused") -> tuple[Tensor, Tensor]:
        """Return the outputs (T, B, D·H) over vectors `x` (T, B, I), zero behind a row's end, and the last of each
        direction (B, D·H)."""
        config, mask = self.config, inside(lengths, len(x)).unsqueeze(2)
        total: Tensor | None = None
        for k in range(config.num_layers):
            y = torch.cat([self._direction(name, k, x, lengths, engine) for name in config.directions], dim=2)
            y = y + x if config.skip == "residual" and k else y
            total = y if total is None else total + y
            x = drop(y, config.dropout, variational=False, training=self.training) if k < config.num_layers - 1 else y
        assert total is not None
        y = (total if config.skip == "sum" else x) * mask
        size = config.hidden_size
        last = last_of(y[:, :, :size], lengths)
        return y, torch.cat([last, y[0, :, size:]], dim=1)

    def _direction(self, name: str, k: int, x: Tensor, lengths: Tensor, engine: Engine | Run) -> Tensor:
        layer = self.get_submodule(name)[k]  # type: ignore[index]
        return run_layer(self.config, layer, x, lengths, engine, f"{name}{k}")


class PooledLayers(Layers):
    """Recurrent layers, pooling, and a head that reads the one vector of each row."""

    config: PoolingConfig

    def add_head(self, outputs: int) -> None:
        """Make the weights of the pooling and of a head with so many outputs, after those of the layers."""
        config = self.config
        if "attention" in config.poolings:
            self.attention = Attention(config.output_size, config.attention_size)
        self.head = nn.Linear(config.pooled_size, outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def logits(self, y: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
        """Return the outputs (B, K) of the head after what `read` gave: logits of labels, or numbers."""
        pooled = self.pooled(y, last, lengths)
        logits: Tensor = self.head(drop(pooled, self.config.dropout, variational=False, training=self.training))
        return logits

    def pooled(self, y: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
        """Return the one vector (B, P) of each row, after what `read` gave."""
        pools = [self._pool(name, y, last, lengths) for name in self.config.poolings]
        return torch.cat(pools, dim=1)

    def _pool(self, name: str, y: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
        match name:
            case "last":
                return last
            case "mean":
                return pool_mean(y, lengths)
            case "max":
                return pool_max(y, lengths)
            case _:
                weighted: Tensor = self.attention(y, lengths)
                return weighted


def run_layer(
    config: LayersConfig, layer: nn.Module, x: Tensor, lengths: Tensor, engine: Engine | Run, name: str
) -> Tensor:
    """Return the outputs (T, B, H) of a layer over `x` (T, B, I), each row from its start or, `backwards`, its end."""
    assert isinstance(layer, RecurrentLayer)
    reverse = "backwards" in name
    x = backwards(x, lengths) if reverse else x
    state = tuple(x.new_zeros(x.shape[1], layer.hidden_size) for _ in ARCHITECTURES[config.arch].state)
    w = layer.weights(config.weight_drop)
    if callable(engine):
        y = engine(name, x, state, w)
    elif engine == "fused":
        y, _ = run_fused(config.arch, x, state, w, training=layer.training)
    else:
        y, _, _ = run_stepwise(config.arch, x, state, w)
    return backwards(y, lengths) if reverse else y
