"""The training of a classifier as it is asked for, started or resumed."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unroll.artifact.classifier import ClassifierInfo, read_classifier, read_reader
from unroll.artifact.directory import output_folder
from unroll.artifact.open import Opened
from unroll.artifact.vocabularies import digests_of, save_reader
from unroll.data.labelled import Examples, Parts, parts_of, read_examples
from unroll.errors import UserError
from unroll.files import Folder, StrPath, as_path
from unroll.nn.encoder import Classifier
from unroll.nn.encoder_config import classifier_parameters
from unroll.progress import Progress, Work
from unroll.settings import Settings
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
from unroll.training.checks import check_alone
from unroll.training.prepare import Training
from unroll.training.recipe import check_overrides, write_recipe
from unroll.training.report import Report
from unroll.training.run import begin
from unroll.training.task import (
    Terms,
    about_of,
    check_output,
    fitting,
    new_directory,
    new_run,
    reopened,
    resumed,
    terms_of,
    trained,
    write_start,
)


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
    terms: Terms
    pretrained: Opened | None
    vectors: Path | None


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
    columns = (text,) if isinstance(text, str) else tuple(text)
    examples = file if isinstance(file, Examples) else None
    path = Path(file) if not isinstance(file, Examples) else file.path
    folder = Path(out) if out is not None else output_folder(path)
    terms = terms_of(
        TABLES, recipe=recipe, settings=settings, named={"training": {"seed": seed, "steps": steps}}, minutes=minutes,
        device=device, force=force, started=started,
    )  # fmt: skip
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
    opened, overrides = None, terms.overrides
    if pretrained is not None:
        opened = open_pretrained(Path(pretrained), overrides["data"].get("level"))
        overrides = with_pretrained(opened, overrides)
    check_overrides(overrides, TABLES)
    terms = replace(terms, overrides=overrides)
    wish = Wish(path, examples, columns, label, as_path(valid), multi_label, terms, opened, as_path(vectors))
    return trained(partial(prepare, out=folder, wish=wish))


def resume_classifier(path: StrPath, *, device: str = "auto") -> Generator[Report, None, None]:
    """Continue the training of a classifier exactly where it stopped; yields nothing if it is finished.

    Raises UserError if it cannot.
    """
    with reopened(path, device, "a classifier", read_classifier, ClassifierRecipe, TABLES, store.load) as again:
        if again is not None:
            reader = read_reader(again.path, again.info)
            lesson = Classification(again.info, reader, again.stored.train, again.stored.valid, again.recipe.training)
            yield from resumed(make_run(again.folder, again.recipe, again.device), lesson)


def prepare(locks: ExitStack, out: Path, wish: Wish) -> Work[Training]:
    """Read the examples and choose a recipe; return the training, its directories locked by `locks`.

    The directory `out` appears, complete and loadable; with `force` an earlier model stays there, and the new one lies
    beside it. Raises UserError for what a user can fix.
    """
    terms = wish.terms
    inputs = [path for path in (wish.file, wish.valid, wish.vectors) if path is not None]
    out = check_output(out, inputs, "classify train", force=terms.force)
    parts = parts_of(*(yield from _examples(wish)))
    with new_directory(locks, out, inputs, force=terms.force) as (folder, earlier):
        yield Progress("encoding", 0, 1)
        fixed = terms.overrides["data"]
        level = fixed.get("level") or level_for(parts.train.texts)
        data, reader = learn_reader(parts.train.texts, fixed | {"level": level})
        overrides, beginning = terms.overrides, None
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
        recipe = choose(data, sizes, terms.budget.steps or 1, overrides, pretrained=wish.pretrained is not None)
        large = announcement(recipe, stored.train.texts.units.lengths, terms.device)
        reader = reader if recipe.model.char_hidden_size else replace(reader, characters=None)
        if reader.characters is None and sizes.chars:
            stored = stored.without_characters()
        info = ClassifierInfo(
            recipe.model, labels, wish.text, wish.label, data.lowercase, data.max_units, *digests_of(reader), None
        )
        lesson = Classification(info, reader, stored.train, stored.valid, recipe.training)
        if terms.budget.minutes is not None:
            yield Progress("measuring this machine", 0, 1)
            learning = replace(recipe, optim=replace(recipe.optim, thaw_steps=0))  # all weights, as later
            threads, steps = fitting(terms, make_run, learning, lesson, lesson.epochs.size)
            enough = steps_enough(data.level, sizes.units, lesson.epochs.size)
            steps = min(steps, enough)
            recipe = choose(data, sizes, steps, overrides, threads, pretrained=wish.pretrained is not None)
            lesson = replace(lesson, config=recipe.training)
        run = make_run(folder, recipe, terms.device)
        if beginning is not None:
            beginning.apply(run.model)
            run = begin(folder, run.model, recipe.optim, recipe.training)  # averages begin with these weights
        first = list(first_reports(parts, recipe, lesson, beginning, large))

        def write(folder: Folder) -> None:
            pretrained = None if wish.pretrained is None else wish.pretrained.path
            about = about_of(
                run, stored.digest, wish.file, pretrained=pretrained, vectors=wish.vectors, valid_file=wish.valid
            )
            write_recipe(folder, recipe, about | {"examples": len(lesson.train)})
            save_reader(folder, lesson.reader)
            stored.save(folder)

        return write_start(run, lesson, first, out, earlier, write)


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
    return new_run(partial(Classifier, recipe.model), folder, recipe.optim, recipe.training, device)


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
        "epochs": round(recipe.training.steps / lesson.epochs.size, 2),
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
