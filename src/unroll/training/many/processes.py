"""Several processes that train one model, each on its share of the streams: the first leads, the others follow.

The first process does all that a training alone does, and reads and writes all files. Before anything that concerns
the others it gives an order, which they wait for (`follow`): a new run, a step with their share of its symbols, or to
hand in their states. So other machines need neither the text nor the model directory.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from enum import IntEnum
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from unroll.data.batches import Batch
from unroll.errors import UserError
from unroll.state import State, map_state
from unroll.training.many import torchrun

PATIENCE = timedelta(days=1)
"""Longest wait for an order: the first process may have a long text to prepare or validate on."""


class Order(IntEnum):
    """An order of the first process to the others."""

    BEGIN = 0
    STEP = 1
    GATHER = 2
    END = 3


class Lost(UserError):
    """Another process of the training is gone."""

    def __init__(self) -> None:
        super().__init__(
            "another process of this training has ended",
            allowed="a training in which all processes stay",
            fix="resume from the last save with --resume; with `torchrun --max-restarts N` that is automatic",
        )


def size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; 0 leads."""
    return dist.get_rank() if size() > 1 else 0


def own_rows(batch_size: int) -> slice:
    """Return which of all streams this process reads."""
    share = batch_size // size()
    return slice(rank() * share, (rank() + 1) * share)


def check_shares(batch_size: int) -> None:
    """Raise UserError where the streams cannot be divided equally, which an exact mean of gradients takes."""
    if batch_size % size():
        near = max(1, round(batch_size / size())) * size()
        raise UserError(
            f"batch_size is {batch_size}, which {size()} processes cannot divide equally",
            allowed=f"a multiple of {size()}",
            fix=f"--set batch_size={near}",
        )


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Be one of the processes that torchrun started, if there are several; the first one ends the others at the end."""
    torch.set_flush_denormal(True)  # Before any thread exists: threads inherit it.
    if not torchrun.several() or size() > 1:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available() and device in ("auto", "cuda"):
        if torchrun.local_rank() >= torch.cuda.device_count():
            raise UserError(
                f"{os.environ['LOCAL_WORLD_SIZE']} processes on a machine with {torch.cuda.device_count()} GPUs",
                allowed="one process for each GPU",
                fix="give torchrun a smaller --nproc-per-node, or train with --device cpu",
            )
        torch.cuda.set_device(torchrun.local_rank())
        backend = "cpu:gloo,cuda:nccl"
    store, number, count = next(dist.rendezvous("env://", timeout=PATIENCE))  # type: ignore[attr-defined]
    # What a former attempt left in the store must not be read by this one.
    store = dist.PrefixStore(f"unroll/{torchrun.attempt()}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=PATIENCE)
    listening = True
    try:
        yield
    except (Lost, KeyboardInterrupt):
        listening = False  # nobody, or nobody knows at what
        raise
    finally:
        if number == 0 and listening:
            with suppress(Lost):
                give(Order.END)
        with suppress(RuntimeError):
            dist.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    """Turn the library's error for a process that is gone into Lost."""
    try:
        yield
    except RuntimeError as error:
        raise Lost from error


# ---- orders of the first process


def give(order: Order, first: int = 0, second: int = 0) -> None:
    """Give an order to all others, with two numbers."""
    with _together():
        dist.broadcast(torch.tensor([order, first, second]), 0)


def hear() -> tuple[Order, int, int]:
    """Wait for the next order."""
    message = torch.empty(3, dtype=torch.int64)
    with _together():
        dist.broadcast(message, 0)
    order, first, second = message.tolist()
    return Order(order), first, second


def give_run(description: dict[str, Any], tensors: Sequence[Tensor]) -> None:
    """Order a new run: its description, and its tensors."""
    text = torch.frombuffer(bytearray(json.dumps(description).encode()), dtype=torch.uint8)
    give(Order.BEGIN, len(text))
    with _together():
        dist.broadcast(text, 0)
    copy_from_first(tensors)


def hear_run(length: int) -> dict[str, Any]:
    """Return the description of a new run, `length` bytes of JSON; `copy_from_first` then fills its tensors."""
    text = torch.empty(length, dtype=torch.uint8)
    with _together():
        dist.broadcast(text, 0)
    description: dict[str, Any] = json.loads(text.numpy().tobytes())
    return description


def copy_from_first(tensors: Sequence[Tensor]) -> None:
    """Fill tensors in place with those of the first process."""
    for tensor in tensors:
        copy = tensor.detach().cpu().contiguous()
        with _together():
            dist.broadcast(copy, 0)
        if rank():
            tensor.detach().copy_(copy)


# ---- shares of the streams


def share_batch(batch: Batch | None, rows: int, seq_len: int) -> Batch:
    """Return this process' share, `rows` streams, of the batch that the first process has."""
    whole = None
    if batch is not None:
        resets = np.zeros_like(batch.targets) if batch.resets is None else batch.resets.astype(np.int64)
        whole = torch.from_numpy(np.stack([batch.inputs, batch.targets, resets], axis=1))  # (B, 3, T)
    share = share_rows(whole, torch.empty(rows, 3, seq_len, dtype=torch.int64))
    inputs, targets, resets = (part.numpy() for part in share.unbind(1))
    return Batch(inputs, targets, resets.astype(np.bool_) if resets.any() else None)


def share_state(state: State | None, like: State) -> State:
    """Return this process' share of the state that the first process has; `like` is one of the share's shape."""
    if state is None:
        return map_state(lambda part: share_rows(None, part.cpu()).to(part.device), like)
    return map_state(lambda whole, part: share_rows(whole.cpu(), part.cpu()).to(part.device), state, like)


def share_rows(whole: Tensor | None, share: Tensor) -> Tensor:
    """Fill `share` with this process' rows of what the first process has."""
    pieces = None if whole is None else [piece.contiguous() for piece in whole.chunk(size())]
    with _together():
        dist.scatter(share, pieces, 0)
    return share


def whole_state(state: State) -> State:
    """Return the state of all streams, of which each process gives its share; of use to the first process alone."""
    if rank() == 0:
        give(Order.GATHER)
    return map_state(lambda part: _gathered(part.detach().cpu()).to(part.device), state)


def _gathered(share: Tensor) -> Tensor:
    pieces = [torch.empty_like(share) for _ in range(size())] if rank() == 0 else None
    with _together():
        dist.gather(share.contiguous(), pieces, 0)
    return share if pieces is None else torch.cat(pieces)


# ---- what a step exchanges


def mean(gradients: Sequence[Tensor], loss: Tensor) -> Tensor:
    """Put the mean over all processes into the gradients, in place, and return that of the loss.

    One sum of everything in one call, instead of DistributedDataParallel: shares are equal, so the mean of means is the
    mean, clipping sees the norm of all streams' gradient, a NaN reaches every process at the same step,
    and the model stays the one that everybody else sees, without a wrapper. What DDP would add, sending while
    gradients are still being derived, gains little where one layer holds most weights and its gradient comes last.
    """
    everything = torch.cat([*(gradient.flatten() for gradient in gradients), loss.detach().float().view(1)])
    summed = everything if everything.device.type == "cuda" else everything.cpu()
    with _together():
        dist.all_reduce(summed)
    summed /= size()
    *means, nats = torch.split(summed.to(everything.device), [*(gradient.numel() for gradient in gradients), 1])
    for gradient, value in zip(gradients, means, strict=True):
        gradient.copy_(value.view_as(gradient))
    return nats[0]
