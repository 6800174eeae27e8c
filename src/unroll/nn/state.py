"""State as a value: what a model has read so far, passed in and handed back, never stored."""

import torch
from torch import Tensor

LayerState = tuple[Tensor, ...]
"""One layer's state, batch first: `(h,)` or `(h, c)`, each (B, H); for the window its last n-1 inputs, (B, n-1, E)."""

State = tuple[LayerState, ...]
"""One entry per layer."""


def detach(state: State) -> State:
    """Cut the graph behind the state: the one visible line of truncated back-propagation through time."""
    return tuple(tuple(part.detach() for part in layer) for layer in state)


def reset_rows(state: State, rows: Tensor) -> State:
    """Return the state with the rows where `rows` (B,) is True set back to the fresh state, which is zero."""
    return tuple(
        tuple(part.masked_fill(rows.view(-1, *[1] * (part.dim() - 1)), 0.0) for part in layer) for layer in state
    )


def select_rows(state: State, rows: Tensor) -> State:
    """Return the state of the chosen rows (indices, in order); one row may be chosen several times."""
    return tuple(tuple(part.index_select(0, rows) for part in layer) for layer in state)


def to_float(state: State) -> State:
    """Return the state in float32, the type in which it is carried when layers compute in bfloat16."""
    return tuple(
        tuple(part.to(torch.float32) if part.dtype == torch.bfloat16 else part for part in layer) for layer in state
    )


def flatten(state: State) -> dict[str, Tensor]:
    """Return the state's tensors by name, `state/0/0` for layer 0's h, ready to be saved."""
    return {f"state/{i}/{j}": part for i, layer in enumerate(state) for j, part in enumerate(layer)}


def unflatten(tensors: dict[str, Tensor]) -> State:
    """Rebuild the state that `flatten` took apart; other names are passed over."""
    layers: dict[int, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("state/"):
            _, i, j = name.split("/")
            layers.setdefault(int(i), {})[int(j)] = tensor
    return tuple(tuple(parts[j] for j in sorted(parts)) for _, parts in sorted(layers.items()))
