"""A run: all that a training stands on between two steps; begun, restored and saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from unroll.artifact import checkpoint
from unroll.artifact.directory import STATE, WEIGHTS, damaged, read_info
from unroll.files import Folder
from unroll.nn.learner import Learner
from unroll.settings import to_mapping
from unroll.state import State, flatten, unflatten
from unroll.training.config import LoopConfig, OptimConfig
from unroll.training.many import processes
from unroll.training.optim import load_optimizer_tensors, make_optimizer, optimizer_tensors

M = TypeVar("M", bound=Learner)
C = TypeVar("C", bound=LoopConfig)


@dataclass
class Run(Generic[M, C]):
    """Everything a training stands on between two steps; what a resume must bring back is in `tensors` and `info`."""

    folder: Folder | None
    """Model directory that is written; None where nothing is written."""
    model: M
    optim: OptimConfig
    config: C
    optimizer: torch.optim.AdamW
    average: list[Tensor]
    state: State
    """State of the streams that this process reads."""
    shared: bool = False
    """Whether several processes share the streams; else this one reads them all."""
    step: int = 0
    tokens_seen: int = 0
    """Number of symbols trained on, repeats included."""
    best_figure: float = float("inf")
    """Nats, or share of errors, of the weights that are kept."""
    best_step: int = 0
    seconds: float = 0.0
    log_sizes: tuple[int, int] = (0, 0)
    cuts: int = 0
    """Number of validations without a new best."""
    losses: tuple[float, int] = (0.0, 0)
    """Sum and number of the losses since they were last reported."""

    @property
    def path(self) -> Path:
        """Path of the model directory."""
        return self.writes.path

    @property
    def writes(self) -> Folder:
        """Model directory, to be written into."""
        assert self.folder is not None
        return self.folder

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    def add_loss(self, nats: float) -> float:
        """Add the loss of a step; return the mean since losses were last reported."""
        total, count = self.losses
        self.losses = total + nats, count + 1
        return self.losses[0] / self.losses[1]

    def info(self) -> dict[str, Any]:
        """Return what a resume needs besides tensors."""
        return {
            "step": self.step,
            "tokens_seen": self.tokens_seen,
            "best_figure": self.best_figure,
            "best_step": self.best_step,
            "seconds": self.seconds,
            "log_sizes": list(self.log_sizes),
            "cuts": self.cuts,
            "losses": list(self.losses),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a resume needs: last weights, their average, the optimizer, the carried state.

        The position in the text and all random numbers are functions of the step, so they need no saving.
        """
        names = [name for name, _ in self.model.named_parameters()]
        return {
            **{f"last/{name}": weight for name, weight in self.model.named_parameters()},
            **{f"average/{name}": weight for name, weight in zip(names, self.average, strict=False)},
            **optimizer_tensors(self.model, self.optimizer),
            **flatten(self.state),
        }


AnyRun: TypeAlias = Run[Any, Any]


def begin(folder: Folder | None, model: M, optim: OptimConfig, config: C) -> Run[M, C]:
    """Return a run at step 0: a fresh optimizer, a fresh state."""
    average = [w.detach().clone() for w in model.parameters()] if optim.averaging else []
    state = model.fresh_state(config.batch_size)
    return Run(folder, model, optim, config, make_optimizer(model, optim, model.depths()), average, state)


