"""Long-range tests: equal networks, honest figures; the window cannot see beyond its end, an LSTM learns."""

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

import unroll
from unroll.errors import UserError
from unroll.insight.longrange import measure as module
from unroll.insight.longrange.measure import (
    goodness,
    loss_of,
    make_network,
    make_plan,
    measure,
    read,
    save,
    size_of,
    stream,
    train,
    trials,
    width,
)
from unroll.insight.longrange.picture import picture, point
from unroll.insight.longrange.table import (
    ARCHS,
    ROWS,
    TUNED_RATES,
    TUNING_SEED,
    WINDOW,
    LongRange,
    Plan,
    Result,
    Score,
    Training,
    Trial,
    named,
    student,
    table,
)
from unroll.insight.longrange.tasks import ALL, Task, VectorTask, adding, draw
from unroll.insight.trace import trace
from unroll.lm.intervals import wilson
from unroll.nn.model import Model
from unroll.nn.recurrent import Recurrent
from unroll.progress import Progress, result


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def random_weights(network: nn.Module, seed: int = 1) -> nn.Module:
    """Make all weights random and of float64, so that what a network says depends on all that it can see."""
    generator = torch.Generator().manual_seed(seed)
    network.double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return network


# ---- equal networks


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
@pytest.mark.parametrize("hidden_size", [16, 64])
def test_networks_have_equally_many_weights(task: Task | VectorTask, hidden_size: int) -> None:
    plan = make_plan(task.name, hidden_size=hidden_size)
    sizes = [sum(weight.numel() for weight in make_network(plan, arch, 0).parameters()) for arch in ARCHS]
    assert sizes == [size_of(task, arch, width(task, arch, hidden_size)) for arch in ARCHS]
    assert width(task, "lstm", hidden_size) == hidden_size
    # As near as a unit more or less can bring it: within 2 % at the size that is used.
    assert max(sizes) / min(sizes) < (1.02 if hidden_size == 64 else 1.08)
    for arch in ARCHS:
        found = width(task, arch, hidden_size)
        nearest = min(range(1, 400), key=lambda size: abs(size_of(task, arch, size) - sizes[-1]))
        assert found == nearest or found > 398


@pytest.mark.parametrize("task", ["pronouns", "adding"])
def test_how_networks_start(task: str) -> None:
    plan = make_plan(task)
    weights = {}
    for arch in ("rnn-uniform", "rnn-orthogonal", "gru", "lstm"):
        network = make_network(plan, arch, 0)
        assert isinstance(network.recurrent, Recurrent)
        weights[arch] = network.recurrent.layers[0].get_parameter("weight_hh").detach()
        again, other = make_network(plan, arch, 0), make_network(plan, arch, 1)
        for one, two, three in zip(network.parameters(), again.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two) and (one.abs().max() in (0, 1) or not torch.equal(one, three))
    uniform, orthogonal = weights["rnn-uniform"], weights["rnn-orthogonal"]
    size = len(uniform)
    assert uniform.abs().max() <= 1 / math.sqrt(size)
    assert uniform.std().item() == pytest.approx(1 / math.sqrt(3 * size), rel=0.03)
    torch.testing.assert_close(orthogonal @ orthogonal.T, torch.eye(size), rtol=0, atol=1e-4)
    assert torch.linalg.eigvals(uniform).abs().max() < 0.75 < 0.99 < torch.linalg.eigvals(orthogonal).abs().min()


def test_making_a_network_leaves_torchs_random_numbers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    make_network(make_plan(), "lstm", 3)
    assert torch.equal(torch.rand(3), expected)


# ---- what a window cannot see


def answers_seen(arch: str, distance: int) -> bool:
    """Tell whether another cue, all else the same, changes what a network of random weights says before the answer."""
    plan = make_plan("german", archs=[arch])
    task = plan.task
    assert isinstance(task, Task)
    network = random_weights(make_network(plan, arch, 0))
    layout = task.layout(task, np.random.default_rng(3), distance)
    first, second = (layout.fill(np.random.default_rng(4), np.full(5, k)) for k in (0, 1))
    (place,) = layout.places
    logits = [read(network, task, draw(task, np.random.default_rng(0), 7, distance))[0]]
    with torch.no_grad():
        logits = [
            network(torch.from_numpy(np.insert(ids, 0, task.tokenizer.start_id, axis=1)))[0][:, place]
            for ids in (first, second)
        ]
    return not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("arch", ARCHS)
def test_a_window_sees_the_cue_up_to_its_end_and_no_further(arch: str) -> None:
    assert answers_seen(arch, WINDOW - 1) and answers_seen(arch, WINDOW)
    assert answers_seen(arch, WINDOW + 1) == answers_seen(arch, 21) == (arch != "window")


