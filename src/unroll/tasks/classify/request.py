"""The training of a classifier as it is asked for, started or resumed."""

import platform
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from unroll._version import __version__
from unroll.artifact.classifier import ClassifierInfo, read_classifier, read_reader, save_classifier, save_reader
from unroll.artifact.directory import (
    check_free,
    clear,
    locked,
    output_folder,
    partial_of,
    publish,
    put_back_replaced,
    remove_abandoned,
)
from unroll.artifact.events import METRICS, EventLog
from unroll.artifact.open import Opened
from unroll.data.labelled import Examples, Parts, parts_of, read_examples
from unroll.errors import UserError
from unroll.files import Folder, StrPath, as_path, explained, printable_name, real_folder
from unroll.nn.encoder import Classifier
from unroll.nn.encoder_config import classifier_parameters
from unroll.nn.process import keep_memory
from unroll.progress import Progress, Work
from unroll.settings import Settings, setting_pairs
from unroll.tasks.classify import store
from unroll.tasks.classify.beginning import (
    Beginning,
    open_pretrained,
    read_pretrained,
    read_vectors,
    vocabulary_of,
    with_pretrained,
)
from unroll.tasks.classify.lesson import Classification, ClassifierRun
from unroll.tasks.classify.memory import announcement
from unroll.tasks.classify.recipe import TABLES, ClassifierRecipe, Sizes, choose, level_for, steps_enough
from unroll.tasks.classify.vocabulary import learn_reader
from unroll.threads import threads_are_set, threads_up_to
from unroll.training.budget import RESERVE
from unroll.training.checks import check_alone, choose_device
from unroll.training.loop import step_on
from unroll.training.prepare import Training
from unroll.training.recipe import Overrides, check_overrides, read_about, read_recipe_of, write_recipe
from unroll.training.report import Report
from unroll.training.request import DEFAULT_MINUTES, overrides_of, reports_of
from unroll.training.run import begin, restore, save, save_weights

MEASURED_STEPS = 12
"""Steps by which the rate of a training is measured."""


@dataclass(frozen=True)
class Wish:
    """What is asked of the training of a classifier."""

    file: Path
    examples: Examples | None
    """Those of the file, where they are in memory already."""
    text: tuple[str, ...]
    label: str
    valid: Path | None
    multi_label: bool
    steps: int | None
    minutes: float | None
    overrides: Overrides
    pretrained: Opened | None
    vectors: Path | None
    device: torch.device
    force: bool
    started: float


