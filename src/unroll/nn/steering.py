"""A language model that labels steer: each has a start state of its own, which is learnt with the other weights."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.state import State


class SteeredModel(Model):
    """A language model and, for each column of labels, a table of start states, one row a label, that add up.

    The state is passed in as ever; only training makes it here, so that its gradient reaches the tables. They are
    called `start.COLUMN.LAYER.PART`, as `start.0.0.h` (labels, H), and begin at zero, the state without a label.
    """

    def __init__(self, config: ModelConfig, labels: Sequence[int]) -> None:
        """Make a model for columns with these numbers of labels; a window has no state that could be learnt."""
        super().__init__(config)
        assert config.arch != "window"
        parts = ARCHITECTURES[config.arch].state
        self.start = nn.ModuleList(
            nn.ModuleList(
                nn.ParameterDict({part: nn.Parameter(torch.zeros(count, config.hidden_size)) for part in parts})
                for _ in range(config.num_layers)
            )
            for count in labels
        )

    def start_state(self, labels: Tensor) -> State:
        """Return the start state of rows with these labels (B, columns); -1 names none, and adds nothing."""
        parts = ARCHITECTURES[self.config.arch].state

        def part_of(layer: int, part: str) -> Tensor:
            tables = (self.get_parameter(f"start.{column}.{layer}.{part}") for column in range(labels.shape[1]))
            # The row of zeros in front is that of no label. An indexed table would add up its gradient in any order.
            rows = [
                F.embedding(ids + 1, F.pad(table, (0, 0, 1, 0))) for ids, table in zip(labels.T, tables, strict=True)
            ]
            return torch.stack(rows).sum(0)

        return tuple(tuple(part_of(layer, part) for part in parts) for layer in range(self.config.num_layers))

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None = None,
        resets: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Do what a language model does for rows of different length: a target of -1 is padding, and not counted.

        With `labels` (B, columns) the rows begin with their start states, and not from `state`.
        """
        state = state if labels is None else self.start_state(labels)
        y, after = self.hidden(ids, state, resets)
        inside = targets >= 0
        return self.mean_nats(y[inside].unsqueeze(1), targets[inside].unsqueeze(1)), after
