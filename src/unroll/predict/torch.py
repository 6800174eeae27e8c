"""A torch model as a predictor."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.engine.checks import FLOATS, INTEGERS, check_array, check_ids, check_state, check_steps, packed
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.nn.precision import tf32
from unroll.nn.recurrent import Engine
from unroll.predict.predictor import MAX_LOGITS, Hidden, HiddenPredictor, Logits, Nats, Window
from unroll.state import State, map_state


class TorchPredictor(HiddenPredictor):
    """A torch model as a predictor: the fused kernel for many symbols at once, the cell's equation for one.

    Every method raises ValueError for arrays whose shapes or types do not fit the model or each other, IndexError for
    an id outside the vocabulary, as the engine does.
    """

    def __init__(self, model: Model, mixed: AbstractContextManager[object] | None = None) -> None:
        """Use `model` as it is now, within the context `mixed` of mixed precision, if given."""
        self.model = model
        self.vocab_size = model.config.vocab_size
        self._mixed = mixed or tf32(False)

    @property
    def embedding(self) -> Hidden:
        """The vectors of the symbols, (V, E)."""
        return np.asarray(self.model.embedding.weight.detach().cpu().numpy())

    @property
    def torch_model(self) -> Model:
        """The model."""
        return self.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.embedding.weight.device

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (B, T); return -ln P(target) after each of them (B, T), in nats, and the state."""
        check_array(inputs, "inputs", INTEGERS, ("B", "T"))
        targets = check_ids(targets, "targets", self.vocab_size, inputs.shape)
        with _evaluating(self.model), self._mixed:
            y, after = self._read(inputs, state)
            return self._nats(y, targets), to_numpy(after)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Logits, State]:
        """Read `inputs` (B, T); return the logits (B, V) of what follows the last of them, and the state."""
        with _evaluating(self.model), self._mixed:
            y, after = self._read(inputs, state)
            return self.model.logits(y[:, -1]).double().cpu().numpy(), to_numpy(after)

    def hidden(self, inputs: Window, state: State | None = None) -> tuple[Hidden, State]:
        """Read `inputs` (B, T); return the last recurrent layer's output after each (B, T, H), and the state."""
        with _evaluating(self.model), self._mixed:
            y, after = self._read(inputs, state)
            y = y.float() if y.dtype == torch.bfloat16 else y
            return y.cpu().numpy(), to_numpy(after)

    def nats_after(self, y: Hidden, targets: Window) -> Nats:
        """Return -ln P(target) (B, T), in nats, after the outputs (B, T, H) that `hidden` gave."""
        check_array(y, "y", FLOATS, ("B", "T", self.model.config.hidden_size))
        targets = check_ids(targets, "targets", self.vocab_size, y.shape[:-1])
        with _evaluating(self.model), self._mixed:
            return self._nats(self._tensor(y), targets)

    def logits_after(self, y: Hidden) -> Logits:
        """Return the logits (B, T, V) after the outputs (B, T, H) that `hidden` gave."""
        check_array(y, "y", FLOATS, ("B", "T", self.model.config.hidden_size))
        with _evaluating(self.model), self._mixed:
            return np.asarray(self.model.logits(self._tensor(y)).double().cpu().numpy())

    def _nats(self, y: Tensor, targets: Window) -> Nats:
        if not targets.size:
            return np.zeros(targets.shape)
        symbols = torch.from_numpy(_writable(targets)).to(self.device)
        size = max(1, MAX_LOGITS // (len(targets) * self.vocab_size))
        pieces = [
            cross_entropy(self.model.logits(y[:, first : first + size]), symbols[:, first : first + size], "none")
            for first in range(0, y.shape[1], size)
        ]
        return np.asarray(torch.cat(pieces, dim=1).double().cpu().numpy())

    def _read(self, inputs: Window, state: State | None) -> tuple[Tensor, State]:
        inputs = _writable(check_ids(inputs, "inputs", self.vocab_size))
        check_steps(inputs)  # torch's kernels need at least one
        before = None
        if state is not None:
            check_state(state, self.model.config, len(inputs))
            before = map_state(self._tensor, state)
        engine: Engine = "stepwise" if inputs.shape[1] == 1 else "fused"
        return self.model.hidden(torch.from_numpy(inputs).to(self.device), before, engine=engine)

    def _tensor(self, array: Hidden) -> Tensor:
        """Return floating-point numbers where the weights are and in their type."""
        dtype = self.model.embedding.weight.dtype
        array = packed(array, np.float64 if dtype == torch.float64 else np.float32)
        return torch.from_numpy(_writable(array)).to(self.device, dtype)


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that torch can wrap as a tensor: it warns about read-only ones."""
    return array if array.flags.writeable else array.copy()


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Drop nothing and keep no gradients meanwhile."""
    training = model.training
    with torch.inference_mode():
        if training:
            model.eval()
        try:
            yield
        finally:
            if training:
                model.train()


def to_numpy(state: State) -> State:
    """Return a model's state in numpy."""
    return map_state(lambda part: part.cpu().numpy(), state)


def to_torch(state: State, device: torch.device) -> State:
    """Return a state as tensors."""
    return map_state(lambda part: torch.from_numpy(part).to(device), state)
