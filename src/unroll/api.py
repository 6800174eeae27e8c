"""The verbs as functions: what the command line calls and a library user imports."""

# Imports stand inside the functions, so that `import unroll` and what only reads files do not load torch.
import os
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from unroll.errors import UserError
from unroll.files import Files, StrPath, explained, real_folder, refuse_input, write_atomically
from unroll.progress import Progress, Work, result
from unroll.settings import Settings, from_mapping, parse_value, setting_pairs, unknown_key

if TYPE_CHECKING:
    import torch

    from unroll.artifact.checkpoint import Loaded
    from unroll.artifact.open import Opened
    from unroll.data.sources import Source
    from unroll.engine.network import Precision
    from unroll.lm.adapted import Adapt
    from unroll.lm.continuations import Next, NextWords
    from unroll.lm.evaluate import Protocol
    from unroll.lm.pairs import PairsResult, Unknown
    from unroll.lm.rescore import Fields, Rescored
    from unroll.lm.sample import Drawn
    from unroll.lm.surprisal import TextScore, Unit, UnitName, UnknownRule
    from unroll.lm.vectors import Embedded, Neighbour, Pool
    from unroll.training.loop import Report
    from unroll.training.recipe import Overrides

T = TypeVar("T")

DEFAULT_MINUTES = 3.0
PACKED = (".gz",)
TEXTS = (
    ".txt", ".text", ".md", ".rst", ".log", ".tex", ".bib", ".html", ".xml", ".json", ".jsonl", ".csv", ".tsv",
    ".yaml", ".toml", ".tokens", ".py", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".js", ".ts", ".sh", ".abc", ".smi",
)  # fmt: skip
"""Endings that are no part of a text's name; others are, so that book.v1.txt and book.v2.txt have a folder each."""


def train(
    files: Files | None = None,
    *,
    out: StrPath | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    arch: str | None = None,
    level: str | None = None,
    split: str | None = None,
    valid: StrPath | None = None,
    test: StrPath | None = None,
    recipe: StrPath | None = None,
    settings: Settings = (),
    seed: int | None = None,
    device: str = "auto",
    base: StrPath | None = None,
    force: bool = False,
    started: float | None = None,
) -> "Generator[Progress | Report, None, None]":
    """Train a model on text files, or on a prepared corpus, yielding progress and reports as they come.

    With no file it learns Python's standard library. The model appears in `out`, by default `output_folder(files)`.
    What is named here overrides the file `recipe`, and `settings` override both. The budget is `minutes` of wall clock
    since `started` (time.monotonic), or a number of steps; with neither, here or in the recipe, three minutes. `base`
    is a model directory to fine-tune. Closing the generator saves a checkpoint. Raises UserError.
    """
    from unroll.artifact.directory import read_description
    from unroll.training.start import Budget, start

    started = time.monotonic() if started is None else started
    given = _paths(files)
    folder = Path(out) if out is not None else output_folder(files)
    overrides = _overrides(recipe, settings, {
        "model": {"arch": arch},
        "data": {"level": level, "split": split},
        "training": {"seed": seed, "steps": steps},
    })  # fmt: skip
    if split is not None and valid is not None:
        raise UserError("both a split and a validation file are given", allowed="one of them", fix="leave one out")
    if minutes is not None:
        if steps is not None or any(key in ("steps", "training.steps") for key, _ in setting_pairs(settings)):
            raise UserError("both minutes and steps are given", allowed="one budget", fix="leave one out")
        overrides["training"].pop("steps", None)  # of the recipe file
    if base is not None:
        overrides["data"].setdefault("level", read_description(Path(base)).get("level"))
    steps = overrides["training"].get("steps")
    budget = (
        Budget(steps=steps) if steps is not None else Budget(minutes=DEFAULT_MINUTES if minutes is None else minutes)
    )

    def reports() -> "Generator[Progress | Report, None, None]":
        with _default_text(folder, wanted=not given) as default:
            yield from start(given or default, folder, budget, overrides, valid=_path(valid), test=_path(test),
                             base=_path(base), device=device, force=force, started=started)  # fmt: skip

    return reports()


