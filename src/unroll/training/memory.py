"""What a training will take, said before it is allocated: memory, against what this machine has, and time."""

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from unroll.data.ragged import Epochs
from unroll.errors import UserError
from unroll.nn.config import ModelConfig, parameter_count
from unroll.nn.layers_config import LayersConfig
from unroll.training.config import TrainConfig
from unroll.training.recipe import weights_per_step

BYTES_KEPT = 16
"""Bytes for each weight all the time: itself, its gradient and the two moments of AdamW, in float32."""
BYTES_SAVED = 32
"""Bytes more for each weight while it is saved and the model is read again, as measured with 4 and 17 million."""
FLOATS_PER_UNIT = 12
"""Numbers kept for each unit and symbol of a step until the backward pass: gates, states, and their gradients."""
LARGE = 2**30
"""Bytes from which a training is announced."""
PROBE = 512
"""Size of the square matrices whose product is timed."""


class Memory(NamedTuple):
    """Bytes of memory of the device that computes."""

    free: int
    total: int


def needed(config: ModelConfig, training: TrainConfig) -> int:
    """Return about how many bytes a training takes at most."""
    symbols = training.batch_size * training.seq_len
    activations = 4 * symbols * (FLOATS_PER_UNIT * config.num_layers * config.hidden_size + 3 * config.vocab_size)
    return parameter_count(config) * (BYTES_KEPT + BYTES_SAVED) + activations


def memory_of(device: torch.device) -> Memory | None:
    """Return the memory of a device, of a container what its limit leaves; None where it is not known."""
    if device.type == "cuda":
        return Memory(*torch.cuda.mem_get_info(device))
    try:
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        size = {name: 1024 * int(number) for name, number, *_ in lines}
        memory = Memory(size["MemAvailable:"], size["MemTotal:"])
    except (OSError, KeyError, ValueError):
        return None
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no such group, or "max"
        return memory
    return Memory(min(memory.free, limit - used), min(memory.total, limit))


def described(count: int, size: int, device: torch.device, smaller: str) -> str | None:
    """Return how much memory a large training of `count` weights and about `size` bytes takes; None of a small one.

    Raises UserError, which names a `smaller` model, where the weights and the optimizer alone exceed the memory.
    """
    memory = memory_of(device)
    if memory is not None and count * BYTES_KEPT > memory.total:
        raise UserError(
            f"a model of {_large(count)} weights takes {_gigabytes(size)} to train, and this machine has "
            f"{_gigabytes(memory.total)}",
            allowed="a model whose weights, gradients and moments fit into memory",
            fix=f"make it smaller: {smaller}",
        )
    if size < LARGE:
        return None
    text = f"this model has {_large(count)} weights: training takes about {_gigabytes(size)} of memory"
    return text if memory is None else f"{text}, of which {_gigabytes(memory.free)} are free"


def rows_announcement(
    config: LayersConfig, count: int, epochs: Epochs, passes: int, device: torch.device
) -> str | None:
    """Return how much memory a large training of `count` weights on whole rows takes; None of a small one.

    Most is kept of the largest batch, for each of the `passes` of a step. Raises UserError as `described` does.
    """
    symbols = max((len(rows) * int(epochs.lengths[rows].max()) for rows in epochs.of(0)), default=0)
    kept = 4 * symbols * passes * FLOATS_PER_UNIT * (config.num_layers * config.output_size + config.input_size)
    size = count * (BYTES_KEPT + BYTES_SAVED) + kept
    return described(count, size, device, "lower embedding_size or hidden_size, or raise min_count, with --set")


def announcement(config: ModelConfig, training: TrainConfig, device: torch.device) -> str | None:
    """Return what a large training of a language model will take, in a sentence; None of a small one.

    Raises UserError as `described` does.
    """
    memory = memory_of(device)
    sizes = (2**k for k in reversed(range(config.hidden_size.bit_length())))
    fits = next((s for s in sizes if memory and needed(replace(config, hidden_size=s), training) <= memory.total), 1)
    size = needed(config, training)
    text = described(parameter_count(config), size, device, f"--set hidden_size={fits}")
    if text is None:
        return None
    seconds = seconds_per_step(config, training, device)
    return f"{text}, and about {seconds:.0f} seconds a step" if seconds >= 1 else f"{text}, and under a second a step"


def seconds_per_step(config: ModelConfig, training: TrainConfig, device: torch.device) -> float:
    """Return about how long a step will take, from the time of a product of two matrices."""
    matrix = torch.ones(PROBE, PROBE, device=device)
    torch.mm(matrix, matrix)
    start = time.perf_counter()
    torch.mm(matrix, matrix)[0, 0].item()  # waits for a GPU
    per_operation = (time.perf_counter() - start) / (2 * PROBE**3)
    # Each weight is multiplied and added once forward and twice backward, for each symbol.
    return 6 * weights_per_step(config) * training.batch_size * training.seq_len * per_operation


def _large(count: int) -> str:
    return f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.0f} million"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
