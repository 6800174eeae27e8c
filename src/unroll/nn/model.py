"""The language model: `model(ids, state) -> (logits, state)`, the one contract of every architecture."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unroll.errors import UserError
from unroll.nn.dropout import drop, drop_symbols
from unroll.nn.recurrent import Engine, Recurrent, Skip
from unroll.nn.state import State
from unroll.nn.window import Window

MAX_PARAMETERS = 2**31


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model and what is dropped while it trains."""

    vocab_size: int
    arch: Literal["lstm", "gru", "rnn", "window"] = "lstm"
    embedding_size: int = 64
    hidden_size: int = 384
    num_layers: int = 1
    window: int = 8
    """How many symbols the window model sees; the others ignore it."""
    layers_before: int = 0
    """Feed-forward layers between the embedding and the recurrent layers, of `embedding_size`."""
    layers_after: int = 0
    """Feed-forward layers between the recurrent layers and the output, of `hidden_size`."""
    skip: Skip = "none"
    tie_weights: bool = False
    forget_bias: float = 1.0
    dropout: float = 0.0
    """On the outputs of every recurrent layer, between layers and before the output layer."""
    input_dropout: float = 0.0
    embedding_dropout: float = 0.0
    weight_drop: float = 0.0
    variational: bool = False
    """One dropout mask for a whole window instead of one for each step."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "embedding_size", "hidden_size", "num_layers", "window"):
            if not 1 <= getattr(self, name) <= MAX_PARAMETERS:
                raise UserError(f"{name} is {getattr(self, name)}", allowed=f"1 to {MAX_PARAMETERS:,}")
        for name in ("layers_before", "layers_after"):
            if not 0 <= getattr(self, name) <= MAX_PARAMETERS:
                raise UserError(f"{name} is {getattr(self, name)}", allowed=f"0 to {MAX_PARAMETERS:,}")
        for name in ("dropout", "input_dropout", "embedding_dropout", "weight_drop"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", allowed="0 up to, not including, 1")
        if self.arch not in ("lstm", "gru", "rnn", "window"):
            raise UserError(f"arch is {self.arch!r}", allowed="lstm, gru, rnn, window")
        if self.skip not in ("none", "residual", "sum"):
            raise UserError(f"skip is {self.skip!r}", allowed="none, residual, sum")
        if (count := parameter_count(self)) > MAX_PARAMETERS:
            raise UserError(
                f"a model of {count:,} parameters",
                allowed=f"at most {MAX_PARAMETERS:,}",
                fix="make hidden_size, num_layers or the vocabulary smaller",
            )


def parameter_count(config: ModelConfig) -> int:
    """Return how many weights a model has, without making it."""
    vocab, emb, hidden = config.vocab_size, config.embedding_size, config.hidden_size
    count = vocab * emb + config.layers_before * (emb * emb + emb) + config.layers_after * (hidden * hidden + hidden)
    # By arithmetic alone: a file that claims a trillion layers is refused at once.
    if config.arch == "window":
        first, further = (config.window * emb + 1) * hidden, (hidden + 1) * hidden
    else:
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[config.arch]
        first, further = gates * hidden * (emb + hidden + 2), gates * hidden * (2 * hidden + 2)
    count += first + (config.num_layers - 1) * further
    if config.tie_weights:
        return count + (hidden * emb if hidden != emb else 0) + vocab
    return count + (hidden + 1) * vocab


class Model(nn.Module):
    """Embedding, feed-forward layers, recurrent layers, feed-forward layers, output. It never stores a state."""

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
        else:
            self.head = nn.Linear(hidden, config.vocab_size)
            nn.init.zeros_(self.head.bias)

    def fresh_state(self, batch_size: int) -> State:
        """Return the state of `batch_size` rows before anything was read."""
        return self.recurrent.fresh_state(batch_size, self.embedding.weight)

    def forward(
        self, ids: Tensor, state: State | None = None, resets: Tensor | None = None, engine: Engine = "fused"
    ) -> tuple[Tensor, State]:
        """Read ids (B, T) from `state` and return logits (B, T, V) for the next symbols, and the state after the last.

        Rows start afresh before each step where `resets` (B, T) is True.
        """
        y, state = self.hidden(ids, state, resets, engine)
        return self.logits(y).transpose(0, 1), state

    def hidden(
        self, ids: Tensor, state: State | None = None, resets: Tensor | None = None, engine: Engine = "fused"
    ) -> tuple[Tensor, State]:
        """Return the outputs of the recurrent layers, time-major (T, B, H), and the state."""
        config = self.config
        table = drop_symbols(self.embedding.weight, config.embedding_dropout, training=self.training)
        x = F.embedding(ids.transpose(0, 1), table)  # (T, B, E)
        x = drop(x, config.input_dropout, variational=config.variational, training=self.training)
        for layer in self.before:
            x = F.gelu(layer(x))
        resets = None if resets is None else resets.transpose(0, 1)
        if isinstance(self.recurrent, Window):
            return self.recurrent(x, state, resets)  # type: ignore[no-any-return]
        return self.recurrent(x, state, resets, engine)  # type: ignore[no-any-return]

    def logits(self, y: Tensor) -> Tensor:
        """Return the logits (…, V) of recurrent outputs (…, H)."""
        config = self.config
        y = drop(y, config.dropout, variational=config.variational, training=self.training)
        for layer in self.after:
            y = drop(F.gelu(layer(y)), config.dropout, variational=config.variational, training=self.training)
        if config.tie_weights:
            return F.linear(self.projection(y), self.embedding.weight, self.bias)
        return self.head(y)  # type: ignore[no-any-return]
