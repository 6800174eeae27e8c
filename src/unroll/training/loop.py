"""The training loop and its step, visible from top to bottom, as a generator of reports."""

import math
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, suppress
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unroll.errors import UserError
from unroll.nn.precision import tf32
from unroll.nn.process import keep_memory
from unroll.state import State, detach
from unroll.training.config import LoopConfig
from unroll.training.many import processes
from unroll.training.optim import learning_rate_at, set_learning_rate, thaw, update_average
from unroll.training.report import Journal, Report
from unroll.training.run import AnyRun, save, save_weights, share_out

SAMPLE_STEPS = (0, 100, 300, 500, 700, 1200, 2000)


class Batch(Protocol):
    """What a step reads."""

    @property
    def tokens(self) -> int:
        """Number of symbols in it."""

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return the arguments of the model's `loss`, by name."""


class Lesson(Protocol):
    """What a run is taught: the batches of its steps, and the figures by which its weights are chosen."""

    @property
    def chosen_by(self) -> str:
        """The figure of `validate` by which weights are chosen: "nats", the least being best, or "accuracy"."""

    def start(self, run: AnyRun) -> State:
        """Seed what the next step draws; return the state that it starts from, without its graph."""

    def batch(self, run: AnyRun) -> Batch:
        """Return what the next step reads."""

    def validate(self, run: AnyRun) -> tuple[float, dict[str, Any]]:
        """Return the quick validation figure of the weights that are kept, in nats, and what else is reported."""

    def sample(self, run: AnyRun) -> dict[str, Any] | None:
        """Return a sample for the log (`prompt temperature seed text`); None where nothing can be sampled."""

    def evaluate(self, run: AnyRun) -> tuple[float, dict[str, Any]]:
        """Return the exact validation figure of weights.safetensors, in nats, and the result that model.json keeps."""

    def describe(self, run: AnyRun, result: dict[str, Any] | None) -> None:
        """Write model.json."""


def train(run: AnyRun, lesson: Lesson) -> Generator[Report, None, None]:
    """Train from where the run stands to its last step, reporting all that happens.

    The loop owns the order; the caller owns the reaction and may stop at any report by closing the generator, which
    saves a checkpoint. Everything on the way goes by step, never by clock, so that a run can be repeated and resumed.
    Raises FolderLost where the model directory was moved, removed or replaced.
    """
    config = run.config
    ends = (*config.extensions, config.steps)
    torch.set_num_threads(config.threads)
    keep_memory()
    with closing(Journal(run)) as journal:
        run.model.train()
        share_out(run)
        reports: list[Report] = []
        try:
            if math.isinf(run.best_figure):  # nothing was measured yet
                nats, figures = validate(run, lesson)
                keep_if_better(run, lesson, nats, figures)
                reports.append(journal.report("valid", nats=nats, detail=figures))
                if sample := lesson.sample(run):
                    reports.append(journal.report_sample(sample, nats))
                yield from reports
            journal.start_rate()
            while run.step < config.steps:
                # All that is due after a step happens before any of it is reported: a caller who stops at a report
                # stops between two steps.
                reports = []
                check_folder(run, journal)
                nats, norm, rate = step_on(
                    run, lesson.batch(run), lesson.start(run)
                )  # forward, detach, backward, clip, step
                if not (math.isfinite(nats) and math.isfinite(norm)):
                    raise Diverged(f"the loss of step {run.step + 1} is {nats} and the norm of its gradient {norm}")
                mean = run.add_loss(nats)
                last = run.step in ends
                if run.step - 1 in config.extensions:
                    reports.append(journal.report("start", detail={"steps": config.steps}))
                if last or run.step % config.log_every == 0:
                    speed = journal.tokens_per_second()
                    values = {"nats": mean, "grad_norm": norm, "learning_rate": rate, "tokens_per_second": speed}
                    reports.append(journal.report("train", **values))
                    run.losses = (0.0, 0)
                if last or run.step % config.valid_every == 0:
                    nats, figures = validate(run, lesson)
                    keep_if_better(run, lesson, nats, figures)
                    reports.append(journal.report("valid", nats=nats, detail=figures))
                if (last or sample_due(run.step, config.steps)) and (sample := lesson.sample(run)):
                    reports.append(journal.report_sample(sample, mean))
                if not last and run.step % config.save_every == 0:
                    reports.append(journal.report("save"))
                    save_with(run, journal)
                yield from reports
                if run.step % config.log_every == 0:
                    journal.start_rate()
        except Diverged as error:  # the last good checkpoint stays
            yield from (*reports, journal.report("warn", text=remark(run, error)))
            return
        except GeneratorExit:
            save_with(run, journal)
            raise
        save_with(run, journal)
        nats, result = lesson.evaluate(run)
        run.writes.check()
        end = journal.report("end", nats=nats, detail=result)
        # Last of all, as it is the mark of a finished training.
        lesson.describe(run, result)
        yield end


