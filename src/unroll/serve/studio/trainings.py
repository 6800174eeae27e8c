"""Trainings that the page starts, watches, pauses and resumes: each is a process, `unroll train`."""

import errno
import functools
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unroll.artifact.directory import WEIGHTS, data_path, read_description, read_tokenizer
from unroll.artifact.events import METRICS, SAMPLES
from unroll.artifact.info import chars_per_token, words_note
from unroll.artifact.snapshot import Changed, flush, pinned, stamp_of, unchanged
from unroll.data.corpus import open_corpus
from unroll.errors import UserError
from unroll.files import explained
from unroll.serve.models import PAUSE_SECONDS, TRIES
from unroll.serve.studio.style import Beside
from unroll.serve.studio.training_log import Tail, baselines, progress, thinned

State = Literal["starting", "running", "stopping", "paused", "finished", "failed", "elsewhere"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,55}")
MOST_MINUTES = 24 * 60.0
MOST_STEPS = 10_000_000
MOST_RUNNING = 2
"""Trainings at a time; more would starve each other."""
FRESH = 60.0
"""Seconds since its last event within which a training started elsewhere counts as running."""
MOST_OUTPUT = 4000
"""Characters of the output of a process that are shown."""
NEEDED = ("model.json", WEIGHTS, "tokenizer.json")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = (0, *(128 + number for number in SIGNALS), *(-number for number in SIGNALS))
"""Exit codes of a training that was stopped, and can be resumed."""
KEPT = (*NEEDED, "recipe.toml")
SPEEDS: dict[str, list[str]] = {
    "first": ["--steps", "2000", "--set", "hidden_size=128", "--set", "valid_every=100", "--set", "valid_tokens=20000"]
}
"""Choices of the model that the first visit shows: a small one, which learns quickly."""


@dataclass
class Process:
    """A training started here."""

    popen: "subprocess.Popen[bytes]"
    output: Path
    stops: int = 0
    """How often it was asked to stop."""

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.popen.poll()