def test_a_window_learns_within_its_end_and_guesses_beyond() -> None:
    found = unroll.longrange("pronouns", archs=["window"], distances=[5, WINDOW + 1], steps=80)
    within, beyond = found.results
    assert within.accuracy > 0.8
    assert beyond.interval[0] <= 0.5 <= beyond.interval[1]


def test_an_lstm_learns_what_lies_far_back() -> None:
    found = unroll.longrange("pronouns", archs=["lstm"], distances=[5, 20], steps=220, mixed=True)
    assert min(result.interval[0] for result in found.results) > 0.95
    assert found.results[1].solved_at[0] is not None and found.results[1].solved_at[0] <= 220


# ---- figures against a slow direct computation


@pytest.mark.parametrize("name", ["pronouns", "copying"])
def test_the_loss_is_all_nats_and_those_of_decisions_once_more(name: str) -> None:
    plan = make_plan(name, hidden_size=8)
    task = plan.task
    assert isinstance(task, Task)
    network = random_weights(make_network(plan, "lstm", 0))
    made = draw(task, np.random.default_rng(5), ROWS, 12)
    every, decided = [], []
    for row in made.ids:
        state = None
        before = task.tokenizer.start_id
        for place, symbol in enumerate(row):
            with torch.no_grad():
                logits, state = network(torch.tensor([[before]]), state, None, "stepwise")
            nats = float(torch.logsumexp(logits[0, 0], 0) - logits[0, 0, symbol])
            every.append(nats)
            if place in made.places:
                decided.append(nats)
            before = int(symbol)
    assert len(decided) == ROWS * len(made.places)
    found = loss_of(network, task, np.random.default_rng(5), 12)
    assert found.item() == pytest.approx(np.mean(every) + np.mean(decided), abs=1e-9)


@pytest.mark.parametrize("name", ["german", "copying"])
def test_accuracy_is_a_forced_choice_among_candidates(name: str) -> None:
    plan = make_plan(name, hidden_size=8)
    task = plan.task
    assert isinstance(task, Task)
    network = random_weights(make_network(plan, "gru", 0), seed=2)
    found = measure(network, task, 4, 15, "test", 100)
    numbers, right, total = stream(4, 15, "test"), 0, 0
    for _ in range(2):
        made = draw(task, numbers, 50, 15, "test")
        for row in made.ids:
            for place in made.places:
                with torch.no_grad():
                    logits = network(torch.tensor([[task.tokenizer.start_id, *row[:place]]]))[0][0, -1]
                said = max(task.candidates, key=lambda word: float(logits[task.ids([word])[0]]))
                right += said == task.tokenizer.decode([int(row[place])]).strip()
                total += 1
    assert (found.right, found.decisions, found.error) == (right, total, None)
    assert 0 < right < total


def test_the_error_of_sums_is_the_mean_square() -> None:
    plan = make_plan("adding", hidden_size=8)
    network = make_network(plan, "lstm", 0)
    found = measure(network, plan.task, 0, 12, "test", 40)
    x, wanted = adding(stream(0, 12, "test"), 40, 12)
    with torch.no_grad():
        said = [float(network(torch.from_numpy(x[:, k : k + 1]))[0]) for k in range(40)]
    off = [a - b for a, b in zip(said, wanted.tolist(), strict=True)]
    assert found.error == pytest.approx(sum(d * d for d in off) / 40, rel=1e-5)
    assert found.right == sum(abs(d) <= 0.08 for d in off)


def test_students_interval() -> None:
    """Of five values by hand; over many samples of a normal distribution it holds the mean in 95 % of them."""
    values = [0.95, 0.97, 0.99, 0.96, 0.98]
    half = 2.776 * math.sqrt(sum((v - 0.97) ** 2 for v in values) / 4) / math.sqrt(5)
    assert student(values) == pytest.approx((0.97 - half, 0.97 + half))
    assert student([0.5]) is None and student([]) is None
    for count in (2, 5, 31):
        samples = np.random.default_rng(0).normal(1.0, 2.0, size=(4000, count))
        held = [low <= 1.0 <= high for low, high in map(student, samples.tolist())]  # type: ignore[misc]
        assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_the_interval_holds_both() -> None:
    def result(*right: int) -> Result:
        shares = tuple(count / 1000 for count in right)
        return Result("lstm", 5, 1, 1e-2, shares, sum(right), 1000 * len(right), (), (None,) * len(right))

    alone, agreeing, apart = result(970), result(970, 970, 970), result(500, 990, 700)
    low, high = wilson(np.array([970]), np.array([1000]))
    assert alone.over_seeds is None and alone.interval == alone.over_decisions == (low[0], high[0])
    assert agreeing.over_seeds == pytest.approx((0.97, 0.97)) and agreeing.interval == agreeing.over_decisions
    assert apart.over_seeds is not None and apart.over_seeds[0] < apart.over_decisions[0]
    assert apart.interval == (max(0.0, apart.over_seeds[0]), 1.0)
    assert result(1000, 1000).interval[1] == 1.0 and result(1000, 1000).interval[0] < 1.0


