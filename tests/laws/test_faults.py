"""Planted faults: every law runs once against what it is there to catch, and must fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from laws.cases import STEPS, TOLERANCE, WINDOW, Case, config, start_state
from laws.laws import (
    Outcome,
    Run,
    Subject,
    law_causal,
    law_engines,
    law_gradients,
    law_inside,
    law_limit,
    law_memory,
    law_probabilities,
    law_reset,
    law_rows,
    law_split,
    law_trace,
    outcome,
)
from laws.test_laws import ARCHS, layer_weights, leaf, named, random_like
from unroll.nn.arch import ARCHITECTURES, Cell
from unroll.nn.cells import CellWeights, Step, lstm_step, mingru_step, state_after
from unroll.nn.model import Model
from unroll.nn.recurrent import run_fused, run_stepwise
from unroll.state import LayerState, State, detach, reset_rows, select_rows

Law = Callable[[Subject], None]
Fault = Callable[[Run], Run]
Layer = Callable[[Tensor, LayerState, CellWeights], tuple[Tensor, LayerState]]

# --- faults of what runs: each takes something sound and breaks it ---


def stale_state(run: Run) -> Run:
    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        logits, after = run(ids, state, resets)
        return logits, after if state is None else state

    return broken


def state_one_step_behind(run: Run) -> Run:
    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        logits, after = run(ids, state, resets)
        return logits, run(ids[:, :-1], state, resets)[1] if ids.shape[1] > 1 else after

    return broken


def start_ignored(run: Run) -> Run:
    return lambda ids, state=None, resets=None: run(ids, None, resets)


def first_layer_only(run: Run) -> Run:
    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        logits, after = run(ids, state, resets)
        return logits, (after[0], *reset_rows(after[1:], torch.ones(len(ids), dtype=torch.bool)))

    return broken


def state_of_the_neighbour(run: Run) -> Run:
    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        shifted = None if state is None else select_rows(state, torch.arange(len(ids)).roll(1))
        return run(ids, shifted, resets)

    return broken


def rows_averaged(run: Run) -> Run:
    # Swapped rows give swapped results here: only a row alone gives it away.
    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        logits, after = run(ids, state, resets)
        return logits + 0.01 * logits.mean(dim=0, keepdim=True), after

    return broken


def with_resets(change: Callable[[Tensor], Tensor | None]) -> Fault:
    def fault(run: Run) -> Run:
        return lambda ids, state=None, resets=None: run(ids, state, None if resets is None else change(resets))

    return fault


def reset_ignored(resets: Tensor) -> None:
    return None


def reset_for_all(resets: Tensor) -> Tensor:
    return resets.any(dim=0, keepdim=True).expand_as(resets)


def reset_one_step_late(resets: Tensor) -> Tensor:
    return resets.roll(1, dims=1)


def reset_to_the_start_state(run: Run) -> Run:
    """Put a row back to what the caller passed in, which is fresh only in the very first window."""

    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        return _step_by_step(run, ids, state, resets, lambda now, rows: _where(rows, state, now))

    return broken


def cell_survives_the_reset(run: Run) -> Run:
    """Set h back but not c."""

    def reset(state: State, rows: Tensor) -> State:
        return tuple((fresh[0], *kept[1:]) for fresh, kept in zip(reset_rows(state, rows), state, strict=True))

    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        return _step_by_step(run, ids, state, resets, reset)

    return broken


def _where(rows: Tensor, start: State | None, now: State) -> State:
    if start is None:
        return reset_rows(now, rows)
    return tuple(
        tuple(torch.where(rows.unsqueeze(1), a, b) for a, b in zip(*layers, strict=True))
        for layers in zip(start, now, strict=True)
    )


def _step_by_step(
    run: Run, ids: Tensor, state: State | None, resets: Tensor | None, reset: Callable[[State, Tensor], State]
) -> tuple[Tensor, State]:
    pieces = []
    for t in range(ids.shape[1]):
        if resets is not None and state is not None:
            state = reset(state, resets[:, t])
        logits, state = run(ids[:, t : t + 1], state)
        pieces.append(logits)
    assert state is not None
    return torch.cat(pieces, dim=1), state


def peek(run: Run) -> Run:
    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        logits, after = run(ids, state, resets)
        return logits + 0.1 * logits.roll(-1, dims=1), after

    return broken


def input_ignored(run: Run) -> Run:
    return lambda ids, state=None, resets=None: run(torch.zeros_like(ids), state, resets)


def state_kept_inside(run: Run) -> Run:
    inside: list[State | None] = [None]

    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        logits, after = run(ids, inside[0] if state is None else state, resets)
        inside[0] = after
        return logits, after

    return broken


def state_written_into(run: Run) -> Run:
    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        logits, after = run(ids, state, resets)
        for layer, new_layer in zip(state or (), after, strict=False):
            for part, new_part in zip(layer, new_layer, strict=True):
                part.copy_(new_part)
        return logits, after

    return broken


def batch_as_time(run: Run) -> Run:
    """Mistake rows for steps on the way out: the classic confusion of (T, B) with (B, T)."""

    def broken(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        logits, after = run(ids, state, resets)
        return logits.transpose(0, 1).reshape(logits.shape), after

    return broken


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        (law_split, stale_state),
        (law_split, state_one_step_behind),
        (law_split, first_layer_only),
        (law_split, start_ignored),
        (law_split, state_kept_inside),
        (law_rows, state_of_the_neighbour),
        (law_rows, rows_averaged),
        (law_rows, batch_as_time),
        (law_reset, with_resets(reset_ignored)),
        (law_reset, with_resets(reset_for_all)),
        (law_reset, with_resets(reset_one_step_late)),
        (law_reset, reset_to_the_start_state),
        (law_reset, cell_survives_the_reset),
        (law_causal, peek),
        (law_causal, input_ignored),
        (law_memory, state_kept_inside),
        (law_memory, state_written_into),
        (law_memory, start_ignored),
        (law_probabilities, peek),
        (law_probabilities, batch_as_time),
    ],
)
def test_a_law_catches_its_fault(law: Law, fault: Fault) -> None:
    sound = Case("", config("lstm", 2)).subject()
    law(sound)
    with pytest.raises(AssertionError):
        law(replace(sound, run=fault(sound.run)))


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        (law_split, stale_state),
        (law_split, state_one_step_behind),
        (law_rows, state_of_the_neighbour),
        (law_reset, with_resets(reset_ignored)),
        (law_reset, with_resets(reset_for_all)),
        (law_reset, with_resets(reset_one_step_late)),
        (law_causal, peek),
        (law_memory, state_kept_inside),
        (law_probabilities, peek),
    ],
)
def test_a_law_catches_its_fault_in_a_window(law: Law, fault: Fault) -> None:
    sound = Case("", config("window", 2)).subject()
    with pytest.raises(AssertionError):
        law(replace(sound, run=fault(sound.run)))


@pytest.mark.parametrize("arch", [*ARCHS, "window"])
def test_limit_catches_a_longer_memory(arch: str) -> None:
    # A window of another size, and a recurrent network, which has no such limit.
    for window in (WINDOW - 1, WINDOW + 1):
        with pytest.raises(AssertionError):
            law_limit(Case("", config(arch, 1, window=window)).subject(), WINDOW)


# --- swapped gates ---


def relabel(steps: list[Step], first: str, second: str) -> list[Any]:
    return [step._replace(**{first: getattr(step, second), second: getattr(step, first)}) for step in steps]


@pytest.mark.parametrize(
    ("arch", "one", "other"),
    [("lstm", *pair) for pair in ("if", "ig", "io", "fg", "fo", "go", "ch")]
    + [("gru", "r", "z"), ("gru", "z", "n")]
    + [("mingru", *pair) for pair in ("zn", "nh", "zh")],
)
def test_trace_catches_swapped_labels(arch: Cell, one: str, other: str) -> None:
    state = tuple(random_like((4, 8), torch.float64, 3 + k) for k in range(len(ARCHITECTURES[arch].state)))
    x, w = random_like((STEPS, 4, 6), torch.float64, 2), layer_weights(arch, torch.float64)
    outputs, last, steps = run_stepwise(arch, x, state, w)
    with pytest.raises(AssertionError):
        law_trace(relabel(steps, one, other), state, outputs, last, TOLERANCE[torch.float64])


@pytest.mark.parametrize("arch", ["lstm", "gru", "mingru"])
def test_trace_catches_another_start(arch: Cell) -> None:
    state = tuple(random_like((4, 8), torch.float64, 3 + k) for k in range(len(ARCHITECTURES[arch].state)))
    x, w = random_like((STEPS, 4, 6), torch.float64, 2), layer_weights(arch, torch.float64)
    outputs, last, steps = run_stepwise(arch, x, state, w)
    with pytest.raises(AssertionError):
        law_trace(steps, tuple(part + 0.1 for part in state), outputs, last, TOLERANCE[torch.float64])


# --- what `trace` records ---

Traced = tuple[Tensor, State, list[dict[str, Tensor]]]


def swapped_rows(logits: Tensor, after: State, inside: list[dict[str, Tensor]]) -> Traced:
    return logits, after, [{name: array.flip(0) for name, array in layer.items()} for layer in inside]


def time_major(logits: Tensor, after: State, inside: list[dict[str, Tensor]]) -> Traced:
    return logits, after, [{name: array.transpose(0, 1) for name, array in layer.items()} for layer in inside]


def a_step_late(logits: Tensor, after: State, inside: list[dict[str, Tensor]]) -> Traced:
    return logits, after, [{name: array.roll(1, 1) for name, array in layer.items()} for layer in inside]


def layers_swapped(logits: Tensor, after: State, inside: list[dict[str, Tensor]]) -> Traced:
    return logits, after, inside[::-1]


def logits_a_step_late(logits: Tensor, after: State, inside: list[dict[str, Tensor]]) -> Traced:
    return logits.roll(1, 1), after, inside


@pytest.mark.parametrize("fault", [swapped_rows, time_major, a_step_late, layers_swapped, logits_a_step_late])
@pytest.mark.parametrize("arch", [*ARCHS, "window"])
def test_inside_catches(fault: Callable[..., Traced], arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("", config(arch, 2))
    model, trace = case.model(), Model.trace
    monkeypatch.setattr(Model, "trace", lambda self, ids, state: fault(*trace(self, ids, state)))
    with pytest.raises(AssertionError):
        law_inside(model, case.ids(), start_state(model), TOLERANCE[case.dtype])


# --- engines that differ ---


def swap_gates(w: CellWeights, first: int, second: int) -> CellWeights:
    def swapped(part: Tensor) -> Tensor:
        gates = list(part.chunk(4))
        gates[first], gates[second] = gates[second], gates[first]
        return torch.cat(gates)

    return CellWeights(*(swapped(part) for part in w))


def compare(run: Layer, dtype: torch.dtype, arch: Cell = "lstm") -> None:
    """Hold `run`, an engine of one layer, against the fused one."""
    w, x = layer_weights(arch, dtype), random_like((STEPS, 4, 6), dtype, 2)
    (start,) = leaf(start_state(Case("", config(arch, 1), dtype=dtype).model()))
    weights = {name: weight for name, weight in w._asdict().items() if weight.numel()}
    leaves = {**weights, "x": x, **named((start,))}

    def result(engine: Layer) -> Outcome:
        def one_layer() -> tuple[Tensor, State]:
            y, after = engine(x, start, w)
            return y, (after,)

        return outcome(one_layer, leaves)

    fused = result(lambda x, state, w: run_fused(arch, x, state, w, training=True))
    law_engines(result(run), fused, TOLERANCE[dtype])


def stepwise(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    return run_stepwise("lstm", x, state, w)[:2]


def hidden_cut_at_each_step(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Give the right outputs and wrong gradients: back-propagation through c alone."""
    outputs = []
    for x_t in x:
        state = state_after(lstm_step(x_t, (state[0].detach(), state[1]), w))
        outputs.append(state[0])
    return torch.stack(outputs), state


