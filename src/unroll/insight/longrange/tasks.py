"""Long-range tasks, generated from a seed: the cue lies exactly `distance` symbols before the answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from unroll.data.tokenizer import WordTokenizer
from unroll.errors import UserError, did_you_mean
from unroll.insight.longrange.sentences import (
    AGREEING,
    ENGLISH,
    GERMAN,
    PARTICLES,
    Clause,
    Slot,
    agreement,
    pronouns,
    separable_verbs,
    words_of,
)

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
Part = Literal["train", "valid", "test"]
Fill = Callable[[Generator, Ids], Ids]
"""Makes sequences (B, T) with the answers (B,), indices of candidates, at the first place of decision."""

PARTS: tuple[Part, ...] = ("train", "train", "valid", "test")
"""The parts of the four quarters of all sequences."""
MULTIPLIERS = np.random.Generator(np.random.Philox(0)).integers(2**63, size=4096, dtype=np.uint64) * np.uint64(2) + 1
TRIES = 4
"""Candidates made to replace a sequence of another part: many cost little more than one."""
MOST = 1000
"""The largest distance."""


@dataclass(frozen=True)
class Layout:
    """What the sequences of a batch share: the places of decisions, and how all others are filled."""

    places: tuple[int, ...]
    fill: Fill


@dataclass(frozen=True)
class Task:
    """A task over symbols: a cue `distance` symbols before a place decides which candidate stands there."""

    name: str
    about: str
    candidates: tuple[str, ...]
    words: tuple[str, ...]
    """All words; some may occur twice."""
    layout: Callable[["Task", Generator, int], Layout]
    """Draws a layout for a distance."""
    least: int
    """The smallest distance."""
    distances: tuple[int, ...]
    """Default distances."""
    odd: bool = False
    """Whether distances must be odd."""

    @cached_property
    def tokenizer(self) -> WordTokenizer:
        """The closed vocabulary; a sequence is read after the start symbol `<eos>`."""
        return WordTokenizer(tuple(dict.fromkeys((*self.candidates, *self.words))))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: len(self.tokenizer.specials) + k for k, word in enumerate(self.tokenizer.words)}

    def ids(self, words: Sequence[str]) -> Ids:
        """Return the ids (N,) of words."""
        return np.array([self._index[word] for word in words])

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / len(self.candidates)


@dataclass(frozen=True)
class VectorTask:
    """The adding problem, a task over vectors; its distance is the length of the sequence."""

    name: str = "adding"
    about: str = "the sum of the two marked numbers of a sequence of N"
    least: int = 4
    distances: tuple[int, ...] = (100,)
    odd: bool = False

    @property
    def chance(self) -> float:
        """The accuracy of always saying 1, the middle."""
        return 2 * TOLERANCE - TOLERANCE**2


CHANCE_ERROR = 1 / 6
"""The mean squared error of always saying 1."""
TOLERANCE = 0.08
"""How far off a sum may be: Hochreiter & Schmidhuber (1997) allow 0.04 in a target of half the range."""


@dataclass(frozen=True)
class Batch:
    """Sequences `ids` (B, T), and the places (K,) of their answers, each predictable from what precedes it."""

    ids: Ids
    places: tuple[int, ...]


def draw(task: Task, random: Generator, rows: int, distance: int, part: Part = "train") -> Batch:
    """Return `rows` sequences of one layout and one part, with every answer equally often at the first place.

    No sequence belongs to two parts.
    """
    layout = task.layout(task, random, distance)
    answers = random.permutation(np.arange(rows) % len(task.candidates))
    ids = layout.fill(random, answers)
    while len(wrong := np.flatnonzero(~_of_part(ids, part))):
        replacements = layout.fill(random, np.tile(answers[wrong], TRIES))
        fitting = _of_part(replacements, part).reshape(TRIES, -1).argmax(axis=0)  # the first that fits, or one as wrong
        ids[wrong] = replacements.reshape(TRIES, len(wrong), -1)[fitting, np.arange(len(wrong))]
    return Batch(ids, layout.places)


def _of_part(ids: Ids, part: Part) -> NDArray[np.bool_]:
    """Return True for sequences (B, T) of a part, which a hash decides."""
    hashed: NDArray[np.uint64] = (ids.astype(np.uint64) * MULTIPLIERS[: ids.shape[1]]).sum(axis=1)
    hashed = (hashed ^ (hashed >> np.uint64(31))) * MULTIPLIERS[-1]
    return np.asarray(np.array(PARTS)[(hashed >> np.uint64(62)).astype(np.int64)] == part)


def some_distance(task: Task | VectorTask, random: Generator, most: int) -> int:
    """Return a distance up to `most`, its logarithm evenly distributed."""
    distance = int(np.exp(random.uniform(np.log(task.least), np.log(most + 1))))
    return distance - 1 if task.odd and distance % 2 == 0 else distance


def lines(task: Task, random: Generator, count: int, most: int) -> Iterator[str]:
    """Yield sequences of the training part as text, of distances up to `most`, short ones more often."""
    for _ in range(count):
        ids = draw(task, random, len(task.candidates), some_distance(task, random, most)).ids
        yield task.tokenizer.decode(ids[random.integers(len(ids))])


def adding(random: Generator, rows: int, length: int) -> tuple[Floats, Floats]:
    """Return vectors (T, B, 2), each a number from 0 to 1 and a mark, and the sum (B,) of the two marked numbers.

    One mark lies in the first half and one in the second (Hochreiter & Schmidhuber 1997, as in Le et al. 2015).
    """
    numbers, half, columns = random.random((length, rows), dtype=np.float32), length // 2, np.arange(rows)
    marks = np.zeros_like(numbers)
    marks[random.integers(half, size=rows), columns] = 1
    marks[random.integers(half, length, size=rows), columns] = 1
    return np.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=0)


# ---- layouts


def in_clauses(make: Callable[[Generator, int], list[Clause]]) -> Callable[[Task, Generator, int], Layout]:
    """Return the layouts of clauses: the answers are those of the last; earlier decisions are random."""

    def layout(task: Task, random: Generator, distance: int) -> Layout:
        *earlier, last = clauses = make(random, distance)
        before = sum(len(clause.before) + len(clause.between) + len(clause.after) + 2 for clause in earlier) + len(
            last.before
        )
        return Layout((before + distance,), lambda random, answers: _filled(task, random, clauses, answers))

    return layout


def _filled(task: Task, random: Generator, clauses: Sequence[Clause], answers: Ids) -> Ids:
    rows, columns = len(answers), list[Ids]()

    def drawn_words(slot: Slot) -> Ids:
        ids = task.ids(slot)
        return ids[random.integers(len(ids), size=rows)] if len(ids) > 1 else np.repeat(ids, rows)

    for clause in clauses:
        decided = answers if clause is clauses[-1] else random.integers(len(task.candidates), size=rows)
        cues = np.stack([drawn_words(slot) for slot in clause.cues])[decided, np.arange(rows)]
        columns += map(drawn_words, clause.before)
        columns.append(cues)
        columns += map(drawn_words, clause.between)
        columns.append(task.ids(task.candidates)[decided])
        columns += map(drawn_words, clause.after)
    return np.column_stack(columns)


LETTERS = 5
"""Letters to copy."""


def copying(task: Task, random: Generator, distance: int) -> Layout:
    """`b a f f d _ _ _ _ : b a f f d`: each letter stands `distance` symbols before its copy."""
    blank, colon = task.ids(["_", ":"])
    middle = np.append(np.full(distance - LETTERS - 1, blank), colon)

    def fill(random: Generator, answers: Ids) -> Ids:
        others = random.integers(len(task.candidates), size=(len(answers), LETTERS - 1))
        letters = task.ids(task.candidates)[np.column_stack([answers, others])]
        return np.concatenate([letters, np.tile(middle, (len(letters), 1)), letters], axis=1)

    return Layout(tuple(range(distance, distance + LETTERS)), fill)


def parity(task: Task, random: Generator, distance: int) -> Layout:
    """`1 0 1 = even 1 1 1 0 = odd 1 0 0 1 1 = odd`: whether the number of ones since the last answer is even.

    The last has `distance` - 1 symbols to count; two short ones precede it.
    """
    counts = [*random.integers(3, 7, size=2), distance - 1]

    def fill(random: Generator, answers: Ids) -> Ids:
        rows, columns = len(answers), list[Ids]()
        for k, count in enumerate(counts):
            bits = random.integers(2, size=(rows, count))
            odd = bits.sum(axis=1) % 2
            if k == len(counts) - 1:
                bits[:, 0] ^= odd ^ answers
                odd = answers
            columns += [*task.ids(["0", "1"])[bits].T, np.repeat(task.ids(["="]), rows), task.ids(task.candidates)[odd]]
        return np.column_stack(columns)

    return Layout((sum(counts) + 2 * len(counts) - 1,), fill)


def dyck1(task: Task, random: Generator, distance: int) -> Layout:
    """`( ( ) ( ) ( ) ) = closed`: whether all brackets are closed. Turning one of them, the cue, decides it.

    With the cue as `)` all are closed, with `(` two are open; nothing shows which bracket is the cue.
    """
    before = int(random.integers(6, 11)) * 2 + (distance + 1) % 2  # so that the word has an even length

    def fill(random: Generator, answers: Ids) -> Ids:
        steps = nesting(random, len(answers), before + distance - 1, closing=before)
        steps[:, before] = np.where(answers == task.candidates.index("open"), 1, -1)
        equals = np.repeat(task.ids(["="]), len(answers))
        return np.column_stack([task.ids(["(", ")"])[(1 - steps) // 2], equals, task.ids(task.candidates)[answers]])

    return Layout((before + distance,), fill)


DEEPEST = 3
"""Depth of nesting between the two brackets of a pair."""


def dyck2(task: Task, random: Generator, distance: int) -> Layout:
    """`[ ] ( [ ] ) [ ( ) ]`: a bracket is closed by its own kind; between the two there are `distance` - 1 others."""
    outer = int(random.integers(3))
    cue = 8 + outer

    def fill(random: Generator, answers: Ids) -> Ids:
        rows = len(answers)
        before, between = nesting(random, rows, 8, DEEPEST), nesting(random, rows, distance - 1, DEEPEST)
        opening = np.ones((rows, outer + 1), np.int64)
        steps = np.concatenate([before, opening, between, -opening], axis=1)
        kinds = random.integers(2, size=steps.shape)
        kinds[:, cue] = answers
        # A closing bracket has the kind of the last one opened at its depth.
        opened, depth, every = (
            np.zeros((rows, 2 * DEEPEST + 2), np.int64),
            np.zeros(rows, np.int64),
            np.arange(rows),
        )
        for step, kind in zip(steps.T, kinds.T, strict=True):
            depth += step == 1
            kind[:] = opened[every, depth] = np.where(step == 1, kind, opened[every, depth])
            depth -= step == -1
        return np.asarray(task.ids(["(", "[", ")", "]"])[kinds + 1 - steps])

    return Layout((cue + distance,), fill)


def nesting(random: Generator, rows: int, length: int, deepest: int | None = None, closing: int | None = None) -> Ids:
    """Return brackets (B, T), 1 for opening and -1 for closing, uniformly from all nestings closed at the end.

    None is deeper than `deepest`, and the bracket at `closing` closes.
    """
    deepest = length // 2 if deepest is None else min(deepest, length // 2)
    # ways[k, d]: the number of ways from depth d before bracket k to the end; depths that are too large have none, nor
    # has depth -1, the last of the row.
    ways = np.zeros((length + 1, deepest + 3))
    ways[length, 0] = 1
    for k in reversed(range(length)):
        ways[k, 1 : deepest + 1] = ways[k + 1, :deepest]
        if k != closing:
            ways[k, : deepest + 1] += ways[k + 1, 1 : deepest + 2]
    steps, depth = np.empty((rows, length), np.int64), np.zeros(rows, np.int64)
    for k in range(length):
        steps[:, k] = np.where(random.random(rows) * ways[k, depth] < ways[k + 1, depth - 1], -1, 1)
        depth += steps[:, k]
    return steps


# ---- the tasks


FAR = (5, 20, 100)
ALL: tuple[Task | VectorTask, ...] = (
    Task(
        name="pronouns",
        about="she or he, by the person whom the story is about; others are mentioned meanwhile",
        candidates=("she", "he"),
        words=(*words_of(ENGLISH), ".", "a", "the", "is", "for", "from"),
        layout=in_clauses(pronouns),
        least=3,
        distances=FAR,
    ),
    Task(
        name="german",
        about="the particle that ends a German sentence, by its verb: sieht sich … an",
        candidates=tuple(PARTICLES),
        words=(*words_of(GERMAN, PARTICLES), ".", "sich", "dem", "der", "wie", "ein"),
        layout=in_clauses(separable_verbs),
        least=2,
        distances=(5, 10, 20, 40),
    ),
    Task(
        name="agreement",
        about="is or are, by the first noun; those after it are of either number",
        candidates=("is", "are"),
        words=(*words_of(AGREEING), "the", "."),
        layout=in_clauses(agreement),
        least=4,
        distances=FAR,
    ),
    Task(
        name="copying",
        about=f"{LETTERS} letters, again after a stretch of blanks",
        candidates=tuple("abcdefgh"),
        words=("_", ":"),
        layout=copying,
        least=LETTERS + 1,
        distances=FAR[1:],
    ),
    Task(
        name="dyck1",
        about="whether all brackets are closed; turning the one at the distance decides it",
        candidates=("closed", "open"),
        words=("(", ")", "="),
        layout=dyck1,
        least=2,
        distances=FAR,
    ),
    Task(
        name="dyck2",
        about=f"which of two kinds a bracket closes, others being nested {DEEPEST} deep in between",
        candidates=(")", "]"),
        words=("(", "["),
        layout=dyck2,
        least=3,
        distances=(5, 21, 101),
        odd=True,
    ),
    Task(
        name="parity",
        about="whether the number of ones since the last answer is even",
        candidates=("even", "odd"),
        words=("0", "1", "="),
        layout=parity,
        least=2,
        distances=FAR,
    ),
    VectorTask(),
)
TASKS = {task.name: task for task in ALL}


def find_task(name: str) -> Task | VectorTask:
    """Return the task of that name; raises UserError if there is none."""
    if name in TASKS:
        return TASKS[name]
    fix = did_you_mean(name, TASKS, "choose one of them")
    raise UserError(f"there is no task {name!r}", allowed=", ".join(TASKS), fix=fix)
