"""Cells of classifiers: a unit planted by hand is found where it is, in its direction; labels of others find none."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insight.classifier.cases import SHAPES, made
from tasks.classify.toy import written
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.classifier import OpenClassifier
from unroll.artifact.directory import WEIGHTS
from unroll.errors import UserError
from unroll.insight.cells import probe
from unroll.insight.classifier import cells
from unroll.insight.classifier.cells import classifier_cells, labels_of, record_pooled, record_units
from unroll.insight.classifier.network import network_of
from unroll.insight.classifier.trace import traced
from unroll.progress import result

LATCH = 3
"""The planted unit: in both directions it stays high once it has read an o."""


def texts(count: int, seed: int = 0) -> list[str]:
    """Return texts of which half have an o, somewhere, and look alike before and after it."""
    chance, made = random.Random(seed), []
    for _ in range(count):
        letters = [chance.choice("eghmnstuwy") for _ in range(chance.randint(20, 30))]
        if chance.random() < 0.5:
            letters[chance.randrange(3, len(letters))] = "o"
        made.append("".join(letters))
    return made


def plant(opened: OpenClassifier) -> None:
    """Let one unit keep whether there was an o; the others stay random."""
    network = network_of(opened)
    o = int(opened.reader.tokenizer.encode("o")[0])
    weights = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    weights["embedding.weight"][:, 0] = -1.0
    weights["embedding.weight"][o, 0] = 9.0
    for way in opened.info.config.directions:
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            weights[f"{way}.0.{name}"][LATCH] = 0.0
        weights[f"{way}.0.weight_ih"][:, 0] = weights[f"{way}.0.weight_hh"][:, LATCH] = 0.0  # no other unit reads it
        weights[f"{way}.0.weight_ih"][LATCH, 0] = 1.0
        weights[f"{way}.0.weight_hh"][LATCH, LATCH] = 6.0
    save_tensors(opened.path / WEIGHTS, weights, {"step": 1})


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> OpenClassifier:
    opened = made(tmp_path_factory.mktemp("cells") / "planted", chars=0, arch="rnn", pooling="last,max")
    plant(opened)
    return opened


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(text, "dog" if "o" in text else "cat") for text in texts(400)]
    return written(tmp_path_factory.mktemp("cells") / "table.tsv", rows)


def best(tracking: cells.ClassifierTracking) -> tuple[str, str]:
    return tracking.findings[0].cell.place, tracking.findings[0].verdict


def test_the_planted_unit_is_first_in_its_direction(planted: OpenClassifier, table: Path) -> None:
    for way, pattern in (("forwards", "re:o.*"), ("backwards", "re:^[^o]*o")):
        tracking = classifier_cells(planted, table, property=pattern, top=2)
        assert best(tracking) == (f"{way}0:{LATCH}", "tracks")
        assert tracking.findings[0].score > 0.99 and tracking.findings[1].score < 0.95
        assert tracking.sample is not None and tracking.recent is not None and tracking.recent < 0.95


def test_a_label_is_told_by_the_unit_that_keeps_it(planted: OpenClassifier, table: Path) -> None:
    tracking = classifier_cells(planted, table, property="label:dog", top=1)
    assert best(tracking)[0].endswith(f"0:{LATCH}") and best(tracking)[1] == "tracks"
    assert tracking.findings[0].score == pytest.approx(1) and tracking.texts == tracking.symbols == 400
    figures = json.loads(json.dumps(tracking.figures(), allow_nan=False))
    assert figures["findings"][0]["direction"] in ("forwards", "backwards") and figures["probe"]["score"] > 0.95
    assert "above guessing" in figures["thresholds"]["tracks"] and "causal" not in figures["thresholds"]
    several = result(cells.track_labels(planted, table, ["cat", "dog", "owl"], top=1))
    assert [other.labels.name for other in several] == ["label:cat", "label:dog"], "there are no owls"
    assert several[1].findings == tracking.findings and several[0].probe is None


def test_labels_of_other_texts_find_nothing(
    planted: OpenClassifier, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: what is searched for repeats itself as texts do, but they are others."""

    def others(opened: OpenClassifier, read: Sequence[str], reading: Any, asked: str) -> Any:
        other = [text[:k].ljust(k, "e") for text, k in zip(texts(len(read), 5), map(len, read), strict=True)]
        return labels_of(opened, other, opened.reader.read(other), asked)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "labels_of", others)
        assert best(classifier_cells(planted, table, property="re:h", top=1))[1] == "none"
    rows = [(text, random.Random(text).choice(["dog", "cat"])) for text in texts(400)]
    shuffled = written(tmp_path / "shuffled.tsv", rows)
    assert best(classifier_cells(planted, shuffled, property="label:dog", top=1))[1] == "none"