def train_classifier(
    file: StrPath | Examples,
    *,
    text: str | Sequence[str],
    label: str,
    valid: StrPath | None = None,
    out: StrPath | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    multi_label: bool = False,
    recipe: StrPath | None = None,
    settings: Settings = (),
    seed: int | None = None,
    pretrained: StrPath | None = None,
    vectors: StrPath | None = None,
    device: str = "auto",
    force: bool = False,
    started: float | None = None,
) -> Generator[Progress | Report, None, None]:
    """Train a classifier on the rows of a CSV or JSON-lines file, yielding progress and reports as they come.

    The rows may also be examples in memory, as `unroll.data.labelled.examples_of` makes them. `text` names the column
    or columns that are read, `label` that of the labels; a text has exactly one, or any number with `multi_label`.
    Without `valid`, one text in ten is held out. The model appears in `out`, by default `output_folder(file)`. The
    budget is `minutes` since `started` (time.monotonic), which may end sooner where more rounds over the examples would
    teach nothing, or a number of steps; with neither, three minutes. `settings` override the file `recipe`. It begins
    with random weights, with the embedding and layers of `pretrained`, the directory of a language model, or with
    `vectors` of words in the formats of word2vec or GloVe. Closing the generator saves a checkpoint. Raises UserError.
    """
    check_alone("a classifier")
    started = time.monotonic() if started is None else started
    columns = (text,) if isinstance(text, str) else tuple(text)
    examples = file if isinstance(file, Examples) else None
    path = Path(file) if not isinstance(file, Examples) else file.path
    folder = Path(out) if out is not None else output_folder(path)
    overrides = overrides_of(recipe, settings, {"training": {"seed": seed, "steps": steps}}, TABLES)
    if minutes is not None:
        if steps is not None or any(key in ("steps", "training.steps") for key, _ in setting_pairs(settings)):
            raise UserError("both minutes and steps are given", allowed="one budget", fix="leave one out")
        overrides["training"].pop("steps", None)
        if not 0 < minutes < 1e6:
            raise UserError(f"minutes is {minutes}", allowed="above 0", fix="write for example --minutes 3")
    if pretrained is not None and vectors is not None:
        raise UserError(
            "both a language model and vectors of words are given to begin with", allowed="one of them",
            fix="leave one out",
        )  # fmt: skip
    if label in columns:
        raise UserError(
            f"{label!r} is the column of the labels and of the texts", allowed="different columns",
            fix="name the column of the texts with --text",
        )  # fmt: skip
    opened = None
    if pretrained is not None:
        opened = open_pretrained(Path(pretrained), overrides["data"].get("level"))
        overrides = with_pretrained(opened, overrides)
    check_overrides(overrides, TABLES)
    fixed_steps = overrides["training"].get("steps")
    wish = Wish(
        path, examples, columns, label, as_path(valid), multi_label, fixed_steps,
        None if fixed_steps else DEFAULT_MINUTES if minutes is None else minutes,
        overrides, opened, as_path(vectors), choose_device(device), force, started,
    )  # fmt: skip

    def reports() -> Generator[Progress | Report, None, None]:
        with ExitStack() as locks:
            training = yield from prepare(locks, folder, wish)
            yield from reports_of(training)

    return reports()


def resume_classifier(path: StrPath, *, device: str = "auto") -> Generator[Report, None, None]:
    """Continue the training of a classifier exactly where it stopped; yields nothing if it is finished.

    Raises UserError if it cannot.
    """
    check_alone("a classifier")
    path = real_folder(Path(path))
    put_back_replaced(path)
    info = read_classifier(path)
    if info.result is not None:
        return
    with ExitStack() as locks:
        recipe = read_recipe_of(ClassifierRecipe, TABLES, path / "recipe.toml")
        about = read_about(path / "recipe.toml")
        folder = locks.enter_context(locked(path))
        stored = store.load(folder.path)
        if stored.digest != about.get("examples_digest"):
            raise UserError(
                f"the examples in {path} are not those that it was trained on",
                allowed="the examples as they were prepared",
                fix="restore the directory, or train again",
            )
        reader = read_reader(path, info)
        lesson = Classification(info, reader, stored.train, stored.valid, recipe.training)
        recorded = str(about.get("device", "auto"))
        run = make_run(folder, recipe, choose_device(recorded if device == "auto" else device))
        restore(run)
        yield from reports_of(Training(run, lesson))


