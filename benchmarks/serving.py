"""The server under load: many streams, each checked; throughput and overhead against the engine; memory; delays.

A model of random weights is served by `unroll serve` in a process of its own; this one is the client, with plain
sockets, so that little of the machine goes to it. Both share the machine's cores.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measure import show, unroll_command
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, save_description
from unroll.artifact.open import open_model
from unroll.data.tokenizer import CharTokenizer
from unroll.engine.draw import Drawing
from unroll.engine.network import Network
from unroll.lm.sample import sample
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model

LETTERS = "\n !'(),-.0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PROMPTS = ("It was", "The", "a long time ago ", "Once", "and then they ")


def make_model(folder: Path, hidden: int) -> Path:
    """Write a model directory of random weights, which say something else of every symbol."""
    tokenizer = CharTokenizer.learn(LETTERS)
    torch.manual_seed(0)
    model = Model(ModelConfig(vocab_size=tokenizer.vocab_size, hidden_size=hidden, embedding_size=64))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)
    folder.mkdir()
    save_tensors(folder / WEIGHTS, dict(model.named_parameters()), {"step": 0, "tokens_seen": 0, "valid_nats": None})
    tokenizer.save(folder / "tokenizer.json")
    save_description(folder, model.config, tokenizer)
    return folder


@dataclass
class Served:
    """A server that runs."""

    port: int
    process: "subprocess.Popen[str]"

    @property
    def resident(self) -> int:
        """Its memory in bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096


