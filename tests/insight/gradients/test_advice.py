"""Advice on gradients, models measured on a text, their training's norms, and the picture."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import unroll
from tiny import begin_training, make_corpus, model_config, overrides, random_ids, text
from unroll.artifact.events import read_events
from unroll.artifact.open import open_model
from unroll.errors import UserError
from unroll.insight.gradients.advice import TrainingNorms, advise, training_norms
from unroll.insight.gradients.measure import (
    GradientReport,
    LagNorms,
    gradients,
    lag_norms,
    stretches,
    untrained,
    validation_part,
)
from unroll.insight.gradients.picture import _by_lag, named, picture, power
from unroll.insight.trace import network_of
from unroll.training.recipe import read_recipe
from unroll.training.start import make_run

# ---- advice

LSTM, RNN = model_config("lstm", forget_bias=0.0), model_config("rnn")
FLAT = np.full(100, 0.8)


def logged(largest: float, clip: float | None) -> TrainingNorms:
    return TrainingNorms(np.arange(10, 110, 10), np.array([1.0] * 9 + [largest]), clip)


def test_advice_for_what_vanishes() -> None:
    shares = 0.7 ** np.arange(100)
    (said,) = advise(shares, RNN)
    assert said.startswith("vanishes after 14 steps (below 1 % of lag 1): use an LSTM (--arch lstm)")
    assert 0.7**13 < 0.01 < 0.7**12
    assert advise(shares, LSTM) == (
        "vanishes after 14 steps (below 1 % of lag 1): start the forget bias at 2 (--set forget_bias=2)",
    )
    assert "train on longer windows" in advise(shares, replace(LSTM, forget_bias=2.0))[0]


def test_advice_for_what_explodes() -> None:
    shares = 1.1 ** np.arange(100)
    assert advise(shares, RNN) == (
        "explodes (12,528 times as large 100 steps back as 1 step back): clip at 1 (--set grad_clip=1)",
    )
    assert advise(shares, RNN, logged(1.5, 1.0))[0].endswith("keep clipping at 1")
    assert advise(shares, RNN, logged(1.5, 0.0))[0].endswith("clip at 1 (--set grad_clip=1)")
    first, second = advise(np.concatenate([shares, shares[-1] * 0.5 ** np.arange(1, 60)]), RNN)
    assert first.startswith("explodes") and second.startswith("vanishes after 121 steps")
    assert advise(np.full(100, 9.9), RNN)[0].startswith("neither")


def test_advice_for_spikes_while_training() -> None:
    first, second = advise(0.7 ** np.arange(100), RNN, logged(35.0, 0.0))
    assert first.startswith("explodes while training (the norm rose to 35 times its median, unclipped): clip at 1")
    assert second.startswith("vanishes")
    assert len(advise(0.7 ** np.arange(100), RNN, logged(35.0, 1.0))) == 1, "they were clipped"
    assert advise(FLAT, RNN, logged(9.0, 0.0)) == advise(FLAT, RNN)


def test_advice_for_what_does_neither() -> None:
    assert advise(FLAT, LSTM) == ("neither explodes nor vanishes: keeps more than a half of lag 1 after 100 steps",)
    fading = 0.97 ** np.arange(100)
    (said,) = advise(fading, LSTM)
    assert said == "fades, but does not vanish: more than a half of lag 1 is left after 23 steps, 4.9 % after 100"
    assert fading[22] > 0.5 > fading[23]
    (said,) = advise(np.zeros(5), model_config("window"))
    assert said.startswith("sees 4 symbols: no gradient comes from further back")


def test_the_layer_and_signal_that_carries_farthest_decides() -> None:
    lags = np.arange(31)
    kept = {"layer0/h": 1 * 0.5**lags, "layer1/h": 9 * 0.9**lags, "x": 2.0**lags}
    some = LagNorms({name: norms[None].astype(np.float64) for name, norms in kept.items()})
    np.testing.assert_allclose(some.shares, 0.9 ** (lags[1:] - 1))
    assert LagNorms({"layer0/h": np.array([[1.0, 0.0, 0.0]]), "x": np.ones((1, 3))}).shares.tolist() == [0.0, 0.0]


# ---- stretches of a text


def test_stretches_are_spread_over_the_text_and_begin_with_the_start_symbol() -> None:
    ids = random_ids(2000)
    rows, run_in = stretches(ids, 7, 30, 5, "t")
    assert rows.shape == (5, 256 + 32) and run_in == 256
    assert rows[0].tolist() == [7, *ids[:287]] and rows[-1].tolist() == ids[-288:].tolist()
    rows, run_in = stretches(ids[:40], 7, 30, 5, "t")
    assert run_in == 4 and len(rows) == 5 and rows.shape[1] == 36
    rows, run_in = stretches(ids[:31], 7, 30, 5, "t")
    assert run_in == 0 and rows.tolist() == [[7, *ids[:31]]]
    with pytest.raises(UserError, match="t has 30 symbols, too few to look 30 steps back"):
        stretches(ids[:30], 7, 30, 5, "t")


# ---- model directories


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gradients")
    corpus = make_corpus(folder / "corpus", [text(250)])
    fixed: dict[str, dict[str, Any]] = {"optim": {"grad_clip": 0.2}, "training": {"log_every": 1}}
    for arch in ("lstm", "rnn", "window"):
        list(begin_training(corpus, folder / arch, overrides({"arch": arch}, **fixed), 12))
    return {arch: folder / arch for arch in ("lstm", "rnn", "window")}


def test_models_are_measured_on_their_own_validation_part(models: dict[str, Path]) -> None:
    report = gradients([models["lstm"], models["window"]], lags=20)
    figures = json.loads(json.dumps(report.figures(), allow_nan=False))
    lstm, window = figures["models"]
    assert [(signal["layer"], signal["signal"]) for signal in lstm["signals"]] == [
        (0, "h"), (0, "c"), (1, "h"), (1, "c"), (None, "x")
    ]  # fmt: skip
    opened = open_model(models["lstm"])
    assert [lag for lag, _ in lstm["signals"][0]["gradient"]] == list(range(21))
    assert lstm["half_life"] == [lstm["signals"][1]["half_life"], lstm["signals"][3]["half_life"]]
    assert lstm["positions"] == 128 and lstm["run_in"] == 256 and lstm["advice"] and lstm["fresh"] is False
    for signal in lstm["signals"]:
        for (_, mean), low, high in zip(signal["gradient"], signal["low"], signal["high"], strict=True):
            assert 0 < low <= high and mean < 10 * high
    assert lstm["spectral_radius"]["mean"] <= lstm["singular_value"]["mean"]
    assert lstm["growth"]["low"] < lstm["growth"]["per_step"] < lstm["growth"]["high"]
    assert window["spectral_radius"] is None and window["growth"] is None and window["half_life"] == []
    assert [norm for _, norm in window["signals"][0]["gradient"]][4:] == [0.0] * 17
    assert "a window has no recurrence" in window["notes"][0] and "name one text for all" in figures["notes"][0]
    # The rows, one by one.
    ids = validation_part(opened)
    rows, _ = stretches(ids, opened.tokenizer.start_id, 20, 128, "t")
    alone = lag_norms(network_of(opened), torch.from_numpy(rows[100:101]), 20)
    for name, norms in alone.rows.items():
        np.testing.assert_allclose(report.models[0].norms.rows[name][100:101], norms, rtol=1e-4)
    assert "gradients" in unroll.__all__ and unroll.gradients is gradients


def test_norms_while_training_are_read_from_its_log(models: dict[str, Path]) -> None:
    found = training_norms(models["rnn"])
    assert found is not None
    events = [event for event in read_events(models["rnn"] / "metrics.jsonl") if event["kind"] == "train"]
    assert found.steps.tolist() == list(range(1, 13)) and found.norms.tolist() == [e["grad_norm"] for e in events]
    known = found.figures(curve=True)
    assert known["grad_clip"] == 0.2 and known["clipped"] == sum(e["grad_norm"] > 0.2 for e in events) / 12 > 0
    assert known["max"] == max(found.norms) == found.norms[known["max_step"] - 1]
    assert known["median"] == np.median(found.norms) and known["curve"][3] == [4, events[3]["grad_norm"]]
    assert found.figures(curve=False)["curve"] is None
    assert logged(2.0, 0.0).figures(curve=False)["clipped"] == 0
    assert logged(2.0, None).figures(curve=False)["clipped"] is None


def test_a_directory_without_its_training(models: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(models["rnn"], bare, ignore=shutil.ignore_patterns("metrics.jsonl", "recipe.toml", "resume"))
    with pytest.raises(UserError, match="bare has no validation part"):
        gradients(bare)
    file = tmp_path / "t.txt"
    file.write_text(text(20))
    (found,) = gradients(bare, file, lags=5).models
    assert found.training is None and found.notes == ("the model directory has no log of its training",)


def test_untrained_weights_are_those_that_the_training_began_with(models: dict[str, Path]) -> None:
    path = models["rnn"]
    opened = network_of(open_model(path))
    before = torch.random.get_rng_state()
    made = untrained(opened, path)
    assert torch.equal(torch.random.get_rng_state(), before)
    recipe = read_recipe(path / "recipe.toml")
    first = make_run(None, recipe, torch.device("cpu")).model
    for one, other in zip(made.parameters(), first.parameters(), strict=True):
        assert torch.equal(one, other)
    trained, fresh = gradients(path, lags=5, fresh=True).models
    assert (trained.fresh, fresh.fresh) == (False, True) and fresh.training is None and not fresh.notes
    assert not np.allclose(trained.norms.x, fresh.norms.x, rtol=1e-3)


def test_what_cannot_be_measured_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("the car is")
    with pytest.raises(UserError, match="has 10 symbols, too few to look 10 steps back"):
        gradients(models["lstm"], file, lags=10)
    assert len(gradients(models["lstm"], file, lags=9).models[0].norms.rows["x"]) == 1
    with pytest.raises(UserError, match="no model is named"):
        gradients([])
    with pytest.raises(UserError, match="8 lines of models"):
        gradients([models["lstm"]] * 4, fresh=True, plot=tmp_path / "a.png")
    list(unroll.ngram(file, order=2, out=tmp_path / "n"))
    with pytest.raises(UserError, match="is an n-gram"):
        gradients(tmp_path / "n", file, lags=2)


# ---- the picture


@pytest.fixture(scope="module")
def report(models: dict[str, Path]) -> GradientReport:
    return gradients(list(models.values()), lags=20)


def test_the_picture_shows_the_numbers(report: GradientReport) -> None:
    axes = Figure().subplots()
    entries = list(_by_lag(axes, report, named(report)))
    lines = {label: line.get_xydata() for line, label in entries}
    assert len(lines) == 4 + 1 + 2 + 1 + 1, "h and c of two layers; h of two; and all by their inputs, for the window"
    lstm, rnn, window = report.models
    for model, name, label in (
        (lstm, "layer1/c", "lstm (lstm, char): by c of layer 1"),
        (rnn, "layer0/h", "rnn (rnn, char): by h of layer 0"),
        (window, "x", "window (window of 4, char): by the input, 0 beyond 4 symbols"),
    ):
        (drawn,) = (points for told, points in lines.items() if told.startswith(label))
        norms = model.norms.mean(name)
        np.testing.assert_allclose(drawn, np.stack([np.arange(21), norms], axis=1)[norms > 1e-12 * norms.max()])
    assert len(next(points for told, points in lines.items() if "beyond" in told)) == 4
    alone = replace(report, models=report.models[:1])
    assert len(list(_by_lag(Figure().subplots(), alone, named(alone)))) == 4, "no inputs where no window is"


def test_the_picture_is_whole_and_the_same_each_time(report: GradientReport) -> None:
    drawn = picture(report, ".svg", curve=True)
    assert drawn == picture(report, ".svg", curve=True)
    assert picture(report, ".png").startswith(b"\x89PNG")
    written = drawn.decode()
    for told in ("halves in", "training step", "while training, clipped at 0.2", "10⁻", "the validation part"):
        assert told in written
    assert "training step" not in picture(report, ".svg").decode() and "mathdefault" not in written
    assert [power(v) for v in (1e-12, 2e-5, 0.001, 0.5, 100.0, 1e4)] == [
        "10⁻¹²",
        "2·10⁻⁵",
        "0.001",
        "0.5",
        "100",
        "10⁴",
    ]
