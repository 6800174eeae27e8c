"""Gradients of classifiers are the slopes of the loss, by what is handed on and by outputs; texts do not mix."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from insight.classifier.cases import SHAPES, TEXT, made
from unroll.artifact.classifier import OpenClassifier
from unroll.insight.classifier import gradients
from unroll.insight.classifier.gradients import advice_on, norms_of
from unroll.insight.classifier.network import in_float64, units_of
from unroll.insight.gradients.measure import LagNorms
from unroll.nn.cells import STEPS, state_after
from unroll.nn.encoder import label_nats
from unroll.nn.recurrent import run_stepwise
from unroll.progress import result

TEXTS = (TEXT, "meow says the owl ehm", TEXT[::-1] + " the")
TARGETS = np.eye(3, dtype=np.bool_)
LAGS = 4
STEP = 1e-5


@pytest.fixture(scope="module", params=SHAPES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenClassifier:
    return made(tmp_path_factory.mktemp("gradients") / request.param, **SHAPES[request.param])


def measured(opened: OpenClassifier) -> LagNorms:
    return result(norms_of(in_float64(opened), opened.reader.read(TEXTS), TARGETS, LAGS, "it"))


def slope(opened: OpenClassifier, text: int, name: str, lag: int) -> float:
    """Return the norm of the loss's gradient of one text alone, by differences: unit by unit of the one value."""
    network, units = in_float64(opened), units_of(opened.reader.read([TEXTS[text]]))
    layer, _, signal = name.rpartition("/")
    arch, place = network.config.arch, int(units.lengths[0]) - 1 - lag

    def loss(unit: int, change: float) -> float:
        def run(other: str, x: Tensor, state: Any, w: Any) -> Tensor:
            if other != layer:
                return run_stepwise(arch, x, state, w)[0]
            outputs = []
            for t, x_t in enumerate(x):
                state = state_after(STEPS[arch](x_t, state, w))
                changed = [part.clone() for part in state]
                if t == place:
                    changed[int(signal == "c")][:, unit] += change
                outputs.append(changed[0] if signal == "y" else state[0])
                state = tuple(changed)
            return torch.stack(outputs)

        with torch.no_grad():
            nats = label_nats(
                network(units, run), torch.from_numpy(TARGETS[text : text + 1]).double(),
                multi_label=network.config.multi_label,
            )  # fmt: skip
        return float(nats.sum())

    size = network.config.hidden_size
    return float(np.linalg.norm([(loss(k, STEP) - loss(k, -STEP)) / (2 * STEP) for k in range(size)]))


def law_of_slopes(opened: OpenClassifier) -> None:
    """The norms of each text, beside longer and shorter ones, are those of the text alone by differences."""
    norms = measured(opened)
    for name, rows in norms.rows.items():
        first = 0 if name.endswith("/y") else 1
        assert np.isnan(rows[:, :first]).all() and rows.shape == (len(TEXTS), LAGS + 1)
        for text, lag in ((0, first), (1, LAGS), (2, 2)):
            assert rows[text, lag] == pytest.approx(slope(opened, text, name, lag), rel=1e-5, abs=1e-8), (name, lag)


def test_gradients_are_slopes(opened: OpenClassifier) -> None:
    law_of_slopes(opened)


def test_the_law_catches_lags_counted_from_the_other_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def longer(reading: Any) -> Any:
        units = units_of(reading)
        return units._replace(lengths=torch.full_like(units.lengths, int(units.lengths.max())))

    monkeypatch.setattr(gradients, "units_of", longer)  # padding is read as text
    with pytest.raises(AssertionError):
        law_of_slopes(made(tmp_path / "words"))


def test_an_output_counts_by_what_is_handed_on_alone_where_only_the_last_is_read(tmp_path: Path) -> None:
    plain = {"arch": "gru", "bidirectional": False}
    last = measured(made(tmp_path / "last", pooling="last", **plain)).rows
    np.testing.assert_allclose(last["forwards0/y"][:, 1:], last["forwards0/h"][:, 1:], rtol=1e-12)
    mean = measured(made(tmp_path / "mean", pooling="mean", **plain)).rows
    assert not np.isclose(mean["forwards0/y"][:, 1:], mean["forwards0/h"][:, 1:], rtol=1e-3).any()


def test_advice_says_what_reaches_the_head(opened: OpenClassifier) -> None:
    norms = measured(opened)
    config = opened.info.config
    text = advice_on("forwards", norms, config)
    assert ("reads the last output alone" in text) == (config.pooling == "last")
    layer = f"forwards{config.num_layers - 1}"
    signal = f"{layer}/c" if f"{layer}/c" in norms.rows else f"{layer}/h"
    for shares, expected in (([1, 1e-3, 1e-4, 1e-5], "vanishes 2 units back"), ([1, 2, 12, 30], "30 times as large 4"),
                             ([1, 0.5, 0.5, 0.25], "counts 25 % of lag 1"),
                             ([1, 2, 3, 4], "counts 400 % of lag 1")):  # fmt: skip
        planted = replace(norms, rows=norms.rows | {signal: np.array([[np.nan, *shares]])})
        assert expected in advice_on("forwards", planted, config)
