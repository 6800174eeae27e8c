"""The training of a tagger as it is asked for, started or resumed."""

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from unroll.artifact.directory import output_folder
from unroll.artifact.open import open_model
from unroll.artifact.tagger import (
    CONTEXT,
    TaggerInfo,
    context_digest,
    context_reader,
    copied_context,
    open_context,
    read_reader,
    read_tagger,
    read_with,
)
from unroll.artifact.vocabularies import digests_of, save_reader
from unroll.data.ragged import Ragged
from unroll.data.reader import Reader
from unroll.data.tagged import Tagged, is_conllu, read_tagged
from unroll.engine.crf import Scheme
from unroll.errors import UserError, number_of
from unroll.files import Folder, StrPath, as_path
from unroll.nn.tagger import Tagger
from unroll.nn.tagger_config import tagger_parameters
from unroll.predict.contexts import ContextReader
from unroll.progress import Progress, Work
from unroll.settings import Settings, from_mapping
from unroll.tasks.tag.entities import OUTSIDE, check_scheme, entities
from unroll.tasks.tag.lesson import TaggedRows, TaggerRun, Tagging
from unroll.tasks.tag.memory import announcement, check_contexts
from unroll.tasks.tag.recipe import TABLES, Sizes, TaggerRecipe, TokensConfig, choose, steps_enough
from unroll.tasks.tag.store import Part, Stored, load, parts_of
from unroll.tasks.tag.vocabulary import learn_reader
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
    """What is asked of the training of a tagger."""

    file: Path
    tagged: Tagged | None
    """The sentences of the file, where they are in memory already."""
    valid: Path | None
    column: str
    token_column: int
    scheme: Scheme
    terms: Terms
    pretrained: Path | None


def train_tagger(
    file: StrPath | Tagged,
    *,
    column: str | None = None,
    token_column: int = 1,
    scheme: Scheme = "none",
    valid: StrPath | None = None,
    out: StrPath | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    crf: bool = False,
    pretrained: StrPath | None = None,
    recipe: StrPath | None = None,
    settings: Settings = (),
    seed: int | None = None,
    device: str = "auto",
    force: bool = False,
    started: float | None = None,
) -> Generator[Progress | Report, None, None]:
    """Train a tagger on the sentences of a CoNLL-U file or of one with columns, yielding progress and reports.

    The sentences may also be in memory, as `unroll.data.tagged.tagged_of` makes them. `column` names the tags, by
    default `upos` of CoNLL-U and elsewhere the last one; `token_column` has the tokens of a file that is no CoNLL-U.
    `scheme` tells how tags mark entities: no predicted sentence will break it. With `crf` the tags of a sentence are
    scored as one path. Without `valid`, one sentence in ten is held out. The model appears in `out`, by default
    `output_folder(file)`. The budget is `minutes` since `started` (time.monotonic), which may end sooner where more
    rounds over the sentences would teach nothing, or a number of steps; with neither, three minutes. `settings`
    override the file `recipe`. `pretrained` is the directory of a language model of characters or bytes, whose state
    at the end of each token is read beside it; the tagger keeps a copy of it. Closing the generator saves a checkpoint.
    Raises UserError.
    """
    check_alone("a tagger")
    tagged = file if isinstance(file, Tagged) else None
    path = file.path if isinstance(file, Tagged) else as_path(file)
    folder = Path(out) if out is not None else output_folder(path)
    named: Overrides = {"training": {"seed": seed, "steps": steps}, "model": {"crf": True if crf else None}}
    terms = terms_of(
        TABLES, recipe=recipe, settings=settings, named=named, minutes=minutes, device=device, force=force,
        started=started,
    )  # fmt: skip
    check_overrides(terms.overrides, TABLES)
    column = column or ("upos" if is_conllu(path) else "-1")
    wish = Wish(path, tagged, as_path(valid), column, token_column, scheme, terms, as_path(pretrained))
    return trained(partial(prepare, out=folder, wish=wish))


def resume_tagger(path: StrPath, *, device: str = "auto") -> Generator[Progress | Report, None, None]:
    """Continue the training of a tagger exactly where it stopped; yields nothing if it is finished.

    Contexts are read again: they are not stored. Raises UserError if it cannot.
    """
    with reopened(path, device, "a tagger", read_tagger, TaggerRecipe, TABLES, load) as again:
        if again is not None:
            reader, context = read_reader(again.path, again.info), open_context(again.path, again.info)
            lesson = yield from _lesson(again.info, reader, context, again.stored, again.recipe)
            yield from resumed(make_run(again.folder, again.recipe, again.device), lesson)