class Trainings:
    """Trainings in one folder, by the name of their directory. Used from one thread at a time."""

    def __init__(self, runs: Path, scratch: Path) -> None:
        """Keep models in `runs`, and the output of processes and the texts they read in `scratch`."""
        self.runs = runs
        self.scratch = scratch
        self._processes: dict[str, Process] = {}
        self._tails: dict[str, tuple[Tail, Tail]] = {}
        self.texts: dict[str, dict[str, Any]] = {}
        """What was measured of the text of each."""
        self._beside: dict[str, Beside] = {}

    def names(self) -> list[str]:
        """Return the names of models and trainings, the newest first."""
        modified: dict[str, float] = dict.fromkeys(self._processes, time.time())
        with suppress(OSError), os.scandir(self.runs) as entries:
            for entry in entries:
                with suppress(OSError):  # a model being replaced has no file for a moment
                    file = Path(entry.path) / "model.json"
                    if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False) and file.is_file():
                        modified.setdefault(entry.name, file.stat().st_mtime)
        return sorted(modified, key=lambda name: -modified[name])

    def folder(self, name: str) -> Path:
        """Return the directory of a training; raises UserError for an unknown name."""
        if name not in self.names():
            raise UserError(f"there is no training {name[:60]!r}", allowed="a listed training", fix="choose another")
        return self.runs / name

    def free_name(self, title: str) -> str:
        """Return a free name of a directory, derived from a title."""
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-._")[:48] or "text"
        taken = {*self.names(), *(entry.name for entry in self.runs.glob("*"))}
        return next(name for k in range(1, 10**6) if (name := base if k == 1 else f"{base}-{k}") not in taken)

    def start(self, name: str, file: Path | None, choices: Sequence[str]) -> None:
        """Start a training on a text file, by default on the standard library; `choices` are options of `unroll train`.

        Raises UserError where the name is taken or too many run.
        """
        if not NAME.fullmatch(name):
            raise UserError(
                f"{name[:60]!r} cannot name a model",
                allowed="up to 56 letters, digits, dots, dashes",
                fix="choose another name",
            )
        if name in self.names() or (self.runs / name).exists():
            raise UserError(f"a model {name} already exists", allowed="a new name", fix="choose another name")
        with explained(self.runs):
            self.runs.mkdir(parents=True, exist_ok=True)
        files = [] if file is None else [str(file)]
        self._launch(name, [*files, "--out", str(self.runs / name), *choices])

    def resume(self, name: str) -> None:
        """Resume a paused training; raises UserError where it runs or is finished."""
        folder, state = self.folder(name), self.state(name)
        if state not in ("paused", "failed"):
            raise UserError(f"{name} is {state}", allowed="a paused training", fix="choose another")
        self._launch(name, ["--resume", str(folder)])

    def _launch(self, name: str, arguments: list[str]) -> None:
        if sum(process.code is None for process in self._processes.values()) >= MOST_RUNNING:
            raise UserError(
                f"{MOST_RUNNING} trainings are already running",
                allowed=f"{MOST_RUNNING} at a time, so that they do not starve each other",
                fix="wait for one, or pause it",
            )
        output = self.scratch / f"{name}.log"
        with explained(output), open(output, "wb") as log:
            popen = subprocess.Popen(
                [sys.executable, "-m", "unroll", "train", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes[name] = Process(popen, output)

    def pause(self, name: str) -> None:
        """Ask a training to save and stop, as Ctrl-C does; the second time it stops immediately."""
        process = self._processes.get(name)
        if process is None or process.code is not None:
            raise UserError(
                f"{name} does not run here", allowed="a training started on this page", fix="stop it where it runs"
            )
        process.stops += 1
        process.popen.send_signal(signal.SIGINT)

    def stop_all(self, seconds: float = 10.0) -> list[str]:
        """Let all trainings save and stop, and return the names of those that can be resumed; kills none."""
        running = {name: process for name, process in self._processes.items() if process.code is None}
        for process in running.values():
            process.popen.send_signal(signal.SIGINT)
        end = time.monotonic() + seconds
        for process in running.values():
            try:
                process.popen.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        return [name for name in running if (self.runs / name / "model.json").is_file()]

    def state(self, name: str) -> State:
        """Return the state of a training."""
        process, folder = self._processes.get(name), self.runs / name
        if process is not None and process.code is None:
            if process.stops:
                return "stopping"
            return "running" if (folder / METRICS).is_file() else "starting"
        if not (folder / "model.json").is_file():
            return "failed"
        if read_description(folder).get("result"):
            return "finished"
        if process is not None:
            return "paused" if process.code in STOPPED else "failed"
        try:
            fresh = time.time() - (folder / METRICS).stat().st_mtime < FRESH
        except OSError:
            return "finished"  # a model whose training left no events: an n-gram, or one that was moved
        return "elsewhere" if fresh else "paused"

    def brief(self) -> list[dict[str, Any]]:
        """Return the state and progress of every training, as JSON."""
        trainings = []
        for name in self.names():
            try:
                state = self.state(name)
            except UserError:
                continue
            if state == "finished" and name not in self._processes:
                continue
            at = progress(self._tail(name)[0].lines)
            trainings.append({"name": name, "state": state} | {key: at[key] for key in ("step", "steps", "left")})
        return trainings

    def _tail(self, name: str) -> tuple[Tail, Tail]:
        folder = self.runs / name
        tails = self._tails.setdefault(name, (Tail(folder / METRICS), Tail(folder / SAMPLES)))
        for tail in tails:
            tail.update()
        return tails

    def watch(self, name: str, turn: int, events: int, samples: int) -> dict[str, Any]:
        """Return what happened in a training after the first `events` and `samples`, and its progress, as JSON.

        `turn` is that of the previous answer; if it has changed, the training was resumed from a checkpoint, and all
        events are returned again.
        """
        folder = self.folder(name)
        log, taken = self._tail(name)
        same = turn == log.turn
        beside = self._beside.get(name)
        new = taken.lines[samples:] if same else taken.lines
        return {
            "name": name,
            "state": self.state(name),
            "turn": log.turn,
            "fresh": not same,
            "events": thinned(log.after(turn, events)),
            "seen": len(log.lines),
            "samples": [
                sample | {"known": beside and beside.known(text)}
                for sample, text in zip(new, texts_in(new), strict=True)
            ],
            "style": beside and beside.style(),
            **progress(log.lines),
            "said": self.output(name),
            "text": self.texts.get(name),
            "folder": str(folder),
        }

    def unmeasured(self, name: str) -> bool:
        """Return whether the text of a training, or a sample, is not measured yet."""
        beside = self._beside.get(name)
        return name not in self.texts or (beside is not None and None in map(beside.known, self._samples(name)))

    def _samples(self, name: str) -> list[str]:
        return texts_in(self._tail(name)[1].lines)

    def look(self, name: str) -> None:
        """Measure a training's text, once, and its samples; the text takes a second or two."""
        if name not in self.texts:
            self._look_at_text(name)
        if (beside := self._beside.get(name)) is not None:
            beside.measure(self._samples(name))

    def _look_at_text(self, name: str) -> None:
        """Measure a training's text with simple predictors, and count its words."""
        folder = self.folder(name)
        try:
            corpus = open_corpus(data_path(folder))
        except UserError:
            if (folder / "model.json").is_file():
                self.texts[name] = {"baselines": [], "chars_per_token": None, "level": None}
            return
        level, valid = corpus.tokenizer.level, corpus.info.parts.get("valid")
        self._beside[name] = Beside.of(corpus)
        self.texts[name] = {
            "baselines": baselines(corpus),
            "chars_per_token": chars_per_token(level, corpus.info),
            "level": level,
            "words": words_note(corpus.info) if level == "word" else None,
            "sources": [source.name for source in corpus.info.sources][:3],
            "train_tokens": len(corpus.train),
            "valid_tokens": len(corpus.valid),
            "unknown_share": 0.0 if valid is None else valid.unknown_share,
            "held_back": "valid" not in corpus.info.overlaps,
            "vocab_size": corpus.tokenizer.vocab_size,
        }

    def output(self, name: str) -> str:
        """Return the end of the output of a process that failed."""
        process = self._processes.get(name)
        if process is None or process.code in (None, 0, 130):
            return ""
        try:
            return process.output.read_text(errors="replace")[-MOST_OUTPUT:].strip()
        except OSError:
            return ""

    def keep(self, name: str) -> str:
        """Copy a model as it is now into a new directory named after its step; return its name.

        The training may be writing: the copy has its files at one moment, whole and on disk, or there is none. Raises
        UserError where there is no model yet, and where its files keep changing.
        """
        folder = self.folder(name)
        step = progress(self._tail(name)[0].lines)["step"]
        partial = self.runs / f".{name}.{secrets.token_hex(8)}.partial"
        try:
            with explained(self.runs / f"{name}-{step}"):
                partial.mkdir()
                _copy(folder, partial)
                for path in (*partial.iterdir(), partial):
                    flush(path)
                for _ in range(TRIES):
                    kept = self.free_name(f"{name}-{step}")
                    try:
                        partial.rename(self.runs / kept)
                    except OSError as error:
                        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                            raise
                        continue  # another process has just taken the name
                    flush(self.runs)
                    return kept
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"no name is free for a copy of {name}", allowed="a free name", fix="try again")


def texts_in(samples: list[dict[str, Any]]) -> list[str]:
    """Return the texts of samples, as their file has them."""
    return [str(sample.get("text", "")) for sample in samples]


def _copy(folder: Path, partial: Path) -> None:
    """Copy the files of a model, again where they change meanwhile."""
    what = f"the files of {folder} change while they are copied"
    for _ in range(TRIES):
        with pinned(folder) as here:
            files = tuple(file for file in KEPT if (here / file).is_file())
            try:
                missing = next((file for file in NEEDED if file not in files), None)
                if missing is None:
                    stamp = stamp_of(here, files, settled=True)
                    return unchanged(here, stamp, functools.partial(_copy_files, here, files, partial), files)
                what = f"there is no model in {folder} yet: it has no {missing}"
            except Changed:
                what = f"the files of {folder} change while they are copied"
        for file in partial.iterdir():
            file.unlink()
        time.sleep(PAUSE_SECONDS)
    raise UserError(what, allowed="a model that is not being written to", fix="try again in a moment")


def _copy_files(here: Path, files: tuple[str, ...], partial: Path) -> None:
    """Copy files; raises UserError unless vocabulary and description belong together."""
    for file in files:
        shutil.copyfile(here / file, partial / file)
    read_tokenizer(here, read_description(here))
