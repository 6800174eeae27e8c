"""Memory: it reads what a slow loop reads, known memories are found, a window is flat, the page tells the numbers."""

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import unroll
from tiny import (
    ARCHS,
    TOKENIZER,
    begin_training,
    make_corpus,
    model_config,
    overrides,
    random_ids,
    random_model,
    text,
)
from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.memory.contexts import (
    MOST,
    ROWS,
    Context,
    Gradient,
    Plan,
    context_nats,
    grid,
    plan_of,
    replaced_nats,
    shuffled_nats,
)
from unroll.insight.memory.measure import Memory, ModelMemory, fallen, memory, read
from unroll.insight.memory.picture import main_picture
from unroll.insight.memory.report import agreement, context_readings, disturbed_readings, gradient_readings, page
from unroll.nn.arch import ARCHITECTURES, RECURRENT
from unroll.nn.model import Model
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities
from unroll.predict.torch import TorchPredictor
from unroll.state import State

Floats = NDArray[np.float64]
N = 4
"""The length of the windows."""


def opened(model: Model, predictor: Predictor | None = None) -> Opened:
    config = model.config
    about = {"model": {"arch": config.arch, "window": config.window}}
    return Opened(Path("runs") / config.arch, predictor or TorchPredictor(model), TOKENIZER, about)


def finish(reading: Any) -> Any:
    """Run a reading to its end and return what it returns."""
    while True:
        try:
            assert next(reading) > 0
        except StopIteration as ended:
            return ended.value


def found_of(arch: str, plan: Plan, predictor: Predictor | None = None, **others: Any) -> tuple[Model, ModelMemory]:
    model = random_model(model_config(arch, window=N, **others))
    return model, finish(read(opened(model, predictor), plan, N if arch == "window" else None))


def small_plan(count: int = 120, limit: int = 22, targets: int = 4, context: Context = "fresh", seed: int = 3) -> Plan:
    return plan_of(random_ids(count), limit, [N], context, targets, seed)


# ---- what is read