# ---- a step


def step_on(run: AnyRun, batch: Batch, state: State) -> tuple[float, float, float]:
    """Take a step on a batch, from a state; return its loss in nats, its gradients' norm and its learning rate.

    A loss or norm that is not finite changes no weight. Of several processes each reads its share of the batch, and the
    gradients are the mean over all of them.
    """
    config, model, optimizer = run.config, run.model, run.optimizer
    arrays = batch.arrays().items()
    inputs = {name: None if array is None else on_device(array, run.device) for name, array in arrays}
    rate = learning_rate_at(run.step, config.steps, run.optim, run.cuts, config.extensions)

    thaw(optimizer, run.step)
    with mixed_precision(config, run.device):
        loss, state = model.loss(**inputs, state=state)
    optimizer.zero_grad()
    with tf32(config.precision == "tf32"):
        torch.autograd.backward(loss)
    if processes.size() > 1:
        loss = processes.mean([w.grad for w in model.parameters() if w.grad is not None], loss)
    norm = nn.utils.clip_grad_norm_(model.parameters(), run.optim.grad_clip or float("inf"))
    nats, grad_norm = torch.stack([loss.detach().float(), norm]).tolist()  # together: a GPU is waited for once
    if math.isfinite(nats) and math.isfinite(grad_norm):
        set_learning_rate(optimizer, rate)
        optimizer.step()
        if run.average:
            update_average(run.average, list(model.parameters()), run.step, run.optim.averaging)
        run.state = detach(state)
        run.step += 1
        run.tokens_seen += batch.tokens * processes.size()
    return nats, grad_norm, rate


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch for one step, so that its random numbers depend on the seed, the step and the process alone."""
    number = (seed * 0x9E3779B97F4A7C15 + step + 1 + rank * 0xD1342543DE82EF95) % 2**63
    if torch.cuda.is_initialized() or torch.backends.mps.is_available():  # type: ignore[no-untyped-call]
        torch.manual_seed(number)
    else:  # torch.manual_seed would also note it for GPUs, with a stack trace that takes 0.1 ms and more
        torch.default_generator.manual_seed(number)


def mixed_precision(config: LoopConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which the forward pass runs."""
    if config.precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return tf32(config.precision == "tf32")


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on the device; a GPU copies it while this process continues."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # the copy of what is not pinned would block


# ---- what happens between steps


class Diverged(Exception):
    """A loss, a gradient or a validation figure is not finite."""


def remark(run: AnyRun, error: Diverged) -> str:
    """Return the remark on a training that diverged."""
    return (
        f"{error}: stopped, with the weights of step {run.best_step} kept. Try half the learning rate "
        f"({run.optim.learning_rate / 2:g}), a longer warm-up, or grad_clip = 1"
    )


def check_folder(run: AnyRun, journal: Journal) -> None:
    """Raise FolderLost where the model directory is gone; where it was only moved, save what was trained into it."""
    if not run.writes.is_here():
        with suppress(UserError):
            save_with(run, journal)
        run.writes.check()


def save_with(run: AnyRun, journal: Journal) -> None:
    """Save a checkpoint that continues the journal where it stands."""
    run.seconds, run.log_sizes = journal.seconds, journal.sizes
    save(run)


def validate(run: AnyRun, lesson: Lesson) -> tuple[float, dict[str, Any]]:
    """Return the quick validation figure and what is reported beside it; raises Diverged where it is not finite."""
    nats, figures = lesson.validate(run)
    if not math.isfinite(nats):
        when = f"after step {run.step}" if run.step else "before the first step"
        raise Diverged(f"the validation loss {when} is {nats}")
    return nats, figures


def keep_if_better(run: AnyRun, lesson: Lesson, nats: float, figures: dict[str, Any]) -> None:
    """Keep the weights if their validation figure is the best so far; else count a cut of the plateau schedule."""
    figure = nats if lesson.chosen_by == "nats" else 1 - figures[lesson.chosen_by]
    if figure < run.best_figure:
        run.best_figure, run.best_step = figure, run.step
        save_weights(run, nats)
    else:
        run.cuts += 1


def sample_due(step: int, steps: int) -> bool:
    """Tell whether a sample is taken after `step`: at the demonstration's, then at fifths of the run."""
    return step in SAMPLE_STEPS or (step > SAMPLE_STEPS[-1] and step % max(1, steps // 5) == 0)
