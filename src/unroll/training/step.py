"""One training step: forward, backward, clip, step; alone, or this process' part of it."""

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unroll.data.batches import Batch, Streams
from unroll.nn.precision import tf32
from unroll.state import State, detach, reset_rows
from unroll.training.config import TrainConfig
from unroll.training.many import processes
from unroll.training.optim import learning_rate_at, set_learning_rate, update_average
from unroll.training.run import Run


def train_step(run: Run, streams: Streams) -> tuple[float, float, float]:
    """Take one step, all processes together; return its loss in nats, its gradients' norm and its learning rate.

    A loss or norm that is not finite changes no weight.
    """
    config = run.config
    batch = streams.batch(run.step * config.seq_len, config.seq_len)
    if run.shared:
        processes.give(processes.Order.STEP, run.step, run.cuts)
        batch = processes.share_batch(batch, config.batch_size // processes.size(), config.seq_len)
    return step_on(run, batch)


def step_on(run: Run, batch: Batch) -> tuple[float, float, float]:
    """Take this process' part in a step on its share of the batch; the gradients are the mean over all processes."""
    config, model, optimizer = run.config, run.model, run.optimizer
    inputs, targets = on_device(batch.inputs, run.device), on_device(batch.targets, run.device)
    resets = None if batch.resets is None else on_device(batch.resets, run.device)
    state = start_state(run)
    rate = learning_rate_at(run.step, config.steps, run.optim, run.cuts)

    with mixed_precision(config, run.device):
        loss, state = model.loss(inputs, targets, state, resets)
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
    return nats, grad_norm, rate


def start_state(run: Run) -> State:
    """Return the state that a step starts from, without its graph, and seed what the step draws.

    Resets are drawn for all streams, so that a stream is reset at the same steps whoever reads it. What is dropped is
    drawn by each process for its own streams (of recurrent weights and symbols: for itself), and so from other numbers
    than one process alone would draw.
    """
    config, state = run.config, detach(run.state)
    seed_step(config.seed, run.step)
    if config.reset_probability:
        resets = torch.rand(config.batch_size, device=run.device) < config.reset_probability
        state = reset_rows(state, resets[processes.own_rows(config.batch_size)])
    if processes.rank():
        seed_step(config.seed, run.step, processes.rank())
    return state


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch for one step, so that its random numbers depend on the seed, the step and the process alone."""
    torch.manual_seed((seed * 0x9E3779B97F4A7C15 + step + 1 + rank * 0xD1342543DE82EF95) % 2**63)


def mixed_precision(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
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
