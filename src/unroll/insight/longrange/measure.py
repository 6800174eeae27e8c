"""Networks of equal size, trained and tested on long-range tasks, one after another."""

import math
import shutil
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, partial_of, save_description
from unroll.errors import UserError
from unroll.files import explained
from unroll.insight.longrange.table import (
    ARCHS,
    HIDDEN_SIZE,
    MOST_SEEDS,
    ROWS,
    SOLVED,
    SOLVED_ERROR,
    STEPS,
    TUNING_SEED,
    WINDOW,
    LongRange,
    Plan,
    Score,
    Training,
    Trial,
    table,
)
from unroll.insight.longrange.tasks import (
    MOST,
    PARTS,
    TOLERANCE,
    Batch,
    Part,
    Task,
    VectorTask,
    adding,
    draw,
    find_task,
    some_distance,
)
from unroll.nn.arch import ARCHITECTURES, DEFAULT, layer_shapes
from unroll.nn.config import ModelConfig, parameter_count
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.nn.recurrent import Recurrent, RecurrentLayer
from unroll.nn.window import Window
from unroll.progress import Progress, mapped
from unroll.training.config import OptimConfig
from unroll.training.optim import learning_rate_at, make_optimizer, set_learning_rate

EMBEDDING_SIZE = 32
VALIDATIONS = 20
"""About how many times a training checks whether the task is solved."""
VALID_ROWS, TEST_ROWS, LAYOUT_ROWS = 200, 1000, 50
"""Numbers of sequences: for validation, for the test, and drawn with one layout."""


def longrange(
    task: str = "pronouns",
    *,
    archs: Sequence[str] = ARCHS,
    distances: Sequence[int] | None = None,
    seeds: int = 1,
    steps: int = STEPS,
    mixed: bool = False,
    tuned: bool = False,
) -> LongRange:
    """Train networks of equal size on a long-range task, and return their accuracy by distance.

    The distance is the number of symbols from the cue to the answer, in the adding problem the length of the sequence.
    One network is trained for each distance or, with `mixed`, one for all. With `tuned`, each learning rate is chosen
    by validation, in three more trainings on a seed that does not count towards the results. Raises UserError.
    """
    plan = make_plan(task, archs=archs, distances=distances, seeds=seeds, steps=steps, mixed=mixed, tuned=tuned)
    return table(plan, (event for event in trials(plan) if isinstance(event, Trial)))


def make_plan(
    task: str = "pronouns",
    *,
    archs: Sequence[str] = ARCHS,
    distances: Sequence[int] | None = None,
    seeds: int = 1,
    steps: int = STEPS,
    mixed: bool = False,
    tuned: bool = False,
    hidden_size: int = HIDDEN_SIZE,
) -> Plan:
    """Return the plan of `longrange`; raises UserError for what cannot be done."""
    known_task = find_task(task)
    if wrong := [arch for arch in archs if arch not in ARCHS]:
        raise UserError(
            f"there is no architecture {wrong[0]!r} here", allowed=", ".join(ARCHS), fix="choose some of them"
        )
    for name, value, largest in (("steps", steps, 10**9), ("seeds", seeds, MOST_SEEDS)):
        if not 1 <= value <= largest:
            raise UserError(f"{name} is {value}", allowed=f"1 to {largest:,}", fix=f"leave it out, or ask for {name} 1")
    requested = tuple(sorted(set(distances or known_task.distances)))
    for distance in requested:
        check_distance(known_task, distance)
    return Plan(known_task, tuple(dict.fromkeys(archs)), requested, seeds, steps, mixed, tuned, hidden_size)


def check_distance(task: Task | VectorTask, distance: int) -> None:
    """Raise UserError for a distance that the task does not allow."""
    nearest = min(max(distance, task.least), MOST)
    if task.odd and nearest % 2 == 0:
        nearest += 1 if nearest < MOST else -1
    if nearest != distance:
        raise UserError(
            f"the distance is {distance}",
            allowed=f"{'odd numbers from ' if task.odd else ''}{task.least} to {MOST:,} in {task.name}",
            fix=f"ask for {nearest}",
        )


