"""Drawing: the distribution drawn from, its inverse, all rows at once, and the loop that draws, reads and repeats."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiny import Stepping
from unroll.engine.draw import Drawing, draw, nats_of_rows, probabilities
from unroll.predict.predictor import Predictor, Window
from unroll.state import State

Array = NDArray[np.float64]


def one_row(logits: Array, drawing: Drawing) -> Array:
    """Return the distribution (V,) of logits (V,)."""
    (p,) = probabilities(logits[None], drawing)
    return np.asarray(p)


def at(p: Array, uniform: float) -> int:
    """Return the symbol of one distribution (V,) at a number."""
    return int(draw(p[None], np.array([uniform]))[0])


# ---- the distribution


@st.composite
def logits_arrays(draw_: st.DrawFn) -> Array:
    """Logits with ties, far outliers and impossible symbols, at least two of them possible."""
    values = st.one_of(st.floats(-8, 8), st.sampled_from([0.0, 1.0, -1000.0, 300.0, -np.inf]))
    logits = np.array(draw_(st.lists(values, min_size=3, max_size=30)))
    assume(np.isfinite(logits[1:]).sum() >= 2)
    return logits


TEMPERATURES = st.sampled_from([0.01, 0.3, 1.0, 1.7, 20.0])


def tempered(logits: Array, temperature: float, never: int | None) -> Array:
    """Return softmax(logits / temperature) without `never`, with exact sums."""
    allowed = [k for k in range(len(logits)) if k != never]
    top = max(logits[k] for k in allowed)
    weights = np.array([np.exp((x - top) / temperature) if k in allowed else 0.0 for k, x in enumerate(logits)])
    return np.asarray(weights / weights.sum())


def ranked(p: Array) -> list[int]:
    """Return the ids from the most to the least probable, equal ones by id."""
    return sorted(range(len(p)), key=lambda k: (-p[k], k))


@given(logits_arrays(), TEMPERATURES, st.sampled_from([None, 0]))
@settings(deadline=None)
def test_unfiltered_it_is_the_tempered_softmax(logits: Array, temperature: float, never: int | None) -> None:
    before = logits.copy()
    p = one_row(logits, Drawing(temperature=temperature, never=never))
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_allclose(p, tempered(logits, temperature, never), atol=1e-12)


@given(
    logits_arrays(), st.one_of(st.just(0.0), TEMPERATURES), st.integers(0, 40), st.floats(1e-6, 1), st.floats(0, 1),
    st.sampled_from([None, 0]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_every_choice_of_filters_sums_to_one_and_never_allows_never(
    logits: Array, temperature: float, top_k: int, top_p: float, min_p: float, never: int | None
) -> None:
    p = one_row(logits, Drawing(temperature, top_k, top_p, min_p, never=never))
    assert abs(p.sum() - 1) < 1e-12 and (p >= 0).all()
    assert never is None or p[never] == 0
    free = tempered(logits, temperature or 1.0, never)
    # What is kept keeps its proportions, and the most probable symbol is always kept.
    kept = np.flatnonzero(p)
    assert free[kept].max() == free.max()
    if temperature:
        np.testing.assert_allclose(p[kept], free[kept] / free[kept].sum(), rtol=1e-9)


@given(logits_arrays(), TEMPERATURES, st.integers(1, 40))
@settings(deadline=None)
def test_top_k_keeps_the_k_most_probable(logits: Array, temperature: float, k: int) -> None:
    p = one_row(logits, Drawing(temperature, top_k=k, never=0))
    free = tempered(logits, temperature, 0)
    assert set(np.flatnonzero(p)) == {symbol for symbol in ranked(free)[:k] if free[symbol] > 0}


@given(logits_arrays(), TEMPERATURES, st.floats(1e-9, 1, exclude_max=True))
@settings(deadline=None)
def test_top_p_keeps_the_fewest_that_reach_p(logits: Array, temperature: float, top_p: float) -> None:
    p = one_row(logits, Drawing(temperature, top_p=top_p, never=0))
    free = tempered(logits, temperature, 0)
    sums = np.cumsum([free[symbol] for symbol in ranked(free)])
    assume(np.abs(sums - top_p).min() > 1e-9)  # where a sum meets p, rounding decides
    fewest = 1 + int(np.searchsorted(sums, top_p))
    assert set(np.flatnonzero(p)) == set(ranked(free)[:fewest])


@given(logits_arrays(), TEMPERATURES, st.floats(1e-9, 1))
@settings(deadline=None)
def test_min_p_keeps_what_is_not_too_far_below_the_top(logits: Array, temperature: float, min_p: float) -> None:
    p = one_row(logits, Drawing(temperature, min_p=min_p, never=0))
    free = tempered(logits, temperature, 0)
    assume(min_p == 1 or np.abs(free / free.max() - min_p).min() > 1e-9)
    assert set(np.flatnonzero(p)) == set(np.flatnonzero(free >= min_p * free.max()))


def test_the_filters_apply_together() -> None:
    logits = np.log(np.array([0.0, 0.4, 0.3, 0.2, 0.06, 0.04], dtype=np.float64) + 1e-300)
    both = one_row(logits, Drawing(top_k=4, top_p=0.85, min_p=0.1, never=0))
    np.testing.assert_allclose(both, [0, 4 / 9, 3 / 9, 2 / 9, 0, 0])
    narrow = one_row(logits, Drawing(top_k=2, top_p=0.85, min_p=0.1, never=0))
    np.testing.assert_allclose(narrow, [0, 4 / 7, 3 / 7, 0, 0, 0])


@given(logits_arrays())
@settings(deadline=None)
def test_temperature_zero_takes_the_first_of_the_most_probable(logits: Array) -> None:
    p = one_row(logits, Drawing(temperature=0, never=0))
    assert p[1 + int(np.argmax(logits[1:]))] == 1 and p.sum() == 1


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-300, 1e-12])
def test_a_tiny_temperature_is_like_none(temperature: float) -> None:
    p = one_row(np.array([50.0, -2e9, 3.0, 1.0]), Drawing(temperature, never=0))
    np.testing.assert_array_equal(p, [0, 0, 1, 0])


# ---- drawing


@given(
    st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-300, 1e-20])), min_size=1, max_size=40),
    st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 1 - 2.0**-53])),
)
@settings(max_examples=400, deadline=None)
def test_draw_inverts_the_cumulative_distribution(weights: list[float], uniform: float) -> None:
    p = np.array(weights)
    assume(p.sum() > 1e-200)
    chosen = at(p, uniform)
    assert p[chosen] > 0
    below, total = p[:chosen].sum(), p.sum()
    assert below - 1e-12 * total <= uniform * total <= below + p[chosen] + 1e-12 * total


def test_draw_at_its_ends() -> None:
    p = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    assert [at(p, u) for u in (0.0, 0.25 - 2**-54, 0.25, 1 - 2.0**-53)] == [1, 1, 3, 3]
    thirds = np.full(3, 1 / 3)
    assert at(thirds, 1 - 2.0**-53) == 2
    assert at(np.array([1.0, 0.0]), 1 - 2.0**-53) == 0


@given(logits_arrays())
@settings(deadline=None)
def test_nats_are_the_negative_log_softmax(logits: Array) -> None:
    possible = int(np.argmax(logits))
    expected = float(-torch.log_softmax(torch.from_numpy(logits), 0)[possible])
    assert abs(nats_of_rows(logits[None], np.array([possible]))[0] - expected) < 1e-9


# ---- all rows at once


def row_by_row(logits: Array, drawing: Drawing, uniforms: Array) -> list[int]:
    """Draw a symbol of each row, as one would write it for a single row."""
    temperature, top_k, top_p, min_p = (
        np.broadcast_to(values, len(logits)).tolist()
        for values in (drawing.temperature, drawing.top_k, drawing.top_p, drawing.min_p)
    )
    drawn = []
    for row, uniform in enumerate(uniforms.tolist()):
        z = logits[row].astype(np.float64)
        if drawing.never is not None:
            z[drawing.never] = -np.inf
        if temperature[row] == 0:
            drawn.append(int(np.argmax(z)))
            continue
        p = np.exp((z - z.max()) / max(temperature[row], 1e-100))
        p /= p.sum()
        order = np.argsort(-p, kind="stable")
        keep = np.ones(len(p), dtype=bool)
        if top_k[row]:
            keep[order[top_k[row] :]] = False
        if top_p[row] < 1:
            keep[order[np.cumsum(p[order]) - p[order] >= top_p[row]]] = False
        kept = np.where(keep & (p >= min_p[row] * p.max()), p, 0.0)
        kept /= kept.sum()
        cumulative = np.cumsum(kept)
        chosen = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
        drawn.append(chosen if chosen < len(p) else int(np.flatnonzero(kept)[-1]))
    return drawn


Rows = Callable[[Array, Drawing, Array], list[int]]


def law_rows_at_once(rows_at_once: Rows) -> None:
    """What is drawn of many rows, each with options of its own, is what is drawn of each alone."""
    random = np.random.default_rng(0)
    for _ in range(400):
        rows, size = random.integers(1, 40), random.integers(3, 60)
        logits = random.normal(scale=random.choice([0.1, 2, 30]), size=(rows, size))
        logits[random.random(logits.shape) < 0.2] = 0.5  # ties
        drawing = Drawing(
            random.choice([0.0, 1e-120, 0.3, 1.0, 2.0], rows),
            random.choice([0, 1, 2, 5, 100], rows),
            random.choice([1e-9, 0.3, 0.9, 1.0], rows),
            random.choice([0.0, 0.05, 0.5, 1.0], rows),
            (None, 0, 1)[random.integers(3)],
        )
        numbers = random.choice([0.0, 0.5, 1 - 2**-53, random.random()], rows)
        assert rows_at_once(logits, drawing, numbers) == row_by_row(logits, drawing, numbers)


def at_once(logits: Array, drawing: Drawing, uniforms: Array) -> list[int]:
    return [int(id) for id in draw(probabilities(logits, drawing), uniforms)]


def test_rows_at_once_draw_what_each_draws_alone() -> None:
    law_rows_at_once(at_once)


def options_of_another_row(logits: Array, drawing: Drawing, uniforms: Array) -> list[int]:
    turned = replace(drawing, temperature=np.roll(np.asarray(drawing.temperature), 1))
    return at_once(logits, turned, uniforms)


def number_of_another_row(logits: Array, drawing: Drawing, uniforms: Array) -> list[int]:
    return at_once(logits, drawing, np.roll(uniforms, 1) if len(set(uniforms.tolist())) > 1 else 1 - uniforms / 2)


def never_forgotten(logits: Array, drawing: Drawing, uniforms: Array) -> list[int]:
    return at_once(logits, replace(drawing, never=None), uniforms)


@pytest.mark.parametrize("fault", [options_of_another_row, number_of_another_row, never_forgotten])
def test_the_law_of_rows_fails_on_faults(fault: Rows) -> None:
    with pytest.raises(AssertionError):
        law_rows_at_once(fault)


# ---- draw, read, repeat


TABLE = np.random.default_rng(1).normal(size=(7, 7))


def by_last(ids: Window, state: State | None) -> tuple[Array, State]:
    """Predict by the last symbol alone."""
    return TABLE[ids[:, -1]], ((ids[:, -1:],),)


def law_loop(predictor: Predictor) -> None:
    """Each row's result is what it is alone, its nats are the predictor's, and it ends after what it has read."""
    numbers = np.random.default_rng(2).random((5, 9))
    logits = np.random.default_rng(3).normal(size=(5, 7))
    ids, nats, after, state = predictor.generate(logits, ((np.zeros((5, 1)),),), Drawing(), numbers)
    for row in range(5):
        alone = predictor.generate(logits[[row]], ((np.zeros((1, 1)),),), Drawing(), numbers[[row]])
        assert alone[0].tolist() == ids[[row]].tolist() and alone[1].tolist() == nats[[row]].tolist()
    before = np.concatenate([logits[:, None], TABLE[ids[:, :-1]]], axis=1)
    said = before - np.log(np.exp(before).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(nats, -np.take_along_axis(said, ids[..., None], axis=2)[..., 0], rtol=1e-12)
    for t in range(9):
        assert ids[:, t].tolist() == row_by_row(before[:, t], Drawing(), numbers[:, t])
    assert after.tolist() == TABLE[ids[:, -1]].tolist() and state[0][0].tolist() == ids[:, -1:].tolist()


def test_a_predictor_draws_reads_and_repeats() -> None:
    law_loop(Stepping(by_last))


def rows_mixed(ids: Window, state: State | None) -> tuple[Array, State]:
    logits, after = by_last(ids, state)
    return np.roll(logits, 1, axis=0), after


def first_is_read(ids: Window, state: State | None) -> tuple[Array, State]:
    return by_last(ids if state is None else np.asarray(state[0][0], np.int64), state)


@pytest.mark.parametrize("fault", [rows_mixed, first_is_read])
def test_the_law_of_the_loop_fails_on_faults(fault: Callable[[Window, State | None], tuple[Array, State]]) -> None:
    with pytest.raises(AssertionError):
        law_loop(Stepping(fault))


def test_what_is_halted_has_one_symbol_at_least() -> None:
    numbers = np.random.default_rng(2).random((5, 9))
    logits, state = by_last(np.arange(5)[:, None], None)
    whole = Stepping(by_last).generate(logits, state, Drawing(), numbers, np.zeros(1, np.int32))
    first = Stepping(by_last).generate(logits, state, Drawing(), numbers, np.ones(1, np.int32))
    assert first[0].tolist() == whole[0][:, :1].tolist() and first[2].tolist() == TABLE[whole[0][:, 0]].tolist()
    rest = Stepping(by_last).generate(first[2], first[3], Drawing(), numbers[:, 1:])
    assert rest[0].tolist() == whole[0][:, 1:].tolist()
