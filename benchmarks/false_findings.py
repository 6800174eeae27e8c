"""How often a cell seems to track what it cannot: in an untrained network, and with labels that are not the text's.

Of those there are three kinds, 100 each: the text's own, shifted; those of another piece of text; random runs.
"""

import argparse
import collections
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cells_found import last
from measure import run_json, show
from unroll.artifact.directory import data_path
from unroll.artifact.open import Opened, open_model
from unroll.data.corpus import load_corpus
from unroll.errors import UserError
from unroll.insight.cells.findings import VERDICTS, Tracking
from unroll.insight.cells.measure import Read, judge, reading
from unroll.insight.cells.properties import PROPERTIES, Labels, Text, as_read, label
from unroll.insight.trace import network_of
from unroll.lm.intervals import wilson
from unroll.nn.model import Model
from unroll.predict.torch import TorchPredictor

AFTER = 20
"""Characters after a word in which the property of that word holds: more than the last 8 tell."""
RUNS = (5, 500)
"""Mean lengths of random runs, in symbols, from and to."""
STATED = 0.01
WORTH = ("causal", "tracks", "leans")


def main() -> None:
    """Read a text with a trained and an untrained network; ask of each for many properties that it cannot track."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a model directory that was trained with a test part")
    parser.add_argument("--count", type=int, default=100, help="properties")
    parser.add_argument("--symbols", type=int, default=2**15)
    parser.add_argument("--top", type=int, default=3, help="units of which a finding may be")
    parser.add_argument("--seed", type=int, default=1, help="of the labels and of the untrained network")
    told = parser.parse_args()
    random = np.random.default_rng(told.seed)
    opened, corpus = open_model(told.model), load_corpus(data_path(told.model))
    assert corpus.test is not None
    text, other = (
        as_read(name, opened.tokenizer.decode(np.asarray(ids[: told.symbols])), opened.tokenizer)
        for name, ids in (("the test part", corpus.test), ("the training part", corpus.train))
    )
    own = list(properties(text, text, told.count))
    trained = last(reading(opened, text))
    untrained = last(reading(fresh(opened, told.seed), text))
    cases: dict[str, tuple[Read, list[Labels]]] = {
        "untrained network, the text's own labels": (untrained, own),
        "untrained network, labels shifted": (untrained, [shifted(one, random) for one in own]),
        "trained network, labels shifted": (trained, [shifted(one, random) for one in own]),
        "trained network, labels of another piece of text": (trained, list(properties(other, text, told.count))),
        "trained network, labels of random runs": (trained, [runs(len(text.ids), random) for _ in own]),
        "trained network, the text's own labels": (trained, own),
    }
    rows = [counted(name, *case, told.top) for name, case in cases.items()]
    known = run_json("info", told.model)
    show(
        {
            "benchmark": "false findings",
            "model": {name: known[name] for name in ("arch", "layers", "hidden_size", "parameters", "steps")},
            "symbols": told.symbols,
            "units told": told.top,
            "properties": [one.name for one in own],
            "stated": STATED,
            "thresholds": dict(VERDICTS),
            "cases": rows,
        }
    )


def properties(text: Text, used: Text, count: int) -> Iterator[Labels]:
    """Yield the labels of a text for properties that vary in it: those with names, then places after frequent words.

    They are as long as the text `used`, and vary in both its halves.
    """
    words = collections.Counter(re.findall(r"[^\W\d_]{2,}", used.content)).most_common()
    asked = [*PROPERTIES, *(rf"re:\b{word}\b([\s\S]{{1,{AFTER}}})" for word, _ in words)]
    for name in asked:
        labels = label(text, name)
        values = labels.values[: len(used.ids)]
        if len(values) == len(used.ids) and varies(values):
            yield replace(labels, values=values)
            count -= 1
        if not count:
            return
    raise UserError("the text has too few words", allowed="as many as --count", fix="give more --symbols")


def varies(values: NDArray[np.floating]) -> bool:
    """Return whether labels vary in both halves of a text."""
    return all(part.min() < part.max() for part in np.split(values, [len(values) // 2]))


def fresh(opened: Opened, seed: int) -> Opened:
    """Return the model as training starts it, from a seed other than that of the network it is compared with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return replace(opened, predictor=TorchPredictor(Model(network_of(opened).config).eval()))


def shifted(labels: Labels, random: np.random.Generator) -> Labels:
    """Return labels that are shifted in a circle by a tenth of the text or more, and vary in both halves."""
    count = len(labels.values)
    while True:
        values = np.roll(labels.values, random.integers(count // 10, count - count // 10))
        if varies(values):
            return replace(labels, values=values)


def runs(count: int, random: np.random.Generator) -> Labels:
    """Return labels (count,) of runs of 1 and of 0, whose lengths are geometric about means drawn from RUNS."""
    means = np.exp(random.uniform(np.log(RUNS[0]), np.log(RUNS[1]), 2))
    lengths = random.geometric(1 / means, (count, 2)).ravel()
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), count) + 1]
    values: NDArray[np.float64] = np.repeat(np.arange(len(lengths)) % 2, lengths)[:count].astype(np.float64)
    return Labels(f"runs of {means[1]:.0f} in {means.sum():.0f}", "a random run", values)


def counted(name: str, read: Read, asked: list[Labels], top: int) -> dict[str, Any]:
    """Return for how many of the properties a cell is found, by verdict."""
    found: list[Tracking] = []
    for number, labels in enumerate(asked, 1):
        found.append(last(judge(read, labels, top=top, probing=False)))
        print(f"{name}: {number} of {len(asked)}, {best(found[-1])}", file=sys.stderr, flush=True)
    total = len(found)
    verdicts = [best(one) for one in found]
    counts = {worth: verdicts.count(worth) for worth in (*WORTH, "none")}
    hits = counts["causal"] + counts["tracks"]
    low, high = wilson(np.array([hits]), np.array([total]))
    return {
        "case": name,
        "properties": total,
        "verdicts": counts,
        "tracks or causal": hits / total,
        "interval": [float(low[0]), float(high[0])],
        "found": [
            {"property": one.labels.name, "verdict": verdict} | one.findings[0].figures(one.labels.metric)
            for one, verdict in zip(found, verdicts, strict=True)
            if verdict in ("causal", "tracks")
        ][:10],
    }


def best(found: Tracking) -> str:
    """Return the best verdict of the findings."""
    verdicts = {finding.verdict for finding in found.findings}
    return next((worth for worth in WORTH if worth in verdicts), "none")


if __name__ == "__main__":
    main()
