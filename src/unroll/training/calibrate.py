"""Measures this machine: which threads, waiting and precision train fastest here and now, and how fast."""

import os
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from unroll.data.batches import Streams
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.nn.precision import has_bfloat16_lstm, has_onednn
from unroll.nn.process import keep_memory
from unroll.threads import threads_are_set, threads_up_to, wait_passively
from unroll.training.config import OptimConfig, Precision, TrainConfig
from unroll.training.language import train_step
from unroll.training.many import processes
from unroll.training.run import begin, share_out


@dataclass(frozen=True)
class Machine:
    """The fastest way to train here, for TrainConfig's fields of the same names."""

    threads: int
    precision: Precision
    wait_policy: Literal["default", "passive"]
    tokens_per_second: float
    """Rate of that way, for the shape that was measured."""
    measured: dict[str, int]
    """Tokens per second of each way tried."""


def tokens_per_second(model: ModelConfig, training: TrainConfig, device: torch.device, seconds: float) -> float:
    """Return the training rate of a configuration: the median of three stretches of `seconds` / 3, after a warm-up.

    Trains on random symbols, so it needs no text. If the warm-up alone takes longer, its rate is returned.
    """
    generator_state = torch.get_rng_state()
    keep_memory()
    # Threads that spin on a busy machine may take seconds for what one does in milliseconds.
    torch.set_num_threads(1)
    run = begin(None, Model(model).to(device), OptimConfig(), replace(training, steps=2**40))
    run.model.train()
    ids = np.random.default_rng(0).integers(
        model.vocab_size, size=4 * training.batch_size * training.seq_len, dtype=np.uint32
    )
    streams = Streams(ids, training.batch_size, 0, None)
    torch.set_num_threads(training.threads)
    share_out(run)  # All processes take part in what is measured, and the first one's clock decides.

    def rate(stretch: float) -> float:
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < stretch or steps == 0:
            train_step(run, streams)
            steps += 1
        return steps * training.batch_size * training.seq_len / (time.perf_counter() - start)

    start = time.perf_counter()
    rate(0)  # The first step also compiles kernels.
    speed = rate(0)
    if time.perf_counter() - start < 2 * seconds:
        # Not the best: a long training is slower than that, and would overrun its minutes.
        speed = statistics.median(rate(seconds / 3) for _ in range(3))
    torch.set_rng_state(generator_state)
    return speed


def has_tf32(device: torch.device) -> bool:
    """Tell whether products can be rounded to TF32: on an NVIDIA GPU, Ampere or newer."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def can_bfloat16(arch: str, device: torch.device) -> bool:
    """Tell whether bfloat16 is worth trying: on a GPU, or a processor with an LSTM kernel for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and ARCHITECTURES[arch].bfloat16_on_cpu and has_onednn() and has_bfloat16_lstm()


def measure_machine(
    model: ModelConfig, training: TrainConfig, device: torch.device, fixed: Mapping[str, Any], seconds: float
) -> Machine:
    """Find the fastest way to train this shape here, `seconds` for each; what the user fixed is not varied.

    Starts the process image again, with passive waiting, when spinning threads slow each other down.
    """
    passive = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
    policy: Literal["default", "passive"] = "passive" if passive else "default"
    measured: dict[str, int] = {}

    def rate(threads: int, precision: Precision) -> float:
        name = f"{threads} threads, {precision}, {policy} waiting"
        if name not in measured:
            way = replace(training, threads=threads, precision=precision)
            measured[name] = round(tokens_per_second(model, way, device, seconds))
        return measured[name]

    on_cpu = device.type == "cpu"
    most = int(fixed.get("threads", threads_up_to(8))) if on_cpu else 1
    free = on_cpu and most > 1 and "threads" not in fixed and not threads_are_set()
    few = 1 if free else most
    ways = [fixed["precision"]] if "precision" in fixed else list(precisions(model.arch, device))
    precision = max(ways, key=lambda precision: rate(few, precision))
    threads = few
    if free:
        # One thread, two, four …: more stop paying early at these sizes.
        counts = [1 << k for k in range(most.bit_length()) if 1 << k < most] + [most]
        threads = max(counts, key=lambda count: rate(count, precision))
        alone, together = rate(1, precision), rate(max(2, threads), precision)
        # Of several processes none restarts: the others would lose it.
        if together < 1.2 * alone and policy == "default" and processes.size() == 1:
            wait_passively()
    return Machine(threads, precision, policy, rate(threads, precision), measured)


def precisions(arch: str, device: torch.device) -> Iterator[Precision]:
    """Yield the precisions that are worth trying."""
    yield "float32"
    if has_tf32(device):
        yield "tf32"
    if can_bfloat16(arch, device):
        yield "bfloat16"
