"""Predicting labels without torch: texts a second, one at a time and in batches, beside torch's own layers; memory.

The contender reads the same weights with `torch.nn.Embedding`, `nn.LSTM` (bidirectional, rows of different length as
packed sequences) and `nn.Linear`, and must give the same logits. Texts are random: speed depends on lengths alone.
"""

import argparse
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from measure import run_json, show
from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.artifact.directory import WEIGHTS
from unroll.data.reader import Reading
from unroll.engine.network import Precision
from unroll.nn.encoder import Classifier, Units
from unroll.threads import threads_up_to
from without_torch import process

KINDS = {"sentences": (19.0, 2000), "questions": (10.0, 2000), "names": (7.0, 2000)}
"""Mean number of units of a text, and the number of texts: as SST-2, TREC and surnames have them."""
SINGLE = 100
"""Texts that are read one at a time in a round."""


class Plain(nn.Module):
    """The classifier as one writes it with torch's layers, for one layer of LSTMs and the poolings last, mean, max."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        config = model.config
        self.embedding, self.head = model.embedding, model.head
        self.letters = model.characters.embedding if config.char_hidden_size else None
        named = dict(model.named_parameters())
        self.lstm = bidirectional(named, "forwards.0", "backwards.0")
        self.spelling = bidirectional(named, "characters.forwards", "characters.backwards") if self.letters else None

    def forward(self, units: Units) -> Tensor:
        """Return logits (B, K)."""
        x = self.embedding(units.ids)
        if self.letters is not None and self.spelling is not None:
            assert units.characters is not None and units.word_lengths is not None and units.word_of is not None
            x = torch.cat(
                [x, run(self.spelling, self.letters(units.characters), units.word_lengths)[1][units.word_of]], 2
            )
        y, last = run(self.lstm, x, units.lengths)
        inside = (torch.arange(y.shape[1]) < units.lengths[:, None]).unsqueeze(2)
        mean = (y * inside).sum(1) / units.lengths[:, None]
        largest = y.masked_fill(~inside, -torch.inf).amax(1)
        logits: Tensor = self.head(torch.cat([last, mean, largest], 1))
        return logits


def bidirectional(named: dict[str, nn.Parameter], forwards: str, backwards: str) -> nn.LSTM:
    """Return torch's LSTM with the weights of two directions."""
    gates, inputs = named[f"{forwards}.weight_ih"].shape
    lstm = nn.LSTM(inputs, gates // 4, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for prefix, suffix in ((forwards, ""), (backwards, "_reverse")):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(lstm, f"{part}_l0{suffix}").copy_(named[f"{prefix}.{part}"])
    return lstm


def run(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs (B, T, 2H) and both directions' last ones (B, 2H); rows of one length stay unpacked."""
    if bool((lengths == x.shape[1]).all()):
        y, (h, _) = lstm(x)
    else:
        packed, (h, _) = lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        y, _ = pad_packed_sequence(packed, batch_first=True)
    return y, torch.cat([h[0], h[1]], 1)


def write_texts(path: Path, kind: str, seed: int) -> list[str]:
    """Write a table of random texts with the labels a to f, and return the texts."""
    random, (length, count) = np.random.default_rng(seed), KINDS[kind]
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))

    def word(size: int) -> str:
        return "".join(random.choice(letters, size))

    if kind == "names":
        texts = [word(max(2, size)) for size in random.poisson(length, count)]
    else:
        words = [word(size) for size in random.integers(2, 10, 8000)]
        texts = [" ".join(words[k] for k in random.zipf(1.4, max(4, n)) % 8000) for n in random.poisson(length, count)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["text", "label"])
        writer.writerows((text, "abcdef"[k % 6]) for k, text in enumerate(texts))
    return texts


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def speeds(path: Path, texts: list[str], threads: int, rounds: int, batch: int) -> dict[str, Any]:
    """Return texts a second of each way, taking turns, and their ratios to the faster of torch's two."""
    names: tuple[Precision, ...] = ("float32", "int8")
    opened: dict[str, OpenClassifier] = {name: open_classifier(path, name) for name in names}
    model = Classifier(opened["float32"].info.config).eval()
    copy_weights(model, load_tensors(path / WEIGHTS), path / WEIGHTS)
    plain, reader = Plain(model).eval(), opened["float32"].reader
    torch.set_num_threads(threads)
    lengths = reader.read(texts).units.lengths
    if batch > 1:
        order = np.argsort(lengths, kind="stable")
        groups = [[texts[k] for k in order[first : first + batch]] for first in range(0, len(texts), batch)]
    else:
        groups = [[text] for text in texts[:SINGLE]]
    readings = [reader.read(group) for group in groups]

    def tensors(reading: Reading) -> Units:
        return Units(**{k: None if a is None else torch.from_numpy(a) for k, a in reading.arrays().items()})  # type: ignore[arg-type]

    padded = [tensors(reading) for reading in readings]
    ways: dict[str, Callable[[], object]] = {
        "torch.nn": lambda: [plain(units) for units in padded],
        "unroll on torch": lambda: [model(units) for units in padded],
        "float32": lambda: [opened["float32"].network.logits(reading) for reading in readings],
        "int8": lambda: [opened["int8"].network.logits(reading) for reading in readings],
        "reading": lambda: [reader.read(group) for group in groups],
    }
    with torch.inference_mode():
        for units, reading in zip(padded[:20], readings[:20], strict=True):
            np.testing.assert_allclose(plain(units), opened["float32"].network.logits(reading), atol=2e-5)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for k in range(rounds + 1):
            for name, way in ways.items():
                taken = seconds_of(way)
                if k:  # the first round warms up
                    seconds[name].append(taken)
    count = sum(map(len, groups))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(middle["torch.nn"], middle["unroll on torch"])
    return {
        "batch": batch,
        "threads": threads,
        "microseconds_per_text": {name: round(1e6 * value / count, 1) for name, value in middle.items()},
        "to_torch": {name: round(best / middle[name], 2) for name in names},
        "to_torch_nn": {name: round(middle["torch.nn"] / middle[name], 2) for name in names},
        "to_torch_with_reading": {
            name: round((best + middle["reading"]) / (middle[name] + middle["reading"]), 2) for name in names
        },
    }


def main() -> None:
    """Measure each kind of text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="unroll's and torch's; OMP_NUM_THREADS must agree")
    options = parser.parse_args()
    if threads_up_to(16) != options.threads:
        parser.error(f"unroll would use {threads_up_to(16)} threads: set OMP_NUM_THREADS={options.threads}")
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for kind in KINDS:
            folder = Path(place) / kind
            folder.mkdir()
            texts = write_texts(folder / "texts.tsv", kind, 0)
            out = folder / "model"
            level = "char" if kind == "names" else "word"
            run_json("classify", "train", folder / "texts.tsv", "--text", "text", "--label", "label", "--steps", "2",
                     "--set", f"level={level}", "--out", out)  # fmt: skip
            _, seconds, peak = process("classify", "predict", out, "--file", folder / "texts.tsv", "--json")
            _, single, least = process("classify", "predict", out, texts[0])
            rows.append({
                "texts": kind,
                "one at a time": speeds(out, texts, options.threads, options.rounds, 1),
                "in batches": speeds(out, texts, options.threads, options.rounds, 64),
                "process": {
                    "texts": len(texts),
                    "seconds": round(seconds, 2),
                    "peak_megabytes": round(peak / 1e6, 1),
                    "seconds_for_one_text": round(single, 2),
                    "peak_megabytes_for_one_text": round(least / 1e6, 1),
                },
            })  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    show({"benchmark": "classify, speed", "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
