"""Training throughput against a bare loop of the same shape and precision, interleaved in one run, medians."""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from measure import BareLoop, show
from unroll.data.batches import Streams
from unroll.lm.optim import OptimConfig
from unroll.lm.train import TrainConfig, begin, train_step
from unroll.nn.model import Model, ModelConfig


def main() -> None:
    """Time both loops in turn, several rounds, for every shape and precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each loop in a round")
    parser.add_argument("--threads", type=int, default=2)
    told = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(told.threads)
    vocab, embedding, batch, length = 66, 64, 16, 64
    rows = []
    for hidden in (256, 384, 512):
        for precision in ("float32", "bfloat16"):
            config = TrainConfig(
                steps=2**40, batch_size=batch, seq_len=length, precision=precision, threads=told.threads
            )
            run = begin(
                Path(),
                Model(ModelConfig(vocab_size=vocab, hidden_size=hidden)),
                OptimConfig(learning_rate=1e-3),
                config,
            )
            streams = Streams(np.random.default_rng(0).integers(vocab, size=100_000, dtype=np.uint8), batch, 0, None)
            bare = BareLoop(vocab, embedding, hidden, batch, length, precision)
            train_step(run, streams)
            ours, theirs = [], []
            for _ in range(told.rounds):
                start, steps = time.perf_counter(), 0
                while time.perf_counter() - start < told.seconds:
                    train_step(run, streams)
                    steps += 1
                ours.append(steps * batch * length / (time.perf_counter() - start))
                theirs.append(bare.tokens_per_second(told.seconds))
            rows.append(
                {
                    "hidden": hidden,
                    "batch": batch,
                    "length": length,
                    "precision": precision,
                    "unroll": round(statistics.median(ours)),
                    "bare_loop": round(statistics.median(theirs)),
                    "ratio": round(statistics.median(o / t for o, t in zip(ours, theirs, strict=True)), 3),
                }
            )
    show({"benchmark": "training throughput", "threads": told.threads, "unit": "tokens per second", "rows": rows})


if __name__ == "__main__":
    main()
