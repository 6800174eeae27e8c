"""The training of a translator as it is asked for, started or resumed."""

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from unroll.artifact.directory import output_folder
from unroll.artifact.translator import read_readers, read_translator, save_readers
from unroll.data.parallel import ParallelParts, parallel_parts, read_parallel
from unroll.files import Folder, StrPath
from unroll.nn.precision import has_bfloat16_lstm
from unroll.nn.translator import Translator
from unroll.nn.translator_config import AttentionKind, translator_parameters
from unroll.progress import Progress, Work
from unroll.settings import Settings
from unroll.tasks.translate import store
from unroll.tasks.translate.lesson import Translation, TranslatorRun
from unroll.tasks.translate.memory import announcement
from unroll.tasks.translate.recipe import (
    MOST_EPOCHS,
    TABLES,
    Sizes,
    TranslationLevel,
    TranslatorRecipe,
    choose,
)
from unroll.tasks.translate.vocabulary import learn_readers
from unroll.training.checks import check_alone
from unroll.training.prepare import Training
from unroll.training.recipe import Overrides, check_overrides, write_recipe
from unroll.training.report import Report
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
    """What is asked of the training of a translator."""

    source: Path
    target: Path
    valid: tuple[Path, Path] | None
    terms: Terms

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        return [self.source, self.target, *(self.valid or ())]


def train_translator(
    source: StrPath,
    target: StrPath,
    *,
    valid: tuple[StrPath, StrPath] | None = None,
    out: StrPath | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    attention: AttentionKind | None = None,
    level: TranslationLevel | None = None,
    recipe: StrPath | None = None,
    settings: Settings = (),
    seed: int | None = None,
    device: str = "auto",
    force: bool = False,
    started: float | None = None,
) -> Generator[Progress | Report, None, None]:
    """Train a translator on two files, yielding progress and reports as they come.

    Line n of `target` translates line n of `source`; pairs of which one line is empty are left out and reported.
    Without `valid`, two files like them, one pair in twenty is held out. The model appears in `out`, by default
    `output_folder(source)`. The budget is `minutes` since `started` (time.monotonic), which may end sooner where more
    rounds over the pairs would teach nothing, or a number of steps; with neither, three minutes. `settings` override
    the file `recipe`. Closing the generator saves a checkpoint. Raises UserError.
    """
    check_alone("a translator")
    folder = Path(out) if out is not None else output_folder(Path(source))
    named: Overrides = {
        "training": {"seed": seed, "steps": steps}, "model": {"attention": attention}, "data": {"level": level}
    }  # fmt: skip
    terms = terms_of(
        TABLES, recipe=recipe, settings=settings, named=named, minutes=minutes, device=device, force=force,
        started=started,
    )  # fmt: skip
    check_overrides(terms.overrides, TABLES)
    wish = Wish(Path(source), Path(target), None if valid is None else (Path(valid[0]), Path(valid[1])), terms)
    return trained(partial(prepare, out=folder, wish=wish))


def resume_translator(path: StrPath, *, device: str = "auto") -> Generator[Report, None, None]:
    """Continue the training of a translator exactly where it stopped; yields nothing if it is finished.

    Raises UserError if it cannot.
    """
    with reopened(path, device, "a translator", read_translator, TranslatorRecipe, TABLES, store.load) as again:
        if again is not None:
            readers = read_readers(again.path, again.info)
            lesson = Translation(again.info, readers, again.stored.train, again.stored.valid, again.recipe.training)
            yield from resumed(make_run(again.folder, again.recipe, again.device), lesson)


def prepare(locks: ExitStack, out: Path, wish: Wish) -> Work[Training]:
    """Read the pairs and choose a recipe; return the training, its directories locked by `locks`.

    The directory `out` appears, complete and loadable; with `force` an earlier model stays there, and the new one lies
    beside it. Raises UserError for what a user can fix.
    """
    terms = wish.terms
    out = check_output(out, wish.files, "translate train", force=terms.force)
    pairs = yield from read_parallel(wish.source, wish.target)
    parts = parallel_parts(pairs, None if wish.valid is None else (yield from read_parallel(*wish.valid)))
    with new_directory(locks, out, wish.files, force=terms.force) as (folder, earlier):
        yield Progress("encoding", 0, 1)
        data, readers = learn_readers(parts.train, terms.overrides["data"])
        stored = store.Stored.of(parts, readers)
        own = 0 if readers.shared else readers.source.tokenizer.vocab_size
        sizes = Sizes(readers.target.tokenizer.vocab_size, own, len(stored.train))
        # Elsewhere bfloat16 is no faster.
        fast = terms.device.type == "cpu" and has_bfloat16_lstm()
        recipe = choose(data, sizes, terms.budget.steps or 1, terms.overrides, fast=fast)
        large = announcement(recipe, stored.train, terms.device)
        info = readers.info(recipe.model, data.max_units)
        lesson = Translation(info, readers, stored.train, stored.valid, recipe.training)
        if terms.budget.minutes is not None:
            yield Progress("measuring this machine", 0, 1)
            threads, steps = fitting(terms, make_run, recipe, lesson, lesson.epochs.size)
            steps = min(steps, MOST_EPOCHS * lesson.epochs.size)
            recipe = choose(data, sizes, steps, terms.overrides, threads, fast=fast)
            lesson = replace(lesson, config=recipe.training)
        run = make_run(folder, recipe, terms.device)

        def write(folder: Folder) -> None:
            valid, valid_target = wish.valid or (None, None)
            about = about_of(
                run, stored.digest, wish.source, wish.target, valid_source=valid, valid_target=valid_target
            )
            write_recipe(folder, recipe, about | {"pairs": len(lesson.train)})
            save_readers(folder, lesson.readers)
            stored.save(folder)

        return write_start(run, lesson, first_reports(parts, recipe, lesson, large), out, earlier, write)


def make_run(folder: Folder | None, recipe: TranslatorRecipe, device: torch.device) -> TranslatorRun:
    """Return a run at step 0; its first weights depend on the recipe alone."""
    return new_run(partial(Translator, recipe.model), folder, recipe.optim, recipe.training, device)


def first_reports(
    parts: ParallelParts, recipe: TranslatorRecipe, lesson: Translation, large: str | None
) -> list[Report]:
    """Return the reports before the first step: what was chosen, and what is odd about the pairs."""
    detail = {
        "parameters": translator_parameters(recipe.model),
        "level": recipe.data.level,
        "attention": recipe.model.attention,
        "steps": recipe.training.steps,
        "train_pairs": len(lesson.train),
        "valid_pairs": len(lesson.valid),
        "vocab_size": recipe.model.vocab_size,
        "source_size": recipe.model.source_size,
        "epochs": round(recipe.training.steps / lesson.epochs.size, 2),
        "repeated": parts.repeated,
        "shared": parts.shared,
    }
    remarks = [*([large] if large else []), *parts.remarks]
    for part, name in ((lesson.train, "training"), (lesson.valid, "validation")):
        if part.cut:
            remarks.append(
                f"{part.cut:,} units of {name} stand behind the first {recipe.data.max_units:,} of their text "
                "and are not read: --set max_units=N reads more"
            )
    return [
        Report("start", 0, 0, 0.0, detail=detail),
        *(Report("warn", 0, 0, 0.0, text=remark) for remark in remarks),
    ]
