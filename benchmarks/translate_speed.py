"""Translating without torch: greedily and with a beam, one text at a time and in batches; and the BLEU that int8 loses.

Beside it stands torch's forward of the same model: the source is encoded once, then each step decodes one symbol from
the state before, and takes the most probable one. Times are of the processor, with one thread: a busy machine lengthens
them less than the clock's.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from measure import show
from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.translator import OpenTranslator, open_translator
from unroll.data.parallel import read_side
from unroll.data.ragged import Ragged
from unroll.engine.network import Precision
from unroll.nn.encoder import Units
from unroll.nn.translator import Translator
from unroll.progress import result
from unroll.tasks.translate.beam import greedy, limit, search
from unroll.tasks.translate.evaluate import evaluate_translator
from unroll.threads import threads_up_to

PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
BATCH = 64
"""Texts of a batch."""


@torch.inference_mode()
def torch_greedy(model: Translator, sources: Ragged, end: int, never: tuple[int, ...]) -> list[list[int]]:
    """Return the most probable symbol each time, of sources side by side, until all have ended."""
    ids, lengths = (torch.from_numpy(part) for part in sources.padded())
    memory, state = model.encode(Units(ids, lengths))
    symbols, rows = torch.full((len(ids), 1), end), list[torch.Tensor]()
    ended = torch.zeros(len(ids), dtype=torch.bool)
    for _ in range(limit(int(lengths.max()))):
        readouts, _, state = model.decode(symbols, memory, state)
        logits = model.logits(readouts)[:, 0]
        logits[:, list(never)] = -torch.inf
        symbols = logits.argmax(dim=1, keepdim=True)
        rows.append(symbols)
        ended |= symbols[:, 0] == end
        if bool(ended.all()):
            break
    whole = torch.cat(rows, dim=1).tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in whole]


def single(opened: OpenTranslator, sources: Ragged) -> list[list[int]]:
    """Return what a beam of one writes, source by source."""
    return [
        [id for id, _ in greedy(opened.network, sources[row], opened.end, opened.never)] for row in range(len(sources))
    ]


def searched(opened: OpenTranslator, batches: list[Ragged], beam: int) -> list[list[int]]:
    """Return the best translation of each source."""
    of_batches = (search(opened.network, batch, opened.end, opened.never, beam=beam) for batch in batches)
    return [best.ids.tolist() for best, *_ in chain(*of_batches)]


def times(ways: dict[str, Callable[[], list[list[int]]]], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of a text in each way, taking turns, and how many times as fast as the first."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.process_time()
            count = len(way())
            if number:  # the first round warms up
                seconds[name].append((time.process_time() - started) / count)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(middle.values()))
    return {
        "milliseconds_per_text": {name: round(1e3 * value, 3) for name, value in middle.items()},
        "times_as_fast": {name: round(first / value, 2) for name, value in middle.items()},
    }


def same(first: list[list[int]], second: list[list[int]]) -> float:
    """Return the share of equal translations."""
    return statistics.mean(ours == theirs for ours, theirs in zip(first, second, strict=True))


def main() -> None:
    """Measure a translator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, nargs="?", help="references, for the BLEU that int8 loses")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if threads_up_to(16) != 1:
        parser.error(f"unroll would use {threads_up_to(16)} threads: set OMP_NUM_THREADS=1")
    torch.set_num_threads(1)
    exact, rounded = (open_translator(options.model, precision) for precision in PRECISIONS)
    model = Translator(exact.info.config).eval()
    copy_weights(model, load_tensors(options.model / WEIGHTS), options.model / WEIGHTS)
    texts = list(filter(None, result(read_side(options.source))))[: options.texts]
    sources = exact.readers.source.read(texts).units
    alone = [sources.select(np.array([row])) for row in range(len(sources))]
    order: NDArray[np.int64] = np.argsort(sources.lengths, kind="stable")
    batches = [sources.select(order[first : first + BATCH]) for first in range(0, len(order), BATCH)]

    def with_torch(parts: list[Ragged]) -> list[list[int]]:
        return [ids for part in parts for ids in torch_greedy(model, part, exact.end, exact.never)]

    rows: dict[str, Any] = {
        "greedy, one at a time": {
            "torch": lambda: with_torch(alone),
            "float32": lambda: single(exact, sources),
            "int8": lambda: single(rounded, sources),
        },
        "greedy, in batches": {
            "torch": lambda: with_torch(batches),
            "float32": lambda: searched(exact, batches, 1),
            "int8": lambda: searched(rounded, batches, 1),
        },
        "beam 5, one at a time": {
            "float32": lambda: searched(exact, alone, 5),
            "int8": lambda: searched(rounded, alone, 5),
        },
        "beam 5, in batches": {
            "float32": lambda: searched(exact, batches, 5),
            "int8": lambda: searched(rounded, batches, 5),
        },
    }
    written = with_torch(alone)
    agreement = {"float32": same(written, single(exact, sources)), "int8": same(written, single(rounded, sources))}
    measured = {name: times(ways, options.rounds) for name, ways in rows.items()}
    bleu = {}
    if options.target is not None:
        bleu = {
            precision: evaluate_translator(options.model, options.source, options.target, precision=precision)["bleu"]
            for precision in PRECISIONS
        }
    show({
        "benchmark": "translate, speed",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "attention": exact.info.config.attention,
        "vocab_size": exact.info.config.vocab_size,
        "texts": len(texts),
        "symbols_per_text": round(statistics.mean(map(len, written)), 1),
        "threads": 1,
        "rounds": options.rounds,
        "same_translations_as_torch": agreement,
        **measured,
        "bleu_beam_5": bleu,
    })  # fmt: skip


if __name__ == "__main__":
    main()
