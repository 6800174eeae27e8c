"""Prepares a training: from files and a budget, or from a directory where it stopped, to a run at its next step."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unroll._version import __version__
from unroll.artifact.checkpoint import copy_weights
from unroll.artifact.directory import (
    DATA,
    DATA_PATH,
    check_free,
    clear,
    data_path,
    locked,
    partial_of,
    publish,
    put_back_replaced,
    read_training,
    remove_abandoned,
)
from unroll.artifact.events import METRICS, EventLog
from unroll.artifact.open import Opened, load
from unroll.artifact.steering import read_steering
from unroll.data.blocks import file_size
from unroll.data.corpus import (
    Corpus,
    DataConfig,
    is_prepared,
    load_corpus,
    open_corpus,
    prepared_corpus,
    write_corpus,
)
from unroll.errors import UserError
from unroll.files import Folder, StrPath, explained, printable_name, real_folder
from unroll.nn.model import Model
from unroll.nn.steering import SteeredModel
from unroll.progress import Progress, Work
from unroll.settings import from_mapping
from unroll.training.budget import Budget, further_steps, measured, portions, reference_shape, resolve
from unroll.training.calibrate import Machine
from unroll.training.checks import (
    FEWEST_VALID,
    check_alone,
    check_request,
    choose_device,
    nothing_held_back,
    refuse_model,
    too_few_held_back,
)
from unroll.training.growth import NewSymbols, check_growth, grown_weights, new_ids, new_symbol_reports
from unroll.training.language import Language
from unroll.training.loop import Lesson
from unroll.training.many import processes, torchrun
from unroll.training.memory import announcement
from unroll.training.recipe import Overrides, Recipe, read_about, read_recipe, write_recipe
from unroll.training.report import Report
from unroll.training.run import AnyRun, begin, restore, save, save_weights
from unroll.training.steered.lesson import Steered
from unroll.training.steered.table import (
    Labels,
    Table,
    check_steered,
    limits_of,
    load_labels,
    portions_of,
    steering_of,
)
from unroll.training.vocabulary import fitted


@dataclass
class Training:
    """A training that is ready for its next step."""

    run: AnyRun
    lesson: Lesson
    first: Sequence[Report] = ()
    """Reports on what was prepared, written to the log already."""
    earlier: Folder | None = None
    """Model directory to be replaced once this one is trained."""
    tuned: bool = False
    """Whether the first weights are trained ones, of another model."""


def prepare(
    locks: ExitStack,
    files: Sequence[Path],
    out: Path,
    budget: Budget,
    overrides: Overrides,
    *,
    valid: Path | None,
    test: Path | None,
    base: Path | None,
    new_symbols: NewSymbols,
    device: str,
    force: bool,
    started: float,
    table: Table | None = None,
) -> Work[Training | None]:
    """Encode the text and choose a recipe for the budget; return the training, its directories locked by `locks`.

    The text is that of `files`, or of the labelled `table` that is the only one of them. `overrides` fixes recipe keys;
    `base` is a model directory to fine-tune, which gets `new_symbols` or reads them as unknown. `started`
    (time.monotonic) is when the budget began. The directory `out` appears, complete and loadable; with `force` an
    earlier model stays there, and the new one lies beside it. Of a launch of torchrun that has made `out` already,
    returns what `reopen` does. Raises UserError for what a user can fix.
    """
    torch_device = choose_device(device)
    check_request(overrides, torch_device)
    if table is not None:
        check_steered(overrides)
    out = real_folder(out)
    put_back_replaced(out)
    if torchrun.made_before(out):
        return reopen(locks, out, device)
    inputs = [path for path in (*files, valid, test) if path is not None]
    check_free(out, inputs, force=force, fix=f"resume it with `unroll train --resume {out}`, ")
    for path in inputs:
        refuse_model(path)
        if not is_prepared(path):
            file_size(path)
    parent, tuned = load(base) if base is not None else None, base is not None
    grow = new_symbols == "add"
    if parent is not None:
        if grow:
            check_growth(parent)
        overrides = with_shape_of(parent, overrides, grow=grow)
    # Before the machine is measured, which takes seconds.
    if valid is None and overrides["data"].get("split") == "100" and not is_prepared(files[0]):
        raise nothing_held_back()
    remark = announcement(reference_shape(overrides), portions(overrides), torch_device)
    if remark is not None:
        yield Progress(remark, 0, 1)
    if budget.minutes is not None:
        yield Progress("measuring this machine", 0, 1)
    machine = None if budget.minutes is None else measured(overrides, torch_device, budget.minutes)
    if machine is not None:
        fastest = {name: getattr(machine, name) for name in ("threads", "precision", "wait_policy")}
        overrides = overrides | {"training": fastest | overrides["training"]}

    partial = partial_of(out)
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
    remove_abandoned(out)
    folder = locks.enter_context(locked(partial, out))
    try:
        check_free(out, inputs, force=force)
        earlier = locks.enter_context(locked(out)) if (out / "model.json").exists() else None
        clear(partial)
        limits: dict[str, float] = {}
        if table is None:
            corpus = yield from encoded(folder, files, overrides["data"], valid, test, parent, grow=grow)
        else:
            corpus, parts = yield from table.encoded(folder, overrides["data"])
            overrides = overrides | {"training": portions_of(corpus) | overrides["training"]}
            limits = limits_of(corpus, overrides["training"])
        note = None
        if machine is not None and budget.minutes is not None and parent is None and not is_prepared(files[0]):
            corpus, note = yield from fitted(folder.path / DATA, corpus, budget.minutes, machine, overrides)
        recipe = resolve(corpus, budget, overrides, torch_device, started, machine, tuned=tuned, **limits)
        lesson: Language | Steered = Language(corpus, recipe.training)
        remarks = [note, *corpus.info.warnings]
        if table is not None:
            steering, labels = steering_of(parts, table.text), Labels.of(parts)
            labels.save(folder)
            lesson = Steered(corpus, recipe.training, steering, labels)
            remarks += parts.remarks
        run = make_run(folder, recipe, torch_device, lesson.columns)
        if parent is not None:
            ids = new_ids(parent.tokenizer, corpus.tokenizer)
            copy_weights(run.model, grown_weights(parent.model, ids, recipe.model.vocab_size), parent.path)
            run = begin(folder, run.model, recipe.optim, recipe.training)
        first = list(first_reports(run, recipe, corpus, lesson, files, machine, parent, remarks))
        first += [Report("warn", 0, 0, 0.0, text=remark)] if remark else []
        with closing(EventLog(folder, METRICS)) as log:
            for report in first:
                log.write(report.to_json())
            run.log_sizes = (log.size, 0)
        write_start(run, recipe, corpus, lesson, base=base, valid=valid, test=test)
        if earlier is None:
            publish(folder, out)
        else:
            first[0].detail["beside"] = str(partial)  # for the caller, not for the log
    except BaseException:
        folder.remove()
        raise
    # The corpus was mapped under its former name; the mapping stays valid when the files move.
    return Training(run, lesson, first, earlier, tuned)


def reopen(
    locks: ExitStack, path: StrPath, device: str, more: Budget | None = None, started: float = 0.0
) -> Training | None:
    """Return the training of a model directory where it stopped, locked by `locks`; None if it is finished.

    It continues on the recorded device, unless another is named. With `more` a finished one is extended; `started`
    (time.monotonic) is when that budget began. Raises UserError if it cannot continue, or is to be extended too early.
    """
    path = real_folder(Path(path))
    description = read_training(path)
    finished = description.get("result") is not None
    if torchrun.made_before(path):
        more = None  # extended already, before torchrun restarted its processes
    if finished and more is None:
        return None
    if more is not None and not finished:
        raise UserError(
            f"{path} is not finished, and is extended only then",
            allowed="a finished training",
            fix=f"finish it first: unroll train --resume {path}",
        )
    recipe = read_recipe(path / "recipe.toml")
    about = read_about(path / "recipe.toml")
    folder = locks.enter_context(locked(path))
    corpus = open_corpus(data_path(path))
    if corpus.info.digest != about.get("corpus_digest"):
        raise UserError(
            f"the text in {data_path(path)} is not the one that {path} was trained on",
            allowed="the corpus as it was prepared",
            fix="restore it, or train again",
        )
    recorded = str(about.get("device", "auto"))
    lesson: Language | Steered = Language(corpus, recipe.training)
    if (steering := read_steering(description, str(path / "model.json"))) is not None:
        check_alone("a table with labels")
        lesson = Steered(corpus, recipe.training, steering, load_labels(path, steering, corpus))
    run = make_run(folder, recipe, choose_device(recorded if device == "auto" else device), lesson.columns)
    restore(run)
    if more is not None:
        steps = further_steps(more, recipe.model, recipe.training, corpus, run.device, started, lesson.filled)
        extend(run, recipe, about, lesson, steps)
    return Training(run, lesson)


def extend(run: AnyRun, recipe: Recipe, about: dict[str, Any], lesson: Lesson, steps: int) -> None:
    """Extend a finished training by further steps, in its directory and in `run`; a kill leaves one or the other."""
    extensions = (*(step for step in recipe.training.extensions if step < run.step), run.step)
    longer = replace(recipe.training, steps=run.step + steps, extended_at=",".join(map(str, extensions)))
    # The result goes first: between the two the training stands at its last step, where a resume finishes it again.
    lesson.describe(run, None)
    write_recipe(run.writes, replace(recipe, training=longer), about)
    torchrun.mark(run.writes)
    run.config = longer


def encoded(
    folder: Folder,
    files: Sequence[Path],
    data: dict[str, Any],
    valid: Path | None,
    test: Path | None,
    parent: Opened | None,
    *,
    grow: bool,
) -> Work[Corpus]:
    """Encode files into a model directory, or record in it the path of a prepared corpus; return the corpus.

    `data` holds the DataConfig fields that the user set; with `grow` the parent's vocabulary gets the symbols that it
    lacks. Raises UserError for a text with no validation part, or a corpus whose vocabulary differs from the parent's.
    """
    if is_prepared(files[0]):
        corpus = prepared_corpus(files, data, valid, test)
        folder.write(DATA_PATH, os.fsencode(files[0].resolve()))
    else:
        tokenizer = parent.tokenizer if parent else None
        config = from_mapping(DataConfig, data, "the recipe's [data]")
        out = folder.path / DATA
        yield from write_corpus(files, out, config, valid=valid, test=test, tokenizer=tokenizer, grow=grow)
        corpus = load_corpus(out)
        folder.check()
    if not len(corpus.valid):
        raise nothing_held_back()
    if len(corpus.valid) < FEWEST_VALID:
        raise too_few_held_back(corpus, valid)
    if parent is not None and is_prepared(files[0]) and corpus.tokenizer.digest != parent.tokenizer.digest:
        raise UserError(
            f"the corpus in {files[0]} was prepared with another vocabulary than {parent.path}",
            allowed="a text, which is encoded with the model's own vocabulary",
            fix="name the text files instead",
        )
    return corpus


def make_run(folder: Folder | None, recipe: Recipe, device: torch.device, labels: Sequence[int] = ()) -> AnyRun:
    """Return a run at step 0, of a model that columns with these numbers of labels steer, if there are any.

    Its first weights depend on the recipe alone, so it is made with the recipe's threads.
    """
    processes.check_shares(recipe.training.batch_size)
    torch.set_num_threads(recipe.training.threads)
    torch.manual_seed(recipe.training.seed)
    model = SteeredModel(recipe.model, labels) if labels else Model(recipe.model)
    return begin(folder, model.to(device), recipe.optim, recipe.training)


DROPOUT_KEYS = ("dropout", "input_dropout", "embedding_dropout", "weight_drop", "variational")
"""Keys of a model's configuration, all about dropout, that fine-tuning may change."""