@contextmanager
def serving(model: Path, *options: str) -> Iterator[Served]:
    """Run `unroll serve`."""
    process = subprocess.Popen(
        [*unroll_command("serve", model, "--port", "0", *options), "--json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        told = ""
        while not told.endswith("}\n"):
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the server did not start")
            told += line
        yield Served(json.loads(told)["port"], process)
    finally:
        process.terminate()
        process.wait()


@dataclass
class Answer:
    """What a client has had of one request."""

    text: str
    first_seconds: float
    seconds: float
    error: str = ""


async def ask(port: int, stream: bool = True, **fields: Any) -> Answer:
    """Send one request on a connection of its own."""
    body = json.dumps({"model": "model", "stream": stream, "temperature": 1.0, **fields}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    started = time.perf_counter()
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    data, first = b"", 0.0
    while more := await reader.read(2**16):
        data += more
        if not first and b"data: " in data:
            first = time.perf_counter() - started
    seconds = time.perf_counter() - started
    writer.close()
    return parsed(data, stream, first or seconds, seconds)


def parsed(data: bytes, stream: bool, first: float, seconds: float) -> Answer:
    """Return the text of an answer."""
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 200 " not in head[:20]:
        return Answer("", first, seconds, data[-300:].decode(errors="replace") or "nothing came")
    if not stream:
        return Answer(json.loads(rest)["choices"][0]["text"], first, seconds)
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    text, error = "", "" if body.endswith(b"data: [DONE]\n\n") else "it broke off"
    for event in body.decode().split("\n\n"):
        if event.startswith("data: {"):
            value = json.loads(event[6:])
            error = error or str(value.get("error", ""))
            text += "".join(choice["text"] for choice in value.get("choices", ()))
    return Answer(text, first, seconds, error)


async def ask_all(port: int, requests: Sequence[dict[str, Any]]) -> list[Answer]:
    """Send all requests at once."""
    return await asyncio.gather(*(ask(port, **fields) for fields in requests))


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which that part of the values lies."""
    return float(np.quantile(np.array(values), part))


def streams(model: Path, port: int, count: int, length: int) -> dict[str, Any]:
    """Run so many streams at once, and compare each with what `unroll sample` writes by itself."""
    requests = [
        {"prompt": PROMPTS[number % len(PROMPTS)], "max_tokens": length, "seed": number} for number in range(count)
    ]
    started = time.perf_counter()
    answers = asyncio.run(ask_all(port, requests))
    seconds = time.perf_counter() - started
    opened = open_model(model)
    wrong = 0
    for fields, answer in zip(requests, answers, strict=True):
        drawn = sample(opened, str(fields["prompt"]), length=length, seed=int(str(fields["seed"])), temperature=1.0)
        wrong += answer.text != "".join(symbol.text for symbol in drawn)
    errors = [answer.error for answer in answers if answer.error]
    return {
        "streams": count,
        "characters": length,
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
        "mixed_up": wrong,
        "seconds": round(seconds, 2),
        "characters_per_second": round(count * length / seconds),
        "first_character_seconds": {
            name: round(percentile([answer.first_seconds for answer in answers], part), 3)
            for name, part in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
        },
    }


def engine_rate(network: Network, rows: int, length: int, rounds: int) -> float:
    """Return the symbols a second that the engine alone writes with so many rows."""
    rates = []
    logits, state = network.logits(np.ones((rows, 1), np.int64))
    numbers = np.random.default_rng(0).random((rows, length))
    for _ in range(rounds + 1):
        started = time.perf_counter()
        network.generate(logits, state, Drawing(temperature=1.0), numbers)
        rates.append(rows * length / (time.perf_counter() - started))
    return statistics.median(rates[1:])


def throughput(network: Network, port: int, rows: int, length: int, rounds: int) -> dict[str, Any]:
    """Compare the server at so many streams with the engine alone; the two take turns."""
    ours, alone = [], []
    requests = [{"prompt": "a", "max_tokens": length, "seed": seed} for seed in range(rows)]
    for _ in range(rounds):
        started = time.perf_counter()
        answers = asyncio.run(ask_all(port, requests))
        assert all(len(answer.text) == length for answer in answers), next(a.error for a in answers if a.error)
        ours.append(rows * length / (time.perf_counter() - started))
        alone.append(engine_rate(network, rows, length, 1))
    return {
        "streams": rows,
        "characters": length,
        "server_per_second": round(statistics.median(ours)),
        "engine_per_second": round(statistics.median(alone)),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, alone, strict=True)), 3),
    }


def overhead(network: Network, port: int, length: int, rounds: int) -> dict[str, Any]:
    """Compare one request at a time with the engine alone; the two take turns."""
    found: dict[str, Any] = {"characters": length}
    for kind, stream in (("whole", False), ("streamed", True)):
        ours, alone = [], []
        for seed in range(rounds + 1):
            answer = asyncio.run(ask(port, stream, prompt="a", max_tokens=length, seed=seed))
            assert len(answer.text) == length, answer.error
            ours.append(answer.seconds)
            alone.append(length / engine_rate(network, 1, length, 1))
        ratio = statistics.median(a / b for a, b in zip(ours[1:], alone[1:], strict=True))
        found[kind] = {
            "server_seconds": round(statistics.median(ours[1:]), 4),
            "engine_seconds": round(statistics.median(alone[1:]), 4),
            "overhead": round(ratio - 1, 3),
        }
    return found


def memory(served: Served, count: int) -> dict[str, Any]:
    """Send many requests of all kinds, sixteen at a time, and look at the server's memory between them."""
    kinds: list[dict[str, Any]] = [
        {}, {"stream": False}, {"logprobs": 3, "echo": True}, {"n": 3}, {"stop": "e"}, {"presence_penalty": 1.0},
        {"return_state": True}, {"stream": False, "best_of": 2},
    ]  # fmt: skip
    sizes = []

    async def some(first: int, last: int) -> None:
        gate = asyncio.Semaphore(16)

        async def one(number: int) -> None:
            async with gate:
                fields = kinds[number % len(kinds)]
                prompt = f"request {number} " + "it was " * (number % 5)
                await ask(served.port, prompt=prompt, max_tokens=10 + number % 20, **fields)

        await asyncio.gather(*(one(number) for number in range(first, last)))

    for part in range(10):
        asyncio.run(some(part * count // 10, (part + 1) * count // 10))
        sizes.append(served.resident)
    return {
        "requests": count,
        "megabytes": [round(size / 2**20, 1) for size in sizes],
        "growth_of_the_second_half_megabytes": round((sizes[-1] - sizes[4]) / 2**20, 1),
    }


def delays(port: int) -> dict[float, float]:
    """Return how many looks at the event loop were no later than so many seconds."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = {}
    for line in text.splitlines():
        if line.startswith("unroll_event_loop_delay_seconds_bucket"):
            name, count = line.rsplit(" ", 1)
            found[float(name.split('le="')[1].split('"')[0])] = float(count)
    return found


def delay_while_training(port: int, folder: Path, seconds: float) -> dict[str, Any]:
    """Train a model in a process of its own while a few streams are written, and watch the event loop."""
    text = folder / "text.txt"
    text.write_text(("the cat sat on the mat and the dog sat on the log. " * 20 + "\n") * 400)
    training = subprocess.Popen(
        unroll_command("train", text, "--out", folder / "trained", "--minutes", str(seconds / 60 + 1)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(20)  # it measures the machine first
        before = delays(port)
        until = time.monotonic() + seconds
        asked = 0
        while time.monotonic() < until:
            requests = [{"prompt": "It was", "max_tokens": 500, "seed": asked + k} for k in range(8)]
            asyncio.run(ask_all(port, requests))
            asked += 8
        after = delays(port)
        trained = training.poll() is None
    finally:
        training.terminate()
        training.wait()
    counts = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    whole = counts[float("inf")]
    return {
        "seconds": seconds,
        "training_ran": trained,
        "streams_written": asked,
        "looks": int(whole),
        "p99_at_most_seconds": next(bound for bound, count in counts.items() if count >= 0.99 * whole),
        "part_within_20_ms": round(counts[0.02] / whole, 4),
    }


def main() -> None:
    """Run all parts, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--streams", default="1000,200", help="numbers of streams at once")
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--train-seconds", type=float, default=60)
    parser.add_argument("--parts", default="streams,throughput,overhead,memory,delay")
    told = parser.parse_args()
    parts = told.parts.split(",")
    folder = Path(tempfile.mkdtemp())
    result: dict[str, Any] = {"benchmark": "serving", "hidden": told.hidden, "arch": "lstm", "layers": 1}
    try:
        model = make_model(folder / "model", told.hidden)
        network = open_model(model).predictor
        assert isinstance(network, Network)
        with serving(model) as served:
            asyncio.run(ask(served.port, prompt="a", max_tokens=100, seed=0))  # the first one loads what is needed
            if "streams" in parts:
                counts = [int(count) for count in told.streams.split(",")]
                result["streams"] = [streams(model, served.port, count, told.length) for count in counts]
            if "throughput" in parts:
                result["throughput"] = throughput(network, served.port, told.rows, 5 * told.length, told.rounds)
            if "overhead" in parts:
                result["overhead"] = overhead(network, served.port, 10 * told.length, told.rounds)
            if "delay" in parts:
                result["event_loop_delay"] = delay_while_training(served.port, folder, told.train_seconds)
        if "memory" in parts:
            with serving(model, "--cache", "2") as served:  # full soon, as a larger one is in the end
                result["memory"] = memory(served, told.requests)
    finally:
        shutil.rmtree(folder)
    show(result)


if __name__ == "__main__":
    main()
