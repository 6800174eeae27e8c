"""Training throughput against a bare loop of the same shape and precision, interleaved in one run, medians.

With `--cpu-time` rates are by the processor's time of one thread, not the clock's: for a machine that is not quiet.
On a GPU (`--device cuda`) also in TF32, and with the larger shapes that one is for.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from measure import BareLoop, show, steps_per_second
from unroll.data.batches import Streams
from unroll.nn import native
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.training.calibrate import precisions
from unroll.training.checks import choose_device
from unroll.training.config import OptimConfig, TrainConfig
from unroll.training.language import train_step
from unroll.training.run import begin

SHAPES = {
    "cpu": ((256, 16, 64), (384, 16, 64), (512, 16, 64), (128, 16, 64)),
    "cuda": ((512, 16, 64), (512, 128, 128), (1024, 128, 128), (2048, 256, 128)),
}
"""Hidden size, streams and symbols of a step."""


def main() -> None:
    """Time both loops in turn, several rounds, for every shape and precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each loop in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=SHAPES, default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="with one thread: by its processor's time")
    told = parser.parse_args()
    if told.cpu_time and (told.threads > 1 or told.device != "cpu"):
        parser.error("--cpu-time needs --threads 1, on the CPU")
    clock = time.thread_time if told.cpu_time else time.perf_counter
    device = choose_device(told.device)
    torch.set_flush_denormal(True)
    torch.set_num_threads(told.threads)
    vocab, embedding = 66, 64
    rows = []
    for hidden, batch, length in SHAPES[device.type]:
        for precision in precisions("lstm", device):
            config = TrainConfig(
                steps=2**40, batch_size=batch, seq_len=length, precision=precision, threads=told.threads
            )
            model = Model(ModelConfig(vocab_size=vocab, hidden_size=hidden)).to(device)
            run = begin(None, model, OptimConfig(learning_rate=1e-3), config)
            ids = np.random.default_rng(0).integers(vocab, size=max(100_000, 4 * batch * length), dtype=np.uint8)
            streams = Streams(ids, batch, 0, None)
            bare = BareLoop(vocab, embedding, hidden, batch, length, precision, device)
            train_step(run, streams)
            bare.step()
            ours, theirs = list[float](), list[float]()
            for _ in range(told.rounds):
                for rates, step in ((ours, lambda: train_step(run, streams)), (theirs, bare.step)):  # noqa: B023
                    rates.append(steps_per_second(step, told.seconds, device, clock) * batch * length)
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            kernel = native.instructions(dtype) if device.type == "cpu" else None
            rows.append(
                {
                    "arch": "lstm",
                    "kernel": kernel or "torch",
                    "hidden": hidden,
                    "batch": batch,
                    "length": length,
                    "precision": precision,
                    "unroll": round(statistics.median(ours)),
                    "bare_loop": round(statistics.median(theirs)),
                    "ratio": round(statistics.median(o / t for o, t in zip(ours, theirs, strict=True)), 3),
                }
            )
    show(
        {
            "benchmark": "training throughput",
            "device": device.type,
            "threads": told.threads,
            "clock": "processor time of the thread" if told.cpu_time else "wall",
            "unit": "tokens per second",
            "rows": rows,
        }
    )


if __name__ == "__main__":
    main()
