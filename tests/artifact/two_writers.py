"""Runs random schedules of two writers to one name, and prints what came of them: `two_writers.py FIRST COUNT [fault]`.

Each writer is a process that trains or counts, in small steps with pauses; meanwhile the directory is removed, moved
away or back. Afterwards every directory that is there must be of one writer alone. A program of its own, as it forks.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from tiny import overrides, start, text
from unroll.artifact.checkpoint import load_tensors
from unroll.artifact.directory import DATA, STATE, WEIGHTS
from unroll.artifact.events import METRICS, read_events
from unroll.artifact.ngram import write_ngram
from unroll.artifact.open import open_model
from unroll.artifact.quantize import measure_cost
from unroll.errors import UserError
from unroll.files import Folder, FolderLost, write_atomically
from unroll.settings import read_toml
from unroll.training.budget import Budget
from unroll.training.request import resume

SEEDS = (1, 2)
"""Of the two writers, whose models have the same shape: a mixture would open."""
STEPS = 12
TOGETHER = 24
"""Schedules that run at a time: their writers mostly sleep."""


def fixed(seed: int) -> Any:
    """Return what fixes the training of a writer."""
    every_step = dict.fromkeys(("log_every", "valid_every", "save_every"), 1)
    return overrides(training=every_step | {"seed": seed, "sample_length": 3}) | {"data": {"split": "80/20"}}


def written(path: Path) -> set[str]:
    """Return the digests of what is in a directory and differs between writers; of the state without its times."""
    files = [path / name for name in (WEIGHTS, "model.json", f"{DATA}/train.bin")]
    contents = [file.read_bytes() for file in files if file.exists()]
    if (path / STATE).exists():
        tensors = load_tensors(path / STATE)
        contents.append(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors)))
    return {sha256(content).hexdigest() for content in contents}


def reference(folder: Path, texts: dict[int, Path]) -> dict[str, set[int]]:
    """Return by whom a file of each digest is written, of all the states of the directories of undisturbed writers."""
    owners_of: dict[str, set[int]] = {}
    for seed, file in texts.items():
        out = folder / f"alone{seed}"
        for _ in start([file], out, Budget(steps=STEPS), fixed(seed), device="cpu"):
            for path in (out, out.with_name(f".{out.name}.partial")):
                for digest in written(path) if path.exists() else ():
                    owners_of.setdefault(digest, set()).add(seed)
        for digest in written(out):
            owners_of.setdefault(digest, set()).add(seed)
        for _ in write_ngram([file], folder / f"counted{seed}", 3, {"split": "80/20"}):
            pass
        for digest in written(folder / f"counted{seed}"):
            owners_of.setdefault(digest, set()).add(seed)
    return owners_of


def owners(path: Path, owners_of: dict[str, set[int]], digests: dict[str, int]) -> set[int]:
    """Return who wrote into a directory, and check that it opens; a file of both says nothing."""
    open_model(path)
    seeds_found = [digests[read_toml(path / "recipe.toml")["about"]["corpus_digest"]]]
    for digest in written(path):
        if len(seeds := owners_of.get(digest, {0})) == 1:  # 0: of nobody
            seeds_found += seeds
    for event in read_events(path / METRICS):
        if event["kind"] == "warn":
            seeds_found.append(0)
    return set(seeds_found)


def writer(verb: str, seed: int, file: Path, out: Path, pace: Callable[[], None], *, force: bool) -> int:
    """Do what a command does that writes to `out`; return its exit code, 3 where it lost its folder."""
    try:
        if verb == "train":
            with closing(start([file], out, Budget(steps=STEPS), fixed(seed), device="cpu", force=force)) as reports:
                for _ in reports:
                    pace()
        elif verb == "resume":
            for _ in resume(out, device="cpu"):
                pace()
        elif verb == "quantize":
            for _ in measure_cost(out):
                pace()
        else:
            for _ in write_ngram([file], out, 3, {"split": "80/20"}, force=force):
                pace()
    except FolderLost:
        return 3
    except UserError as error:
        return error.exit_code
    return 0


def forked(work: Callable[[], int]) -> int:
    """Do the work in a process of its own, and return its number."""
    if child := os.fork():
        return child
    code = 99
    try:
        code = work()
    finally:
        os._exit(code)


def schedule(chance: random.Random, folder: Path, texts: dict[int, Path]) -> int:
    """Let two writers write to one name, and things happen to it; keep their exit codes in `.codes`."""
    out, elsewhere = folder / "model", folder / "away"
    wait = chance.choice([0.0, 0.003])
    seeds = list(SEEDS)
    chance.shuffle(seeds)

    def begun(seed: int, verb: str) -> int:
        inner = random.Random(chance.random())
        force = chance.random() < 0.5

        def pace() -> None:
            # Now and then long enough for the other to start and publish between two writes of this one.
            time.sleep(0.6 if inner.random() < 0.1 else wait)

        return forked(lambda: writer(verb, seed, texts[seed], out, pace, force=force))

    first = begun(seeds[0], chance.choice(["train", "train", "train", "ngram"]))
    second = 0
    actions = [*chance.choices(["remove", "move", "back", "wait"], k=chance.randint(1, 5)), "start"]
    chance.shuffle(actions)
    deadline = time.monotonic() + chance.choice([0, 20, 20])
    while (
        not out.exists()
        and time.monotonic() < deadline
        and os.waitid(os.P_PID, first, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.001)
    for action in actions:
        time.sleep(chance.random() * 0.1)
        with suppress(OSError):
            if action == "remove":
                shutil.rmtree(out, ignore_errors=True)
            elif action == "move":
                out.rename(elsewhere)
            elif action == "back":
                elsewhere.rename(out)
            elif action == "start":
                second = begun(seeds[1], chance.choice(["train", "train", "ngram", "resume", "quantize"]))
    codes = [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in (first, second)]
    (folder / ".codes").write_text(json.dumps(codes))
    return 0


def main() -> None:
    """Run the schedules and print what came of them as JSON."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    outcomes: Counter[str] = Counter()
    mixtures: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        texts = {seed: base / f"text{seed}.txt" for seed in SEEDS}
        for seed, file in texts.items():
            file.write_text(text(90, seed))
        owners_of = reference(base, texts)
        digests = {read_toml(base / f"alone{s}/recipe.toml")["about"]["corpus_digest"]: s for s in SEEDS}
        if "fault" in sys.argv:  # as it was: by path, and nobody looks
            Folder.check = lambda self: None  # type: ignore[method-assign]
            Folder.write = lambda self, name, data: write_atomically(self.path / name, data)  # type: ignore[method-assign]
        running: dict[int, int] = {}
        for number in range(first, first + count):
            folder = base / f"schedule{number}"
            folder.mkdir()
            running[forked(lambda: schedule(random.Random(number), folder, texts))] = number  # noqa: B023 - forked now
            if len(running) == TOGETHER or number == first + count - 1:
                while running:
                    os.waitpid(next(iter(running)), 0)
                    del running[next(iter(running))]
        for number in range(first, first + count):
            folder = base / f"schedule{number}"
            outcomes.update(f"exit {code}" for code in json.loads((folder / ".codes").read_text()))
            (folder / ".codes").unlink()
            for path in folder.iterdir():
                if path.name.startswith("."):
                    outcomes["left over"] += 1
                    continue
                if not (path / "model.json").exists():  # removed while something was put into it
                    outcomes["no model"] += 1
                    continue
                try:
                    owner_ids = owners(path, owners_of, digests)
                except UserError as error:
                    mixtures.append(f"{number}: {path.name}: {error}")
                    continue
                outcomes["models"] += 1
                if len(owner_ids) != 1 or 0 in owner_ids:
                    mixtures.append(f"{number}: {path.name}: written by {sorted(owner_ids)}")
            shutil.rmtree(folder)
    print(json.dumps({"outcomes": outcomes, "mixed": mixtures}))


if __name__ == "__main__":
    main()