def restore(run: AnyRun) -> None:
    """Bring a run back to its last checkpoint; raises UserError where that is missing, damaged or of another model."""
    file = run.path / STATE
    tensors = checkpoint.load_tensors(file)
    info = read_info(file)
    try:
        run.step, run.best_step = int(info["step"]), int(info["best_step"])
        run.seconds = float(info["seconds"])
        run.log_sizes = (int(info["log_sizes"][0]), int(info["log_sizes"][1]))
        run.cuts = int(info["cuts"])
        # Checkpoints of version 0.1.0 name the figure otherwise, and leave out what a language model's step decides.
        run.best_figure = float(info["best_figure"] if "best_figure" in info else info["best_nats"])
        run.tokens_seen = int(info["tokens_seen"] if "tokens_seen" in info else run.step * run.config.tokens_per_step)
        run.losses = (float(info["losses"][0]), int(info["losses"][1]))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        raise damaged(file) from None
    for name, like in run.tensors().items():
        checkpoint.fitting(tensors, name, like, file)
    # Weights that are not thawed yet have no moments.
    moved = {w for group in run.optimizer.param_groups if group["first_step"] < run.step for w in group["params"]}
    for name, weight in run.model.named_parameters():
        if weight in moved:
            for kind, like in (("step", torch.zeros(())), ("exp_avg", weight), ("exp_avg_sq", weight)):
                checkpoint.fitting(tensors, f"{kind}/{name}", like, file)
    checkpoint.copy_weights(run.model, tensors, file, prefix="last/")
    for (name, _), average in zip(run.model.named_parameters(), run.average, strict=False):
        average.copy_(tensors[f"average/{name}"])
    load_optimizer_tensors(run.model, run.optimizer, tensors)
    # Copied into memory of torch's own: a memory-mapped tensor's alignment may change how a kernel rounds.
    run.state = tuple(tuple(part.to(run.device, copy=True) for part in layer) for layer in unflatten(tensors))


def save(run: AnyRun) -> None:
    """Write the run's checkpoint: one file, so that a kill leaves the old one or the new one."""
    whole = replace(run, state=processes.whole_state(run.state)) if run.shared else run
    run.writes.write(STATE, checkpoint.packed(whole.tensors(), run.info()))


def share_out(run: AnyRun) -> None:
    """Share a run with all processes from here on: each gets the weights, and its share of the streams."""
    if processes.size() == 1:
        return
    processes.check_shares(run.config.batch_size)
    configs = {"model": run.model.config, "optim": run.optim, "training": run.config}
    description: dict[str, Any] = {name: to_mapping(config) for name, config in configs.items()}
    moved = [name for name, weight in run.model.named_parameters() if weight in run.optimizer.state]
    description |= {"device": run.device.type, "moved": moved}
    processes.give_run(description, shared_tensors(run))
    rows = processes.own_rows(run.config.batch_size)
    run.state = processes.share_state(run.state, run.model.fresh_state(rows.stop - rows.start))
    run.shared = True


def shared_tensors(run: AnyRun) -> list[Tensor]:
    """Return what is equal in all processes: the weights, their average, the optimizer's tensors."""
    moments = optimizer_tensors(run.model, run.optimizer)
    return [*run.model.parameters(), *run.average, *(moments[name] for name in sorted(moments))]


def kept_weights(run: AnyRun) -> dict[str, Tensor]:
    """Return the weights that are validated and kept: the running average where averaging is on."""
    names = [name for name, _ in run.model.named_parameters()]
    weights = run.average or [w.detach() for w in run.model.parameters()]
    return dict(zip(names, weights, strict=True))


def save_weights(run: AnyRun, nats: float | None) -> None:
    """Write weights.safetensors: what others load."""
    info = {"step": run.step, "tokens_seen": run.tokens_seen, "valid_nats": nats, "averaged": bool(run.average)}
    run.writes.write(WEIGHTS, checkpoint.packed(kept_weights(run), info))


@contextmanager
def kept_in_model(run: Run[M, C]) -> Iterator[M]:
    """Give the model in evaluation mode with the weights that are kept (the average, if there is one)."""
    run.model.eval()
    _swap_average(run)
    try:
        yield run.model
    finally:
        _swap_average(run)
        run.model.train()


def _swap_average(run: AnyRun) -> None:
    with torch.no_grad():
        for weight, average in zip(run.model.parameters(), run.average, strict=False):
            trained = weight.clone()
            weight.copy_(average)
            average.copy_(trained)
