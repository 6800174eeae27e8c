"""A training as it is asked for, started or resumed: it is prepared, then trained, then published."""

import os
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

from unroll.artifact.directory import output_folder, publish, read_description
from unroll.data.corpus import refuse_split_and_valid, remove_orphans
from unroll.data.sources import stdlib_corpus
from unroll.errors import UserError, check_choice
from unroll.files import Files, StrPath, as_path, as_paths, explained, real_folder, write_atomically
from unroll.progress import Progress
from unroll.settings import Settings, setting_pairs
from unroll.training import loop
from unroll.training.budget import Budget
from unroll.training.growth import NewSymbols
from unroll.training.many import processes, torchrun
from unroll.training.many.follower import follow
from unroll.training.prepare import Training, prepare, reopen
from unroll.training.recipe import TABLES, Overrides, Tables, read_overrides, set_override
from unroll.training.report import Report
from unroll.training.steered.table import Table

DEFAULT_MINUTES = 3.0


def train(
    files: Files | None = None,
    *,
    text: str | Sequence[str] = (),
    label: str | Sequence[str] = (),
    out: StrPath | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    arch: str | None = None,
    level: str | None = None,
    words: str | None = None,
    split: str | None = None,
    valid: StrPath | None = None,
    test: StrPath | None = None,
    separator: str | None = None,
    recipe: StrPath | None = None,
    settings: Settings = (),
    seed: int | None = None,
    device: str = "auto",
    base: StrPath | None = None,
    new_symbols: NewSymbols = "unknown",
    force: bool = False,
    started: float | None = None,
) -> Generator[Progress | Report, None, None]:
    """Train a model on text files, or on a prepared corpus, yielding progress and reports as they come.

    With no file it learns Python's standard library. The model appears in `out`, by default `output_folder(files)`.
    What is named here overrides the file `recipe`, and `settings` override both. The budget is `minutes` of wall clock
    since `started` (time.monotonic), or a number of steps; with neither, here or in the recipe, three minutes. `base`
    is a model directory to fine-tune, which reads `new_symbols` as unknown or gets those of the training part. Closing
    the generator saves a checkpoint. Raises UserError.

    With `label`, one column or several of the one file, a table, it learns a language model that labels steer: each of
    the texts in the columns `text` begins with the start states of its labels, which are learnt. One text in ten is
    held out by its hash, or the table `valid` is validated on.
    """
    started = time.monotonic() if started is None else started
    paths = as_paths(files)
    table = None
    if text or label:
        others = {"a split": split, "a test text": test, "a separator": separator, "a model to fine-tune": base}
        table = _table(paths, names_of(text), names_of(label), as_path(valid), others)
    folder = Path(out) if out is not None else output_folder(files)
    overrides = overrides_of(recipe, settings, {
        "model": {"arch": arch},
        "data": {"level": level, "words": words, "split": split, "separator": separator},
        "training": {"seed": seed, "steps": steps},
    })  # fmt: skip
    refuse_split_and_valid(split, valid)
    if minutes is not None:
        if steps is not None or any(key in ("steps", "training.steps") for key, _ in setting_pairs(settings)):
            raise UserError("both minutes and steps are given", allowed="one budget", fix="leave one out")
        for key in ("steps", "extended_at"):  # of the recipe file
            overrides["training"].pop(key, None)
    check_choice("new_symbols", new_symbols, get_args(NewSymbols))
    if new_symbols == "add" and base is None:
        raise UserError(
            "new symbols are to be added, but to no model",
            allowed="--new-symbols beside --from",
            fix="name the model with --from DIR",
        )
    if base is not None:
        overrides["data"].setdefault("level", read_description(Path(base)).get("level"))
    steps = overrides["training"].get("steps")
    budget = (
        Budget(steps=steps) if steps is not None else Budget(minutes=DEFAULT_MINUTES if minutes is None else minutes)
    )

    def reports() -> Generator[Progress | Report, None, None]:
        if torchrun.follows():
            follow(device)
            return
        with processes.joined(device), _texts(paths, folder) as texts, ExitStack() as locks:
            training = yield from prepare(
                locks, texts, folder, budget, overrides, valid=as_path(valid), test=as_path(test), base=as_path(base),
                new_symbols=new_symbols, device=device, force=force, started=started, table=table,
            )  # fmt: skip
            if training is not None:
                yield from reports_of(training)

    return reports()


