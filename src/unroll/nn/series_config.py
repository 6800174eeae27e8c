"""The shape of a network over sequences of vectors. Without torch."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from unroll.errors import check_choice, check_fields
from unroll.nn.config import check_count
from unroll.nn.layers_config import (
    PoolingConfig,
    check_outputs,
    layers_parameters,
    layers_shapes,
    pooling_shapes,
    total,
)

Task = Literal["classify", "regress", "forecast"]
"""What a network says of a sequence: a label, a number, or what follows."""
TASKS: tuple[Task, ...] = get_args(Task)
Answer = Literal["classify", "regress"]
"""The tasks of `SeriesConfig`."""


@dataclass(frozen=True)
class SeriesConfig(PoolingConfig):
    """The shape of recurrent layers over the vectors of a sequence, and of their head."""

    channels: int = field(kw_only=True)
    """Number of channels; that of the sequences, so leave it out."""
    outputs: int = 2
    """Number of outputs: of labels, or of numbers; that of the examples, so leave it out."""
    task: Answer = "classify"
    """What the network says of a sequence; given by --task, so leave it out."""
    marks: bool = False
    """Whether each channel has a second one beside it, which is 1 where its value is missing."""
    noise: float = 0.0
    """Standard deviation of the noise that is added to standardised values in training."""
    channel_dropout: float = 0.0
    """Probability of dropping a channel of a sequence in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("task", self.task, get_args(Answer))
        check_outputs("outputs", self.outputs, 2 if self.task == "classify" else 1)
        check_fields(self, ("noise", 0 <= self.noise <= 100, "0 to 100", "write for example 0.1, or leave it out"))
        check_count(series_parameters(self))

    @property
    def least(self) -> dict[str, int]:
        """The least that sizes and numbers of layers may be."""
        return {"channels": 1} | super().least

    @property
    def input_size(self) -> int:
        """Size I of the vectors that the first layer reads."""
        return self.channels * (1 + self.marks)


def series_shapes(config: SeriesConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a network over sequences."""
    return layers_shapes(config) | pooling_shapes(config, config.outputs)


def series_parameters(config: SeriesConfig) -> int:
    """Return how many weights a network over sequences has, without making it."""
    return layers_parameters(config) + total(pooling_shapes(config, config.outputs))