# ---- the table


NUMBERS = {"window": 0, "rnn-uniform": 1, "rnn-orthogonal": 2, "gru": 3, "lstm": 4}


def made_up(plan: Plan) -> list[Trial]:
    """Return trials that were never trained: the distance, the seed and the architecture are in their figures."""
    sums = isinstance(plan.task, VectorTask)
    return [
        Trial(
            seed,
            arch,
            nn.Identity(),
            1000 + NUMBERS[arch],
            1e-2,
            tuple(Score(d, 1000 - d - 10 * seed - 100 * NUMBERS[arch], 1000, d / 1000 if sums else None) for d in on),
            100 * seed if seed else None,
        )
        for seed, arch, on, _ in plan.trainings()
    ]


@pytest.mark.parametrize("mixed", [False, True])
def test_trials_are_put_together_by_architecture_and_distance(mixed: bool) -> None:
    plan = make_plan("pronouns", archs=["gru", "window"], distances=[20, 5, 20], seeds=3, mixed=mixed)
    assert plan.distances == (5, 20)
    assert len(list(plan.trainings())) == 3 * 2 * (1 if mixed else 2)
    found = table(plan, made_up(plan))
    assert found.finished and [(r.arch, r.distance) for r in found.results] == [
        ("gru", 5), ("gru", 20), ("window", 5), ("window", 20),
    ]  # fmt: skip
    assert found.results[1].accuracies == (0.68, 0.67, 0.66)
    assert found.results[1].accuracy == pytest.approx(0.67)
    assert found.results[1].solved_at == (None, 100, 200)
    part = table(plan, made_up(plan)[:-1])
    assert not part.finished
    assert len(part.results[-1].accuracies) == 2
    assert table(plan, []).results == ()


def test_figures_are_json_with_what_the_issue_names() -> None:
    plan = make_plan("adding", seeds=2, distances=[20, 50])
    figures = table(plan, made_up(plan)).figures()
    assert figures["task"] == "adding" and len(figures["results"]) == 2 * len(ARCHS)
    for row in figures["results"]:
        assert {"arch", "distance", "accuracy", "interval", "seeds"} <= {*row}
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1] and row["seeds"] == 2
        assert row["mean_squared_error"] == pytest.approx(row["distance"] / 1000)
        assert row["mean_squared_error_interval"] == pytest.approx([row["distance"] / 1000] * 2)
    plan = make_plan("pronouns")
    assert {row["mean_squared_error"] for row in table(plan, made_up(plan)).figures()["results"]} == {None}


