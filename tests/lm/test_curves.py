"""The numbers behind pictures: every prediction once, every crop once, and faults that do not pass for a model's."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from lm.predictors import Forgetful, Known, Shifted, counted, network, write_letters
from tiny import SMALL, TOKENIZER
from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.lm import curves as module
from unroll.lm.curves import PositionLoss, crop_nats, measure, position_loss, surprisal
from unroll.lm.reliability import distributions
from unroll.predict.predictor import Nats, Predictor, Window
from unroll.predict.protocols import crops_nats, stream
from unroll.progress import result
from unroll.state import State


def position_of(predictor: Predictor, file: Path, length: int, *, smooth: bool = False) -> PositionLoss:
    return result(position_loss(predictor, TOKENIZER, file, length, smooth=smooth))


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    return write_letters(tmp_path)


# ---- what is context worth?


def law_position(loss: PositionLoss, crops: Iterable[Nats]) -> None:
    """The figures are the mean and 1.96 standard errors over crops, each scored by itself."""
    nats = np.stack([*crops])
    assert (loss.crops, loss.length) == nats.shape
    np.testing.assert_allclose(loss.nats, nats.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(loss.half, 1.959963984540054 * nats.std(axis=0, ddof=1) / len(nats) ** 0.5, rtol=1e-7)
    assert loss.first.tolist() == loss.last.tolist() == [*range(1, loss.length + 1)]


@pytest.mark.parametrize(("length", "rows"), [(2, 1), (7, 100), (100, 10_000), (100, 1)])
@pytest.mark.parametrize("arch", ["lstm", "window"])
def test_position_is_what_scoring_every_crop_gives(
    arch: str, length: int, rows: int, letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the text is cut to be read, and also where a crop is read in windows."""
    monkeypatch.setattr(module, "READ_TOGETHER", rows)
    monkeypatch.setattr(module, "STREAM_WINDOW", 30)
    monkeypatch.setattr(module, "CROP_TOKENS", 300)
    predictor = network(arch)
    ids = TOKENIZER.encode(letters.read_text())
    starts = range(0, (len(ids) - 1) // length * length, length)
    crops = [predictor.nats(ids[None, i : i + length], ids[None, i + 1 : i + length + 1])[0][0] for i in starts]
    law_position(position_of(predictor, letters, length), crops)
    for fault in (Shifted, Forgetful) if length > 30 else (Shifted,):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            law_position(position_of(fault(predictor), letters, length), crops)


@pytest.mark.parametrize("smooth", [False, True])
def test_the_mean_over_positions_is_the_figure_of_crops(letters: Path, smooth: bool) -> None:
    ids = TOKENIZER.encode(letters.read_text())
    for predictor in (network(), counted(letters, 3)):
        for length in (256, 40):
            figure = crops_nats(predictor, ids, length)
            assert figure is not None
            loss = position_of(predictor, letters, length, smooth=smooth)
            assert math.isclose(loss.nats_per_token, figure, rel_tol=1e-9)
            assert loss.smoothed == smooth


def test_smoothing_averages_over_stretches_and_loses_no_position(letters: Path) -> None:
    for length in (100, 128):  # at 128 a stretch of its own begins, which joins the one before
        rough, smooth = (position_of(network(), letters, length, smooth=smooth) for smooth in (False, True))
        assert smooth.first[0] == 1 and smooth.last[-1] == length
        assert (smooth.first[1:] == smooth.last[:-1] + 1).all()
        widths = smooth.last - smooth.first + 1
        assert (widths <= np.ceil(smooth.first / 8) + (smooth.last == 128)).all() and (np.diff(widths) >= -1).all()
        for first, last, nats in zip(smooth.first, smooth.last, smooth.nats, strict=True):
            assert math.isclose(nats, rough.nats[first - 1 : last].mean())


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
    loss = position_of(network(), letters, 3000)
    assert (loss.crops, len(loss.nats)) == (1, 3000)
    assert np.isnan(loss.half).all() and np.isfinite(loss.nats).all()
    assert loss.figures()["low"] == [None] * 3000


def test_memory_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of a predictor at a time has a bound, however long the text."""
    sizes: list[int] = []

    class Watched(Known):
        def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
            sizes.append(inputs.size)
            return super().nats(inputs, targets, state)

        def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
            sizes.append(inputs.size)
            return super().logits(inputs, state)

    blocks = [np.zeros(100_000, np.int64)] * 4
    for _ in crop_nats(Watched([0.5, 0.5]), blocks, 100):
        pass
    for _ in distributions(Watched([0.5, 0.5]), blocks, 0):
        pass
    assert max(sizes) <= module.CROP_TOKENS


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