def output_folder(files: Files | None) -> Path:
    """Return where a training writes when it is not told: runs/ and the name of the first text."""
    given = _paths(files)
    if not given:
        return Path("runs") / "python-stdlib"
    name = Path(given[0].resolve().name.lstrip("."))
    for endings in PACKED, TEXTS:
        name = name.with_suffix("") if name.suffix.lower() in endings else name
    return Path("runs") / (name.name or "text")


def ngram(
    files: Files,
    *,
    order: int,
    out: StrPath | None = None,
    level: str | None = None,
    split: str | None = None,
    valid: StrPath | None = None,
    test: StrPath | None = None,
    min_count: int | None = None,
    vocab_size: int | None = None,
    force: bool = False,
) -> "Work[None]":
    """Count a Kneser-Ney n-gram of text files, or of a prepared corpus, yielding progress.

    The model appears in `out`, by default `ngram_folder(files, order)`. All of the text is counted, unless a `split`
    holds parts of it back, or `valid` and `test` name other texts, on which it is measured. Raises UserError.
    """
    from unroll.artifact.ngram import make

    if split is not None and valid is not None:
        raise UserError("both a split and a validation file are given", allowed="one of them", fix="leave one out")
    given = {"level": level, "split": split, "min_count": min_count, "vocab_size": vocab_size}
    data = {name: value for name, value in given.items() if value is not None}
    folder = Path(out) if out is not None else ngram_folder(files, order)
    return make(_paths(files), folder, order, data, valid=_path(valid), test=_path(test), force=force)


def ngram_folder(files: Files, order: int) -> Path:
    """Return where an n-gram is written when nothing is said: runs/, the name of the first text and the order."""
    folder = output_folder(files)
    return folder.with_name(f"{folder.name}-{order}gram")


def resume(path: StrPath, *, device: str = "auto") -> "Generator[Report, None, None]":
    """Go on exactly where a training stopped; one that is finished yields nothing. Raises UserError."""
    from unroll.training import start

    yield from start.resume(Path(path), device=device)


def load(path: StrPath, device: "torch.device | str" = "cpu") -> "Loaded":
    """Load a model directory for use; runs no code from it. Raises UserError when it is foreign or damaged."""
    from unroll.artifact import checkpoint

    return checkpoint.load(Path(path), device)