def prepare(locks: ExitStack, out: Path, wish: Wish) -> Work[Training]:
    """Read the examples and choose a recipe; return the training, its directories locked by `locks`.

    The directory `out` appears, complete and loadable; with `force` an earlier model stays there, and the new one lies
    beside it. Raises UserError for what a user can fix.
    """
    out = real_folder(out)
    put_back_replaced(out)
    inputs = [path for path in (wish.file, wish.valid, wish.vectors) if path is not None]
    resumed = f"resume it with `unroll classify train --resume {out}`, "
    check_free(out, inputs, force=wish.force, fix=resumed)
    parts = parts_of(*(yield from _examples(wish)))
    partial = partial_of(out)
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
    remove_abandoned(out)
    folder = locks.enter_context(locked(partial, out))
    try:
        check_free(out, inputs, force=wish.force)
        earlier = locks.enter_context(locked(out)) if (out / "model.json").exists() else None
        clear(partial)
        yield Progress("encoding", 0, 1)
        fixed = wish.overrides["data"]
        level = fixed.get("level") or level_for(parts.train.texts)
        data, reader = learn_reader(parts.train.texts, fixed | {"level": level})
        overrides, beginning = wish.overrides, None
        if wish.pretrained is not None:
            tokenizer = vocabulary_of(wish.pretrained, reader.tokenizer)
            reader = replace(reader, tokenizer=tokenizer)
            beginning = read_pretrained(wish.pretrained, tokenizer)
        if wish.vectors is not None:
            beginning = yield from read_vectors(wish.vectors, reader, overrides["model"].get("embedding_size"))
            width = beginning.vectors.shape[1]
            overrides = overrides | {"model": overrides["model"] | {"embedding_size": width}}
        labels = parts.names[0]
        stored = store.Stored.of(parts, reader, labels)
        sizes = Sizes(
            reader.tokenizer.vocab_size,
            0 if reader.characters is None else reader.characters.vocab_size,
            len(labels),
            len(stored.train),
            len(stored.train.texts.units.values),
            wish.multi_label,
        )
        recipe = choose(data, sizes, wish.steps or 1, overrides, pretrained=wish.pretrained is not None)
        large = announcement(recipe, stored.train.texts.units.lengths, wish.device)
        reader = reader if recipe.model.char_hidden_size else replace(reader, characters=None)
        if reader.characters is None and sizes.chars:
            stored = stored.without_characters()
        characters = reader.characters
        info = ClassifierInfo(
            recipe.model, labels, wish.text, wish.label, data.lowercase, data.max_units, reader.tokenizer.digest,
            None if characters is None else characters.digest, None,
        )  # fmt: skip
        lesson = Classification(info, reader, stored.train, stored.valid, recipe.training)
        if wish.minutes is not None:
            yield Progress("measuring this machine", 0, 1)
            threads, steps = fitting(wish, recipe, lesson)
            recipe = choose(data, sizes, steps, overrides, threads, pretrained=wish.pretrained is not None)
            lesson = replace(lesson, config=recipe.training)
        run = make_run(folder, recipe, wish.device)
        if beginning is not None:
            beginning.apply(run.model)
            run = begin(folder, run.model, recipe.optim, recipe.training)  # averages begin with these weights
        first = list(first_reports(parts, recipe, lesson, beginning, large))
        with closing(EventLog(folder, METRICS)) as log:
            for report in first:
                log.write(report.to_json())
            run.log_sizes = (log.size, 0)
        stored.save(folder)
        write_start(run, recipe, lesson, stored, wish)
        if earlier is None:
            publish(folder, out)
        else:
            first[0].detail["beside"] = str(partial)  # for the caller, not for the log
    except BaseException:
        folder.remove()
        raise
    return Training(run, lesson, first, earlier)


def _examples(wish: Wish) -> Work[tuple[Examples, Examples | None]]:
    """Read the files."""
    examples = wish.examples
    if examples is None:
        examples = yield from read_examples(wish.file, wish.text, (wish.label,), multi=wish.multi_label)
    if wish.valid is None:
        return examples, None
    return examples, (yield from read_examples(wish.valid, wish.text, (wish.label,), multi=wish.multi_label))


def make_run(folder: Folder | None, recipe: ClassifierRecipe, device: torch.device) -> ClassifierRun:
    """Return a run at step 0; its first weights depend on the recipe alone."""
    torch.set_num_threads(recipe.training.threads)
    torch.manual_seed(recipe.training.seed)
    return begin(folder, Classifier(recipe.model).to(device), recipe.optim, recipe.training)