def names_of(columns: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns; a text is the name of one."""
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _table(
    files: Sequence[Path],
    text: tuple[str, ...],
    label: tuple[str, ...],
    valid: Path | None,
    others: Mapping[str, object],
) -> Table:
    """Return the table of a training; raises UserError where it lacks something, or for what does not go with it."""
    if len(files) != 1 or not text or not label:
        raise UserError(
            "labels need one table, the columns of its texts and those of its labels",
            allowed="FILE --text COL --label COL",
            fix="name all three",
        )
    if both := set(text) & set(label):
        raise UserError(
            f"{min(both)!r} is a column of labels and of texts", allowed="different columns",
            fix="name the column of the texts with --text",
        )  # fmt: skip
    if given := next((name for name, value in others.items() if value is not None), None):
        raise UserError(
            f"{given} is given with labels", allowed="a table, and with --valid another one to validate on",
            fix="leave it out",
        )  # fmt: skip
    return Table(files[0], text, label, valid)


def resume(
    path: StrPath,
    *,
    device: str = "auto",
    more_steps: int | None = None,
    more_minutes: float | None = None,
    started: float | None = None,
) -> Generator[Report, None, None]:
    """Continue a training exactly where it stopped; yields nothing if it is finished. Raises UserError if it cannot.

    It continues on the recorded device, unless another is named. A finished training is extended by `more_steps`, or by
    `more_minutes` since `started` (time.monotonic); its recipe then says so.
    """
    started = time.monotonic() if started is None else started
    if more_steps is not None and more_minutes is not None:
        raise UserError("both more steps and more minutes are given", allowed="one budget", fix="leave one out")
    more = None if more_steps is None and more_minutes is None else Budget(more_steps, more_minutes)
    if torchrun.follows():
        follow(device)
        return
    with processes.joined(device), ExitStack() as locks:
        training = reopen(locks, path, device, more, started)
        if training is not None:
            yield from reports_of(training)


def reports_of(training: Training) -> Generator[Report, None, None]:
    """Train, and put the new model in the place of an earlier one as soon as it is trained.

    That is at the first checkpoint with trained weights (when fine-tuning, at the first of all), or when the training
    ends or is stopped with such weights; the report of it has `published` in its detail. Otherwise the earlier model
    stays, and the new directory is removed.
    """
    run = training.run
    try:
        yield from training.first
        with closing(loop.train(run, training.lesson)) as reports:
            for report in reports:
                if report.kind in ("save", "end") and (run.best_step or training.tuned) and _replace_earlier(training):
                    report = replace(report, detail=report.detail | {"published": True})
                yield report
        if run.best_step:  # it diverged, and good weights were kept before
            _replace_earlier(training)
        if training.earlier is not None:
            text = f"the model that was in {run.writes.shown} stays: this training has no trained weights to replace it"
            yield Report("warn", run.step, run.tokens_seen, run.seconds, text=text)
    except GeneratorExit:
        if run.best_step:  # stopped, and saved just now
            _replace_earlier(training)
        raise
    finally:
        if training.earlier is not None:
            run.writes.remove()


def _replace_earlier(training: Training) -> bool:
    """Publish a training in place of the earlier model, if that is still there; return whether it was."""
    earlier, training.earlier = training.earlier, None
    if earlier is None:
        return False
    folder = training.run.writes
    try:
        publish(folder, folder.shown, earlier)
    except UserError as error:
        if folder.path != folder.shown and folder.is_here():
            error.fix += f"; the new model is complete in {folder.path}, which you can rename"
        raise
    return True


def overrides_of(recipe: StrPath | None, settings: Settings, named: Overrides, tables: Tables = TABLES) -> Overrides:
    """Return what is fixed by a recipe file, over it by named arguments that are not None, over both by settings."""
    overrides: Overrides = {name: {} for name in tables} if recipe is None else read_overrides(Path(recipe), tables)
    for table, values in named.items():
        overrides[table] |= {key: value for key, value in values.items() if value is not None}
    for key, value in setting_pairs(settings):
        set_override(overrides, key, value, tables)
    return overrides


@contextmanager
def _texts(files: list[Path], out: Path) -> Iterator[list[Path]]:
    """Give the files or, where there are none, the default text as a file, for as long as it takes to read it.

    Its folder has a name of its own for each process, which stays when a process starts itself again for calibration.
    """
    if files:
        yield files
        return
    text = stdlib_corpus()
    out = real_folder(out)
    remove_orphans(out, "text")
    folder = out.with_name(f".{out.name}.{os.getpid()}.text")
    try:
        with explained(out):
            folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"python-{text.version}-stdlib.txt"
        write_atomically(file, text.data)
        yield [file]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
