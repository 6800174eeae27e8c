"""Memory: known memories are found, a window is flat, spans and their intervals, models measured on a text."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unroll
from insight.memory.cases import Floats, N, finish, found_of, made, memory_of, octaves, small_plan, step_by_step
from tiny import (
    TOKENIZER,
    begin_training,
    make_corpus,
    overrides,
    random_ids,
    text,
)
from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.memory.contexts import (
    MOST,
    Gradient,
    plan_of,
)
from unroll.insight.memory.measure import ModelMemory, fallen, memory, read
from unroll.insight.memory.report import context_readings
from unroll.predict.predictor import Nats, Predictor, Window
from unroll.predict.torch import TorchPredictor
from unroll.state import State

# ---- laws


def law_flat(report: ModelMemory) -> None:
    """Once all that a window can see is there, nothing moves its losses: not more context, and no disturbance."""
    window = report.nats[:, report.plan.contexts >= N]
    np.testing.assert_allclose(window, np.broadcast_to(report.full[:, None], window.shape), rtol=0, atol=1e-9)
    for disturbed in (report.shuffled, report.replaced):
        outside = disturbed[:, report.plan.distances >= N]
        np.testing.assert_allclose(outside, np.broadcast_to(report.full[:, None], outside.shape), rtol=0, atol=1e-9)
    assert report.beyond is not None and report.beyond < 1e-9


class Leaking(TorchPredictor):
    """Planted fault: a window into whose state a little of all that was read leaks."""

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return step_by_step(self, inputs, targets, state)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Floats, State]:
        leak = np.zeros(len(inputs)) if state is None else state[1][0]
        for column in inputs.T:
            leak = 0.9 * leak + 0.01 * column
        logits, after = super().logits(inputs, None if state is None else state[:1])
        return logits + np.outer(leak, np.arange(self.vocab_size)), (*after, (leak,))


def test_a_window_is_flat_beyond_its_length_and_a_leak_is_caught() -> None:
    plan = small_plan(targets=20)
    model, report = found_of("window", plan)
    law_flat(report)
    _, leaking = found_of("window", plan, Leaking(model))
    with pytest.raises(AssertionError):
        law_flat(leaking)
    assert any("is flat after 4, as it must be" in line for line in context_readings(memory_of(report)))
    assert any("something leaks" in line for line in context_readings(memory_of(leaking)))


class Copier(Predictor):
    """A known memory: it expects the symbol of five steps ago and, before it has read five, none in particular."""

    vocab_size = TOKENIZER.vocab_size

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return step_by_step(self, inputs, targets, state)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Floats, State]:
        last = np.full((len(inputs), 5), -1) if state is None else state[0][0]
        last = np.concatenate([last, inputs], axis=1)[:, -5:]
        expected = last[:, :1] == np.arange(self.vocab_size)
        return 8.0 * expected, ((last,),)


def copier(count: int = 400) -> ModelMemory:
    period = random_ids(5, seed=4)
    plan = plan_of(np.tile(period, count // 5), 64, [5], "fresh", 40, 0)
    description = {"model": {"arch": "ngram", "order": 6}}
    answer = finish(read(Opened(Path("copier"), Copier(), TOKENIZER, description), plan, 5))
    assert isinstance(answer, ModelMemory)
    return answer


def test_a_known_memory_is_found() -> None:
    copying = copier()
    assert copying.losses[copying.plan.contexts < 5] == pytest.approx(math.log(TOKENIZER.vocab_size))
    assert copying.losses[copying.plan.contexts >= 5] == pytest.approx(
        math.log1p((TOKENIZER.vocab_size - 1) * math.exp(-8))
    )
    for span in (copying.span_99, copying.shuffled_99, copying.replaced_99):
        assert 4 < span.low <= span.symbols <= span.high <= 5
    assert copying.beyond == pytest.approx(0, abs=1e-12)
    assert copying.gradient is None and copying.half_life is None


def test_the_span_is_where_99_percent_of_the_gain_is_had() -> None:
    # 99 % of 4 is had 0.04 doublings before the end.
    report = made(octaves)
    assert report.gain == pytest.approx(4)
    assert report.span_99.symbols == pytest.approx(2 ** (4 - 0.04))
    assert report.span_99.low == pytest.approx(report.span_99.symbols) == report.span_99.high, "no spread, no interval"
    # All of it at once, with the fourth symbol.
    assert made(lambda k: float(k < 4)).span_99.symbols == pytest.approx(2 ** (1 + 0.99))
    # Nothing within 32 of what is had after all.
    assert made(lambda k: float(k < 1e9)).span_99.symbols == math.inf
    assert made(lambda k: float(k < 1e9)).span_99.figures("span_99") == {
        "span_99": None,
        "span_99_interval": [None, None],
    }
    # Nothing to be had, and worse than nothing.
    assert math.isnan(made(lambda k: 1.0).span_99.symbols)
    assert math.isnan(made(lambda k: 1.0 if k < 9 else 2.0).span_99.symbols)


def test_a_gain_that_may_be_chance_has_no_span_and_notes_say_so() -> None:
    chance = made(lambda k: 1 + 0.05 * (k < 2), targets=20, spread=1.0)
    assert math.isnan(chance.span_99.symbols) and "no significant benefit" in chance.notes[0]
    assert made(lambda k: 3 / k).notes[:3] == (
        "32 symbols bring less than 99 % of the gain",
        "the order of symbols matters beyond the last 16",
        "symbols matter beyond the last 16",
    )
    window = replace(made(octaves), arch="window", gradient=Gradient(np.ones(3), {}, None))
    assert [note for note in window.notes if "no half-life" in note] == [
        "a window has no state: its gradient is by its inputs and has no half-life"
    ]


def test_the_first_crossing_counts_and_lies_between_its_neighbours() -> None:
    places = np.array([1, 2, 4, 8])
    values = np.array([[4.0, 2.0, 0.0, 3.0], [4.0, 3.0, 2.0, 1.0], [0.5, 0.0, 0.0, 0.0], [4.0, 3.0, 2.0, 1.5]])
    crossings = fallen(places, values, np.array([1.0, 1.0, 1.0, 1.0]))
    assert crossings.tolist() == [pytest.approx(2**1.5), pytest.approx(8), 1.0, math.inf]
    assert np.isnan(fallen(places, values, np.zeros(4))).all()


def test_more_targets_tell_the_span_better() -> None:
    coarse, fine = (made(octaves, targets=count, spread=0.02).span_99 for count in (50, 2000))
    assert coarse.low <= coarse.symbols <= coarse.high
    assert fine.high / fine.low < coarse.high / coarse.low


def test_the_interval_of_the_differences_is_that_of_the_same_targets() -> None:
    measurement = made(lambda k: 3 / k, targets=400, spread=0.1)
    differences = measurement.nats[:, 2] - measurement.full
    assert measurement.half[2] == pytest.approx(1.959964 * np.std(differences, ddof=1) / 20, rel=1e-6)


# ---- the function


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("memory")
    corpus = make_corpus(folder / "corpus", [text(200)])
    for arch in ("lstm", "window"):
        list(begin_training(corpus, folder / arch, overrides({"arch": arch}), 4))
    list(unroll.ngram(folder / "corpus" / "text0.txt", order=3, out=folder / "counted", level="char"))
    return {path.name: path for path in folder.iterdir()}


measured = partial(memory, limit=16, targets=60)


def test_models_are_measured_on_their_validation_part(models: dict[str, Path]) -> None:
    report = measured([models["lstm"], models["window"]])
    assert [one.arch for one in report.models] == ["lstm", "window"] and report.notes == ()
    assert report.models[0].plan is report.models[1].plan
    assert report.models[1].beyond is not None and report.models[1].beyond < 1e-5
    figures = report.figures()
    lstm, window = figures["models"]
    assert [k for k, _ in lstm["context_loss"]] == [1, 2, 4, 8, 16, lstm["context_loss"][-1][0]]
    assert lstm["context_loss"][-1] == [round(report.models[0].plan.targets.mean()), lstm["full_nats"]]
    assert (lstm["context"], window["context"]) == (None, 4)
    assert lstm["half_life"] is None or lstm["half_life"] > 0
    assert window["half_life"] is None and window["gradient"][-1][1] == 0.0
    assert len(lstm["gradient"]) == 16 and [lag for lag, _ in lstm["gradient"]] == [*range(16)]


def test_an_ngram_is_measured_too_and_forgets_exactly(models: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(text(60, seed=9), encoding="utf-8")
    report = measured([models["counted"], models["lstm"]], file=file)
    ngram = report.models[0]
    assert (ngram.arch, ngram.context, ngram.gradient) == ("ngram", 2, None)
    assert ngram.beyond == pytest.approx(0)
    assert "an n-gram has no state" in ngram.notes[-1]
    assert ngram.harm["shuffled"][1:] == pytest.approx(0), "order beyond two symbols is nothing to it"
    assert ngram.harm["shuffled"][0] > 0


def test_long_texts_are_read_in_part_and_vocabularies_told(models: dict[str, Path], tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "long.txt", tmp_path / "other"
    file.write_text((text(40) + "Ω") * (MOST // 1000), encoding="utf-8")
    list(unroll.ngram(file, order=2, out=elsewhere, level="byte"))
    report = measured([models["counted"], elsewhere], file=file, targets=20)
    assert len(report.models[0].plan.ids) == MOST
    assert len(report.notes) == 4
    notes = " ".join(report.notes)
    assert "count as <unk>" in notes and f"first {MOST:,} symbols" in notes and "different vocabularies" in notes


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"limit": 200}, "too few for a context of 200"),
        ({"limit": 1}, "limit is 1"),
        ({"limit": -3}, "limit is -3"),
        ({"targets": 9}, "targets is 9"),
        ({"context": "old"}, "the context is 'old'"),
        ({"models": []}, "no model is given"),
        ({"models": ["counted"]}, "validation part of .* is missing"),
        ({"models": ["lstm", "other"]}, "was not trained on the text of"),
        ({"file": "short"}, "has 40 symbols"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    asked: dict[str, Any], message: str, models: dict[str, Path], tmp_path: Path
) -> None:
    options = {"limit": 16} | asked
    if options.get("file"):
        options["file"], options["limit"] = tmp_path / "short.txt", None
        options["file"].write_text("a" * 40)
    names = options.pop("models", ["lstm"])
    if "other" in names:
        list(begin_training(make_corpus(tmp_path / "corpus", [text(90, seed=7)]), tmp_path / "other", overrides(), 1))
    with pytest.raises(UserError, match=message) as refusal:
        memory([models.get(name, tmp_path / name) for name in names], **options)
    assert refusal.value.allowed and refusal.value.fix