@pytest.mark.parametrize("mixed", [False, True])
def test_training_reports_how_far_it_is_and_repeats_itself(mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEST_ROWS", 100)
    for task in ("dyck2", "adding"):
        plan = make_plan(task, archs=["rnn-uniform", "lstm"], distances=[5, 9], steps=3, mixed=mixed, hidden_size=8)
        events = list(trials(plan))
        steps = [event for event in events if isinstance(event, Progress)]
        done = [event.done for event in steps]
        assert done == sorted(done) and done[-1] == steps[-1].total
        assert all(event.phase.startswith(("rnn-uniform", "lstm")) for event in steps)
        again = table(plan, (event for event in trials(plan) if isinstance(event, Trial)))
        first = table(plan, (event for event in events if isinstance(event, Trial)))
        assert first == again and first.finished and {r.learning_rate for r in first.results} == {3e-3, 1e-2}
        assert len(first.results) == 4


def test_the_rate_is_chosen_by_validation_on_a_seed_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEST_ROWS", 100)
    monkeypatch.setattr(module, "VALID_ROWS", 50)
    for task in ("pronouns", "adding"):
        plan = make_plan(task, archs=["gru"], distances=[5, 9], seeds=2, steps=4, tuned=True, hidden_size=4)
        trainings = list(plan.trainings())
        assert [t.seed for t in trainings] == 2 * [*[TUNING_SEED] * 3, 0] + [1, 1]
        assert [t.learning_rate for t in trainings[:4]] == [*TUNED_RATES, None]
        found = [event for event in trials(plan) if isinstance(event, Trial)]
        assert [(trial.seed, trial.scores[0].distance) for trial in found] == [(0, 5), (0, 9), (1, 5), (1, 9)]
        assert table(plan, found).finished and not table(plan, found[:-1]).finished
        for number, first in ((0, 0), (1, 4)):
            tried = [result(train(plan, training)) for training in trainings[first : first + 3]]
            assert all(isinstance(trial, Trial) and trial.scores[0].decisions == 50 for trial in tried)
            best = max(tried, key=goodness)
            assert found[number].learning_rate == found[number + 2].learning_rate == best.learning_rate
    assert goodness(found[0]) == -(found[0].scores[0].error or 0)


def test_validation_says_when_it_is_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOLVED", 0.0)
    plan = make_plan("pronouns", archs=["gru"], distances=[5], steps=40, hidden_size=4)
    trial = result(train(plan, Training(0, "gru", (5,), 1e-2)))
    assert isinstance(trial, Trial) and trial.solved_at == 2


def test_a_kept_network_is_a_model_directory(tmp_path: Path) -> None:
    plan = make_plan("german", archs=["lstm"], distances=[5], steps=2, hidden_size=8)
    trial = result(train(plan, Training(0, "lstm", (5,), 1e-2)))
    assert isinstance(trial, Trial) and isinstance(trial.network, Model)
    path = save(trial, plan, tmp_path / "nets")
    assert path == tmp_path / "nets" / "lstm-5"
    text = "Anna sieht sich heute gern dort an ."
    found = trace(path, text, signals=["c", "nats"])
    assert plan.task.tokenizer.encode(text).tolist() == found.ids.tolist()  # type: ignore[union-attr]
    assert 0 not in found.ids and found.arrays["layer0/c"].shape == (8, 8)
    assert unroll.score(path, text)[0].nats == pytest.approx(found.nats)


# ---- the picture


def test_the_picture_is_of_the_numbers() -> None:
    plan = make_plan("pronouns", seeds=3)
    found = table(plan, made_up(plan))
    drawn = picture(found, ".svg")
    assert drawn == picture(found, ".svg") and picture(found, ".png").startswith(b"\x89PNG")
    root = ElementTree.fromstring(drawn)
    texts = ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for arch in ARCHS:
        assert any(text.startswith(f"{named(arch)}, ") for text in texts)
    assert {"chance: 50 %", "as far back as the window sees", "100", "20"} <= {*texts}
    assert any("mean of 3 seeds, 95 % interval" in text for text in texts)
    for row in found.results:
        y, low, high = point(row)
        assert low <= y <= high and y == pytest.approx(100 * row.accuracy)
    assert drawn != picture(table(plan, made_up(plan)[:-1]), ".svg")


@pytest.mark.parametrize(("distances", "seeds"), [([100], 1), ([100], 3), ([20, 50], 1)])
def test_sums_are_drawn_by_their_error(distances: list[int], seeds: int) -> None:
    plan = make_plan("adding", distances=distances, seeds=seeds)
    found: LongRange = table(plan, made_up(plan))
    drawn = picture(found, ".svg").decode()
    assert "mean squared error" in drawn and "solved: 0.01" in drawn and "always the middle: 0.167" in drawn
    assert ("95 % interval" in drawn) == (seeds > 1)
    assert point(found.results[0]).value == pytest.approx(distances[0] / 1000)


# ---- refusals


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"task": "pronoun"}, "there is no task 'pronoun'"),
        ({"archs": ["rnn"]}, "there is no architecture 'rnn'"),
        ({"steps": 0}, "steps is 0"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 32}, "seeds is 32"),
        ({"distances": [5, 2]}, "the distance is 2"),
        ({"distances": [1001]}, "the distance is 1001"),
        ({"task": "dyck2", "distances": [10]}, "the distance is 10"),
        ({"task": "adding", "distances": [3]}, "the distance is 3"),
    ],
)
def test_what_cannot_be_done_is_refused(asked: dict[str, object], what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        unroll.longrange(**asked)  # type: ignore[arg-type]
    assert caught.value.allowed and caught.value.fix


def test_the_nearest_distance_is_named() -> None:
    for task, distance, nearest in (
        ("dyck2", 10, 11),
        ("dyck2", 2000, 999),
        ("pronouns", 1, 3),
        ("parity", 5000, 1000),
    ):
        with pytest.raises(UserError) as caught:
            make_plan(task, distances=[distance])
        assert caught.value.fix.endswith(f" {nearest}")
        make_plan(task, distances=[nearest])
