"""A cell that was planted by hand is found and proven; holding is what it says; labels of another text find nothing."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from cli.command import unroll
from insight.planted import COUNTER, bracketed, planted, save
from unroll.artifact.open import open_model
from unroll.errors import UserError
from unroll.insight.cells.ablation import ablate
from unroll.insight.cells.measure import Tracking, cells, judge, reading
from unroll.insight.cells.properties import label, read_text
from unroll.insight.hold import Cell, Held, holding, holds_of
from unroll.nn.cells import STEPS, LSTMStep, state_after
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.nn.recurrent import RecurrentLayer
from unroll.state import LayerState

T = TypeVar("T")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    save(planted(), folder / "model")
    (folder / "text.txt").write_text(bracketed(12_000))
    return folder


@pytest.fixture(scope="module")
def found(there: Path) -> Tracking:
    return cells(there / "model", there / "text.txt", property="depth", top=3)


def test_the_planted_cell_is_first_and_causal(found: Tracking) -> None:
    figures = found.figures()
    first = figures["findings"][0]
    assert (first["layer"], first["unit"], first["signal"]) == (0, COUNTER, "c")
    assert first["score"] > 0.99 and first["verdict"] == "causal" and first["ablation_ratio"] >= 10
    assert first["score"] > first["null"] and first["gain"] > 0
    assert all(other["verdict"] != "causal" for other in figures["findings"][1:])


def test_labels_that_are_not_of_this_text_find_nothing(there: Path, tmp_path: Path) -> None:
    """The planted fault of naive statistics: labels that repeat themselves as the text's own do, but of another one."""
    values = np.cumsum([(mark == "(") - (mark == ")") for mark in bracketed(12_000, seed=7)])
    (tmp_path / "other.tsv").write_text("depth\n" + "\n".join(map(str, values)) + "\n")
    tracking = cells(there / "model", there / "text.txt", property=str(tmp_path / "other.tsv"), top=3)
    assert all(finding["verdict"] == "none" for finding in tracking.figures()["findings"])


def test_a_text_that_was_read_once_answers_for_all_properties(there: Path, found: Tracking) -> None:
    """One reading and many labels tell what as many searches would: here the last of three that share it."""
    opened = open_model(there / "model")
    text = read_text(opened, there / "text.txt")
    read = returned(reading(opened, text))
    answers = [returned(judge(read, label(text, name), top=3)) for name in ("re:\\(", "re:\\)", "depth")]
    assert answers[2].figures() == found.figures()
    assert answers[0].figures()["findings"] != found.figures()["findings"]


def returned(events: Generator[Any, None, T]) -> T:
    while True:
        try:
            next(events)
        except StopIteration as stop:
            value: T = stop.value
            return value


def random_lstm() -> tuple[Model, Tensor, tuple[tuple[Tensor, Tensor], ...]]:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=11, embedding_size=5, hidden_size=7, num_layers=2, skip="sum")
    model = Model(config).double().eval()
    ids = torch.randint(11, (3, 25))
    state = tuple((torch.randn(3, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)) for _ in range(2))
    return model, ids, state


@pytest.mark.parametrize("signal", ["c", "h"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_unit_held_at_its_own_values_changes_nothing(signal: str, layer: int) -> None:
    model, ids, state = random_lstm()
    free, after, inside = model.trace(ids, state)
    values = inside[layer][signal][:, :, 4].T  # (T, B)
    rows, units = torch.arange(3), torch.full((3,), 4)
    held, held_after, _ = model.trace(ids, state, {layer: holding({signal: (rows, units, values)})})
    assert torch.allclose(free, held, atol=1e-9, rtol=0)
    for one, other in zip(after, held_after, strict=True):
        assert all(torch.allclose(a, b, atol=1e-9, rtol=0) for a, b in zip(one, other, strict=True))
    # The fault: values of the step before are others.
    late = torch.roll(values, 1, 0)
    wrong, _, _ = model.trace(ids, state, {layer: holding({signal: (rows, units, late)})})
    assert not torch.allclose(free, wrong, atol=1e-3, rtol=0)


@pytest.mark.parametrize("signal", ["c", "h"])
def test_holding_equals_the_equation_step_by_step(signal: str) -> None:
    model, ids, state = random_lstm()
    holds = holds_of([Held(Cell(1, signal, 2), 0.7)], 3, 25, torch.float64)
    doubled = tuple(tuple(torch.cat([part, part]) for part in layer) for layer in state)
    logits, _, _ = model.trace(torch.cat([ids, ids]), doubled, holds)
    free, _, _ = model.trace(ids, state)
    assert torch.allclose(logits[:3], free, atol=1e-9, rtol=0), "rows that are not held are left alone"

    x, total = model.embedding(ids.T), torch.zeros(25, 3, 7, dtype=torch.float64)
    for k, layer in enumerate(model.recurrent.layers):
        assert isinstance(layer, RecurrentLayer)
        now: LayerState = state[k]
        outputs = []
        for x_t in x:
            step = STEPS["lstm"](x_t, now, layer.weights(0.0))
            assert isinstance(step, LSTMStep)
            if k == 1:
                c, h = step.c.clone(), step.h.clone()
                if signal == "c":
                    c[:, 2] = 0.7
                    h = step.o * torch.tanh(c)
                else:
                    h[:, 2] = 0.7
                step = step._replace(c=c, h=h)
            now = state_after(step)
            outputs.append(step.h)
        x = torch.stack(outputs)
        total = total + x
    assert torch.allclose(logits[3:], model.logits(total).transpose(0, 1), atol=1e-9, rtol=0)


def test_ablating_the_planted_cell_harms_the_brackets_it_counts(there: Path) -> None:
    held = ablate(there / "model", 0, COUNTER, file=there / "text.txt").figures()
    other = ablate(there / "model", 0, COUNTER + 1, file=there / "text.txt").figures()
    assert held["held_nats"] - held["nats"] > 10 * abs(other["held_nats"] - other["nats"])


def test_the_verbs(there: Path) -> None:
    asked = unroll(
        "cells", there / "model", "--file", there / "text.txt", "--property", "depth", "--top", "2", "--json"
    )
    assert json.loads(asked.out)["findings"][0]["unit"] == COUNTER
    assert {"property", "findings", "probe"} <= set(json.loads(asked.out))
    said = unroll("ablate", there / "model", "--cell", f"0:{COUNTER}", "--file", there / "text.txt")
    assert said.code == 0 and said.out
    cases: list[tuple[list[str | Path], str]] = [
        (["cells", there / "model", "--file", there / "text.txt", "--property", "url"], "url"),
        (["cells", there / "model", "--file", there / "text.txt", "--property", "nonsense"], "nonsense"),
        (["ablate", there / "model", "--file", there / "text.txt", "--cell", "0:99"], "0:99"),
    ]
    for flags, says in cases:
        refused = unroll(*flags)
        assert refused.code == 2 and says in refused.err and "allowed" in refused.err and "Traceback" not in refused.err


def test_what_has_no_cell_to_hold_says_so(there: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    window = Model(ModelConfig(vocab_size=planted().config.vocab_size, arch="window", hidden_size=8)).eval()
    save(window, tmp_path / "window")
    with pytest.raises(UserError, match="a window has no cells"):
        ablate(tmp_path / "window", 0, 1, file=there / "text.txt")
