"""What training asks of a network, whatever it learns."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from unroll.state import State


class Learner(nn.Module):
    """A network with a loss. It never stores a state."""

    config: Any
    """Its shape, a flat dataclass."""

    @abstractmethod
    def fresh_state(self, batch_size: int) -> State:
        """Return the state of `batch_size` rows before anything was read; of a network that carries none, ()."""

    def depths(self) -> dict[str, int]:
        """Return how many layers lie between each weight, by name, and the output: where a pretrained one thaws last.

        Weights that are left out are those of the output.
        """
        return {}

    @abstractmethod
    def loss(self, *args: Any, **kwargs: Any) -> tuple[Tensor, State]:
        """Return the mean loss of a batch, in nats, and the state after it."""
