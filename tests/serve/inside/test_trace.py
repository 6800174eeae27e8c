"""Traces over HTTP: what is sent is what the network computes."""

import numpy as np
import pytest
import torch

from serve.inside.looking import SHORT, TEXT, Studio, back
from serve.quoted import TOKENIZER
from unroll.artifact.open import Opened
from unroll.insight.trace import network_of
from unroll.predict.protocols import stream_nats
from unroll.serve.inside import trace


@pytest.mark.parametrize("name", ["latch", "rnn", "gru", "window"])
def test_what_is_inside_is_sent_exactly(studio: Studio, opened: dict[str, Opened], name: str) -> None:
    document = studio.post("open", model=name, text=SHORT)
    assert "".join(document["symbols"]) == SHORT
    model, ids = opened[name], TOKENIZER.encode(SHORT)
    assert np.mean(document["nats"]) == pytest.approx(stream_nats(model.predictor, ids, TOKENIZER.start_id), abs=1e-5)
    network, tokens = network_of(model), torch.from_numpy(np.concatenate([[TOKENIZER.start_id], ids]))[None]
    with torch.inference_mode():
        inside_it = network.trace(tokens)[2]
    for layer in range(document["layers"]):
        answer = studio.get("unit", model=name, id=document["id"], layer=layer, unit=3)
        rows = dict(zip(answer["signals"], answer["arrays"]["values"], strict=True))
        for signal in document["signals"]:
            expected = inside_it[layer][signal][0, :, 3].numpy()
            assert np.allclose(rows[signal], expected[1:], atol=1e-5, rtol=0)
            assert answer["before"][signal] == pytest.approx(float(expected[0]), abs=1e-5)
        picture = studio.get("heat", model=name, id=document["id"], layer=layer, signal="h")
        expected = inside_it[layer]["h"][0, 1:].numpy()
        assert picture["arrays"]["levels"].shape == expected.T.shape
        assert np.abs(back(picture["arrays"]["levels"], -1, 1) - expected.T).max() <= 0.5 / 127 + 1e-6
        assert picture["variance"] == pytest.approx(expected.var(axis=0).tolist(), abs=1e-6)


@pytest.mark.parametrize("name", ["latch", "rnn", "gru"])
def test_the_sums_at_the_cursor_hold(studio: Studio, name: str) -> None:
    document = studio.post("open", model=name, text=SHORT)
    for layer in range(document["layers"]):
        answer = studio.get("unit", model=name, id=document["id"], layer=layer, unit=1)
        row = dict(zip(answer["signals"], answer["arrays"]["values"].astype(np.float64), strict=True))
        before = {
            signal: np.concatenate([[answer["before"][signal]], row[signal][:-1]])
            for signal in ("c", "h")
            if signal in row
        }
        if name == "latch":
            assert np.allclose(row["f"] * before["c"] + row["i"] * row["g"], row["c"], atol=1e-6)
            assert np.allclose(row["o"] * np.tanh(row["c"]), row["h"], atol=1e-6)
            assert not np.allclose(row["i"] * before["c"] + row["f"] * row["g"], row["c"], atol=1e-2), "gates swapped"
        elif name == "gru":
            assert np.allclose((1 - row["z"]) * row["n"] + row["z"] * before["h"], row["h"], atol=1e-6)
        else:
            assert np.allclose(np.tanh(row["from_input"] + row["from_state"]), row["h"], atol=1e-5)


def test_colours_are_the_same_in_python_and_on_the_page() -> None:
    values = np.array([[-2.0, -1.0, -0.5, -1e-9, 0.0, 1e-9, 0.5, 1.0, 2.0]])
    assert trace.levels(values, -1, 1).tolist() == [[0, 0, 64, 127, 128, 128, 192, 255, 255]]
    assert trace.levels(values, 0, 1).tolist() == [[0, 0, 0, 0, 0, 0, 128, 255, 255]]
    by_unit = trace.levels(np.array([[1.0, 1.0]]), -1, np.array([1.0, 2.0]))
    assert by_unit.tolist() == [[255, 192]]


def test_gates_are_counted(studio: Studio) -> None:
    document = studio.post("open", model="latch", text=TEXT)
    use = studio.get("gates", model="latch", id=document["id"], layer=0)
    forget = next(gate for gate in use["gates"] if gate["name"] == "f")
    closing = TEXT.count("”") / len(TEXT)
    assert forget["closed"][0] == pytest.approx(closing, abs=1e-3)
    assert forget["open"][0] == pytest.approx(1 - closing, abs=1e-3)


def test_a_range_ranks_units_by_auroc(studio: Studio) -> None:
    document = studio.post("open", model="latch", text=TEXT)
    first = TEXT.index("“") + 1
    last = TEXT.index("”") - 1
    units = studio.post("range", model="latch", id=document["id"], signal="c", first=first, last=last)["units"]
    for unit in units[:3]:
        answer = studio.get("unit", model="latch", id=document["id"], layer=0, unit=unit["unit"])
        c = answer["arrays"]["values"][answer["signals"].index("c")]
        inner, outside = c[first : last + 1], np.delete(c, np.arange(first, last + 1))
        pairs = (inner[:, None] > outside).mean() + 0.5 * (inner[:, None] == outside).mean()
        assert unit["auroc"] == pytest.approx(float(pairs), abs=1e-9)
    assert 0 in [unit["unit"] for unit in units]
