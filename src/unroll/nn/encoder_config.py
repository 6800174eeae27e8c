"""The shape of an encoder, which reads rows from both ends, and of the classifier on it. Without torch."""

from dataclasses import dataclass
from math import prod

from unroll.errors import UserError, check_choice, check_fields
from unroll.nn.arch import RECURRENT, Cell, layer_shapes
from unroll.nn.config import Skip, check_count, check_shape

POOLINGS = ("last", "mean", "max", "attention")


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of recurrent layers over the units of a row, words or characters, and what is dropped in training."""

    vocab_size: int
    """Number of units; that of the texts, so leave it out."""
    chars: int = 0
    """Number of characters that words are read by; that of the texts, so leave it out."""
    arch: Cell = "lstm"
    """The architecture."""
    embedding_size: int = 64
    """Size of a unit's vector."""
    char_embedding_size: int = 25
    """Size of a character's vector."""
    char_hidden_size: int = 0
    """Units of the recurrent layer over a word's characters, in each direction; 0 does without."""
    hidden_size: int = 128
    """Number of units of each recurrent layer, in each direction."""
    num_layers: int = 1
    """Number of recurrent layers."""
    bidirectional: bool = True
    """Whether a second network reads each row from its end."""
    skip: Skip = "none"
    """What joins several layers: `residual` adds a layer's input to its output, `sum` adds up the outputs of all."""
    forget_bias: float = 1.0
    """Start of the forget gate's bias: of an LSTM f, of a minGRU 1 - z."""
    embedding_dropout: float = 0.0
    """Probability of reading a unit as an unknown one."""
    input_dropout: float = 0.0
    """Probability of dropping an element of a unit's vector."""
    dropout: float = 0.0
    """Probability of dropping an output of a recurrent layer, between layers and of what the head reads."""
    weight_drop: float = 0.0
    """Probability of dropping a recurrent weight (Merity et al. 2018)."""

    def __post_init__(self) -> None:
        check_shape(self, LEAST, RECURRENT)
        check_count(encoder_parameters(self))

    @property
    def directions(self) -> tuple[str, ...]:
        """The names of the networks: `forwards`, and `backwards` of a bidirectional encoder."""
        return ("forwards", "backwards") if self.bidirectional else ("forwards",)

    @property
    def input_size(self) -> int:
        """Size I of what the first layer reads of a unit: its vector, and what its characters say of it."""
        return self.embedding_size + 2 * self.char_hidden_size

    @property
    def output_size(self) -> int:
        """Size D·H of the outputs of D directions."""
        return len(self.directions) * self.hidden_size


LEAST = {"vocab_size": 1, "chars": 0, "embedding_size": 1, "char_embedding_size": 1, "char_hidden_size": 0,
         "hidden_size": 1, "num_layers": 1}  # fmt: skip
"""The least that sizes and numbers of layers may be."""


@dataclass(frozen=True)
class ClassifierConfig(EncoderConfig):
    """The shape of an encoder with a head that tells labels."""

    labels: int = 2
    """Number of labels; that of the examples, so leave it out."""
    multi_label: bool = False
    """Whether a text may have any number of labels, or else exactly one."""
    pooling: str = "max"
    """How a row's outputs become one vector: its `last` states, or the `mean`, the `max` or a weighted sum
    (`attention`) of all; several with commas between them are put side by side."""
    attention_size: int = 64
    """Number of units that weigh outputs in the pooling `attention`."""
    perturbation: float = 0.0
    """Length of the step in the worst direction by which the units' vectors of a text are also trained (Miyato et al.
    2017), reached after two fifths of the training; 0 trains on the text alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.poolings:
            check_choice("pooling", name, POOLINGS)
        if len(set(self.poolings)) < len(self.poolings):
            raise UserError(f"pooling is {self.pooling!r}", allowed="each name once", fix="leave out the second")
        right = 0 <= self.perturbation < 1e6
        check_fields(self, ("perturbation", right, "0 or more", "write for example 1, or leave it out"))
        for name, least in (("labels", 1 if self.multi_label else 2), ("attention_size", 1)):
            if not least <= getattr(self, name) <= 2**24:
                raise UserError(f"{name} is {getattr(self, name)}", allowed=f"{least} to {2**24:,}")
        check_count(classifier_parameters(self))

    @property
    def poolings(self) -> tuple[str, ...]:
        """The ways of pooling, in the order in which their results stand side by side."""
        return tuple(name.strip() for name in self.pooling.split(","))

    @property
    def pooled_size(self) -> int:
        """Size P of what the head reads."""
        return len(self.poolings) * self.output_size


def encoder_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of an encoder, as `unroll.nn.encoder.Encoder` has them."""
    named: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size, config.embedding_size)}
    if size := config.char_hidden_size:
        named["characters.embedding.weight"] = (config.chars, config.char_embedding_size)
        of_layer = layer_shapes(config.arch, config.char_embedding_size, size)
        for direction in ("forwards", "backwards"):
            named |= {f"characters.{direction}.{name}": shape for name, shape in of_layer.items()}
    for k in range(config.num_layers):
        of_layer = layer_shapes(config.arch, config.output_size if k else config.input_size, config.hidden_size)
        for direction in config.directions:
            named |= {f"{direction}.{k}.{name}": shape for name, shape in of_layer.items()}
    return named


def classifier_shapes(config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a classifier."""
    named = encoder_shapes(config)
    if "attention" in config.poolings:
        named["attention.weight"] = (config.attention_size, config.output_size)
        named |= {"attention.bias": (config.attention_size,), "attention.vector": (config.attention_size,)}
    return named | {"head.weight": (config.labels, config.pooled_size), "head.bias": (config.labels,)}


def encoder_parameters(config: EncoderConfig) -> int:
    """Return how many weights an encoder has, without making it: by arithmetic, as a file may claim any size."""

    def of_layer(inputs: int, hidden: int) -> int:
        return sum(map(prod, layer_shapes(config.arch, inputs, hidden).values()))

    count = config.vocab_size * config.embedding_size
    if size := config.char_hidden_size:
        count += config.chars * config.char_embedding_size + 2 * of_layer(config.char_embedding_size, size)
    count += len(config.directions) * of_layer(config.input_size, config.hidden_size)
    further = len(config.directions) * of_layer(config.output_size, config.hidden_size)
    return count + (config.num_layers - 1) * further


def classifier_parameters(config: ClassifierConfig) -> int:
    """Return how many weights a classifier has, without making it."""
    head = (config.pooled_size + 1) * config.labels
    attention = config.attention_size * (config.output_size + 2) if "attention" in config.poolings else 0
    return encoder_parameters(config) + attention + head