def trials(plan: Plan) -> Iterator[Progress | Trial]:
    """Train and test every network of the plan, yielding progress, and each network when it is done."""
    trainings = list(plan.trainings())
    # A step on many distances costs about as much as one on a third of the largest.
    costs = [max(training.distances) / (3 if plan.mixed else 1) for training in trainings]
    total, done = round(plan.steps * sum(costs)), 0.0
    best: dict[tuple[str, tuple[int, ...]], Trial] = {}
    for cost, training in zip(costs, trainings, strict=True):
        key, tuning = (training.arch, training.distances), training.seed == TUNING_SEED
        if training.learning_rate is None:
            training = training._replace(learning_rate=best[key].learning_rate)
        at = "" if plan.mixed else f" at {training.distances[0]}"
        phase = f"{training.arch}{at}, {'choosing its rate' if tuning else f'seed {training.seed}'}"
        trial = yield from mapped(train(plan, training), progress_in(phase, done, cost, total))
        if tuning:
            best[key] = max(best.get(key, trial), trial, key=goodness)
        else:
            yield trial
        done += plan.steps * cost


def progress_in(phase: str, done: float, cost: float, total: int) -> Callable[[int], Progress]:
    """Return a function that turns the steps of one training into overall progress: each costs `cost`, after `done`."""
    return lambda steps: Progress(phase, round(done + steps * cost), total, "steps")


def goodness(trial: Trial) -> float:
    """Return a figure of merit of a network: the number of right decisions or, for sums, minus the error."""
    return sum(score.right if score.error is None else -score.error for score in trial.scores)


# ---- networks of equal size


