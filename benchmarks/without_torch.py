"""The engine's other figures: many streams, memory, the first character, scoring, a million characters, any length.

Everything is measured in this one run: the rate of matrix products of the same shapes beside the streams, torch's own
scoring and training forward beside the engine's. Models are trained for one step: their speed is that of any other.
"""

import argparse
import gc
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measure import run_json, show, unroll_command
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.open import load
from unroll.engine.draw import Drawing
from unroll.engine.network import Network, Precision
from unroll.engine.weights import read_weights
from unroll.predict.protocols import stream
from unroll.predict.torch import TorchPredictor

LETTERS = "".join(map(chr, range(32, 32 + 64))) + "\n"
"""65 symbols, as many as Shakespeare has."""


def model(folder: Path, hidden: int) -> Path:
    """Make a model directory of one LSTM layer and 65 symbols."""
    text, out = folder / "text.txt", folder / f"lstm{hidden}"
    text.write_text("".join(np.random.default_rng(0).choice(list(LETTERS), 20_000)) + LETTERS)
    run_json("train", text, "--steps", "1", "--set", f"hidden_size={hidden}", "--out", out)
    return out


def opened(path: Path, threads: int | None = None, precision: Precision = "float32") -> Network:
    """Return the engine's network of a model directory."""
    config = load(path).model.config
    return Network(config, read_weights(path / WEIGHTS, config), threads=threads, precision=precision)


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def many_streams(path: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Return characters a second of many streams, as a fraction of the rate of products of the same shapes."""
    network, config = opened(path), load(path).model.config
    hidden, emb, vocab = config.hidden_size, config.embedding_size, config.vocab_size
    held: list[Any] = list(network.logits(np.zeros((rows, 1), np.int64)))
    random, steps = np.random.default_rng(0), 32
    a, w = torch.randn(rows, hidden + emb), torch.randn(hidden + emb, 4 * hidden)
    y, v = torch.randn(rows, hidden), torch.randn(hidden, vocab)
    torch.set_num_threads(network._pace.most)
    operations = 2 * (4 * hidden * (hidden + emb) + hidden * vocab)

    def products() -> None:
        for _ in range(steps):
            torch.mm(a, w)
            torch.mm(y, v)

    def generated() -> None:
        _, _, held[0], held[1] = network.generate(held[0], held[1], Drawing(), random.random((rows, steps)))

    products()
    generated()
    pairs = [(seconds_of(generated), seconds_of(products)) for _ in range(rounds)]
    rate = statistics.median(rows * steps / ours for ours, _ in pairs)
    return {
        "streams": rows,
        "hidden": hidden,
        "threads": network._pace.most,
        "characters_per_second": round(rate),
        "gflops": round(rate * operations / 1e9, 1),
        "sgemm_gflops": round(statistics.median(rows * steps * operations / theirs for _, theirs in pairs) / 1e9, 1),
        "fraction": round(statistics.median(theirs / ours for ours, theirs in pairs), 3),
    }


def process(*arguments: str | Path) -> tuple[float, float, int]:
    """Run an unroll command; return the seconds to its first byte, to its end, and its peak memory in bytes."""
    watch = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=sys.stdout)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )
    started = time.perf_counter()
    command = [sys.executable, "-c", watch, *unroll_command(*arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.read(1)
        first = time.perf_counter() - started
        running.stdout.read()
        said = running.stderr.read()
    return first, time.perf_counter() - started, int(said.split()[-1]) * 1024


def first_character(path: Path, rounds: int) -> dict[str, Any]:
    """Return the seconds from the command's start to the first character of a sample, without the watching process."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        with subprocess.Popen(unroll_command("sample", path, "--length", "200"), stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            running.stdout.read(1)
            found.append(time.perf_counter() - started)
            running.stdout.read()
    return {"first_character_seconds": round(statistics.median(found), 3)}


def scoring(path: Path, characters: int, rounds: int) -> dict[str, Any]:
    """Return the rates of scoring one stream, and many rows, beside torch's."""
    loaded, random = load(path), np.random.default_rng(0)
    ids = random.integers(0, loaded.model.config.vocab_size, characters)
    network, torch_way = opened(path), TorchPredictor(loaded.model)
    small = opened(path, precision="int8")
    short = ids[: max(2000, characters // 20)]

    def read(predictor: Any, text: Any) -> float:
        return len(text) / seconds_of(lambda: [None for _ in stream(predictor, text, 0)])

    rows, length = 64, 128
    block, targets = (random.integers(0, loaded.model.config.vocab_size, (rows, length)) for _ in range(2))
    training = load(path).model.train()
    tensor, wanted = torch.from_numpy(block), torch.from_numpy(targets)

    def forward() -> None:
        for _ in range(4):
            logits, _ = training(tensor)
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())

    def batched() -> None:
        for _ in range(4):
            network.nats(block, targets)

    found: dict[str, list[float]] = {"engine": [], "int8": [], "torch": [], "batched": [], "forward": []}
    read(network, short)
    read(small, short)
    for _ in range(rounds):
        for threads in (1, torch.get_num_threads()):  # torch's better one counts
            torch.set_num_threads(threads)
            found["torch"].append(read(torch_way, short))
        torch.set_num_threads(network._pace.most)
        found["engine"].append(read(network, short))
        found["int8"].append(read(small, short))
        found["batched"].append(4 * block.size / seconds_of(batched))
        found["forward"].append(4 * block.size / seconds_of(forward))
    whole = seconds_of(lambda: [None for _ in stream(network, ids, 0)])
    middle = {name: statistics.median(values) for name, values in found.items() if name != "torch"}
    middle["torch"] = max(statistics.median(found["torch"][k::2]) for k in (0, 1))
    return {
        "hidden": loaded.model.config.hidden_size,
        "characters": characters,
        "seconds": round(whole, 1),
        "characters_per_second": round(middle["engine"]),
        "torch_characters_per_second": round(middle["torch"]),
        "to_torch": round(middle["engine"] / middle["torch"], 2),
        "int8_characters_per_second": round(middle["int8"]),
        "int8_to_torch": round(middle["int8"] / middle["torch"], 2),
        "batched": {"rows": rows, "length": length, "characters_per_second": round(middle["batched"])},
        "torch_training_forward": round(middle["forward"]),
        "batched_to_forward": round(middle["batched"] / middle["forward"], 2),
    }


def resident() -> int:
    """Return the memory that this process has now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def growth(path: Path, characters: int) -> dict[str, Any]:
    """Return how much more memory this process has after generating so many characters."""
    network, random = opened(path), np.random.default_rng(0)
    logits, state = network.logits(np.zeros((1, 1), np.int64))

    def generate(count: int) -> None:
        nonlocal logits, state
        for _ in range(count // 1000):
            _, _, logits, state = network.generate(logits, state, Drawing(), random.random((1, 1000)))

    generate(characters // 10)
    gc.collect()
    before = resident()
    seconds = seconds_of(lambda: generate(characters))
    gc.collect()
    return {"characters": characters, "seconds": round(seconds, 2), "growth_bytes": resident() - before}


def lengths(path: Path, largest: int, picture: Path | None) -> list[dict[str, Any]]:
    """Return seconds and peak memory of `unroll score --file` on texts of 10², 10³ … characters."""
    rows = []
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        length = 100
        while length <= largest:
            file = Path(folder) / "text.txt"
            lines = "".join(random.choice(list(LETTERS), length))
            file.write_text(lines)
            _, seconds, peak = process("score", path, "--file", file, "--json", "--sort", "nats", "--top", "1")
            rows.append({"characters": length, "seconds": round(seconds, 3), "peak_megabytes": round(peak / 1e6, 1)})
            length *= 10
    if picture is not None:
        draw(rows, picture)
    return rows


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Draw time and memory against length, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, name, label in zip(
        figure.subplots(1, 2), ("seconds", "peak_megabytes"), ("seconds", "peak memory, MB"), strict=True
    ):
        axes.loglog([row["characters"] for row in rows], [row[name] for row in rows], marker="o", color="#1f6fb4")
        axes.set(xlabel="characters of text", ylabel=label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if name == "peak_megabytes":
            axes.set_ylim(10, 1000)
    figure.suptitle("unroll score: time grows with the text, memory does not")
    figure.savefig(picture)


def main() -> None:
    """Measure it all and print one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--score", type=int, default=10_000_000, help="characters that are scored")
    parser.add_argument("--largest", type=int, default=10**7, help="length of the longest text")
    parser.add_argument("--picture", type=Path, help="draw time and memory against length here (PNG or SVG)")
    told = parser.parse_args()
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        small, middle, large = (model(folder, hidden) for hidden in (128, 384, 512))
        _, _, peak = process("sample", large, "--length", "2000")
        result = {
            "benchmark": "without torch",
            "many_streams": many_streams(large, 256, told.rounds),
            "generating_process_peak_megabytes": round(peak / 1e6, 1),
            **first_character(large, told.rounds),
            "scoring": scoring(middle, told.score, told.rounds),
            "a_million_characters": growth(large, 1_000_000),
            "lengths": lengths(small, told.largest, told.picture),
        }
    show(result)


if __name__ == "__main__":
    main()
