"""Two corpora, text that grows like them, and a model directory with samples but without weights."""

import argparse
import inspect
import json
import os
import random
from collections import defaultdict
from pathlib import Path

from tiny import make_corpus, model_config
from unroll.artifact.directory import save_description
from unroll.data.corpus import load_corpus


def python_source() -> str:
    """Return the source of a module of the standard library."""
    return inspect.getsource(argparse)


def c_source(functions: int = 150) -> str:
    """Return functions of C with random names, nested blocks, comments and strings."""
    choose = random.Random(0)
    words = ["page", "node", "lock", "task", "timer", "queue", "buffer", "index", "flags", "state", "count", "device"]

    def name() -> str:
        return "_".join(choose.sample(words, 2))

    def block(depth: int) -> str:
        tab = "\t" * depth
        lines = []
        for _ in range(choose.randint(1, 3)):
            if depth < 3 and choose.random() < 0.4:
                lines.append(f"{tab}if ({name()}->{choose.choice(words)} == {choose.randint(0, 64)}) {{\n")
                lines.append(f"{block(depth + 1)}{tab}}}\n")
            elif choose.random() < 0.2:
                lines.append(f"{tab}/* The {choose.choice(words)} of the {choose.choice(words)} is not {name()}. */\n")
            else:
                lines.append(f'{tab}{name()}(&{name()}, "{choose.choice(words)} %d", {choose.choice(words)}[0x1f]);\n')
        return "".join(lines)

    heading = "#include <linux/module.h>\n#define MAX_NODES 64\n\n"
    body = (f"static int {name()}(struct {name()} *{choose.choice(words)})\n{{\n{block(1)}}}\n\n"
            for _ in range(functions))  # fmt: skip
    return "".join(text if number % 20 else heading + text for number, text in enumerate(body))


def grown(text: str, order: int, length: int, seed: int = 0) -> str:
    """Return text in which each character follows `order` before it as somewhere in `text`: noise at order 0."""
    choose, follows = random.Random(seed), defaultdict[str, list[str]](list)
    for place in range(order, len(text)):
        follows[text[place - order : place]].append(text[place])
    if not order:
        return "".join(choose.choices(sorted(set(text)), k=length))
    place = text.find("\n", choose.randrange(len(text) // 2)) + 1
    written = text[place : place + order]
    while len(written) < length + order:
        written += choose.choice(follows.get(written[-order:]) or [text[len(written)]])
    return written[order:]


def model_with(folder: Path, text: str, samples: dict[int, str], *, beside: bool = True) -> Path:
    """Return a model directory with samples by step, and with the path of its text unless that is not `beside` it."""
    data = make_corpus(folder / "text", [text])
    path = folder / "model"
    (path / "resume").mkdir(parents=True)
    tokenizer = load_corpus(data).tokenizer
    save_description(path, model_config("lstm", tokenizer.vocab_size), tokenizer)
    events = [{"step": step, "nats": 1.0, "prompt": "", "text": sample} for step, sample in samples.items()]
    (path / "samples.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (path / "resume" / "data.path").write_bytes(os.fsencode(data if beside else folder / "gone"))
    return path