class Summer(nn.Module):
    """A recurrent layer or a window over vectors, and a linear head that makes one number from its last output."""

    def __init__(self, arch: str, hidden_size: int) -> None:
        super().__init__()
        self.recurrent: Recurrent | Window
        if arch == "window":
            self.recurrent = Window(2, hidden_size, 1, WINDOW, 0.0, False)
        else:
            init = ARCHITECTURES[arch].trial_init
            self.recurrent = Recurrent(arch, 2, hidden_size, 1, init=init)  # type: ignore[arg-type]
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Read vectors (T, B, 2) and return a number (B,)."""
        y, _ = self.recurrent(x)
        return self.head(y[-1])[:, 0]  # type: ignore[no-any-return]


def size_of(task: Task | VectorTask, arch: str, hidden_size: int) -> int:
    """Return the number of weights of a network of that width."""
    if isinstance(task, Task):
        return parameter_count(config_of(task, arch, hidden_size))
    if arch == "window":
        return (2 * WINDOW + 1) * hidden_size + hidden_size + 1
    return sum(map(math.prod, layer_shapes(arch.partition("-")[0], 2, hidden_size).values())) + hidden_size + 1


def config_of(task: Task, arch: str, hidden_size: int) -> ModelConfig:
    """Return the shape of a language model for the task."""
    return ModelConfig(
        vocab_size=task.tokenizer.vocab_size,
        arch=arch.partition("-")[0],  # type: ignore[arg-type]
        embedding_size=EMBEDDING_SIZE,
        hidden_size=hidden_size,
        window=WINDOW,
        init=ARCHITECTURES[arch.partition("-")[0]].trial_init,
    )


def width(task: Task | VectorTask, arch: str, hidden_size: int) -> int:
    """Return the hidden size whose number of weights comes closest to that of an LSTM with `hidden_size`."""
    target_size = size_of(task, DEFAULT, hidden_size)
    above = bisect_left(range(2, target_size), target_size, key=lambda candidate: size_of(task, arch, candidate)) + 2
    return min((above - 1, above), key=lambda candidate: abs(size_of(task, arch, candidate) - target_size))


def make_network(plan: Plan, arch: str, seed: int) -> Model | Summer:
    """Return a network with its initial weights."""
    hidden_size = width(plan.task, arch, plan.hidden_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Model | Summer
        if isinstance(plan.task, Task):
            network = Model(config_of(plan.task, arch, hidden_size))
        else:
            network = Summer(arch.partition("-")[0], hidden_size)
        if arch == "rnn-uniform":
            assert isinstance(network.recurrent, Recurrent)
            (layer,) = network.recurrent.layers
            assert isinstance(layer, RecurrentLayer)
            nn.init.uniform_(layer.weight_hh, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))
    return network


# ---- training and testing


def train(plan: Plan, training: Training) -> Generator[int, None, Trial]:
    """Train and test one network, yielding the steps done; returns the trial.

    Every sequence is new and read from a fresh state; all architectures see the same ones. When a learning rate is
    being chosen, the scores are on validation sequences, not on test ones.
    """
    seed, arch, distances, rate = training
    assert rate is not None
    task, farthest = plan.task, max(distances)
    network = make_network(plan, arch, seed)
    optim = OptimConfig(learning_rate=rate, warmup_steps=50, schedule="cosine", weight_decay=0.0)
    optimizer = make_optimizer(network, optim)
    random = stream(seed, farthest, "train")
    solved_at = None
    torch.set_flush_denormal(True)  # denormal gradients would take ten times as long
    for step in range(plan.steps):
        loss = loss_of(network, task, random, some_distance(task, random, farthest) if plan.mixed else farthest)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), optim.grad_clip)
        set_learning_rate(optimizer, learning_rate_at(step, plan.steps, optim))
        optimizer.step()
        if (step + 1) % max(1, plan.steps // VALIDATIONS) == 0 and solved_at is None:
            score = measure(network, task, seed, farthest, "valid", VALID_ROWS)
            solved = score.error < SOLVED_ERROR if score.error is not None else score.right >= SOLVED * score.decisions
            solved_at = step + 1 if solved else None
        yield step + 1
    part: Part = "valid" if seed == TUNING_SEED else "test"
    rows = VALID_ROWS if seed == TUNING_SEED else TEST_ROWS
    scores = tuple(measure(network, task, seed, distance, part, rows) for distance in distances)
    return Trial(seed, arch, network, sum(w.numel() for w in network.parameters()), rate, scores, solved_at)


def stream(seed: int, distance: int, part: Part) -> np.random.Generator:
    """Return the random generator that the sequences of a part are drawn from."""
    return np.random.default_rng((seed, distance, PARTS.index(part)))


def loss_of(network: nn.Module, task: Task | VectorTask, random: np.random.Generator, distance: int) -> Tensor:
    """Return the loss of a batch of the task.

    Over symbols it is the mean nats of all symbols plus the mean nats of the decisions, which alone may be one symbol
    in a hundred. Over vectors it is the mean squared error.
    """
    if isinstance(task, VectorTask):
        x, sums = adding(random, ROWS, distance)
        return nn.functional.mse_loss(network(torch.from_numpy(x)), torch.from_numpy(sums))
    batch = draw(task, random, ROWS, distance)
    logits, targets = read(network, task, batch)
    nats = cross_entropy(logits, targets, "none")
    return nats.mean() + nats[:, list(batch.places)].mean()


def read(network: nn.Module, task: Task, batch: Batch) -> tuple[Tensor, Tensor]:
    """Read sequences after the start symbol; return the logits (B, T, V) before each of their symbols (B, T)."""
    targets = torch.from_numpy(batch.ids)
    start = torch.full_like(targets[:, :1], task.tokenizer.start_id)
    logits, _ = network(torch.cat([start, targets[:, :-1]], dim=1))
    return logits, targets


@torch.inference_mode()
def measure(network: nn.Module, task: Task | VectorTask, seed: int, distance: int, part: Part, rows: int) -> Score:
    """Return the score of a network on `rows` sequences of a part, which training has not seen."""
    random = stream(seed, distance, part)
    if isinstance(task, VectorTask):
        x, sums = adding(random, rows, distance)
        errors = (network(torch.from_numpy(x)) - torch.from_numpy(sums)).double()
        return Score(distance, int((errors.abs() <= TOLERANCE).sum()), rows, float((errors**2).mean()))
    candidates = torch.from_numpy(task.ids(task.candidates))
    right = decisions = 0
    for _ in range(rows // LAYOUT_ROWS):
        batch = draw(task, random, LAYOUT_ROWS, distance, part)
        logits, targets = read(network, task, batch)
        places = list(batch.places)
        chosen = candidates[logits[:, places][:, :, candidates].argmax(dim=2)]
        right += int((chosen == targets[:, places]).sum())
        decisions += chosen.numel()
    return Score(distance, right, decisions)


def save(trial: Trial, plan: Plan, folder: Path) -> Path:
    """Write a trained language model as a model directory in `folder`, for other verbs to read; return its path."""
    assert isinstance(trial.network, Model) and isinstance(plan.task, Task)
    name = trial.arch if plan.mixed else f"{trial.arch}-{trial.scores[0].distance}"
    path = folder / (name if plan.seeds == 1 else f"{name}-seed{trial.seed}")
    partial = partial_of(path)
    with explained(path):
        partial.mkdir(parents=True)
    try:
        plan.task.tokenizer.save(partial / "tokenizer.json")
        info = {"step": plan.steps, "tokens_seen": None, "valid_nats": None, "averaged": False}
        save_tensors(partial / WEIGHTS, dict(trial.network.named_parameters()), info)
        save_description(partial, trial.network.config, plan.task.tokenizer)
        with explained(path):
            partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return path
