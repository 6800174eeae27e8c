"""The shape of a model: its configuration, and how many weights that makes. Without torch, for those who only read."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Literal, get_args

from unroll.errors import UserError, check_choice, check_fields
from unroll.nn.arch import ARCHITECTURES, DEFAULT, RECURRENT, Arch, Init, layer_shapes

Skip = Literal["none", "residual", "sum"]

MAX_PARAMETERS = 2**31
LEAST = {"vocab_size": 1, "embedding_size": 1, "hidden_size": 1, "num_layers": 1, "window": 1,
         "layers_before": 0, "layers_after": 0}  # fmt: skip
"""The least that sizes and numbers of layers may be."""

DROPPED = ("dropout", "input_dropout", "embedding_dropout", "channel_dropout", "weight_drop")
"""Probabilities with which parts of a network are left out in training."""


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model and what is dropped while it trains."""

    vocab_size: int
    """Number of symbols; that of the text, so leave it out."""
    arch: Arch = DEFAULT
    """The architecture."""
    embedding_size: int = 64
    """Size of a symbol's vector."""
    hidden_size: int = 384
    """Number of units of each recurrent layer."""
    num_layers: int = 1
    """Number of recurrent layers."""
    window: int = 8
    """How many symbols the window model sees; the others ignore it."""
    layers_before: int = 0
    """Feed-forward layers between the embedding and the recurrent layers, of `embedding_size`."""
    layers_after: int = 0
    """Feed-forward layers between the recurrent layers and the output, of `hidden_size`."""
    skip: Skip = "none"
    """What joins several layers: `residual` adds a layer's input to its output, `sum` adds up the outputs of all."""
    tie_weights: bool = False
    """Whether the output layer uses the weights of the embedding."""
    adaptive_softmax: str = ""
    """Cut-offs of an adaptive softmax (Grave et al. 2017) for large vocabularies whose ids fall in frequency, such as
    "2000,10000": the rarer symbols behind each share one output of the head and are told apart by smaller layers."""
    forget_bias: float = 1.0
    """Start of the forget gate's bias: of an LSTM f, of a minGRU 1 - z."""
    init: Init = "fan_in"
    """How a recurrent layer's input weights start: uniform in ±√(3/I), so that I inputs of unit variance give gates
    of unit variance (LeCun et al. 1998), or in ±1/√H, as in torch.nn."""
    dropout: float = 0.0
    """Probability of dropping an output of a recurrent layer, between layers and before the output layer."""
    input_dropout: float = 0.0
    """Probability of dropping an element of an embedded symbol."""
    embedding_dropout: float = 0.0
    """Probability of dropping a symbol's whole embedding."""
    weight_drop: float = 0.0
    """Probability of dropping a recurrent weight (Merity et al. 2018)."""
    variational: bool = False
    """One dropout mask for a whole window instead of one for each step."""

    def __post_init__(self) -> None:
        check_shape(self, LEAST, ARCHITECTURES)
        check_choice("init", self.init, get_args(Init))
        self._check_cutoffs()
        check_count(parameter_count(self))

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """The cut-offs of the adaptive softmax that lie within the vocabulary; without one it is an ordinary one."""
        cuts = (int(cut) for cut in self.adaptive_softmax.split(",") if cut)
        return tuple(cut for cut in cuts if cut < self.vocab_size)

    def _check_cutoffs(self) -> None:
        if not self.adaptive_softmax:
            return
        if not re.fullmatch(r"[1-9][0-9]{0,9}(,[1-9][0-9]{0,9})*", self.adaptive_softmax):
            raise UserError(
                f"adaptive_softmax is {self.adaptive_softmax[:40]!r}",
                allowed="comma-separated numbers",
                fix="write for example 2000,10000, or leave it out",
            )
        cuts = [int(cut) for cut in self.adaptive_softmax.split(",")]
        if any(one >= other for one, other in pairwise(cuts)):
            raise UserError(
                f"adaptive_softmax is {self.adaptive_softmax[:40]!r}",
                allowed="an increasing list of numbers",
                fix="write for example 2000,10000",
            )
        if len(cuts) > 10 or self.hidden_size < 4 ** len(cuts):
            raise UserError(
                f"{len(cuts)} cut-offs for a hidden_size of {self.hidden_size}",
                allowed="clusters of a quarter, a sixteenth … of hidden_size with at least one unit each",
                fix="leave out a cut-off, or make hidden_size larger",
            )
        if self.tie_weights:
            raise UserError(
                "tie_weights and adaptive_softmax exclude each other: there is no one output layer to be tied",
                allowed="one of them",
                fix="leave one out",
            )


def check_shape(config: Any, least: Mapping[str, int], architectures: Collection[str]) -> None:
    """Raise UserError for a size below its `least`, another architecture, and what is dropped where nothing is."""
    for name, lowest in least.items():
        right, allowed = lowest <= getattr(config, name) <= MAX_PARAMETERS, f"{lowest} to {MAX_PARAMETERS:,}"
        check_fields(config, (name, right, allowed, "choose a number from that range, or leave it out"))
    for name in DROPPED:  # not every shape has all of them
        right, allowed = 0 <= getattr(config, name, 0.0) < 1, "0 up to, not including, 1"
        check_fields(config, (name, right, allowed, "write for example 0.2, or leave it out"))
    check_choice("arch", config.arch, architectures)
    if config.weight_drop and config.arch in RECURRENT and not ARCHITECTURES[config.arch].reads_state:
        raise UserError(
            f"weight_drop is {config.weight_drop}, but {ARCHITECTURES[config.arch].article} has no recurrent weights",
            allowed="0",
            fix="leave it out",
        )
    check_choice("skip", config.skip, get_args(Skip))


def check_count(parameters: int) -> None:
    """Raise UserError for too many parameters."""
    if parameters > MAX_PARAMETERS:
        raise UserError(
            f"a model of {parameters:,} parameters",
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
        first, further = (
            sum(map(prod, layer_shapes(config.arch, inputs, hidden).values())) for inputs in (emb, hidden)
        )
    count += first + (config.num_layers - 1) * further
    if config.tie_weights:
        return count + (hidden * emb if hidden != emb else 0) + vocab
    if cuts := config.cutoffs:
        sizes = [end - start for start, end in pairwise((*cuts, vocab))]
        narrow = [hidden >> 2 * (k + 1) for k in range(len(cuts))]  # a quarter, a sixteenth …
        tails = sum(small * (hidden + size) for small, size in zip(narrow, sizes, strict=True))
        return count + hidden * (cuts[0] + len(cuts)) + tails
    return count + (hidden + 1) * vocab
