"""Long-range tasks: the distance is exact, nothing but the cue tells the answer, and no test sequence is trained on."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator

from unroll.errors import UserError
from unroll.insight.longrange.sentences import ENGLISH, PARTICLES
from unroll.insight.longrange.tasks import (
    ALL,
    CHANCE_ERROR,
    DEEPEST,
    LETTERS,
    TASKS,
    TOLERANCE,
    Batch,
    Ids,
    Layout,
    Part,
    Task,
    VectorTask,
    adding,
    draw,
    find_task,
    lines,
    nesting,
    some_distance,
)

SYMBOLS = [task for task in ALL if isinstance(task, Task)]
each_task = pytest.mark.parametrize("task", SYMBOLS, ids=lambda task: task.name)


def random(seed: int = 0) -> Generator:
    return np.random.default_rng(seed)


def some_distances(task: Task) -> list[int]:
    return [task.least, task.least + 2, *task.distances]


def words(task: Task, batch: Batch) -> list[list[str]]:
    return [task.tokenizer.decode(row).split() for row in batch.ids]


# ---- laws


def law_only_the_cue(task: Task, distance: int, seed: int) -> None:
    """With another answer, all else as it was, the cue is another and so is the answer, and nothing else at all."""
    layout = task.layout(task, random(seed), distance)
    answers = random(seed).integers(len(task.candidates), size=64)
    wrong_answers = (answers + 1 + random(seed).integers(len(task.candidates) - 1, size=64)) % len(task.candidates)
    first, second = (layout.fill(random(seed + 1), chosen) for chosen in (answers, wrong_answers))
    place = layout.places[0]
    assert (first[:, place] == task.ids(task.candidates)[answers]).all()
    differ = first != second
    assert differ[:, place].all() and differ[:, place - distance].all()
    differ[:, [place, place - distance]] = False
    assert not differ.any()


@each_task
def test_only_the_cue_tells_and_it_lies_at_the_distance(task: Task) -> None:
    for distance in some_distances(task):
        for seed in range(4):
            law_only_the_cue(task, distance, seed)


def leaking(task: Task, random: Generator, distance: int) -> Layout:
    """Planted fault: the word before the answer depends on it."""
    layout = TASKS["agreement"].layout(task, random, distance)  # type: ignore[union-attr]

    def fill(random: Generator, answers: Ids) -> Ids:
        ids = layout.fill(random, answers)
        ids[:, layout.places[0] - 1] = task.ids(["key", "keys"])[answers]
        return ids

    return Layout(layout.places, fill)


def late(task: Task, random: Generator, distance: int) -> Layout:
    """Planted fault: the cue lies one symbol further back."""
    return TASKS["agreement"].layout(task, random, distance + 1)  # type: ignore[union-attr]


@pytest.mark.parametrize("fault", [leaking, late])
def test_a_leak_and_another_distance_are_caught(fault: Callable[[Task, Generator, int], Layout]) -> None:
    agreement = find_task("agreement")
    assert isinstance(agreement, Task)
    with pytest.raises(AssertionError):
        law_only_the_cue(replace(agreement, layout=fault), 20, 0)


@each_task
def test_answers_are_even_and_parts_share_no_sequence(task: Task) -> None:
    part_of: dict[bytes, Part] = {}
    parts: tuple[Part, ...] = ("train", "valid", "test")
    rows = 10 * len(task.candidates)
    for distance in (task.least, task.least + 2, 21):
        for part in parts:
            for seed in range(10):
                batch = draw(task, random(seed), rows, distance, part)
                assert batch.ids.shape[0] == rows and batch.ids.max() < task.tokenizer.vocab_size
                counts = [np.count_nonzero(batch.ids[:, batch.places[0]] == k) for k in task.ids(task.candidates)]
                assert counts == [10] * len(task.candidates)
                assert {part_of.setdefault(row.tobytes(), part) for row in batch.ids} == {part}


@each_task
def test_the_seed_decides_everything(task: Task) -> None:
    first, repeat, reseeded = (draw(task, random(seed), 20, task.distances[1]).ids for seed in (3, 3, 4))
    assert first.tobytes() == repeat.tobytes() != reseeded.tobytes()


# ---- answers, by a slow direct reading of the words


def topic(row: list[str]) -> list[str]:
    """Return the persons a text is about: names with which it, or a sentence, begins."""
    starts = [word for before, word in zip([".", *row], row, strict=False) if before == "."]
    return [word for word in starts if word in ENGLISH["PERSON"].split()]


def answer(task: Task, row: list[str], place: int) -> str:
    """Return what must stand at the place of decision, told from the words before it."""
    past = row[:place]
    match task.name:
        case "pronouns":
            return "she" if topic(past)[-1] in ENGLISH["WOMAN"].split() else "he"
        case "german":
            verb = [word for word, after in pairwise(past) if after == "sich"][-1]
            return next(particle for particle, verbs in PARTICLES.items() if verb in verbs.split())
        case "agreement":
            return "are" if past[1].endswith("s") else "is"
        case "copying":
            return past[past.index(":") - past.index(":") + place - past.index(":") - 1]
        case "parity":
            ends = [0, *(k for k, word in enumerate(past) if word in task.candidates)]
            return ("even", "odd")[past[ends[-1] :].count("1") % 2]
        case "dyck1":
            return "closed" if past.count("(") == past.count(")") else "open"
    stack: list[str] = []
    for word in past:
        if word in "([":
            stack.append(word)
        else:
            assert stack.pop() + word in ("()", "[]")
    return {"(": ")", "[": "]"}[stack[-1]]


@each_task
def test_answers_are_right_by_reading(task: Task) -> None:
    for distance in some_distances(task):
        batch = draw(task, random(distance), 30, distance)
        for row in words(task, batch):
            assert len(row) == batch.ids.shape[1]
            for place in batch.places:
                assert row[place] == answer(task, row, place)


def test_dyck_words_are_nested_as_deep_as_is_said() -> None:
    dyck2 = TASKS["dyck2"]
    assert isinstance(dyck2, Task)
    batch = draw(dyck2, random(), 200, 41)
    deepest = 0
    for row in words(dyck2, batch):
        depths = np.cumsum([1 if word in "([" else -1 for word in row])
        assert depths[-1] == 0 and depths.min() >= 0
        cue = batch.places[0] - 41
        inner_depths = depths[cue + 1 : batch.places[0]] - depths[cue]
        assert inner_depths.min() >= 0 and inner_depths.max() <= DEEPEST
        deepest = max(deepest, inner_depths.max())
    assert deepest == DEEPEST


# ---- what can be seen on the surface


def naive_bayes(task: Task, bags: Ids, answers: Ids, train: int) -> float:
    """Return how often bags of words (N, V) tell the answer, fitted on the first of them and tried on the others."""
    candidates = task.ids(task.candidates)
    counts = np.stack([bags[:train][answers[:train] == k].sum(axis=0) for k in candidates]) + 1.0
    guessed = (bags[train:] @ np.log(counts / counts.sum(axis=1, keepdims=True)).T).argmax(axis=1)
    return float((candidates[guessed] == answers[train:]).mean())


@each_task
def test_a_bag_of_the_words_since_the_cue_tells_nothing(task: Task) -> None:
    """Nor one of the words before the cue; with the cue itself, where it is a word of its own, it tells."""
    distance, train, rows = 21, 1400, 2100
    batches = [draw(task, random(seed), 70, distance) for seed in range(rows // 70)]
    answers = np.concatenate([batch.ids[:, batch.places[0]] for batch in batches])

    def accuracy(first: int, last: int) -> float:
        suffixes = [
            row for batch in batches for row in batch.ids[:, max(0, batch.places[0] + first) : batch.places[0] + last]
        ]
        bags = np.stack([np.bincount(row, minlength=task.tokenizer.vocab_size) for row in suffixes])
        return naive_bayes(task, bags, answers, train)

    margin = 4 * np.sqrt(task.chance * (1 - task.chance) / (rows - train))
    assert abs(accuracy(1 - distance, 0) - task.chance) < margin
    assert abs(accuracy(-distance - 8, -distance) - task.chance) < margin
    if task.name in ("pronouns", "german", "agreement", "copying"):
        assert accuracy(-distance, 1 - distance) > 0.99


def test_the_person_named_last_is_seldom_the_one_meant() -> None:
    pronouns = TASKS["pronouns"]
    assert isinstance(pronouns, Task)
    latest = []
    for seed in range(40):
        batch = draw(pronouns, random(seed), 10, 100)
        for row in words(pronouns, batch):
            last = [word for word in row[: batch.places[0]] if word in ENGLISH["PERSON"].split()][-1]
            latest.append((last in ENGLISH["WOMAN"].split()) == (row[batch.places[0]] == "she"))
    assert abs(np.mean(latest) - 0.5) < 0.1


@given(seed=st.integers(0, 999), most=st.integers(10, 200))
@settings(max_examples=60, deadline=None)
def test_distances_are_those_that_a_task_has(seed: int, most: int) -> None:
    for task in ALL:
        distances = [some_distance(task, random(seed + k), most) for k in range(5)]
        assert all(task.least <= distance <= most for distance in distances)
        assert not task.odd or all(distance % 2 for distance in distances)


def test_short_distances_come_oftener() -> None:
    task, numbers = TASKS["pronouns"], random()
    distances = [some_distance(task, numbers, 100) for _ in range(4000)]
    below = np.mean(np.array(distances) < 18)  # 3 to 17 is as much of the logarithm as 18 to 100
    assert abs(below - np.log(18 / 3) / np.log(101 / 3)) < 0.03


def test_nestings_are_drawn_evenly() -> None:
    nestings, counts = np.unique(nesting(random(), 5000, 6), axis=0, return_counts=True)
    assert len(nestings) == 5 and (abs(counts - 1000) < 4 * np.sqrt(800)).all()
    shallow = nesting(random(), 500, 20, deepest=2)
    depths = shallow.cumsum(axis=1)
    assert depths.max() == 2 and depths.min() == 0 and (depths[:, -1] == 0).all()
    nestings, counts = np.unique(nesting(random(), 3000, 6, closing=2), axis=0, return_counts=True)
    assert len(nestings) == 2 and (nestings[:, 2] == -1).all() and (abs(counts - 1500) < 4 * np.sqrt(750)).all()
    assert nesting(random(), 3, 0).shape == (3, 0)


def test_adding_is_what_it_says() -> None:
    x, sums = adding(random(), 3000, 25)
    assert x.shape == (25, 3000, 2) and x.dtype == sums.dtype == np.float32
    marks = x[:, :, 1]
    assert {*np.unique(marks)} == {0, 1}
    assert (marks[:12].sum(axis=0) == 1).all() and (marks[12:].sum(axis=0) == 1).all()
    assert len(np.unique(marks.argmax(axis=0))) == 12
    for k in range(50):
        first, second = x[marks[:, k] == 1, k, 0]
        assert sums[k] == pytest.approx(first + second)
    assert np.mean((sums - 1) ** 2) == pytest.approx(CHANCE_ERROR, rel=0.1)
    assert np.mean(np.abs(sums - 1) <= TOLERANCE) == pytest.approx(VectorTask().chance, abs=0.03)


@each_task
def test_lines_are_sequences_of_the_training_part(task: Task) -> None:
    sequences = list(lines(task, random(), 30, 20))
    assert len(sequences) == 30 == len([line for line in sequences if "\n" not in line])
    for line in sequences:
        assert not task.tokenizer.unknown(line)
    repeat = draw(task, random(5), 8, 21, "train")
    assert task.tokenizer.encode(task.tokenizer.decode(repeat.ids[0])).tolist() == repeat.ids[0].tolist()


def test_what_is_no_task_names_the_nearest() -> None:
    for name, nearest in (("pronoun", "pronouns"), ("dyck3", "dyck2"), ("German", "german"), ("sum", None)):
        with pytest.raises(UserError) as refusal:
            find_task(name)
        assert nearest is None or f"did you mean '{nearest}'" in refusal.value.fix
        assert "adding" in refusal.value.allowed
    assert find_task("copying").distances[0] > LETTERS
