"""Predicting labels of sequences without torch: one at a time and in batches, beside the layers of torch.

The contender reads the same weights with `nn.LSTM` (bidirectional, rows of different length as packed sequences) and
`nn.Linear`, and must give the same logits. Sequences are random: speed depends on their shape alone.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classify_speed import bidirectional, run, seconds_of
from measure import run_json, show
from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.series import open_series
from unroll.data.ragged import Vectors
from unroll.nn.series import SeriesNetwork
from unroll.tasks.sequences.predict import answer
from unroll.threads import threads_up_to

SHAPES = {"digits": (8, 8, 8, 10), "vowels": (7, 29, 12, 9), "sensors": (100, 100, 6, 4)}
"""Shortest and longest sequence, channels and labels."""
COUNT = 640
SINGLE = 100
"""Sequences that are read one at a time in a round."""


class Plain(nn.Module):
    """The network as one writes it with torch's layers, for one layer of LSTMs and the poolings last, mean, max."""

    def __init__(self, model: SeriesNetwork) -> None:
        super().__init__()
        self.lstm = bidirectional(dict(model.named_parameters()), "forwards.0", "backwards.0")
        self.head = model.head

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, T, I)."""
        y, last = run(self.lstm, x, lengths)
        inside = (torch.arange(y.shape[1]) < lengths[:, None]).unsqueeze(2)
        mean = (y * inside).sum(1) / lengths[:, None]
        logits: Tensor = self.head(torch.cat([last, mean, y.masked_fill(~inside, -torch.inf).amax(1)], 1))
        return logits


def write_arrays(path: Path, kind: str) -> Vectors:
    """Write random sequences with labels; return them."""
    random, (shortest, longest, channels, labels) = np.random.default_rng(0), SHAPES[kind]
    lengths = random.integers(shortest, longest + 1, COUNT)
    x = random.normal(size=(COUNT, longest, channels))
    np.savez(path, X=x, y=np.arange(COUNT) % labels, lengths=lengths)
    return Vectors(x[np.arange(longest) < lengths[:, None]], np.cumsum(lengths, dtype=np.int64))


def speeds(path: Path, rows: Vectors, threads: int, rounds: int, batch: int) -> dict[str, Any]:
    """Return microseconds for each sequence of each way, taking turns, and ratios to the faster of torch's two."""
    float32, int8 = open_series(path), open_series(path, "int8")
    model = SeriesNetwork(float32.info.config).eval()
    copy_weights(model, load_tensors(path / WEIGHTS), path / WEIGHTS)
    plain = Plain(model).eval()
    torch.set_num_threads(threads)
    order = np.argsort(rows.lengths, kind="stable") if batch > 1 else np.arange(SINGLE)
    groups = [rows.select(order[first : first + batch]) for first in range(0, len(order), batch)]
    read = [float32.info.scaling.read(group, marks=float32.info.config.marks) for group in groups]
    tensors = [tuple(map(torch.from_numpy, group.padded())) for group in read]
    ways: dict[str, Callable[[], object]] = {
        "torch.nn": lambda: [plain(*group) for group in tensors],
        "unroll on torch": lambda: [model(*group) for group in tensors],
        "float32": lambda: [float32.network.outputs(group) for group in read],
        "int8": lambda: [int8.network.outputs(group) for group in read],
        "float32 from raw values": lambda: [answer(float32, group) for group in groups],
    }
    with torch.inference_mode():
        for group, own in zip(tensors[:20], read[:20], strict=True):
            np.testing.assert_allclose(plain(*group), float32.network.outputs(own), atol=2e-5)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for k in range(rounds + 1):
            for name, way in ways.items():
                taken = seconds_of(way)
                if k:  # the first round warms up
                    seconds[name].append(taken)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(middle["torch.nn"], middle["unroll on torch"])
    return {
        "batch": batch,
        "threads": threads,
        "microseconds_per_sequence": {name: round(1e6 * value / len(order), 1) for name, value in middle.items()},
        "to_torch": {name: round(best / middle[name], 2) for name in list(ways)[2:]},
        "to_torch_nn": {name: round(middle["torch.nn"] / middle[name], 2) for name in list(ways)[2:]},
    }


def main() -> None:
    """Measure each kind of sequence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="unroll's and torch's; OMP_NUM_THREADS must agree")
    options = parser.parse_args()
    if threads_up_to(16) != options.threads:
        parser.error(f"unroll would use {threads_up_to(16)} threads: set OMP_NUM_THREADS={options.threads}")
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for kind in SHAPES:
            file, out = Path(place) / f"{kind}.npz", Path(place) / kind
            sequences = write_arrays(file, kind)
            run_json("sequences", "train", file, "--steps", "2", "--out", out)
            rows.append({
                "sequences": kind,
                "one at a time": speeds(out, sequences, options.threads, options.rounds, 1),
                "in batches": speeds(out, sequences, options.threads, options.rounds, 64),
            })  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    show({"benchmark": "sequences, speed", "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
