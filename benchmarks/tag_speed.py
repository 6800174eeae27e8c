"""Tagging without torch: tokens a second in batches, eight bits beside 32, and what they cost; one sentence at a time
beside torch's own layers.

MODEL is a tagger of one layer of LSTMs, FILE tagged sentences, as the test part of UD English EWT. The contender reads
the same weights with `torch.nn.Embedding`, `nn.LSTM` (bidirectional) and `nn.Linear`, and must give the same scores.
"""

import argparse
import statistics
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classify_speed import SINGLE, bidirectional, run, seconds_of
from measure import show
from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.tagger import OpenTagger, open_tagger
from unroll.data.tagged import Tagged, read_tagged
from unroll.engine.network import Precision
from unroll.nn.encoder import Units
from unroll.nn.tagger import Tagger
from unroll.progress import result
from unroll.tasks.tag.predict import predicted_tags
from unroll.threads import threads_up_to

NAMES: tuple[Precision, ...] = ("float32", "int8")


class Plain(nn.Module):
    """The tagger as one writes it with torch's layers, for one layer of LSTMs over words and their characters."""

    def __init__(self, model: Tagger) -> None:
        super().__init__()
        self.embedding, self.letters, self.head = model.embedding, model.characters.embedding, model.head
        named = dict(model.named_parameters())
        self.lstm = bidirectional(named, "forwards.0", "backwards.0")
        self.spelling = bidirectional(named, "characters.forwards", "characters.backwards")

    def forward(self, units: Units) -> Tensor:
        """Return scores (B, T, K)."""
        assert units.characters is not None and units.word_lengths is not None and units.word_of is not None
        spelt = run(self.spelling, self.letters(units.characters), units.word_lengths)[1]
        x = torch.cat([self.embedding(units.ids), spelt[units.word_of]], 2)
        scores: Tensor = self.head(run(self.lstm, x, units.lengths)[0])
        return scores


def taking_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each way; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            seconds[name].append(seconds_of(way))
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def in_batches(opened: dict[Precision, OpenTagger], tagged: Tagged, rounds: int) -> dict[str, Any]:
    """Return tokens a second of each precision, from tokens to tags with their probabilities, and the accuracy."""
    tags = opened["float32"].info.tags
    ids = {tag: id for id, tag in enumerate(tags)}
    true = np.array([ids.get(tag, -1) for tag in chain.from_iterable(tagged.tags)])

    def tag(name: Precision) -> Callable[[], object]:
        return lambda: result(predicted_tags(opened[name], tagged.sentences))

    seconds = taking_turns({name: tag(name) for name in NAMES}, rounds)
    accuracy = {
        name: float((result(predicted_tags(opened[name], tagged.sentences)).ids == true).mean()) for name in NAMES
    }
    return {
        "tokens_per_second": {name: round(len(true) / value) for name, value in seconds.items()},
        "int8_to_float32": round(seconds["float32"] / seconds["int8"], 2),
        "accuracy": accuracy,
        "lost_percent": round(100 * (accuracy["float32"] - accuracy["int8"]), 3),
    }


def alone(path: Path, opened: dict[Precision, OpenTagger], tagged: Tagged, rounds: int, threads: int) -> dict[str, Any]:
    """Return microseconds a sentence of each way to read one at a time, and ratios to the faster of torch's two."""
    full = opened["float32"]
    model = Tagger(full.info.config).eval()
    copy_weights(model, load_tensors(path / WEIGHTS), path / WEIGHTS)
    plain = Plain(model).eval()
    torch.set_num_threads(threads)
    # Of all lengths, in the order of the file.
    sentences = tagged.sentences[:: max(1, len(tagged) // SINGLE)][:SINGLE]
    readings = [full.read([sentence]) for sentence in sentences]
    padded = [
        Units(**{k: None if a is None else torch.from_numpy(a) for k, a in reading.arrays().items()})  # type: ignore[arg-type]
        for reading in readings
    ]

    def scores(name: Precision) -> Callable[[], object]:
        return lambda: [opened[name].network.scores(reading) for reading in readings]

    def tags(name: Precision) -> Callable[[], object]:
        return lambda: [result(predicted_tags(opened[name], [sentence])) for sentence in sentences]

    with torch.inference_mode():
        for units, reading in zip(padded, readings, strict=True):
            np.testing.assert_allclose(plain(units)[0], full.network.scores(reading), atol=2e-5)
        seconds = taking_turns(
            {
                "torch.nn": lambda: [plain(units) for units in padded],
                "unroll on torch": lambda: [model(units) for units in padded],
                **{name: scores(name) for name in NAMES},
                **{f"{name}, from tokens to tags": tags(name) for name in NAMES},
            },
            rounds,
        )
    best = min(seconds["torch.nn"], seconds["unroll on torch"])
    return {
        "sentences": len(sentences),
        "microseconds_per_sentence": {name: round(1e6 * value / len(sentences), 1) for name, value in seconds.items()},
        "to_torch": {name: round(best / value, 2) for name, value in seconds.items()},
    }


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="unroll's and torch's; OMP_NUM_THREADS must agree")
    options = parser.parse_args()
    if threads_up_to(16) != options.threads:
        parser.error(f"unroll would use {threads_up_to(16)} threads: set OMP_NUM_THREADS={options.threads}")
    opened = {name: open_tagger(options.model, name) for name in NAMES}
    info = opened["float32"].info
    tagged = result(read_tagged(options.file, info.column, token_column=info.token_column))
    show({
        "benchmark": "tag, speed",
        "sentences": len(tagged),
        "tokens": len(tagged.lines),
        "rounds": options.rounds,
        "threads": options.threads,
        "in batches": in_batches(opened, tagged, options.rounds),
        "one at a time": alone(options.model, opened, tagged, options.rounds, options.threads),
    })  # fmt: skip


if __name__ == "__main__":
    main()
