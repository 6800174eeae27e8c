"""The shape of a model: its configuration, and how many weights that makes. Without torch, for those who only read."""

from dataclasses import dataclass
from typing import Literal

from unroll.errors import UserError

Skip = Literal["none", "residual", "sum"]
Init = Literal["fan_in", "torch"]

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
    init: Init = "fan_in"
    """How a recurrent layer's input weights start: uniform in ±√(3/I), so that I inputs of unit variance give gates
    of unit variance (LeCun et al. 1998), or in ±1/√H, as in torch.nn."""
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
                raise UserError(
                    f"{name} is {getattr(self, name)}",
                    allowed=f"1 to {MAX_PARAMETERS:,}",
                    fix="choose a number from that range, or leave it out",
                )
        for name in ("layers_before", "layers_after"):
            if not 0 <= getattr(self, name) <= MAX_PARAMETERS:
                raise UserError(
                    f"{name} is {getattr(self, name)}",
                    allowed=f"0 to {MAX_PARAMETERS:,}",
                    fix="choose a number from that range, or leave it out",
                )
        for name in ("dropout", "input_dropout", "embedding_dropout", "weight_drop"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"{name} is {getattr(self, name)}",
                    allowed="0 up to, not including, 1",
                    fix="write for example 0.2, or leave it out",
                )
        if self.arch not in ("lstm", "gru", "rnn", "window"):
            raise UserError(f"arch is {self.arch!r}", allowed="lstm, gru, rnn, window", fix="choose one of them")
        if self.skip not in ("none", "residual", "sum"):
            raise UserError(f"skip is {self.skip!r}", allowed="none, residual, sum", fix="choose one of them")
        if self.init not in ("fan_in", "torch"):
            raise UserError(f"init is {self.init!r}", allowed="fan_in, torch", fix="choose one of them")
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