def prepare(locks: ExitStack, out: Path, wish: Wish) -> Work[Training]:
    """Read the sentences and choose a recipe; return the training, its directories locked by `locks`.

    The directory `out` appears, complete and loadable; with `force` an earlier model stays there, and the new one lies
    beside it. Raises UserError for what a user can fix.
    """
    terms, inputs = wish.terms, [path for path in (wish.file, wish.valid) if path is not None]
    out = check_output(out, inputs, "tag train", force=terms.force)
    tagged = wish.tagged
    if tagged is None:
        tagged = yield from read_tagged(wish.file, wish.column, token_column=wish.token_column)
    valid = None
    if wish.valid is not None:
        valid = yield from read_tagged(wish.valid, wish.column, token_column=wish.token_column)
    check_scheme(set(chain.from_iterable(tagged.tags)), wish.scheme, f"{wish.file}")
    broken = _broken(tagged, wish.scheme)
    stored, remarks = parts_of(tagged, valid)
    remarks = (*remarks, *broken)
    copied, context = None, None
    if wish.pretrained is not None:
        context = context_reader(open_model(wish.pretrained))  # refuses other kinds of models, before files are missed
        copied = copied_context(wish.pretrained)
    with new_directory(locks, out, inputs, force=terms.force) as (folder, earlier):
        data = from_mapping(TokensConfig, terms.overrides["data"], "the recipe's [data]")
        reader = learn_reader(stored.train.sentences, data)
        assert reader.characters is not None
        sizes = Sizes(
            reader.tokenizer.vocab_size, reader.characters.vocab_size, len(stored.tags), len(stored.train),
            0 if context is None else context.size,
        )  # fmt: skip
        recipe = choose(data, sizes, terms.budget.steps or 1, terms.overrides)
        reader = reader if recipe.model.char_hidden_size else replace(reader, characters=None)
        info = TaggerInfo(
            recipe.model, stored.tags, tagged.column, wish.token_column, wish.scheme, data.lowercase,
            *digests_of(reader), None if copied is None else context_digest(copied), None,
        )  # fmt: skip
        lesson = yield from _lesson(info, reader, context, stored, recipe)
        large = announcement(recipe, lesson.epochs, terms.device)
        if terms.budget.minutes is not None:
            yield Progress("measuring this machine", 0, 1)
            size = lesson.epochs.size
            threads, steps = fitting(terms, make_run, recipe, lesson, size)
            recipe = choose(data, sizes, min(steps, steps_enough(size)), terms.overrides, threads)
            lesson = replace(lesson, config=recipe.training)
        run = make_run(folder, recipe, terms.device)
        first = first_reports(stored, recipe, lesson, [*([large] if large else []), *remarks])

        def write(folder: Folder) -> None:
            about = about_of(run, stored.digest, wish.file, pretrained=wish.pretrained, valid_file=wish.valid)
            write_recipe(folder, recipe, about | {"sentences": len(stored.train)})
            save_reader(folder, reader)
            stored.save(folder)
            if copied is not None:
                folder.make_folder(CONTEXT)
                for name, content in copied.items():
                    folder.write(f"{CONTEXT}/{name}", content)

        return write_start(run, lesson, first, out, earlier, write)


def _broken(tagged: Tagged, scheme: Scheme) -> list[str]:
    """Return the remark on tags that break their scheme; raises UserError where it is another, or fits no sentence."""
    tags = set(chain.from_iterable(tagged.tags))
    if scheme == "bioes" and not any(tag.startswith(("E-", "S-")) for tag in tags):
        raise UserError(
            f"no tag of {tagged.path} is E-TYPE or S-TYPE, and the scheme is bioes",
            allowed="tags that mark the last token of each entity",
            fix="try --scheme bio",
        )
    single = {"bio": "B-", "bioes": "S-"}.get(scheme)
    if single and OUTSIDE not in tags and not any(tag.startswith(single) for tag in tags):
        raise UserError(
            f"no tag of {tagged.path} is {OUTSIDE} or {single}TYPE, so {scheme} has none for a sentence of one token",
            allowed="one of these tags, at least once",
            fix="add sentences that have one, or leave --scheme out",
        )
    broken = 0 if scheme == "none" else sum(entities(row, scheme)[1] for row in tagged.tags)
    count = number_of(broken, "tag")
    return [f"{count} of {tagged.path} break {scheme}: learnt as they stand, never predicted so"] if broken else []


def _lesson(
    info: TaggerInfo, reader: Reader, context: ContextReader | None, stored: Stored, recipe: TaggerRecipe
) -> Work[Tagging]:
    """Return the lesson of stored sentences, with their contexts where any are read."""
    if context is not None:
        check_contexts(stored.train.tokens + stored.valid.tokens, context.size)
    ids = {tag: id for id, tag in enumerate(info.tags)}

    def rows(part: Part) -> Work[TaggedRows]:
        yield Progress("encoding", 0, 1)
        reading = yield from read_with(reader, context, part.sentences)
        return TaggedRows(reading, Ragged.of([[ids[tag] for tag in tags] for tags in part.tags]))

    train = yield from rows(stored.train)
    valid = yield from rows(stored.valid)
    return Tagging(info, train, valid, recipe.training)


def make_run(folder: Folder | None, recipe: TaggerRecipe, device: torch.device) -> TaggerRun:
    """Return a run at step 0; its first weights depend on the recipe alone."""
    return new_run(partial(Tagger, recipe.model), folder, recipe.optim, recipe.training, device)


def first_reports(stored: Stored, recipe: TaggerRecipe, lesson: Tagging, remarks: list[str]) -> list[Report]:
    """Return the reports before the first step: what was chosen, and what is odd about the sentences."""
    known = lesson.valid.reading.units.values
    detail: dict[str, Any] = {
        "parameters": tagger_parameters(recipe.model),
        "steps": recipe.training.steps,
        "train_sentences": len(stored.train),
        "train_tokens": stored.train.tokens,
        "valid_sentences": len(stored.valid),
        "valid_tokens": stored.valid.tokens,
        "valid_unknown": int((known == 0).sum()),
        "tags": recipe.model.tags,
        "vocab_size": recipe.model.vocab_size,
        "context_size": recipe.model.context_size,
        "epochs": round(recipe.training.steps / lesson.epochs.size, 2),
    }
    return [
        Report("start", 0, 0, 0.0, detail=detail),
        *(Report("warn", 0, 0, 0.0, text=remark) for remark in remarks),
    ]
