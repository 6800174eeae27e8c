"""An exported language model in use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.export.onnx import open_session


class Session:
    """An ONNX file in use, with the contract of our networks: ids (B, T) and a state to logits (B, T, V) and one."""

    def __init__(self, data: bytes) -> None:
        self._session = open_session(data)
        self.inputs = [(value.name, value.shape) for value in self._session.get_inputs()][1:]

    def run(self, ids: Any, state: dict[str, NDArray[np.float32]]) -> tuple[Any, dict[str, NDArray[np.float32]]]:
        """Return the logits after every symbol and the state after the last, by the names of the inputs."""
        names = ["logits", *(f"{name}_after" for name, _ in self.inputs)]
        logits, *after = self._session.run(names, {"ids": ids, **state})
        return logits, dict(zip(state, after, strict=True))