def sample(
    model: "StrPath | Loaded | Opened",
    prompt: str = "",
    length: int = 500,
    *,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    stop: str | Sequence[str] = (),
    seed: int = 0,
    stream: int = 0,
    replace_unknown: bool = False,
) -> "Iterator[Drawn]":
    """Yield up to `length` symbols that follow the prompt, each as soon as it is drawn.

    It ends before the text `stop`, of several before the first that comes. The same seed and stream give the same text;
    the streams of one seed are independent. The defaults are those of the samples taken while training. Raises
    UserError.
    """
    from unroll.engine.network import Network
    from unroll.lm.sample import SampleOptions, encode_prompt, generate, stepper

    if length < 1:
        raise UserError(f"length is {length}", allowed="1 or more", fix="ask for one symbol at least")
    options = SampleOptions(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    opened = _opened(model)
    ids = encode_prompt(opened.tokenizer, prompt, replace_unknown=replace_unknown)
    network = opened.predictor if isinstance(opened.predictor, Network) else None
    step = stepper(opened.predictor)
    return generate(step, opened.tokenizer, ids, length, options, network=network, stream=stream, stop=stop)


def open_model(path: StrPath, precision: "Precision" = "float32") -> "Opened":
    """Open a model directory for any number of calls; needs no torch, runs no code from it. Raises UserError."""
    from unroll.artifact.open import open_model

    return open_model(Path(path), precision=precision)


def quantize(path: StrPath) -> dict[str, Any]:
    """Measure what eight-bit weights cost a model on its validation part, and keep it beside the model.

    Returns `tokens` and, per symbol, `float32_nats`, `int8_nats` and their difference `cost_nats`. Raises UserError.
    """
    from unroll.artifact.quantize import quantize

    return result(quantize(Path(path)))


def score(
    model: "StrPath | Loaded | Opened",
    texts: str | Sequence[str],
    *,
    eos: bool = False,
    unknown: "UnknownRule" = "as-unk",
    state: StrPath | None = None,
    save_state: StrPath | None = None,
) -> "list[TextScore]":
    """Return how probable texts are, each from a fresh state after the start symbol, or from that in the file `state`.

    With `eos` the end of each is scored too; `unknown` says what a symbol costs that the model has never seen. The
    state after a single text is written to the file `save_state`: score(a + b) = score(a) + score(b | state after a).
    Raises UserError.
    """
    from unroll.artifact.saved_state import load_reading, save_reading
    from unroll.lm.surprisal import beginning, score_on, score_texts

    texts = [texts] if isinstance(texts, str) else texts
    opened = _opened(model)
    if state is None and save_state is None:
        return list(score_texts(opened, texts, eos=eos, unknown=unknown))
    if save_state is not None and len(texts) != 1:
        raise UserError(f"there is no one state after {len(texts)} texts", allowed="one text", fix="score them singly")
    reading = beginning(opened) if state is None else load_reading(Path(state), opened)
    scores = [score_on(opened, text, reading, eos=eos, unknown=unknown) for text in texts]
    if save_state is not None:
        save_reading(Path(save_state), scores[0][1], opened.path)
    return [score for score, _ in scores]


def score_file(
    model: "StrPath | Loaded | Opened",
    file: StrPath,
    *,
    unit: "UnitName" = "line",
    fresh: bool = False,
    unknown: "UnknownRule" = "as-unk",
    state: StrPath | None = None,
    save_state: StrPath | None = None,
) -> "Iterator[Unit]":
    """Yield the units of a text file of any size, plain or gzip, with their nats; they tile the file.

    It is read as one row with carried state, from the start symbol or the state in the file `state`; that after it is
    written to `save_state`. With `fresh`, each line is read from a fresh state. Raises UserError.
    """
    from unroll.artifact.saved_state import load_reading, save_reading
    from unroll.lm.surprisal import beginning, score_lines, score_units

    if fresh and (unit != "line" or state is not None or save_state is not None):
        raise UserError(
            "fresh states are of lines, and go with no other state",
            allowed="lines, each from a fresh state; or any unit, with the state carried on",
            fix="leave out --fresh, or what is not --unit line",
        )
    refuse_input(None if save_state is None else Path(save_state), Path(file))
    opened = _opened(model)

    def units() -> "Iterator[Unit]":
        reading = beginning(opened) if state is None else load_reading(Path(state), opened)
        reading = yield from score_units(opened, Path(file), reading, unit, unknown=unknown)
        if save_state is not None:
            save_reading(Path(save_state), reading, opened.path)

    return score_lines(opened, Path(file), unknown=unknown) if fresh else units()


def next_symbols(
    model: "StrPath | Loaded | Opened", text: str, top: int = 10, *, replace_unknown: bool = False
) -> "Next":
    """Return the `top` most probable symbols after a text; above the vocabulary, all of it. Raises UserError."""
    from unroll.lm import continuations as following

    return following.next_symbols(_opened(model), text, top, replace_unknown=replace_unknown)


def next_words(
    model: "StrPath | Loaded | Opened", text: str, top: int = 10, *, replace_unknown: bool = False
) -> "NextWords":
    """Return the `top` most probable whole words after a text, of a model of characters, bytes or BPE pieces.

    A word is its characters and then white space; where the text ends inside a word, all complete it. Raises UserError.
    """
    from unroll.lm import continuations as following

    return following.next_words(_opened(model), text, top, replace_unknown=replace_unknown)


def evolution(path: StrPath) -> list[dict[str, Any]]:
    """Return the samples taken while a model was trained: `step, nats, prompt, temperature, seed, text` each."""
    from unroll.artifact.directory import SAMPLE, SAMPLES, read_description, read_events

    read_description(Path(path))
    return read_events(Path(path) / SAMPLES, SAMPLE)


def prepare(
    files: Files,
    out: StrPath,
    *,
    level: str | None = None,
    split: str | None = None,
    valid: StrPath | None = None,
    test: StrPath | None = None,
    settings: Settings = (),
) -> "Work[None]":
    """Encode text files into the new folder `out`, which `train` takes in place of files; yields progress."""
    from unroll.data import corpus

    if split is not None and valid is not None:
        raise UserError("both a split and a validation file are given", allowed="one of them", fix="leave one out")
    values = {name: value for name, value in (("level", level), ("split", split)) if value is not None}
    hints = get_type_hints(corpus.DataConfig)
    for key, text in setting_pairs(settings):
        name = key.removeprefix("data.")
        if name not in hints:
            raise unknown_key(key, list(hints), "the settings")
        values[name] = parse_value(text, hints[name], f"{key} in the settings")
    config = from_mapping(corpus.DataConfig, values, "the settings")
    return corpus.prepare(_paths(files), Path(out), config, valid=_path(valid), test=_path(test))


def sources() -> "list[Source]":
    """Return the public corpora that `fetch` knows by name."""
    from unroll.data.sources import SOURCES

    return list(SOURCES.values())


def fetch(name: str, out: StrPath = "data") -> "Work[list[Path]]":
    """Download the public corpus `name` into the folder `out`, yielding progress; returns the files of its text.

    What is there already is not downloaded again, and a broken download goes on where it broke off. Raises UserError.
    """
    from unroll.data import sources

    if name not in sources.SOURCES:
        raise unknown_key(name, list(sources.SOURCES), "the public corpora")
    source, folder = sources.SOURCES[name], Path(out)

    def reports() -> "Work[list[Path]]":
        yield from sources.fetch(source, folder)
        return sources.texts(source, folder)

    return reports()


def info(path: StrPath) -> dict[str, Any]:
    """Return what a model is, how it was trained, on what, and how good it is, as JSON. Raises UserError."""
    from unroll.artifact.info import describe

    return describe(Path(path))


def evaluate(
    model: StrPath,
    files: Files,
    protocol: "Protocol" = "stream",
    *,
    adapt: "Adapt | None" = None,
    settings: Settings = (),
    mix: Sequence[StrPath] = (),
    valid: StrPath | None = None,
    precision: "Precision" = "float32",
) -> dict[str, Any]:
    """Return how probable text files, read as one text, are to a model, as JSON.

    `stream` carries the state over the whole text; `lines` reads each line, `crops` nanoGPT's crops of 256, from fresh
    states. `adapt` adds the figures of dynamic evaluation or of a cache, `mix` those of the mixture with other models.
    The mixture's weights, and the options of adaptation unless `settings` name some, are fitted on the model's
    validation part, or on the file `valid`. Raises UserError.
    """
    from unroll.lm.adapted import report

    others = [Path(path) for path in mix]
    return result(
        report(Path(model), _paths(files), protocol, adapt=adapt, settings=settings, mix=others, valid=_path(valid),
               precision=precision)
    )  # fmt: skip


def pairs(
    models: Files, files: Files, *, unknown: "Unknown" = "exclude", eos: bool = True, scored: bool = False
) -> "PairsResult":
    """Return how often models find the good one of two texts likelier, on files of minimal pairs, and compare them.

    Pairs with symbols that a model does not know are left out for all, or read with `<unk>` (`include`). The end of a
    sentence counts, unless `eos` is false. With `scored`, so do models whose scores the files carry. Raises UserError.
    """
    from unroll.lm.pairs import minimal_pairs

    return result(minimal_pairs(_paths(models), _paths(files), unknown, eos=eos, scored=scored))


def rescore(
    model: "StrPath | Loaded | Opened",
    nbest: StrPath,
    *,
    weight: float = 1.0,
    word_bonus: float = 0.0,
    tune: StrPath | None = None,
    fields: "Fields | None" = None,
) -> "Rescored":
    """Return an n-best list with total = old score + weight * ln P(hypothesis) + word_bonus * words.

    With `tune`, a file of references, the weight is the one that leaves the fewest word errors. Raises UserError.
    """
    from unroll.lm.rescore import rescore

    return result(rescore(_opened(model), Path(nbest), weight, word_bonus, _path(tune), fields))


def embed(
    model: "StrPath | Loaded | Opened", file: StrPath, *, out: StrPath | None = None, pool: "Pool" = "last"
) -> "Embedded":
    """Return a vector for each line of a file: the hidden state after it, or the mean or maximum over its symbols.

    With `out` they are written there in numpy's format, and memory does not grow with the file. Raises UserError.
    """
    from unroll.lm.vectors import embed

    return result(embed(_opened(model), Path(file), _path(out), pool))


def similar(
    model: "StrPath | Loaded | Opened",
    file: StrPath,
    query: str,
    *,
    top: int = 10,
    pool: "Pool" = "last",
    vectors: StrPath | None = None,
) -> "list[Neighbour]":
    """Return the lines of a file whose vectors, read from it or from `vectors`, are nearest to that of a text."""
    from unroll.lm.vectors import similar_lines

    return result(similar_lines(_opened(model), Path(file), query, top, pool, _path(vectors)))


def similar_symbols(model: "StrPath | Loaded | Opened", symbol: str, *, top: int = 10) -> "list[Neighbour]":
    """Return the symbols whose embeddings are nearest to that of `symbol`, which is left out. Raises UserError."""
    from unroll.lm import vectors

    return vectors.similar_symbols(_opened(model), symbol, top)


def compare(models: Sequence[StrPath], files: Files, *, protocol: "Protocol" = "stream") -> dict[str, Any]:
    """Return models side by side on one text, as JSON: size, figures, speed, context.

    Each pair is tested on the same lines: the difference, its 95 % interval, and how often chance does as much.
    Raises UserError.
    """
    from unroll.lm.compare import compare

    return result(compare([Path(model) for model in models], _paths(files), protocol))


def _paths(files: Files | None) -> list[Path]:
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | os.PathLike) else [Path(file) for file in files]


