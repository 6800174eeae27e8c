"""Reliability: every symbol at every position is one prediction, and wrong probabilities leave the diagonal."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from lm.predictors import Forgetful, Known, counted, network, write_letters
from tiny import ARCHS, TOKENIZER
from unroll.lm import reliability as module
from unroll.lm.intervals import wilson
from unroll.lm.pairs import Count
from unroll.lm.reliability import EDGES, Reliability, distributions, reliability
from unroll.predict.predictor import Nats, Predictor, log_probabilities
from unroll.predict.protocols import Ids, stream
from unroll.predict.torch import TorchPredictor
from unroll.progress import result

SIZE = TOKENIZER.vocab_size


def drawn(probabilities: Iterable[float], length: int, file: Path, seed: int = 3) -> Path:
    """Write a text of independent symbols of TOKENIZER."""
    ids = np.random.default_rng(seed).choice(SIZE, length, p=np.array([*probabilities]))
    file.write_text(TOKENIZER.decode(ids))
    return file


def reliability_of(predictor: Predictor, file: Path) -> Reliability:
    return result(reliability(predictor, TOKENIZER, file))


def brute(predictor: TorchPredictor, file: Path) -> tuple[Nats, Ids]:
    """Return the probabilities (N, V) of all symbols after the start symbol, in one pass, and those that came."""
    ids = TOKENIZER.encode(file.read_text())
    with torch.no_grad():
        logits, _ = predictor.model(torch.tensor([[TOKENIZER.start_id, *ids[:-1].tolist()]]))
    return torch.softmax(logits[0], dim=-1).numpy(), ids


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    return write_letters(tmp_path)


# ---- are the probabilities right?


@pytest.mark.parametrize(("rows", "span"), [(128, 64), (3, 7), (5, 2000)])
@pytest.mark.parametrize("arch", ARCHS)
def test_reliability_is_what_counting_one_by_one_gives(
    arch: str, rows: int, span: int, letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(module, "SPAN", span)
    predictor = network(arch)
    p, ids = brute(predictor, letters)
    figures = reliability_of(predictor, letters)
    predictions, hits, sums = [0] * 17, [0] * 17, [0.0] * 17
    error = 0.0
    for row, target in zip(p.tolist(), ids.tolist(), strict=True):
        for symbol, share in enumerate(row):
            k = sum(share >= edge for edge in EDGES[:-1].tolist())
            predictions[k] += 1
            hits[k] += symbol == target
            sums[k] += share
    top_p, correct = p.max(axis=1), p.argmax(axis=1) == ids
    for m in range(15):
        inside = (top_p > m / 15) & (top_p <= (m + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - top_p[inside].mean())
    assert figures.predictions.tolist() == predictions
    assert figures.hits.tolist() == hits
    means = [total / number if number else math.nan for total, number in zip(sums, predictions, strict=True)]
    np.testing.assert_allclose(figures.predicted, means, rtol=1e-9)
    assert math.isclose(figures.ece, error, abs_tol=1e-9)
    assert math.isclose(figures.accuracy, correct.mean())
    assert math.isclose(figures.confidence, top_p.mean())


def test_every_symbol_at_every_position_is_one_prediction(letters: Path) -> None:
    figures = reliability_of(network(), letters)
    assert figures.positions == 3011
    assert figures.predictions.sum() == 3011 * SIZE
    assert figures.hits.sum() == figures.top_predictions.sum() == 3011
    filled = figures.predictions > 0
    assert math.isclose((figures.predicted * figures.predictions)[filled].sum(), 3011)  # probabilities sum to one
    low, high = np.append(0, EDGES[:-1]), EDGES
    assert ((low <= figures.predicted) & (figures.predicted < high))[filled].all()


@pytest.mark.parametrize("arch", ARCHS)
def test_reading_side_by_side_carries_the_state(arch: str, letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for an n-gram; and a state that is not carried is noticed."""
    monkeypatch.setattr(module, "ROWS", 4)
    monkeypatch.setattr(module, "SPAN", 16)
    ids = TOKENIZER.encode(letters.read_text())

    def total(predictor: Predictor) -> float:
        pairs = distributions(predictor, np.array_split(ids, 7), TOKENIZER.start_id)
        return -sum(
            float(log_probabilities(logits)[np.arange(len(targets)), targets].sum()) for logits, targets in pairs
        )

    for predictor in (network(arch), counted(letters, 3)):
        exact = sum(float(nats.sum()) for nats, _ in stream(predictor, ids, TOKENIZER.start_id))
        assert math.isclose(total(predictor), exact, rel_tol=1e-9)
        assert not math.isclose(total(Forgetful(predictor)), exact, rel_tol=1e-3)


