"""How exactly a GPU multiplies numbers of 32 bits."""

from typing import Any

import torch

SETTINGS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.rnn)
"""Of the output layer's products, and of the recurrent layers'."""


class tf32:  # a context, like torch.autocast
    """Within it, products of float32 on a GPU are rounded to TF32 (10 bits of fraction), or are not.

    torch by itself rounds those of cuDNN and not the others. On any other device nothing changes. Contexts may be used
    again and nested.
    """

    def __init__(self, allowed: bool) -> None:
        self._wanted = "tf32" if allowed else "ieee"
        self._before: list[list[str]] = []

    def __enter__(self) -> None:
        self._before.append([setting.fp32_precision for setting in SETTINGS])
        for setting in SETTINGS:
            setting.fp32_precision = self._wanted

    def __exit__(self, *_: object) -> None:
        for setting, before in zip(SETTINGS, self._before.pop(), strict=True):
            setting.fp32_precision = before
