"""The laws that every model keeps, as plain functions over whatever can run; a broken one raises AssertionError."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from unroll.nn.cells import GRUStep, LSTMStep, MinGRUStep, Step, state_after
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.state import LayerState, State, reset_rows, select_rows


class Run(Protocol):
    """The one contract: ids (B, T), a state and resets (B, T) to logits (B, T, V) and the state after."""

    def __call__(
        self, ids: Tensor, state: State | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, State]: ...


@dataclass(frozen=True)
class Subject:
    """What a law is tried on: something that runs, some ids for it, a start state that is not zero."""

    run: Run
    ids: Tensor
    state: State
    vocab_size: int
    tolerance: float


def close(actual: object, expected: object, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def differ(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return bool((a - b).abs().max() > 10 * tolerance)


def row(state: State, index: int) -> State:
    return select_rows(state, torch.tensor([index]))


def law_split(s: Subject) -> None:
    """Running a text is running its pieces, one after the other, from the state that the piece before left."""
    steps = s.ids.shape[1]
    for start in (None, s.state):
        at_once, last = s.run(s.ids, start)
        for cuts in ([1], [7], [steps - 1], [5, 6, 19], list(range(1, steps))):
            state, pieces = start, []
            for begin, end in zip([0, *cuts], [*cuts, steps], strict=True):
                logits, state = s.run(s.ids[:, begin:end], state)
                pieces.append(logits)
            close(torch.cat(pieces, dim=1), at_once, s.tolerance)
            close(state, last, s.tolerance)


def law_rows(s: Subject) -> None:
    """Swapped rows give swapped results, and a row alone gives what it gives in company."""
    logits, state = s.run(s.ids, s.state)
    order = torch.arange(len(s.ids)).roll(1)
    order[:2] = order[:2].flip(0)
    swapped, swapped_state = s.run(s.ids[order], select_rows(s.state, order))
    close(swapped, logits[order], s.tolerance)
    close(swapped_state, select_rows(state, order), s.tolerance)
    for b in range(len(s.ids)):
        single, single_state = s.run(s.ids[b : b + 1], row(s.state, b))
        close(single, logits[b : b + 1], s.tolerance)
        close(single_state, row(state, b), s.tolerance)


def resets_for(ids: Tensor) -> Tensor:
    """Return resets at the first and last step, in mid-window, twice running, at once in two rows; row 0 has none."""
    resets = torch.zeros(ids.shape, dtype=torch.bool)
    for b, steps in enumerate([[], [0], [7, 8, ids.shape[1] - 1], [7, 13]]):
        resets[b, steps] = True
    return resets


def law_reset(s: Subject) -> None:
    """A row that is reset goes on as a fresh one, and the others do not notice."""
    resets, steps = resets_for(s.ids), s.ids.shape[1]
    for start in (None, s.state):
        logits, state = s.run(s.ids, start, resets)
        for b in range(len(s.ids)):
            cuts = [0, *(t for t in range(1, steps) if resets[b, t]), steps]
            pieces, piece_state = [], None if start is None or resets[b, 0] else row(start, b)
            for begin, end in pairwise(cuts):
                piece, piece_state = s.run(s.ids[b : b + 1, begin:end], None if begin else piece_state)
                pieces.append(piece)
            close(torch.cat(pieces, dim=1), logits[b : b + 1], s.tolerance)
            close(piece_state, row(state, b), s.tolerance)
    zeros = torch.zeros_like(resets)
    close(s.run(s.ids, s.state, zeros), s.run(s.ids, s.state), s.tolerance)
    rows = torch.tensor([True, False, True, False])
    first = zeros.clone()
    first[:, 0] = rows
    close(s.run(s.ids, reset_rows(s.state, rows)), s.run(s.ids, s.state, first), s.tolerance)


def law_causal(s: Subject) -> None:
    """Changing the ids after step t leaves the logits up to t, and changes those that follow."""
    logits, _ = s.run(s.ids, s.state)
    for t in (0, 6, s.ids.shape[1] - 2):
        ids = s.ids.clone()
        ids[:, t + 1 :] = (ids[:, t + 1 :] + 1) % s.vocab_size
        altered, _ = s.run(ids, s.state)
        close(altered[:, : t + 1], logits[:, : t + 1], s.tolerance)
        assert differ(altered[:, t + 1], logits[:, t + 1], s.tolerance), "the model does not read its input"


def law_memory(s: Subject) -> None:
    """The state matters, and nothing but the state: a model keeps none of its own and writes into none it is given."""
    copies = tuple(tuple(part.clone() for part in layer) for layer in s.state)
    first = s.run(s.ids, s.state)
    fresh = s.run(s.ids, None)
    s.run(s.ids.flip(1), s.state)  # somebody else's session
    close(s.run(s.ids, None), fresh, 0.0)
    close(s.run(s.ids, s.state), first, 0.0)
    close(s.run(s.ids, s.state), first, 0.0)
    close(s.state, copies, 0.0)
    assert differ(first[0], fresh[0], s.tolerance), "the model does not read its state"


def law_probabilities(s: Subject, length: int = 3) -> None:
    """The probabilities of all texts of a length sum to one, whatever was read before."""
    texts = torch.cartesian_prod(*[torch.arange(s.vocab_size)] * length)
    inputs = torch.cat([s.ids[:1, :1].expand(len(texts), 1), texts[:, :-1]], dim=1)
    logits, _ = s.run(inputs, select_rows(s.state, torch.zeros(len(texts), dtype=torch.long)))
    nats = cross_entropy(logits, texts, "none").sum(dim=1)
    close((-nats).exp().sum().item(), 1.0, s.tolerance)


def law_limit(s: Subject, window: int) -> None:
    """An id, or the state, reaches exactly `window` steps far: the hard limit of a fixed window."""
    logits, _ = s.run(s.ids, s.state)
    p = 4
    ids = s.ids.clone()
    ids[:, p] = (ids[:, p] + 1) % s.vocab_size
    altered, _ = s.run(ids, s.state)
    reached = [differ(altered[:, t], logits[:, t], s.tolerance) for t in range(s.ids.shape[1])]
    assert reached == [p <= t < p + window for t in range(len(reached))]
    altered, _ = s.run(s.ids, None)
    reached = [differ(altered[:, t], logits[:, t], s.tolerance) for t in range(s.ids.shape[1])]
    assert reached == [t < window - 1 for t in range(len(reached))]


def law_trace(steps: Sequence[Step], start: LayerState, outputs: Tensor, last: LayerState, tolerance: float) -> None:
    """The recorded gates are those by whose equation the state came about, and the states are the outputs."""
    before = start
    for step in steps:
        match step:
            case LSTMStep(i=i, f=f, g=g, o=o, c=c, h=h):
                close(c, f * before[1] + i * g, tolerance)
                close(h, o * torch.tanh(c), tolerance)
                gates, candidate = [i, f, o], g
            case GRUStep(r=r, z=z, n=n, h=h):
                close(h, (1 - z) * n + z * before[0], tolerance)
                gates, candidate = [r, z], n
            case MinGRUStep(z=z, n=n, h=h):
                close(h, (1 - z) * before[0] + z * n, tolerance)
                gates, candidate = [z], n / (1 + n.abs())  # n is linear in the input
            case _:
                gates, candidate = [], step.h
        assert all((gate > 0).all() and (gate < 1).all() for gate in gates), "a gate lies between 0 and 1"
        # What is written has a sign: without this, i and g could change places unseen.
        assert (candidate < 0).any() and (candidate > 0).any() and (candidate.abs() < 1).all()
        before = state_after(step)
    close(torch.stack([step.h for step in steps]), outputs, tolerance)
    close(before, last, tolerance)


def law_inside(model: Model, ids: Tensor, state: State, tolerance: float) -> None:
    """What `trace` records, batch-first, is the model: its logits are `forward`'s, its outputs are `hidden`'s."""
    logits, after, inside = model.trace(ids, state)
    close((logits, after), model.forward(ids, state), tolerance)
    outputs = [layer["h"] for layer in inside]
    hidden = outputs[-1] if model.config.skip == "none" else torch.stack(outputs).sum(dim=0)
    close((hidden, after), model.hidden(ids, state), tolerance)
    for array in (array for layer in inside for array in layer.values()):
        assert array.shape == (*ids.shape, model.config.hidden_size)


class Outcome(NamedTuple):
    """All that a run shows: outputs, last state, and the gradient of every named tensor (empty: there are none)."""

    outputs: Tensor
    state: State
    gradients: Mapping[str, Tensor]


def outcome(run: Callable[[], tuple[Tensor, State]], leaves: Mapping[str, Tensor]) -> Outcome:
    """Run, and derive a fixed random sum of outputs and last state by every one of `leaves`."""
    outputs, state = run()
    random = torch.Generator().manual_seed(5)
    loss = outputs.new_zeros(())
    for tensor in (outputs, *(part for layer in state for part in layer)):
        loss = loss + (tensor * torch.randn(tensor.shape, generator=random, dtype=tensor.dtype)).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return Outcome(outputs, state, dict(zip(leaves, gradients, strict=True)))


def law_engines(first: Outcome, second: Outcome, tolerance: float) -> None:
    """Two engines on the same weights agree: outputs, last state, every gradient, none of them zero."""
    close(first.outputs, second.outputs, tolerance)
    close(first.state, second.state, tolerance)
    close(first.gradients, second.gradients, tolerance)
    assert all(gradient.abs().max() > 100 * tolerance for gradient in first.gradients.values()), "a gradient is zero"


def law_gradients(function: Callable[..., Tensor | tuple[Tensor, ...]], inputs: Sequence[Tensor]) -> None:
    """The gradients are the slopes that finite differences measure (float64)."""
    assert torch.autograd.gradcheck(function, tuple(inputs), raise_exception=False), "a gradient is not the slope"