def with_shape_of(parent: Opened, overrides: Overrides, *, grow: bool) -> Overrides:
    """Return the overrides of a fine-tuning: the shape is the parent's, but for a vocabulary that is to grow.

    Raises UserError where they ask for another shape.
    """
    free = (*DROPOUT_KEYS, "vocab_size") if grow else DROPOUT_KEYS
    shape = {name: value for name, value in parent.description["model"].items() if name not in free}
    clash = {name for name in shape if name in overrides["model"] and overrides["model"][name] != shape[name]}
    if clash:
        raise UserError(
            f"{', '.join(sorted(clash))} cannot change: a fine-tuned model keeps the shape of {parent.path}",
            allowed="other dropouts, rates and budgets",
            fix="leave it out",
        )
    return overrides | {"model": overrides["model"] | shape}


def write_start(
    run: AnyRun,
    recipe: Recipe,
    corpus: Corpus,
    lesson: Lesson,
    *,
    base: Path | None,
    valid: Path | None,
    test: Path | None,
) -> None:
    """Write a complete model directory of step 0."""
    folder = run.writes
    about = {
        "unroll": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": run.device.type,
        "files": [source.name for source in corpus.info.sources],
        "corpus_digest": corpus.info.digest,
        "corpus_tokens": len(corpus.train),
    }
    about |= {"processes": processes.size()} if processes.size() > 1 else {}
    named = {"fine_tuned_from": base, "valid_file": valid, "test_file": test}
    about |= {name: printable_name(path) for name, path in named.items() if path is not None}
    write_recipe(folder, recipe, about)
    folder.write("tokenizer.json", corpus.tokenizer.to_json().encode())
    lesson.describe(run, None)
    save_weights(run, None)
    save(run)
    torchrun.mark(folder)


def first_reports(
    run: AnyRun, recipe: Recipe, corpus: Corpus, lesson: Language | Steered, files: Sequence[Path],
    machine: Machine | None, parent: Opened | None, remarks: Sequence[str | None],
) -> Iterator[Report]:  # fmt: skip
    """Yield the reports before the first step: what was chosen, what a person should know, new symbols."""
    training = recipe.training
    detail: dict[str, Any] = {
        "parameters": sum(weight.numel() for weight in run.model.parameters()),
        "steps": training.steps,
        "train_tokens": len(corpus.train),
        "valid_tokens": len(corpus.valid),
        "vocab_size": recipe.model.vocab_size,
        "epochs": round(lesson.epochs(training.steps), 2),
    }
    detail |= {"words": corpus.info.config.words} if corpus.tokenizer.level == "word" else {}
    yield Report("start", 0, 0, 0.0, detail=detail | ({"measured": machine.measured} if machine else {}))
    for remark in filter(None, remarks):
        yield Report("warn", 0, 0, 0.0, text=remark)
    if parent is not None:
        yield from new_symbol_reports(corpus, files, parent)
