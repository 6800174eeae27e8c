"""Advice on gradients, and the norms that a training logged."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tiny import model_config
from unroll.artifact.events import read_events
from unroll.insight.gradients.advice import TrainingNorms, advise, training_norms
from unroll.insight.gradients.measure import (
    LagNorms,
)

# ---- advice

LSTM, RNN = model_config("lstm", forget_bias=0.0), model_config("rnn")
FLAT = np.full(100, 0.8)


def logged(largest: float, clip: float | None) -> TrainingNorms:
    return TrainingNorms(np.arange(10, 110, 10), np.array([1.0] * 9 + [largest]), clip)


def test_advice_for_what_vanishes() -> None:
    shares = 0.7 ** np.arange(100)
    (advice,) = advise(shares, RNN)
    assert advice.startswith("vanishes after 14 steps (below 1 % of lag 1): use an LSTM (--arch lstm)")
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
    assert advise(FLAT, LSTM) == ("neither explodes nor vanishes: keeps more than half of lag 1 after 100 steps",)
    fading = 0.97 ** np.arange(100)
    (advice,) = advise(fading, LSTM)
    assert advice == "fades, but does not vanish: more than half of lag 1 is left after 23 steps, 4.9 % after 100"
    assert fading[22] > 0.5 > fading[23]
    (advice,) = advise(np.zeros(5), model_config("window"))
    assert advice.startswith("sees 4 symbols: no gradient comes from further back")


def test_the_layer_and_signal_that_carries_farthest_decides() -> None:
    lags = np.arange(31)
    curves = {"layer0/h": 1 * 0.5**lags, "layer1/h": 9 * 0.9**lags, "x": 2.0**lags}
    some = LagNorms({name: norms[None].astype(np.float64) for name, norms in curves.items()})
    np.testing.assert_allclose(some.shares, 0.9 ** (lags[1:] - 1))
    assert LagNorms({"layer0/h": np.array([[1.0, 0.0, 0.0]]), "x": np.ones((1, 3))}).shares.tolist() == [0.0, 0.0]


def test_norms_while_training_are_read_from_its_log(models: dict[str, Path]) -> None:
    norms = training_norms(models["rnn"])
    assert norms is not None
    events = [event for event in read_events(models["rnn"] / "metrics.jsonl") if event["kind"] == "train"]
    assert norms.steps.tolist() == list(range(1, 13)) and norms.norms.tolist() == [e["grad_norm"] for e in events]
    figures = norms.figures(curve=True)
    assert figures["grad_clip"] == 0.2 and figures["clipped"] == sum(e["grad_norm"] > 0.2 for e in events) / 12 > 0
    assert figures["max"] == max(norms.norms) == norms.norms[figures["max_step"] - 1]
    assert figures["median"] == np.median(norms.norms) and figures["curve"][3] == [4, events[3]["grad_norm"]]
    assert norms.figures(curve=False)["curve"] is None
    assert logged(2.0, 0.0).figures(curve=False)["clipped"] == 0
    assert logged(2.0, None).figures(curve=False)["clipped"] is None
