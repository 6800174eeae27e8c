"""Checks of arrays passed to a predictor: kernels would read beyond them, numpy and torch would broadcast them.

Every predictor uses these checks, once per call. Errors say what was passed, what is allowed and how to fix it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.engine.draw import Drawing
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig

Shape = tuple[int, ...]
INTEGERS, FLOATS = "iu", "f"
"""Kinds of numbers, as numpy's letters."""
_KINDS = {INTEGERS: "integers", FLOATS: "floating-point numbers"}


def state_shapes(config: ModelConfig, rows: int) -> tuple[tuple[Shape, ...], ...]:
    """Return the shapes of a state: each part of each layer (B, H); a window has one (B, n-1, E)."""
    if config.arch == "window":
        return (((rows, config.window - 1, config.embedding_size),),)
    return (((rows, config.hidden_size),) * len(ARCHITECTURES[config.arch].state),) * config.num_layers


def check_array(array: Any, name: str, kinds: str, shape: Sequence[int | str], fix: str = "") -> None:
    """Raise ValueError unless `array` has numbers of one of the kinds and the shape; letters stand for any size."""
    if isinstance(array, np.ndarray) and array.dtype.kind in kinds and array.ndim == len(shape):
        for size, expected in zip(array.shape, shape, strict=True):
            if size != expected and not isinstance(expected, str):
                break
        else:
            return
    allowed = f"{_KINDS[kinds]} of shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    raise ValueError(f"{name} is {described(array)}; allowed: {allowed}{fix and f'; {fix}'}")


def check_ids(ids: Any, name: str, vocab_size: int, shape: Sequence[int | str] = ("B", "T")) -> NDArray[np.int64]:
    """Return `ids` in int64, contiguous and aligned.

    Raises ValueError unless they are integers of the shape, IndexError for an id outside the vocabulary.
    """
    check_array(ids, name, INTEGERS, shape)
    symbols: NDArray[np.int64] = packed(ids, np.int64)
    # One reduction for both ends: read as unsigned, negative numbers are the largest.
    if symbols.size and symbols.view(np.uint64).max() >= vocab_size:
        raise IndexError(f"{name} from {symbols.min()} to {symbols.max()} for {vocab_size} symbols")
    return symbols


def check_steps(ids: Any) -> None:
    """Raise ValueError unless `ids` (B, T) have at least one step, since logits follow the last."""
    check_array(ids, "inputs", INTEGERS, ("B", "T"))
    if not ids.shape[1]:
        raise ValueError(f"inputs of shape {ids.shape}; allowed: at least one symbol in each row")


def check_state(state: Any, config: ModelConfig, rows: int) -> None:
    """Raise ValueError unless `state` has the network's layers, their parts, and every shape for `rows` rows."""
    shapes = state_shapes(config, rows)
    if not isinstance(state, (tuple, list)) or len(state) != len(shapes):
        raise ValueError(
            f"the state is {described(state)}; allowed: a tuple with one entry for each of {len(shapes)} "
            f"layer{'s' * (len(shapes) > 1)}"
        )
    for k, (layer, parts) in enumerate(zip(state, shapes, strict=True)):
        if not isinstance(layer, (tuple, list)) or len(layer) != len(parts):
            raise ValueError(f"state[{k}] is {described(layer)}; allowed: a tuple of {len(parts)} array(s)")
        for j, (part, shape) in enumerate(zip(layer, parts, strict=True)):
            if isinstance(part, np.ndarray) and part.shape == shape and part.dtype.kind == FLOATS:
                continue  # quickly: single steps are checked too
            check_array(part, f"state[{k}][{j}]", FLOATS, shape, "a state has one row for each row of the ids")


def check_drawing(drawing: Drawing, uniforms: Any, halt: Any, vocab_size: int) -> None:
    """Raise unless rows can be drawn by `drawing` at `uniforms` (B, N) in [0, 1), until `halt` (1,): ValueError.

    Raises IndexError for a `never` outside the vocabulary.
    """
    check_array(uniforms, "uniforms", FLOATS, ("B", "N"))
    if uniforms.size and not (uniforms.min() >= 0 and uniforms.max() < 1):
        raise ValueError(f"uniforms from {uniforms.min()} to {uniforms.max()}; allowed: 0 up to, not including, 1")
    rows = len(uniforms)
    for name in ("temperature", "top_k", "top_p", "min_p"):
        values = getattr(drawing, name)
        if isinstance(values, np.ndarray) and values.shape != (rows,):
            raise ValueError(f"{name} is {described(values)}; allowed: a number, or one for each of {rows} rows")
    never = drawing.never
    if never is not None:
        if not isinstance(never, (int, np.integer)):
            raise ValueError(f"never is {never!r}; allowed: the id of a symbol, or None")
        if not 0 <= never < vocab_size:
            raise IndexError(f"never is {never} for {vocab_size} symbols")
        if vocab_size == 1:
            raise ValueError("never is 0, the only symbol; allowed: None, or else nothing could be drawn")
    if halt is None:
        return
    # Another thread writes it, and the kernels read it as a C int.
    valid = isinstance(halt, np.ndarray) and halt.dtype == np.int32 and halt.shape == (1,) and halt.flags.aligned
    if not (valid and halt.dtype.isnative):
        raise ValueError(f"halt is {described(halt)}; allowed: int32 of shape (1,), or None")


def packed(array: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    """Return the array in that type, contiguous and aligned; copied only if it is not."""
    array = np.ascontiguousarray(array, kind)  # still unaligned, if it is part of a file
    return array if array.flags.aligned else array.copy()


def described(value: Any) -> str:
    """Return a short description: the type and shape of an array, the length of a tuple."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
