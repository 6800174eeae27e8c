"""State as a value: mapped, chosen, joined, named, cut, reset; the same of numpy and of torch."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from laws.laws import close
from unroll.state import (
    State,
    detach,
    flatten,
    join_rows,
    like,
    map_state,
    parts_of,
    reset_rows,
    select_rows,
    to_float,
    unflatten,
)

Of = Callable[..., State]
"""Makes a state of 4 rows: layers, parts of each."""


def of_torch(layers: int, parts: int = 2, dtype: torch.dtype = torch.float32) -> State:
    random = torch.Generator().manual_seed(1)
    return tuple(
        tuple(torch.randn(4, 3, generator=random).to(dtype).requires_grad_() for _ in range(parts))
        for _ in range(layers)
    )


def of_numpy(layers: int, parts: int = 2) -> State:
    return map_state(lambda part: part.detach().numpy(), of_torch(layers, parts))


def equal(first: State, second: State) -> bool:
    """Whether two states have the same layers, parts, numbers and kinds of arrays."""
    return [len(layer) for layer in first] == [len(layer) for layer in second] and all(
        type(a) is type(b) and a.shape == b.shape and bool((a == b).all())
        for a, b in zip(parts_of(first), parts_of(second), strict=True)
    )


BOTH = pytest.mark.parametrize("of", [of_numpy, of_torch])


# ---- laws of rows: what is taken apart and put together is the whole


def law_rows(state: State, select: Callable[[State, Any], State], join: Callable[[Sequence[State]], State]) -> None:
    """Rows chosen are those rows, in order and as often as named; rows joined again are the state."""
    selection = select(state, [2, 2, 0])
    for part, rows in zip(parts_of(state), parts_of(selection), strict=True):
        assert len(rows) == 3 and all(bool((a == part[k]).all()) for a, k in zip(rows, (2, 2, 0), strict=True))
    assert equal(join([select(state, [row]) for row in range(4)]), state)
    assert equal(join([select(state, [3, 1]), select(state, [0])]), select(state, [3, 1, 0]))


@BOTH
def test_rows(of: Of) -> None:
    for state in (of(2), of(1, parts=1)):
        law_rows(state, select_rows, join_rows)


def without_order(state: State, rows: Any) -> State:
    return select_rows(state, sorted(rows))


def first_layer_alone(state: State, rows: Any) -> State:
    return (select_rows(state, rows)[0], *state[1:])


def backwards(states: Sequence[State]) -> State:
    return join_rows(states[::-1])


def parts_swapped(states: Sequence[State]) -> State:
    return tuple(tuple(reversed(layer)) for layer in join_rows(states))


@BOTH
@pytest.mark.parametrize(
    ("select", "join"),
    [
        (without_order, join_rows),
        (first_layer_alone, join_rows),
        (select_rows, backwards),
        (select_rows, parts_swapped),
    ],
    ids=lambda fault: str(fault.__name__),
)
def test_the_law_of_rows_fails_on_faults(of: Of, select: Any, join: Any) -> None:
    with pytest.raises((AssertionError, ValueError)):
        law_rows(of(2), select, join)


@BOTH
def test_rows_are_chosen_by_an_array_too(of: Of) -> None:
    state = of(2)
    indices = torch.tensor([2, 0]) if of is of_torch else np.array([2, 0])
    assert equal(select_rows(state, indices), select_rows(state, [2, 0]))
    assert all(len(part) == 0 for part in parts_of(select_rows(state, indices[:0])))


def test_gradients_go_back_through_chosen_and_joined_rows() -> None:
    state = of_torch(2)
    batch = join_rows([select_rows(state, [1, 1]), select_rows(state, [0])])
    for part, source in zip(parts_of(state), parts_of(batch), strict=True):
        (gradient,) = torch.autograd.grad(source.sum(), part)
        assert gradient.sum(dim=1).tolist() == [3, 6, 0, 0]


# ---- names


@BOTH
def test_flatten_and_back_in_order(of: Of) -> None:
    # Twelve layers: by name, layer 10 would come before layer 2.
    for state in (of(12), of(1, parts=1)):
        parts = flatten(state)
        reordered = dict(sorted(parts.items())) | {"optimizer/0": torch.zeros(1)}
        assert equal(unflatten(reordered), state)
    assert list(flatten(of(1))) == ["state/0/0", "state/0/1"]


@BOTH
def test_parts_and_back(of: Of) -> None:
    state = of(3)
    assert [id(part) for part in parts_of(state)] == [id(part) for layer in state for part in layer]
    assert equal(like(state, parts_of(state)), state)


@BOTH
def test_map_takes_parts_at_the_same_place(of: Of) -> None:
    state = of(2)
    assert equal(map_state(lambda a, b: a - b, state, state), map_state(lambda a: 0 * a, state))
    with pytest.raises(ValueError):
        map_state(lambda a, b: a, state, state[:1])
    with pytest.raises(ValueError):
        map_state(lambda a, b: a, state, tuple(layer[:1] for layer in state))


# ---- what training does


def test_detach_cuts_the_graph_and_keeps_the_numbers() -> None:
    state = of_torch(2)
    detached = detach(state)
    assert all(part.requires_grad for part in parts_of(state))
    assert not any(part.requires_grad for part in parts_of(detached))
    assert equal(detached, state)


def test_reset_rows() -> None:
    state = of_torch(2)
    reset = reset_rows(state, torch.tensor([True, False, False, True]))
    for a, b in zip(parts_of(state), parts_of(reset), strict=True):
        assert (b[[0, 3]] == 0).all() and torch.equal(b[1:3], a[1:3]) and (a != 0).all()


def test_reset_rows_clears_what_is_not_a_number() -> None:
    # A row that overflowed is fresh again after a reset: it is filled, not multiplied by zero.
    nans = ((torch.full((2, 3), float("nan")),),)
    assert reset_rows(nans, torch.tensor([True, False]))[0][0].isnan().any(dim=1).tolist() == [False, True]


def test_reset_rows_of_a_window() -> None:
    ((window,),) = reset_rows(((torch.ones(2, 4, 3),),), torch.tensor([False, True]))
    assert (window[0] == 1).all() and (window[1] == 0).all()


def test_to_float_widens_bfloat16_alone() -> None:
    for dtype, carried in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2):
        state = of_torch(2, dtype=dtype)
        assert {part.dtype for part in parts_of(to_float(state))} == {carried}
        close(to_float(state), map_state(lambda part, carried=carried: part.to(carried), state), 0.0)


# ---- the ground floor


def test_it_is_torch_free() -> None:
    """Also where rows of numpy are joined."""
    program = """
import sys, numpy as np
from unroll.state import join_rows, select_rows
state = ((np.ones((2, 3)),),)
join_rows([state, select_rows(state, [0])])
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
