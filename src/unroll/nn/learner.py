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

    @abstractmethod
    def loss(self, *args: Any, **kwargs: Any) -> tuple[Tensor, State]:
        """Return the mean loss of a batch, in nats, and the state after it."""
