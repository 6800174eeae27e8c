"""How exactly a device multiplies: TF32 on a GPU, and whether a processor has an LSTM in bfloat16."""

import threading
from functools import cache
from typing import Any

import torch

SETTINGS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.rnn)
"""Modes of the output layer's products and of the recurrent layers', for the whole process."""

_lock = threading.Lock()
_inside: list[tuple[int, str]] = []
"""Threads within a context, and the mode requested there."""
_before: list[str] = []


class tf32:  # a context, like torch.autocast
    """Within it, products of float32 on a GPU are rounded to TF32 (10 bits of fraction), or are not.

    By default torch rounds cuDNN's and not the others. On any other device nothing changes. Contexts may be used
    again, nested, and in several threads at once, which must request the same mode.
    """

    def __init__(self, allowed: bool) -> None:
        self._mode = "tf32" if allowed else "ieee"

    def __enter__(self) -> None:
        with _lock:
            if not _inside:
                _before[:] = [setting.fp32_precision for setting in SETTINGS]
            _inside.append((threading.get_ident(), self._mode))
            _set([self._mode] * len(SETTINGS))

    def __exit__(self, *_: object) -> None:
        with _lock:
            mine = [k for k, (thread, _) in enumerate(_inside) if thread == threading.get_ident()]
            del _inside[mine[-1]]
            _set([_inside[-1][1]] * len(SETTINGS) if _inside else _before)


def has_onednn() -> bool:
    """Return whether torch was built with oneDNN."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


@cache
def has_bfloat16_lstm() -> bool:
    """Return whether torch has an LSTM in bfloat16 for this processor (AVX-512, or newer); torch does not check."""
    return not has_onednn() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def multiply_exactly() -> None:
    """Stop rounding float32 products on a GPU, outside of contexts, from now on."""
    with _lock:
        _before[:] = ["ieee"] * len(SETTINGS)
        if not _inside:
            _set(_before)


def _set(modes: list[str]) -> None:
    for setting, value in zip(SETTINGS, modes, strict=True):
        setting.fp32_precision = value
