"""State as a value: cut, reset, chosen, named."""

import torch

from laws.laws import close
from unroll.nn.state import State, detach, flatten, reset_rows, select_rows, to_float, unflatten


def state_of(layers: int, parts: int = 2, dtype: torch.dtype = torch.float32) -> State:
    random = torch.Generator().manual_seed(1)
    return tuple(
        tuple(torch.randn(4, 3, generator=random).to(dtype).requires_grad_() for _ in range(parts))
        for _ in range(layers)
    )


def test_detach_cuts_the_graph_and_keeps_the_numbers() -> None:
    state = state_of(2)
    cut = detach(state)
    assert all(part.requires_grad for layer in state for part in layer)
    assert not any(part.requires_grad for layer in cut for part in layer)
    assert all(torch.equal(a, b) for old, new in zip(state, cut, strict=True) for a, b in zip(old, new, strict=True))


def test_reset_rows() -> None:
    state = state_of(2)
    reset = reset_rows(state, torch.tensor([True, False, False, True]))
    for old, new in zip(state, reset, strict=True):
        for a, b in zip(old, new, strict=True):
            assert (b[[0, 3]] == 0).all() and torch.equal(b[1:3], a[1:3]) and (a != 0).all()


def test_reset_rows_clears_what_is_not_a_number() -> None:
    # A row that overflowed is fresh again after a reset: it is filled, not multiplied by zero.
    broken = ((torch.full((2, 3), float("nan")),),)
    assert reset_rows(broken, torch.tensor([True, False]))[0][0].isnan().any(dim=1).tolist() == [False, True]


def test_reset_rows_of_a_window() -> None:
    ((window,),) = reset_rows(((torch.ones(2, 4, 3),),), torch.tensor([False, True]))
    assert (window[0] == 1).all() and (window[1] == 0).all()


def test_select_rows() -> None:
    state = state_of(2)
    chosen = select_rows(state, torch.tensor([2, 2, 0]))
    for old, new in zip(state, chosen, strict=True):
        for a, b in zip(old, new, strict=True):
            assert torch.equal(b, torch.stack([a[2], a[2], a[0]]))


def test_flatten_and_back_in_order() -> None:
    # Twelve layers: by name, layer 10 would come before layer 2.
    for state in (state_of(12), state_of(1, parts=1)):
        tensors = flatten(state)
        shuffled = dict(sorted(tensors.items())) | {"optimizer/0": torch.zeros(1)}
        again = unflatten(shuffled)
        assert [len(layer) for layer in again] == [len(layer) for layer in state]
        close(again, state, 0.0)
    assert list(flatten(state_of(1))) == ["state/0/0", "state/0/1"]


def test_to_float_widens_bfloat16_alone() -> None:
    for dtype, carried in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2):
        assert {part.dtype for layer in to_float(state_of(2, dtype=dtype)) for part in layer} == {carried}
