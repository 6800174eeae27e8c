"""State as a value: what a model has read so far, passed in and handed back, never stored; in numpy or in torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

LayerState = tuple[Any, ...]
"""One layer's state, batch first: `(h,)` or `(h, c)`, each (B, H); for the window its last n-1 inputs, (B, n-1, E)."""

State = tuple[LayerState, ...]
"""One entry per layer. Its parts are all tensors of torch, or all arrays of numpy."""


def map_state(function: Callable[..., Any], *states: State) -> State:
    """Return the state of what `function` makes of each part, or of the parts of several states at the same place."""
    return tuple(tuple(function(*parts) for parts in zip(*layers, strict=True)) for layers in zip(*states, strict=True))


def select_rows(state: State, rows: Any) -> State:
    """Return the state of the chosen rows (a list or array of indices, in order); one may be chosen several times."""
    return map_state(lambda part: part[rows], state)


def join_rows(states: Sequence[State]) -> State:
    """Return the rows of several states as one state, in order."""
    return map_state(lambda *parts: _concatenate(parts), *states)


def _concatenate(parts: tuple[Any, ...]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch  # is there, where its tensors are

    return torch.cat(parts)


def parts_of(state: State) -> list[Any]:
    """Return the parts of a state, layer after layer, h before c."""
    return [part for layer in state for part in layer]


def like(state: State, parts: Iterable[Any]) -> State:
    """Return parts as a state of the shape of `state`; undoes `parts_of`."""
    following = iter(parts)
    return map_state(lambda _: next(following), state)


def flatten(state: State) -> dict[str, Any]:
    """Return the state's parts by name, `state/0/0` for layer 0's h, ready to be saved."""
    return {f"state/{i}/{j}": part for i, layer in enumerate(state) for j, part in enumerate(layer)}


def unflatten(parts: Mapping[str, Any]) -> State:
    """Rebuild the state that `flatten` took apart; other names are passed over."""
    layers: dict[int, dict[int, Any]] = {}
    for name, part in parts.items():
        if name.startswith("state/"):
            _, i, j = name.split("/")
            layers.setdefault(int(i), {})[int(j)] = part
    return tuple(tuple(layer[j] for j in sorted(layer)) for _, layer in sorted(layers.items()))


# ---- what only training does, and so only to tensors of torch


def detach(state: State) -> State:
    """Cut the graph behind the state: the one visible line of truncated back-propagation through time."""
    return map_state(lambda part: part.detach(), state)


def reset_rows(state: State, rows: Any) -> State:
    """Return the state with the rows where `rows` (B,) is True set back to the fresh state, which is zero."""
    return map_state(lambda part: part.masked_fill(rows.view(-1, *[1] * (part.dim() - 1)), 0.0), state)


def to_float(state: State) -> State:
    """Return the state in float32, the type in which it is carried when layers compute in bfloat16."""
    return map_state(lambda part: part if part.dtype.itemsize >= 4 else part.float(), state)