@torch.no_grad()
def slow(model: Model, symbols: list[int], target: int, before: list[int] | None = None) -> float:
    """Return the nats of a target, one symbol read after another from zero; `before` are read before them."""
    state = model.fresh_state(1)
    for symbol in [*(before or []), *symbols]:
        logits, state = model(torch.tensor([[symbol]]), state, engine="stepwise")
    return float(-torch.log_softmax(logits[0, -1], dim=-1)[target])


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("context", ["fresh", "unrelated"])
def test_it_is_what_a_slow_loop_reads(arch: str, context: Context) -> None:
    plan = small_plan(context=context)
    model, found = found_of(arch, plan)
    ids, history, limit = plan.ids.tolist(), int(plan.distances[-1]), int(plan.contexts[-1])
    for row, t in enumerate(plan.targets.tolist()):
        target = ids[t]
        far = plan.targets[(row - len(plan.targets) // 2) % len(plan.targets)]
        before = ids[far - limit : far] if context == "unrelated" else None
        for column, k in enumerate(plan.contexts.tolist()):
            assert found.nats[row, column] == pytest.approx(slow(model, ids[t - k : t], target, before), abs=1e-9)
        assert found.full[row] == pytest.approx(slow(model, [TOKENIZER.start_id, *ids[:t]], target), abs=1e-9)
        for column, d in enumerate(plan.distances.tolist()):
            gone, kept = ids[t - history : t - d], ids[t - d : t]
            order = np.argsort(plan.keys[row, : history - d])
            shuffled = [gone[place] for place in order]
            assert found.shuffled[row, column] == pytest.approx(slow(model, shuffled + kept, target), abs=1e-9)
            drawn = plan.others[row, : history - d].tolist()
            assert found.replaced[row, column] == pytest.approx(slow(model, drawn + kept, target), abs=1e-9)


@pytest.mark.parametrize("arch", ARCHS)
def test_rows_are_read_side_by_side_as_alone(arch: str) -> None:
    """More of them than are read together, and pieces that end in the midst of a history."""
    plan = small_plan(count=1500, limit=70, targets=ROWS + 5)
    model, found = found_of(arch, plan)
    ids = plan.ids.tolist()
    for row in (0, ROWS - 1, ROWS, ROWS + 4):
        t = int(plan.targets[row])
        assert found.nats[row, -1] == pytest.approx(slow(model, ids[t - 70 : t], ids[t]), abs=1e-9)


@pytest.mark.parametrize("arch", RECURRENT)
def test_gradients_are_those_of_the_whole_state(arch: str) -> None:
    plan = small_plan(targets=3)
    model, found = found_of(arch, plan)
    limit, lags = int(plan.contexts[-1]), 10
    logs = []
    for t in plan.targets.tolist():
        ids = torch.from_numpy(plan.ids[t - limit : t + 1].astype(np.int64))
        state = model.hidden(ids[None, : limit - lags])[1]
        state = tuple(tuple(part.detach().requires_grad_() for part in layer) for layer in state)
        logits, _ = model(ids[None, limit - lags : limit], state, engine="stepwise")
        loss = torch.nn.functional.cross_entropy(logits[:, -1], ids[-1:])
        parts = torch.autograd.grad(loss, [part for layer in state for part in layer])
        logs.append(math.log(math.sqrt(sum(float((part**2).sum()) for part in parts))))
    assert found.gradient is not None
    assert found.gradient.norms[lags] == pytest.approx(math.exp(np.mean(logs)), rel=1e-9)
    names = ARCHITECTURES[arch].state
    assert set(found.gradient.signals) == {"x", *(f"layer{k}/{name}" for k in range(2) for name in names)}


def test_a_window_has_gradients_by_its_inputs_alone() -> None:
    _, found = found_of("window", small_plan())
    assert found.gradient is not None and found.half_life is None
    assert (found.gradient.norms[:N] > 0).all() and (found.gradient.norms[N:] == 0).all()


# ---- laws


def law_flat(found: ModelMemory) -> None:
    """Once all that a window can see is there, nothing moves its losses: not more context, and no disturbance."""
    seen = found.nats[:, found.plan.contexts >= N]
    np.testing.assert_allclose(seen, np.broadcast_to(found.full[:, None], seen.shape), rtol=0, atol=1e-9)
    for disturbed in (found.shuffled, found.replaced):
        beyond = disturbed[:, found.plan.distances >= N]
        np.testing.assert_allclose(beyond, np.broadcast_to(found.full[:, None], beyond.shape), rtol=0, atol=1e-9)
    assert found.beyond is not None and found.beyond < 1e-9


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


def step_by_step(predictor: Predictor, inputs: Window, targets: Window, state: State | None) -> tuple[Nats, State]:
    """Return what `nats` of a predictor does, given its `logits`."""
    found = np.zeros(inputs.shape)
    for step in range(inputs.shape[1]):
        logits, state = predictor.logits(inputs[:, step : step + 1], state)
        found[:, step] = -log_probabilities(logits)[np.arange(len(logits)), targets[:, step]]
    assert state is not None
    return found, state


def test_a_window_is_flat_beyond_its_length_and_a_leak_is_caught() -> None:
    plan = small_plan(targets=20)
    model, found = found_of("window", plan)
    law_flat(found)
    _, leaking = found_of("window", plan, Leaking(model))
    with pytest.raises(AssertionError):
        law_flat(leaking)
    assert any("is flat after 4, as it must be" in line for line in context_readings(memory_of(found)))
    assert any("something leaks" in line for line in context_readings(memory_of(leaking)))


@pytest.mark.parametrize("arch", ARCHS)
def test_disturbing_nothing_changes_nothing(arch: str) -> None:
    """Bitwise: a history that is undisturbed from the first symbol on is the context of that length."""
    plan = small_plan(count=900, limit=80, targets=30)
    predictor = TorchPredictor(random_model(model_config(arch)))
    rows, wanted, whole = plan.rows(80), plan.ids[plan.targets].astype(np.int64), np.array([80])
    random = np.random.default_rng(0)
    other, keys = random.permutation(rows.ravel()).reshape(rows.shape), random.random(rows.shape)
    plainly = finish(context_nats(predictor, rows, wanted, whole, None))
    assert (finish(shuffled_nats(predictor, rows, wanted, whole, keys)) == plainly).all()
    assert (finish(replaced_nats(predictor, rows, wanted, whole, other)) == plainly).all()
    _, found = found_of(arch, plan)
    assert (found.harm["shuffled"][-1], found.harm["replaced"][-1]) == (0.0, 0.0)


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
    about = {"model": {"arch": "ngram", "order": 6}}
    found = finish(read(Opened(Path("copier"), Copier(), TOKENIZER, about), plan, 5))
    assert isinstance(found, ModelMemory)
    return found


def test_a_known_memory_is_found() -> None:
    found = copier()
    assert found.losses[found.plan.contexts < 5] == pytest.approx(math.log(TOKENIZER.vocab_size))
    assert found.losses[found.plan.contexts >= 5] == pytest.approx(
        math.log1p((TOKENIZER.vocab_size - 1) * math.exp(-8))
    )
    for span in (found.span_99, found.shuffled_99, found.replaced_99):
        assert 4 < span.low <= span.symbols <= span.high <= 5
    assert found.beyond == pytest.approx(0, abs=1e-12)
    assert found.gradient is None and found.half_life is None


# ---- spans


def made(curve: Any, contexts: Any = (1, 2, 4, 8, 16, 32), targets: int = 50, spread: float = 0.0) -> ModelMemory:
    """Return a memory whose mean loss after k symbols is `curve(k)`, that of all at infinity."""
    contexts = np.array(contexts)
    noise = spread * np.random.default_rng(0).standard_normal((targets, len(contexts) + 1))
    nats = np.array([*map(curve, contexts), curve(math.inf)]) + noise
    plan = replace(small_plan(targets=targets), contexts=contexts, distances=contexts)
    disturbed = nats[:, : len(contexts)]
    return ModelMemory("a/made", "lstm", "char", None, plan, nats[:, -1], disturbed, disturbed, disturbed, None)


def octaves(k: float) -> float:
    """Return a loss that falls by 1 for each doubling, down to 1 after 16."""
    return 1 + max(0.0, 4 - math.log2(k))


def test_the_span_is_where_99_percent_of_the_gain_is_had() -> None:
    # 99 % of 4 is had 0.04 doublings before the end.
    found = made(octaves)
    assert found.gain == pytest.approx(4)
    assert found.span_99.symbols == pytest.approx(2 ** (4 - 0.04))
    assert found.span_99.low == pytest.approx(found.span_99.symbols) == found.span_99.high, "no spread, no interval"
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
    assert math.isnan(chance.span_99.symbols) and "worth nothing to it for sure" in chance.notes[0]
    assert made(lambda k: 3 / k).notes[:3] == (
        "99 % of the gain is not had within 32 symbols",
        "the order of symbols counts beyond the last 16",
        "symbols count beyond the last 16",
    )
    window = replace(made(octaves), arch="window", gradient=Gradient(np.ones(3), {}, None))
    assert [note for note in window.notes if "no half-life" in note] == [
        "a window has no state: its gradient is by its inputs and has no half-life"
    ]


def test_the_first_crossing_counts_and_lies_between_its_neighbours() -> None:
    places = np.array([1, 2, 4, 8])
    values = np.array([[4.0, 2.0, 0.0, 3.0], [4.0, 3.0, 2.0, 1.0], [0.5, 0.0, 0.0, 0.0], [4.0, 3.0, 2.0, 1.5]])
    found = fallen(places, values, np.array([1.0, 1.0, 1.0, 1.0]))
    assert found.tolist() == [pytest.approx(2**1.5), pytest.approx(8), 1.0, math.inf]
    assert np.isnan(fallen(places, values, np.zeros(4))).all()


def test_more_targets_tell_the_span_better() -> None:
    few, many = (made(octaves, targets=count, spread=0.02).span_99 for count in (50, 2000))
    assert few.low <= few.symbols <= few.high
    assert many.high / many.low < few.high / few.low


def test_the_interval_of_the_differences_is_that_of_the_same_targets() -> None:
    found = made(lambda k: 3 / k, targets=400, spread=0.1)
    apart = found.nats[:, 2] - found.full
    assert found.half[2] == pytest.approx(1.959964 * np.std(apart, ddof=1) / 20, rel=1e-6)


# ---- what is chosen


def test_targets_are_spread_over_the_text_with_history_before_them() -> None:
    for seed in range(3):
        plan = small_plan(count=1000, limit=64, targets=90, seed=seed)
        assert plan.targets[0] >= 64 and plan.targets[-1] < 1000
        stretches = (plan.targets - 64) * 90 / (1000 - 64)
        assert ((stretches >= np.arange(90) - 1) & (stretches < np.arange(90) + 1)).all(), "one in each stretch"
        assert len({*plan.targets.tolist()}) == 90
    assert small_plan(count=100, limit=24, targets=1000).targets.tolist() == [*range(24, 100)]
    assert (small_plan(seed=1).targets != small_plan(seed=2).targets).any()


def test_contexts_are_powers_of_two_the_limit_and_what_models_see() -> None:
    assert grid(64, [None]).tolist() == [1, 2, 4, 8, 16, 32, 64]
    assert grid(50, [10, 10, 8, 70, None]).tolist() == [1, 2, 4, 8, 10, 16, 32, 50]


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
    found = measured([models["lstm"], models["window"]])
    assert [one.arch for one in found.models] == ["lstm", "window"] and found.notes == ()
    assert found.models[0].plan is found.models[1].plan
    assert found.models[1].beyond is not None and found.models[1].beyond < 1e-5
    figures = found.figures()
    lstm, window = figures["models"]
    assert [k for k, _ in lstm["context_loss"]] == [1, 2, 4, 8, 16, lstm["context_loss"][-1][0]]
    assert lstm["context_loss"][-1] == [round(found.models[0].plan.targets.mean()), lstm["full_nats"]]
    assert (lstm["context"], window["context"]) == (None, 4)
    assert lstm["half_life"] is None or lstm["half_life"] > 0
    assert window["half_life"] is None and window["gradient"][-1][1] == 0.0
    assert len(lstm["gradient"]) == 16 and [lag for lag, _ in lstm["gradient"]] == [*range(16)]


def test_an_ngram_is_measured_too_and_forgets_exactly(models: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(text(60, seed=9), encoding="utf-8")
    found = measured([models["counted"], models["lstm"]], file=file)
    counted = found.models[0]
    assert (counted.arch, counted.context, counted.gradient) == ("ngram", 2, None)
    assert counted.beyond == pytest.approx(0)
    assert "an n-gram has no state" in counted.notes[-1]
    assert counted.harm["shuffled"][1:] == pytest.approx(0), "order beyond two symbols is nothing to it"
    assert counted.harm["shuffled"][0] > 0


def test_long_texts_are_read_in_part_and_vocabularies_told(models: dict[str, Path], tmp_path: Path) -> None:
    file, other = tmp_path / "long.txt", tmp_path / "other"
    file.write_text((text(40) + "Ω") * (MOST // 1000), encoding="utf-8")
    list(unroll.ngram(file, order=2, out=other, level="byte"))
    found = measured([models["counted"], other], file=file, targets=20)
    assert len(found.models[0].plan.ids) == MOST
    assert len(found.notes) == 4
    said = " ".join(found.notes)
    assert "count as <unk>" in said and f"first {MOST:,} symbols" in said and "different vocabularies" in said


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"limit": 200}, "too few for a context of 200"),
        ({"limit": 1}, "limit is 1"),
        ({"limit": -3}, "limit is -3"),
        ({"targets": 9}, "targets is 9"),
        ({"context": "old"}, "the context is 'old'"),
        ({"models": []}, "there is no model"),
        ({"models": ["counted"]}, "validation part of .* is not there"),
        ({"models": ["lstm", "other"]}, "was not trained on the text of"),
        ({"file": "short"}, "has 40 symbols"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    asked: dict[str, Any], what: str, models: dict[str, Path], tmp_path: Path
) -> None:
    given = {"limit": 16} | asked
    if given.get("file"):
        given["file"], given["limit"] = tmp_path / "short.txt", None
        given["file"].write_text("a" * 40)
    names = given.pop("models", ["lstm"])
    if "other" in names:
        list(begin_training(make_corpus(tmp_path / "corpus", [text(90, seed=7)]), tmp_path / "other", overrides(), 1))
    with pytest.raises(UserError, match=what) as caught:
        memory([models.get(name, tmp_path / name) for name in names], **given)
    assert caught.value.allowed and caught.value.fix


# ---- pictures, readings and the page


def memory_of(*models: ModelMemory, name: str = "test.txt") -> Memory:
    return Memory(Path(name), models, 0, ())


HOSTILE = '<script>alert("1")</script>&amp; \' ]]> <!--\x07\u202e'


@pytest.fixture(scope="module")
def several() -> Memory:
    plan = small_plan(count=400, targets=40)
    found = [found_of(arch, plan)[1] for arch in ("lstm", "rnn", "window")]
    found[0] = replace(found[0], model=f"runs/{HOSTILE.replace('/', '')}")
    return replace(memory_of(*found, name=HOSTILE), notes=(f"a note on {HOSTILE}",))


def texts(tree: ElementTree.Element) -> str:
    return " ".join(tree.itertext())


def test_the_page_is_well_formed_self_contained_and_says_the_numbers(several: Memory) -> None:
    written = page(several)
    tree = ElementTree.fromstring(written.removeprefix("<!DOCTYPE html>\n"))
    said = texts(tree)
    assert len(tree.findall(".//{http://www.w3.org/2000/svg}svg")) == 3
    for one in several.figures()["models"]:
        for _, nats in one["context_loss"]:
            assert f"{nats / math.log(2):.4f}" in said
        for name in ("shuffled", "replaced"):
            assert all(f"{round(nats / math.log(2), 4) + 0.0:.4f}" in said for _, nats in one[name][:-1])
        assert all(f"{size:.2e}" in said for lag, size in one["gradient"] if lag in (1, 2, 4, 8, 16) and size)
    for lines in (context_readings, disturbed_readings, gradient_readings, agreement):
        for line in lines(several):
            assert line in said
    # Nothing is fetched from anywhere, every id is one.
    addresses = re.findall(r'(?:src|href)\s*=\s*["\']([^"\']*)', written) + re.findall(r"url\(([^)]*)\)", written)
    assert addresses and all(address.startswith("#") for address in addresses)
    ids = re.findall(r'\sid="([^"]*)"', written)
    assert len(ids) == len({*ids}) and {address[1:] for address in addresses} <= {*ids}
    assert "<metadata>" not in written and page(several) == written


def test_names_cannot_become_markup(several: Memory) -> None:
    written = page(several)
    assert "<script" not in written and "\x07" not in written and "\u202e" not in written
    said = texts(ElementTree.fromstring(written.removeprefix("<!DOCTYPE html>\n")))
    assert '<script>alert("1")</script>&amp; \' ]]> <!--\\x07\\u202e: 40 characters' in said
    assert said.count("<script>alert") > 10, "as text, in the tables and the pictures too"


def test_the_picture_is_of_the_numbers_and_the_same_each_time(several: Memory) -> None:
    first = main_picture(several, ".svg")
    assert first == main_picture(several, ".svg") and main_picture(several, ".png").startswith(b"\x89PNG")
    tree = ElementTree.fromstring(first)
    drawn = [[float(value) for value in re.findall(r"-?\d+\.?\d*", line.get("d", ""))]
             for line in tree.iter("{http://www.w3.org/2000/svg}path")]  # fmt: skip
    # Of the lines with as many points as there are contexts, heights are those of the losses but for scale.
    lines = [np.array(line).reshape(-1, 2)[:, 1] for line in drawn if len(line) == 2 * len(several.models[0].losses)]
    for one in several.models:
        shape = (one.losses - one.losses.min()) / np.ptp(one.losses)
        assert any(np.allclose((line.max() - line) / np.ptp(line), shape, atol=1e-5) for line in lines if np.ptp(line))
    other = replace(
        several, models=(replace(several.models[0], nats=several.models[0].nats + 0.5), *several.models[1:])
    )
    assert main_picture(other, ".svg") != first


def test_readings_are_computed_from_the_numbers() -> None:
    falls, slower = made(octaves), made(lambda k: 2 / k)
    one = replace(falls, model="a/quick", context=8)
    (line, leak) = context_readings(memory_of(one))
    assert "quick (lstm, char) has 99 % of its gain within 16 characters (16 to 16): it pays 7.21 bits" in line
    assert "should be flat after 8" in leak and "something leaks" in leak
    assert "goes on gaining beyond 32 characters" in next(context_readings(memory_of(slower)))
    assert "gains nothing for sure" in next(context_readings(memory_of(made(lambda k: 1.0))))
    astray = made(lambda k: octaves(k) + 1.5 * (k == 16), targets=400, spread=0.1)
    assert astray.rise is not None and astray.rise[:2] == (8, 16) and astray.rise[2] == pytest.approx(0.5, abs=0.05)
    assert "hurts made (lstm, char) between 8 and 16 characters, by 0.7" in [*context_readings(memory_of(astray))][1]
    assert falls.rise is None and made(lambda k: 1.0, targets=400, spread=0.1).rise is None
    assert not [*agreement(memory_of(falls, slower))], "of models without gradients there is no third view"


@pytest.mark.parametrize("same", [True, False])
def test_whether_the_views_agree_is_told(same: bool) -> None:
    short, long = (made(lambda k, n=n: 1 + max(0.0, n - math.log2(k))) for n in (2, 4))
    lives = (3.0, 9.0) if same else (9.0, 3.0)
    norms = [0.5 ** (np.arange(30) / life) for life in lives]
    a, b = (
        replace(one, model=name, gradient=Gradient(size, {}, life))
        for one, name, size, life in zip((short, long), ("a/short", "b/long"), norms, lives, strict=True)
    )
    said = [*agreement(memory_of(b, a))]
    if same:
        assert said == [
            "All three views agree, from the shortest memory to the longest: short (lstm, char), long (lstm, char)."
        ]
    else:
        assert "do not" in said[0] and said[3] == "by gradients: long (lstm, char), short (lstm, char)."
    assert [*gradient_readings(memory_of(a))] == [
        f"The gradient of short (lstm, char) halves every {lives[0]:.0f} characters"
        + (" until 1 % is left, 21 back" if same else "")
        + f"; after 29, {norms[0][-1] / norms[0][1]:.1g} is left."
    ]
