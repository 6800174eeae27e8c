"""The shape of recurrent layers over vectors, in one direction or two, and of what is pooled. Without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from unroll.errors import UserError, check_choice
from unroll.nn.arch import RECURRENT, Cell, layer_shapes
from unroll.nn.config import Skip, check_shape

POOLINGS = ("last", "mean", "max", "attention")


@dataclass(frozen=True)
class LayersConfig:
    """The shape of recurrent layers that read rows of vectors, and what is dropped in training."""

    arch: Cell = "lstm"
    """The architecture."""
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
    input_dropout: float = 0.0
    """Probability of dropping an element of a vector that the first layer reads."""
    dropout: float = 0.0
    """Probability of dropping an output of a recurrent layer, between layers and of what the head reads."""
    weight_drop: float = 0.0
    """Probability of dropping a recurrent weight (Merity et al. 2018)."""

    def __post_init__(self) -> None:
        check_shape(self, self.least, RECURRENT)

    @property
    def least(self) -> dict[str, int]:
        """The least that sizes and numbers of layers may be."""
        return {"hidden_size": 1, "num_layers": 1}

    @property
    def directions(self) -> tuple[str, ...]:
        """The names of the networks: `forwards`, and `backwards` of a bidirectional one."""
        return ("forwards", "backwards") if self.bidirectional else ("forwards",)

    @property
    def input_size(self) -> int:
        """Size I of the vectors that the first layer reads."""
        raise NotImplementedError

    @property
    def output_size(self) -> int:
        """Size D·H of the outputs of D directions."""
        return len(self.directions) * self.hidden_size


@dataclass(frozen=True)
class PoolingConfig(LayersConfig):
    """The shape of recurrent layers whose outputs over a row become one vector, which a head reads."""

    pooling: str = "max"
    """How a row's outputs become one vector: its `last` states, or the `mean`, the `max` or a weighted sum
    (`attention`) of all; several with commas between them are put side by side."""
    attention_size: int = 64
    """Number of units that weigh outputs in the pooling `attention`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.poolings:
            check_choice("pooling", name, POOLINGS)
        if len(set(self.poolings)) < len(self.poolings):
            raise UserError(f"pooling is {self.pooling!r}", allowed="each name once", fix="leave out the second")
        check_outputs("attention_size", self.attention_size, 1)

    @property
    def poolings(self) -> tuple[str, ...]:
        """The ways of pooling, in the order in which their results stand side by side."""
        return tuple(name.strip() for name in self.pooling.split(","))

    @property
    def pooled_size(self) -> int:
        """Size P of what the head reads."""
        return len(self.poolings) * self.output_size


def check_outputs(name: str, size: int, least: int) -> None:
    """Raise UserError for a number of outputs below the `least`, and for one that no head has."""
    if not least <= size <= 2**24:
        raise UserError(f"{name} is {size}", allowed=f"{least} to {2**24:,}")


def layers_shapes(config: LayersConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of the layers, as `unroll.nn.layers.Layers` has them."""
    named: dict[str, tuple[int, ...]] = {}
    for k in range(config.num_layers):
        of_layer = layer_shapes(config.arch, config.output_size if k else config.input_size, config.hidden_size)
        for direction in config.directions:
            named |= {f"{direction}.{k}.{name}": shape for name, shape in of_layer.items()}
    return named


def pooling_shapes(config: PoolingConfig, outputs: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of the pooling and of a head with so many outputs."""
    named: dict[str, tuple[int, ...]] = {}
    if "attention" in config.poolings:
        named["attention.weight"] = (config.attention_size, config.output_size)
        named |= {"attention.bias": (config.attention_size,), "attention.vector": (config.attention_size,)}
    return named | {"head.weight": (outputs, config.pooled_size), "head.bias": (outputs,)}


def layers_parameters(config: LayersConfig) -> int:
    """Return how many weights the layers have: by arithmetic, as a file may claim any number of layers."""
    first, further = (
        total(layer_shapes(config.arch, inputs, config.hidden_size))
        for inputs in (config.input_size, config.output_size)
    )
    return len(config.directions) * (first + (config.num_layers - 1) * further)


def total(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many weights have these shapes."""
    return sum(map(prod, shapes.values()))