def fitting(wish: Wish, recipe: ClassifierRecipe, lesson: Classification) -> tuple[int, int]:
    """Return the threads that are fastest now, and the steps that fit the minutes with them, at most those enough."""
    assert wish.minutes is not None
    fixed = wish.overrides["training"].get("threads")
    most = threads_up_to(4) if wish.device.type == "cpu" and not threads_are_set() else 1
    choices = [fixed] if fixed else [count for count in (1, 2, 4) if count <= most]
    keep_memory()
    seconds = {}
    for threads in choices:
        config = replace(recipe.training, steps=2**40, threads=threads)
        measured = replace(recipe, training=config, optim=replace(recipe.optim, thaw_steps=0))
        run = make_run(None, measured, wish.device)
        run.model.train()
        step_on(run, lesson.batch(run), lesson.start(run))  # the first step also loads kernels
        began, times = time.monotonic(), list[float]()
        while not times or (len(times) < MEASURED_STEPS and time.monotonic() - began < 0.6 * wish.minutes):
            start = time.monotonic()
            step_on(run, lesson.batch(run), lesson.start(run))
            times.append(time.monotonic() - start)
        seconds[threads] = fmean(times)
    threads = min(seconds, key=seconds.__getitem__)
    torch.set_num_threads(threads)
    began = time.monotonic()
    lesson.validate(run)
    validation = time.monotonic() - began
    left = (wish.started + 60 * wish.minutes - time.monotonic()) * (1 - RESERVE) - 2 * validation
    # Validations come with the steps: about one an epoch.
    steps = int(left / (seconds[threads] + validation / lesson.steps_per_epoch))
    if steps < 1:
        raise UserError(
            f"{wish.minutes:g} minutes is not enough for a single step on this machine",
            allowed="a budget that holds one step",
            fix="give more minutes, or a number of steps",
        )
    units = len(lesson.train.texts.units.values)
    return threads, min(steps, steps_enough(recipe.data.level, units, lesson.steps_per_epoch))


def first_reports(
    parts: Parts, recipe: ClassifierRecipe, lesson: Classification, beginning: Beginning | None, large: str | None
) -> list[Report]:
    """Return the reports before the first step: what was chosen, and what is odd about the examples."""
    detail: dict[str, Any] = {
        "parameters": classifier_parameters(recipe.model),
        "level": recipe.data.level,
        "steps": recipe.training.steps,
        "train_examples": len(lesson.train),
        "valid_examples": len(lesson.valid),
        "labels": len(lesson.info.labels),
        "vocab_size": recipe.model.vocab_size,
        "epochs": round(recipe.training.steps / lesson.steps_per_epoch, 2),
        "repeated": parts.repeated,
        "ambiguous": parts.ambiguous,
        "shared": parts.shared,
    }
    remarks = [*([large] if large else []), *([beginning.remark] if beginning is not None else []), *parts.remarks]
    for part, name in ((lesson.train, "training"), (lesson.valid, "validation")):
        if part.texts.cut:
            remarks.append(
                f"{part.texts.cut:,} units of {name} stand behind the first {recipe.data.max_units:,} of their text "
                "and are not read: --set max_units=N reads more"
            )
    return [
        Report("start", 0, 0, 0.0, detail=detail),
        *(Report("warn", 0, 0, 0.0, text=remark) for remark in remarks),
    ]


def write_start(
    run: ClassifierRun, recipe: ClassifierRecipe, lesson: Classification, stored: store.Stored, wish: Wish
) -> None:
    """Write a complete model directory of step 0."""
    folder = run.writes
    about = {
        "unroll": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": run.device.type,
        "files": [printable_name(wish.file)],
        "examples_digest": stored.digest,
        "examples": len(lesson.train),
    }
    if wish.pretrained is not None:
        about["pretrained"] = printable_name(wish.pretrained.path)
    about |= {"vectors": printable_name(wish.vectors)} if wish.vectors is not None else {}
    about |= {"valid_file": printable_name(wish.valid)} if wish.valid is not None else {}
    write_recipe(folder, recipe, about)
    save_reader(folder, lesson.reader)
    save_classifier(folder, lesson.info, lesson.reader)
    save_weights(run, None)
    save(run)
