"""The numbers behind pictures: every prediction once, every crop once, and faults that do not pass for a model's."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny import ARCHS, SMALL, TOKENIZER, model_config, random_model
from unroll.artifact.open import Opened
from unroll.data.tokenizer import CharTokenizer
from unroll.errors import UserError
from unroll.lm import curves as module
from unroll.lm.curves import (
    EDGES,
    PositionLoss,
    Reliability,
    crop_nats,
    distributions,
    measure,
    position_loss,
    reliability,
    surprisal,
)
from unroll.lm.intervals import wilson
from unroll.lm.pairs import Count
from unroll.predict.ngram import NgramPredictor, Tables
from unroll.predict.ngram_config import NgramConfig
from unroll.predict.ngram_counts import count
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities
from unroll.predict.protocols import Ids, crops_nats, stream
from unroll.predict.torch import TorchPredictor
from unroll.progress import result
from unroll.state import State

SIZE = TOKENIZER.vocab_size


class Known(Predictor):
    """A predictor that says of every symbol what it is told, whatever came before."""

    def __init__(self, probabilities: Iterable[float], sharpness: float = 1.0) -> None:
        self.said = log_probabilities(sharpness * np.log(np.array([*probabilities])))

    @property
    def vocab_size(self) -> int:
        return len(self.said)

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return -self.said[targets], ()

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
        return np.tile(self.said, (len(inputs), 1)), ()


class Shifted(Predictor):
    """Planted fault: the target of each step is its input, which is off by one."""

    vocab_size = 0

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.vocab_size = predictor.vocab_size

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.predictor.nats(inputs, inputs, state)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.predictor.logits(inputs, state)


class Forgetful(Shifted):
    """Planted fault: a state is handed back, and not looked at."""

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.predictor.nats(inputs, targets)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.predictor.logits(inputs)


def network(arch: str = "lstm") -> TorchPredictor:
    return TorchPredictor(random_model(model_config(arch)))


def counted(file: Path, order: int, tokenizer: CharTokenizer = TOKENIZER) -> NgramPredictor:
    """Return the n-gram of a text."""
    ids = tokenizer.lookup(file.read_text())
    tables = result(count(ids, NgramConfig(tokenizer.vocab_size, order, tokenizer.start_id)))
    assert isinstance(tables, Tables)
    return NgramPredictor(tables)


def drawn(probabilities: Iterable[float], length: int, file: Path, seed: int = 3) -> Path:
    """Write a text of independent symbols of TOKENIZER."""
    ids = np.random.default_rng(seed).choice(SIZE, length, p=np.array([*probabilities]))
    file.write_text(TOKENIZER.decode(ids))
    return file


def reliability_of(predictor: Predictor, file: Path) -> Reliability:
    return result(reliability(predictor, TOKENIZER, file))


def position_of(predictor: Predictor, file: Path, length: int, *, smooth: bool = False) -> PositionLoss:
    return result(position_loss(predictor, TOKENIZER, file, length, smooth=smooth))


def brute(predictor: TorchPredictor, file: Path) -> tuple[Nats, Ids]:
    """Return the probabilities (N, V) of all symbols after the start symbol, in one pass, and those that came."""
    ids = TOKENIZER.encode(file.read_text())
    with torch.no_grad():
        logits, _ = predictor.model(torch.tensor([[TOKENIZER.start_id, *ids[:-1].tolist()]]))
    return torch.softmax(logits[0], dim=-1).numpy(), ids


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    file = tmp_path / "letters.txt"
    rng = np.random.default_rng(0)
    file.write_text("".join("abcdefghij\n"[k] for k in rng.integers(0, 11, 3011)))
    return file


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
    found = reliability_of(predictor, letters)
    predictions, hits, sums = [0] * 17, [0] * 17, [0.0] * 17
    error = 0.0
    for row, target in zip(p.tolist(), ids.tolist(), strict=True):
        for symbol, share in enumerate(row):
            k = sum(share >= edge for edge in EDGES[:-1].tolist())
            predictions[k] += 1
            hits[k] += symbol == target
            sums[k] += share
    most, right = p.max(axis=1), p.argmax(axis=1) == ids
    for m in range(15):
        inside = (most > m / 15) & (most <= (m + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - most[inside].mean())
    assert found.predictions.tolist() == predictions
    assert found.hits.tolist() == hits
    means = [total / number if number else math.nan for total, number in zip(sums, predictions, strict=True)]
    np.testing.assert_allclose(found.predicted, means, rtol=1e-9)
    assert math.isclose(found.ece, error, abs_tol=1e-9)
    assert math.isclose(found.accuracy, right.mean())
    assert math.isclose(found.confidence, most.mean())


def test_every_symbol_at_every_position_is_one_prediction(letters: Path) -> None:
    found = reliability_of(network(), letters)
    assert found.positions == 3011
    assert found.predictions.sum() == 3011 * SIZE
    assert found.hits.sum() == found.top_predictions.sum() == 3011
    filled = found.predictions > 0
    assert math.isclose((found.predicted * found.predictions)[filled].sum(), 3011)  # probabilities sum to one
    low, high = np.append(0, EDGES[:-1]), EDGES
    assert ((low <= found.predicted) & (found.predicted < high))[filled].all()


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


def test_right_probabilities_lie_on_the_diagonal_and_overconfident_ones_do_not(tmp_path: Path) -> None:
    right = np.array([0.0002, 0.35, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.01, 0.005, 0.0038, 0.001])
    file = drawn(right, 30_000, tmp_path / "drawn.txt")

    def outside(found: Reliability) -> int:
        low, high = found.interval
        filled = found.predictions > 0
        return int(((found.predicted < low) | (found.predicted > high))[filled].sum())

    found = reliability_of(Known(right), file)
    assert outside(found) <= 1  # of eleven intervals, of which one in twenty misses
    assert found.ece < 0.01
    overconfident = reliability_of(Known(right, sharpness=3.0), file)
    assert outside(overconfident) >= 5
    assert overconfident.ece > 0.3 and overconfident.confidence > overconfident.accuracy + 0.3
    assert overconfident.observed[0] > 10 * overconfident.predicted[0]


def test_an_ngram_of_uniform_text_lies_on_the_diagonal(tmp_path: Path) -> None:
    uniform = [0.0] * 4 + [1 / 8] * 8
    file, other = (drawn(uniform, 20_000, tmp_path / f"{seed}.txt", seed) for seed in (1, 2))
    found = reliability_of(counted(file, 1), other)
    (k,) = np.flatnonzero((found.predictions > 0) & (found.predicted > 0.05))
    low, high = found.interval
    assert found.predictions[k] == 8 * 20_000
    assert low[k] <= found.predicted[k] <= high[k]
    assert found.ece < 0.01


def test_intervals_are_those_of_a_single_count() -> None:
    hits, total = np.array([0, 3, 10, 0, 977]), np.array([10, 10, 10, 0, 12_345])
    low, high = wilson(hits, total)
    for k in (0, 1, 2, 4):
        expected = Count(int(total[k]), int(hits[k]), 0).interval
        assert expected is not None
        np.testing.assert_allclose((low[k], high[k]), expected, atol=1e-12)
    assert np.isnan(low[3]) and np.isnan(high[3])


# ---- what is context worth?


def law_position(found: PositionLoss, each: Iterable[Nats]) -> None:
    """The figures are the mean and 1.96 standard errors over crops, each scored by itself."""
    nats = np.stack([*each])
    assert (found.crops, found.length) == nats.shape
    np.testing.assert_allclose(found.nats, nats.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.half, 1.959963984540054 * nats.std(axis=0, ddof=1) / len(nats) ** 0.5, rtol=1e-7)
    assert found.first.tolist() == found.last.tolist() == [*range(1, found.length + 1)]


@pytest.mark.parametrize(("length", "together"), [(2, 1), (7, 100), (100, 10_000), (100, 1)])
@pytest.mark.parametrize("arch", ["lstm", "window"])
def test_position_is_what_scoring_every_crop_gives(
    arch: str, length: int, together: int, letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the text is cut to be read, and also where a crop is read in windows."""
    monkeypatch.setattr(module, "READ_TOGETHER", together)
    monkeypatch.setattr(module, "STREAM_WINDOW", 30)
    monkeypatch.setattr(module, "CROP_TOKENS", 300)
    predictor = network(arch)
    ids = TOKENIZER.encode(letters.read_text())
    starts = range(0, (len(ids) - 1) // length * length, length)
    each = [predictor.nats(ids[None, i : i + length], ids[None, i + 1 : i + length + 1])[0][0] for i in starts]
    law_position(position_of(predictor, letters, length), each)
    for fault in (Shifted, Forgetful) if length > 30 else (Shifted,):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            law_position(position_of(fault(predictor), letters, length), each)


@pytest.mark.parametrize("smooth", [False, True])
def test_the_mean_over_positions_is_the_figure_of_crops(letters: Path, smooth: bool) -> None:
    ids = TOKENIZER.encode(letters.read_text())
    for predictor in (network(), counted(letters, 3)):
        for length in (256, 40):
            figure = crops_nats(predictor, ids, length)
            assert figure is not None
            found = position_of(predictor, letters, length, smooth=smooth)
            assert math.isclose(found.nats_per_token, figure, rel_tol=1e-9)
            assert found.smoothed == smooth


def test_smoothing_averages_over_stretches_and_loses_no_position(letters: Path) -> None:
    for length in (100, 128):  # at 128 a stretch of its own begins, which joins the one before
        plain, smooth = (position_of(network(), letters, length, smooth=smooth) for smooth in (False, True))
        assert smooth.first[0] == 1 and smooth.last[-1] == length
        assert (smooth.first[1:] == smooth.last[:-1] + 1).all()
        widths = smooth.last - smooth.first + 1
        assert (widths <= np.ceil(smooth.first / 8) + (smooth.last == 128)).all() and (np.diff(widths) >= -1).all()
        for first, last, nats in zip(smooth.first, smooth.last, smooth.nats, strict=True):
            assert math.isclose(nats, plain.nats[first - 1 : last].mean())


def test_a_window_is_flat_where_it_ends_and_a_recurrent_model_is_not(tmp_path: Path) -> None:
    """Of a text of period 7, crops of 16 begin at each of its symbols equally often: all positions are alike."""
    file = tmp_path / "text.txt"
    file.write_text("abacada" * 16 * 5 + "a")
    assert SMALL["window"] == 4

    def spread(predictor: Predictor, after: int) -> float:
        nats = position_of(predictor, file, 16).nats[after - 1 :]
        return float(nats.max() - nats.min())

    assert spread(network("window"), 4) < 1e-9 < 1e-3 < spread(network("window"), 3)
    assert spread(counted(file, 3), 2) < 1e-9 < 1e-3 < spread(counted(file, 3), 1)
    assert spread(network("lstm"), 4) > 1e-3


def test_the_interval_of_a_single_crop_is_not_known(letters: Path) -> None:
    found = position_of(network(), letters, 3000)
    assert (found.crops, len(found.nats)) == (1, 3000)
    assert np.isnan(found.half).all() and np.isfinite(found.nats).all()
    assert found.figures()["low"] == [None] * 3000


def test_memory_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of a predictor at a time has a bound, however long the text."""
    asked: list[int] = []

    class Watched(Known):
        def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
            asked.append(inputs.size)
            return super().nats(inputs, targets, state)

        def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
            asked.append(inputs.size)
            return super().logits(inputs, state)

    blocks = [np.zeros(100_000, np.int64)] * 4
    for _ in crop_nats(Watched([0.5, 0.5]), blocks, 100):
        pass
    for _ in distributions(Watched([0.5, 0.5]), blocks, 0):
        pass
    assert max(asked) <= module.CROP_TOKENS


# ---- what surprises?


def test_surprisal_adds_up_and_is_short(letters: Path, tmp_path: Path) -> None:
    predictor = network()
    opened = Opened(tmp_path / "model", predictor, TOKENIZER, {"model": {"arch": "lstm"}})
    short = tmp_path / "short.txt"
    short.write_text("abc dj\nfa  b\n")
    ids = TOKENIZER.encode(short.read_text())
    total = sum(float(nats.sum()) for nats, _ in stream(predictor, ids, TOKENIZER.start_id))
    words = surprisal(opened, short)
    assert [unit.text for unit in words.units] == ["abc ", "dj\n", "fa  ", "b\n"]
    assert math.isclose(words.nats.sum(), total)
    tokens = surprisal(opened, short, "token")
    assert len(tokens.units) == len(ids)
    assert math.isclose(tokens.nats.sum(), total)
    curve = result(measure("surprisal", opened, short))
    figures = curve.figures()
    assert (figures["arch"], figures["level"], figures["context"], figures["unit"]) == ("lstm", "char", None, "word")
    assert math.isclose(figures["nats"], total)
    with pytest.raises(UserError, match="more than 300 symbols"):
        surprisal(opened, letters, "token")


def test_refusals(tmp_path: Path, letters: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("abc")
    with pytest.raises(UserError, match="too little text") as short:
        list(position_loss(network(), TOKENIZER, file, 3))
    assert "one crop of 3 symbols" in short.value.allowed and "--length" in short.value.fix
    assert position_of(network(), file, 2).crops == 1
    with pytest.raises(UserError, match="length is 0"):
        list(position_loss(network(), TOKENIZER, file, 0))
    opened = Opened(tmp_path, network(), TOKENIZER, {"model": {"arch": "lstm"}})
    with pytest.raises(UserError, match="unit is 'line'"):
        surprisal(opened, file, "line")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="kind of picture is 'memory'"):
        list(measure("memory", opened, letters))  # type: ignore[arg-type]