def test_of_a_long_text_a_sample_is_measured_after_all_that_precedes_it(
    letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of V probabilities at each of N positions as many as are to be looked at: every third stretch, state carried."""
    monkeypatch.setattr(module, "SPAN", 16)
    ids = TOKENIZER.encode(letters.read_text())
    assert len(ids) == 3011
    predictor = network()
    figures = reliability_of(predictor, letters)
    assert (figures.stride, figures.positions) == (1, 3011)
    monkeypatch.setattr(module, "MOST_PROBABILITIES", 3011 * SIZE // 3 + SIZE)
    figures = reliability_of(predictor, letters)
    chosen = np.arange(3011) // 16 % 3 == 0
    assert (figures.stride, figures.positions) == (3, chosen.sum())
    p, _ = brute(predictor, letters)
    rows = p[chosen]
    assert math.isclose(figures.confidence, rows.max(axis=1).mean(), rel_tol=1e-9)
    assert figures.accuracy == (rows.argmax(axis=1) == ids[chosen]).mean()
    monkeypatch.setattr(module, "MOST_PROBABILITIES", 1)
    assert sum(1 for _ in reliability(predictor, TOKENIZER, letters)) > 16, "progress comes where nothing is looked at"
    assert reliability_of(predictor, letters).positions == 16


def test_right_probabilities_lie_on_the_diagonal_and_overconfident_ones_do_not(tmp_path: Path) -> None:
    true_p = np.array([0.0002, 0.35, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.01, 0.005, 0.0038, 0.001])
    file = drawn(true_p, 30_000, tmp_path / "drawn.txt")

    def outside(figures: Reliability) -> int:
        low, high = figures.interval
        filled = figures.predictions > 0
        return int(((figures.predicted < low) | (figures.predicted > high))[filled].sum())

    figures = reliability_of(Known(true_p), file)
    assert outside(figures) <= 1  # of eleven intervals, of which one in twenty misses
    assert figures.ece < 0.01
    overconfident = reliability_of(Known(true_p, sharpness=3.0), file)
    assert outside(overconfident) >= 5
    assert overconfident.ece > 0.3 and overconfident.confidence > overconfident.accuracy + 0.3
    assert overconfident.observed[0] > 10 * overconfident.predicted[0]


def test_an_ngram_of_uniform_text_lies_on_the_diagonal(tmp_path: Path) -> None:
    uniform = [0.0] * 4 + [1 / 8] * 8
    file, held_out = (drawn(uniform, 20_000, tmp_path / f"{seed}.txt", seed) for seed in (1, 2))
    figures = reliability_of(counted(file, 1), held_out)
    (k,) = np.flatnonzero((figures.predictions > 0) & (figures.predicted > 0.05))
    low, high = figures.interval
    assert figures.predictions[k] == 8 * 20_000
    assert low[k] <= figures.predicted[k] <= high[k]
    assert figures.ece < 0.01


def test_intervals_are_those_of_a_single_count() -> None:
    hits, total = np.array([0, 3, 10, 0, 977]), np.array([10, 10, 10, 0, 12_345])
    low, high = wilson(hits, total)
    for k in (0, 1, 2, 4):
        expected = Count(int(total[k]), int(hits[k]), 0).interval
        assert expected is not None
        np.testing.assert_allclose((low[k], high[k]), expected, atol=1e-12)
    assert np.isnan(low[3]) and np.isnan(high[3])
