"""The language model: `model(ids, state) -> (logits, state)`, the one contract of every architecture."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unroll.nn.config import ModelConfig
from unroll.nn.dropout import drop, drop_symbols
from unroll.nn.learner import Learner
from unroll.nn.loss import cross_entropy
from unroll.nn.recurrent import Engine, Hold, Recurrent
from unroll.nn.window import Window
from unroll.state import State


class Model(Learner):
    """Embedding, feed-forward layers, recurrent layers, feed-forward layers, output. It never stores a state."""

    config: ModelConfig

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        emb, hidden = config.embedding_size, config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, emb)
        self.before = nn.ModuleList(nn.Linear(emb, emb) for _ in range(config.layers_before))
        self.recurrent: Recurrent | Window
        if config.arch == "window":
            self.recurrent = Window(emb, hidden, config.num_layers, config.window, config.dropout, config.variational)
        else:
            self.recurrent = Recurrent(
                config.arch,
                emb,
                hidden,
                config.num_layers,
                skip=config.skip,
                forget_bias=config.forget_bias,
                init=config.init,
                dropout=config.dropout,
                weight_drop=config.weight_drop,
                variational=config.variational,
            )
        self.after = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(config.layers_after))
        if config.tie_weights:
            # Press & Wolf 2017; with a projection where the sizes differ (Melis et al. 2018).
            self.projection = nn.Linear(hidden, emb, bias=False) if hidden != emb else nn.Identity()
            self.bias = nn.Parameter(torch.zeros(config.vocab_size))
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        elif config.cutoffs:
            self.adaptive = nn.AdaptiveLogSoftmaxWithLoss(hidden, config.vocab_size, list(config.cutoffs))
        else:
            self.head = nn.Linear(hidden, config.vocab_size)
            nn.init.zeros_(self.head.bias)

    def fresh_state(self, batch_size: int) -> State:
        """Return the state of `batch_size` rows before anything was read."""
        return self.recurrent.fresh_state(batch_size, self.embedding.weight)

    def depths(self) -> dict[str, int]:
        """Return the depth of each weight below the output: 1 in the last recurrent layer, most in the embedding."""
        layers, depths = self.config.num_layers, {}
        for name, _ in self.named_parameters():
            if name.startswith("recurrent.layers."):
                depths[name] = layers - int(name.split(".")[2])
            elif name.startswith("before.") or (name == "embedding.weight" and not self.config.tie_weights):
                depths[name] = layers + 1
        return depths

    def forward(
        self, ids: Tensor, state: State | None = None, resets: Tensor | None = None, engine: Engine = "fused"
    ) -> tuple[Tensor, State]:
        """Read ids (B, T) from `state` and return logits (B, T, V) for the next symbols, and the state after the last.

        Rows start afresh before each step where `resets` (B, T) is True.
        """
        y, state = self.hidden(ids, state, resets, engine)
        return self.logits(y), state

    def loss(
        self, ids: Tensor, targets: Tensor, state: State | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read ids (B, T) from `state`; return the mean of -ln P(target) for targets (B, T), in nats, and the state."""
        y, state = self.hidden(ids, state, resets)
        return self.mean_nats(y, targets), state

    def mean_nats(self, y: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of -ln P(target) for targets (B, T) after outputs (B, T, H), in nats.

        The head decides how: an adaptive softmax computes only the clusters that targets lie in, never all logits.
        """
        if not self.config.cutoffs:
            logits = self.logits(y)
            with torch.autocast(y.device.type, enabled=False):
                return cross_entropy(logits, targets)
        y = self._before_head(y.transpose(0, 1))
        flat = y.reshape(-1, y.shape[-1]).to(self.embedding.weight.dtype)
        with torch.autocast(y.device.type, enabled=False):  # torch's module does not support it
            loss: Tensor = self.adaptive(flat, targets.transpose(0, 1).reshape(-1)).loss
        return loss

    def hidden(
        self, ids: Tensor, state: State | None = None, resets: Tensor | None = None, engine: Engine = "fused"
    ) -> tuple[Tensor, State]:
        """Read ids (B, T) and return the outputs of the recurrent layers (B, T, H), and the state."""
        config = self.config
        ids, resets = ids.transpose(0, 1), None if resets is None else resets.transpose(0, 1)
        x = self.embedding(ids)  # (T, B, E)
        x = drop_symbols(x, ids, config.vocab_size, config.embedding_dropout, training=self.training)
        x = drop(x, config.input_dropout, variational=config.variational, training=self.training)
        for layer in self.before:
            x = F.gelu(layer(x))
        if isinstance(self.recurrent, Window):
            y, after = self.recurrent(x, state, resets)
        else:
            y, after = self.recurrent(x, state, resets, engine)
        return y.transpose(0, 1), after

    def trace(
        self, ids: Tensor, state: State | None = None, holds: Mapping[int, Hold] | None = None
    ) -> tuple[Tensor, State, list[dict[str, Tensor]]]:
        """Read ids (B, T) step by step and return logits (B, T, V), the state, and what is inside at every step.

        That is, for every layer, gates and states by the name that the cell gives them, each (B, T, H); for a window,
        the outputs `h` alone. Only in evaluation mode: nothing is dropped. Layers named in `holds` are clamped.
        """
        assert not self.training
        x = self.embedding(ids.transpose(0, 1))
        for layer in self.before:
            x = F.gelu(layer(x))
        if isinstance(self.recurrent, Window):
            outputs, after = self.recurrent.trace(x, state)
            y, inside = outputs[-1], [{"h": output.transpose(0, 1)} for output in outputs]
        else:
            y, after, layers = self.recurrent.trace(x, state, holds)
            inside = [
                {name: torch.stack([getattr(step, name) for step in steps], dim=1) for name in steps[0]._fields}
                for steps in layers
            ]
        return self.logits(y.transpose(0, 1)), after, inside

    def logits(self, y: Tensor) -> Tensor:
        """Return the logits (…, V) after outputs (B, T, H) or (B, H); those of an adaptive softmax are ln P.

        Computed time-major, the order in which the outputs lie in memory.
        """
        y = self._before_head(y.transpose(0, -2))
        if self.config.tie_weights:
            logits = F.linear(self.projection(y), self.embedding.weight, self.bias)
        elif self.config.cutoffs:
            with torch.autocast(y.device.type, enabled=False):  # else ln P would be rounded to bfloat16
                flat = self.adaptive.log_prob(y.reshape(-1, y.shape[-1]).to(self.embedding.weight.dtype))
            logits = flat.view(*y.shape[:-1], -1)
        else:
            logits = self.head(y)
        return logits.transpose(0, -2)

    def _before_head(self, y: Tensor) -> Tensor:
        """Apply the feed-forward layers that follow the recurrent ones to outputs (T, B, H)."""
        config = self.config
        y = drop(y, config.dropout, variational=config.variational, training=self.training)
        for layer in self.after:
            y = drop(F.gelu(layer(y)), config.dropout, variational=config.variational, training=self.training)
        return y
