"""The follower process in distributed training: it follows the first one's orders until the end."""

from collections.abc import Callable
from typing import Any

import torch

from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.nn.process import keep_memory
from unroll.settings import from_mapping
from unroll.training.config import OptimConfig, TrainConfig
from unroll.training.language import LanguageRun, start_state
from unroll.training.loop import step_on
from unroll.training.many import processes
from unroll.training.many.processes import Order
from unroll.training.optim import load_optimizer_tensors
from unroll.training.run import begin, shared_tensors


def follow(device: str = "auto", when_joined: Callable[[], None] = lambda: None) -> None:
    """Train with the first process until it orders the end. Raises UserError when another process is gone.

    `device` is the requested one; the first process decides which one is used.
    """
    with processes.joined(device):
        when_joined()
        order, first, second = processes.hear()
        run: LanguageRun | None = None
        while order != Order.END:
            if order == Order.BEGIN:
                run = received(processes.hear_run(first))
            else:
                assert run is not None
                if order == Order.STEP:
                    run.step, run.cuts = first, second
                    rows = processes.own_rows(run.config.batch_size)
                    batch = processes.share_batch(None, rows.stop - rows.start, run.config.seq_len)
                    step_on(run, batch, start_state(run))
                else:
                    processes.whole_state(run.state)
            order, first, second = processes.hear()


def received(description: dict[str, Any]) -> LanguageRun:
    """Return the run that the first process shares, with its weights and this process' share of its state."""
    optim = from_mapping(OptimConfig, description["optim"], "the shared run")
    training = from_mapping(TrainConfig, description["training"], "the shared run")
    torch.set_num_threads(training.threads)
    keep_memory()
    model = Model(from_mapping(ModelConfig, description["model"], "the shared run")).to(
        torch.device(description["device"])
    )
    run = begin(None, model, optim, training)
    for name in description["moved"]:
        blank = torch.zeros_like(model.get_parameter(name))
        moments = {f"step/{name}": torch.zeros(()), f"exp_avg/{name}": blank, f"exp_avg_sq/{name}": blank}
        load_optimizer_tensors(model, run.optimizer, moments)
    processes.copy_from_first(shared_tensors(run))
    rows = processes.own_rows(training.batch_size)
    run.state = processes.share_state(None, model.fresh_state(rows.stop - rows.start))
    run.model.train()
    return run