@pytest.fixture(scope="module", params=SHAPES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenClassifier:
    return made(tmp_path_factory.mktemp("recorded") / request.param, **SHAPES[request.param])


def test_what_is_recorded_is_what_trace_says(opened: OpenClassifier) -> None:
    """Each column by its own name, each unit at its own place, whatever stands beside its text."""
    network, read = network_of(opened), ["the woof says", "", "meow", "says the meow gnu the", "woof woof"]
    reading = opened.reader.read(read)
    units = result(record_units(network, reading, ""))
    pooled = result(record_pooled(network, reading, ""))
    config = opened.info.config
    for recorded in (units, pooled):
        every = [recorded.cell(column) for column in range(recorded.values.shape[1])]
        assert len(set(every)) == len(every) and [recorded.column(cell) for cell in every] == list(range(len(every)))
    for row, text in enumerate(read):
        arrays = traced(network, opened.reader.read([text]))
        own = slice(reading.units.starts[row], reading.units.ends[row])
        for column in range(units.values.shape[1]):
            cell = units.cell(column)
            expected = arrays[f"{cell.direction}{cell.layer}/{cell.signal}"][:, cell.unit]
            np.testing.assert_allclose(units.values[own, column], expected, rtol=0, atol=1e-6, err_msg=str(cell))
        for column in range(pooled.values.shape[1]):
            cell = pooled.cell(column)
            assert cell.layer == config.num_layers - 1
            place = config.poolings.index(cell.signal) * config.output_size + cell.unit
            place += config.directions.index(cell.direction) * config.hidden_size
            assert pooled.values[row, column] == pytest.approx(arrays["pooled"][place], abs=1e-6), cell


def test_properties_and_characters_are_those_of_a_units_own_text(opened: OpenClassifier) -> None:
    read = ['the "woof', "", "meow says", 'says" the']
    labels, content = labels_of(opened, read, opened.reader.read(read), "quotes")
    alone = [labels_of(opened, [text], opened.reader.read([text]), "quotes")[0].values for text in read]
    np.testing.assert_array_equal(labels.values, np.concatenate(alone))
    assert alone[0].any() and not alone[2].any(), "a quotation ends with its text"
    around = probe.recent(content, cells.AROUND)
    assert around.shape == (len(labels.values), 16)
    apart = around[0, 0]  # what stands before a text
    first = len(alone[0])  # the start symbol of the empty text
    assert (np.delete(around[first], 7) == apart).all()


def test_lines_and_refusals(planted: OpenClassifier, table: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(texts(60)) + "\n")
    tracking = classifier_cells(planted, lines, property="re:o.*", top=1)
    assert best(tracking)[0] == f"forwards0:{LATCH}" and tracking.texts == 60
    short = written(tmp_path / "short.tsv", [(text, "dog") for text in texts(20)])
    for file, asked, message in (
        (table, "quote", "no property 'quote'"),
        (table, "x.tsv:y", "no property 'x.tsv:y'"),
        (table, "label:dogs", "never saw the label 'dogs'"),
        (table, "label:owl", r"does not vary in the first half.* of \d+ texts"),
        (table, "quotes", r"does not vary in the first half.* of [\d,]+ units"),
        (short, "label:dog", "only 20 texts of"),
        (short, "re:o.*", "units in the texts of"),
    ):
        with pytest.raises(UserError, match=message) as refusal:
            classifier_cells(planted, file, property=asked)
        assert refusal.value.allowed and refusal.value.fix
    with pytest.raises(UserError, match="the texts held out of"):
        classifier_cells(planted, property="label:dog")
    with pytest.raises(UserError, match="--top is 0"):
        classifier_cells(planted, table, property="re:o", top=0)