def start_cut(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Lose the gradient of the start state, but for a trace of it."""
    start = detach((state,))[0]
    return stepwise(x, tuple(a + 0.5 * (b - a) for a, b in zip(start, state, strict=True)), w)


def one_bias_twice(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    return stepwise(x, state, w._replace(bias_hh=w.bias_ih))


def almost(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    return stepwise(x, state, w._replace(weight_hh=w.weight_hh * 1.0001))


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("fault", [hidden_cut_at_each_step, start_cut, one_bias_twice, almost])
def test_engines_catches_a_fault(fault: Layer, dtype: torch.dtype) -> None:
    compare(stepwise, dtype)
    with pytest.raises(AssertionError):
        compare(fault, dtype)


def mingru(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    return run_stepwise("mingru", x, state, w)[:2]


def gate_the_other_way(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Keep where it is to be written, as a GRU's gate does."""
    sign = torch.ones(len(w.bias_ih), 1, dtype=x.dtype)
    sign[: len(sign) // 2] = -1
    return mingru(x, state, w._replace(weight_ih=w.weight_ih * sign, bias_ih=w.bias_ih * sign[:, 0]))


def candidate_squashed(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Put the candidate through tanh, as a GRU does."""
    (h,), outputs = state, []
    for x_t in x:
        z, n = (x_t @ w.weight_ih.T + w.bias_ih).chunk(2, dim=-1)
        h = torch.lerp(h, n.tanh(), z.sigmoid())
        outputs.append(h)
    return torch.stack(outputs), (h,)


def state_cut_at_each_step(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Give the right outputs and wrong gradients: nothing is propagated further back than one step."""
    outputs: list[Tensor] = []
    for x_t in x:
        state = state_after(mingru_step(x_t, (state[0].detach() if outputs else state[0],), w))
        outputs.append(state[0])
    return torch.stack(outputs), state


def without_bias(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    return mingru(x, state, w._replace(bias_ih=0 * w.bias_ih))


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("fault", [gate_the_other_way, candidate_squashed, state_cut_at_each_step, without_bias])
def test_engines_catches_a_fault_of_a_scan(fault: Layer, dtype: torch.dtype) -> None:
    compare(mingru, dtype, "mingru")
    with pytest.raises(AssertionError):
        compare(fault, dtype, "mingru")


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
def test_engines_catches_swapped_gates(one: int, other: int) -> None:
    with pytest.raises(AssertionError):
        compare(lambda x, state, w: stepwise(x, state, swap_gates(w, one, other)), torch.float64)


def test_gradients_catches_a_wrong_slope() -> None:
    x = random_like((2, 3), torch.float64, 2)
    law_gradients(lambda x: torch.tanh(x), [x])
    with pytest.raises(AssertionError):
        law_gradients(lambda x: torch.tanh(x) + 0.001 * (x * x).detach(), [x])