def _opened(model: "StrPath | Loaded | Opened") -> "Opened":
    from unroll.artifact.open import Opened, open_model

    if isinstance(model, Opened):
        return model
    if isinstance(model, str | os.PathLike):
        return open_model(Path(model))
    from unroll.predict.torch import TorchPredictor

    return Opened(model.path, TorchPredictor(model.model), model.tokenizer, model.description)


def _path(file: StrPath | None) -> Path | None:
    return None if file is None else Path(file)


def _overrides(recipe: StrPath | None, settings: Settings, named: "Overrides") -> "Overrides":
    """Return what is fixed by a recipe file, over it by named arguments that are not None, over both by settings."""
    from unroll.training.recipe import TABLES, read_overrides, set_override

    overrides: Overrides = {name: {} for name in TABLES} if recipe is None else read_overrides(Path(recipe))
    for table, values in named.items():
        overrides[table] |= {key: value for key, value in values.items() if value is not None}
    for key, value in setting_pairs(settings):
        set_override(overrides, key, value)
    return overrides


@contextmanager
def _default_text(out: Path, *, wanted: bool) -> Iterator[list[Path]]:
    """Give the default corpus as a file, for as long as it takes to read it.

    The folder has a name of its own for each process, which stays when a process starts itself again for calibration.
    """
    if not wanted:
        yield []
        return
    from unroll.data.corpus import remove_orphans
    from unroll.data.sources import stdlib_corpus

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
