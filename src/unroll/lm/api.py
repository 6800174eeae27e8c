"""The verbs as functions: what the command line calls and a library user imports."""

# Imports stand inside the functions, so that `import unroll` and what only reads files do not load torch.
import json
import os
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from unroll.config import from_mapping, parse_value, unknown_key
from unroll.errors import UserError
from unroll.files import explained, write_atomically

if TYPE_CHECKING:
    import torch

    from unroll.data.encode import Progress
    from unroll.data.sources import Source
    from unroll.lm.checkpoint import Loaded
    from unroll.lm.recipe import Overrides
    from unroll.lm.sample import Drawn
    from unroll.lm.train import Report

StrPath = str | os.PathLike[str]
Files = StrPath | Sequence[StrPath]
Settings = Mapping[str, object] | Sequence[str]
"""Keys of the recipe and their values, as a mapping or as `KEY=VALUE`; a key may name its table (`model.dropout`)."""

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
    from unroll.lm.directory import read_description
    from unroll.lm.run import Budget, start

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
        if steps is not None or any(key in ("steps", "training.steps") for key, _ in _pairs(settings)):
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


def resume(path: StrPath, *, device: str = "auto") -> "Generator[Report, None, None]":
    """Go on exactly where a training stopped; one that is finished yields nothing. Raises UserError."""
    from unroll.lm import run

    yield from run.resume(Path(path), device=device)


def load(path: StrPath, device: "torch.device | str" = "cpu") -> "Loaded":
    """Load a model directory for use; runs no code from it. Raises UserError when it is foreign or damaged."""
    from unroll.lm import checkpoint

    return checkpoint.load(Path(path), device)


def sample(
    model: "StrPath | Loaded",
    prompt: str = "",
    length: int = 500,
    *,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    stop: str = "",
    seed: int = 0,
    stream: int = 0,
    replace_unknown: bool = False,
) -> "Iterator[Drawn]":
    """Yield up to `length` symbols that follow the prompt, each as soon as it is drawn; ends before the text `stop`.

    The same seed and stream give the same text; the streams of one seed are independent. The defaults are those of the
    samples taken while training. Raises UserError.
    """
    from unroll.lm.checkpoint import Loaded
    from unroll.lm.sample import SampleOptions, encode_prompt, generate, stepper
    from unroll.lm.torch_predictor import TorchPredictor

    if length < 1:
        raise UserError(f"length is {length}", allowed="1 or more", fix="ask for one symbol at least")
    options = SampleOptions(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    loaded = model if isinstance(model, Loaded) else load(model)
    ids = encode_prompt(loaded.tokenizer, prompt, replace_unknown=replace_unknown)
    return generate(
        stepper(TorchPredictor(loaded.model)), loaded.tokenizer, ids, length, options, stream=stream, stop=stop
    )


def evolution(path: StrPath) -> list[dict[str, Any]]:
    """Return the samples taken while a model was trained: `step, nats, prompt, temperature, seed, text` each."""
    from unroll.lm.directory import SAMPLE, SAMPLES, read_description, read_events

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
) -> "Iterator[Progress]":
    """Encode text files into the new folder `out`, which `train` takes in place of files; yields progress."""
    from unroll.data import corpus

    if split is not None and valid is not None:
        raise UserError("both a split and a validation file are given", allowed="one of them", fix="leave one out")
    values = {name: value for name, value in (("level", level), ("split", split)) if value is not None}
    hints = get_type_hints(corpus.DataConfig)
    for key, text in _pairs(settings):
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


def fetch(name: str, out: StrPath = "data") -> "Generator[Progress, None, list[Path]]":
    """Download the public corpus `name` into the folder `out`, yielding progress; returns the files of its text.

    What is there already is not downloaded again, and a broken download goes on where it broke off. Raises UserError.
    """
    from unroll.data import sources

    if name not in sources.SOURCES:
        raise unknown_key(name, list(sources.SOURCES), "the public corpora")
    source, folder = sources.SOURCES[name], Path(out)

    def reports() -> "Generator[Progress, None, list[Path]]":
        yield from sources.fetch(source, folder)
        return sources.texts(source, folder)

    return reports()


def info(path: StrPath) -> dict[str, Any]:
    """Return what a model is, how it was trained, on what, and how good it is, as JSON. Raises UserError."""
    from unroll.lm.describe import describe

    return describe(Path(path))


def _paths(files: Files | None) -> list[Path]:
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | os.PathLike) else [Path(file) for file in files]


def _path(file: StrPath | None) -> Path | None:
    return None if file is None else Path(file)


def _pairs(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield keys and their values as TOML."""
    if isinstance(settings, Mapping):
        yield from (
            (key, json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")) for key, value in settings.items()
        )
        return
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"'{setting}' sets nothing", allowed="KEY=VALUE", fix=f"write for example {setting}=1")
        yield key.strip(), value


def _overrides(recipe: StrPath | None, settings: Settings, named: "Overrides") -> "Overrides":
    """Return what is fixed by a recipe file, over it by named arguments that are not None, over both by settings."""
    from unroll.lm.recipe import TABLES, read_overrides, set_override

    overrides: Overrides = {name: {} for name in TABLES} if recipe is None else read_overrides(Path(recipe))
    for table, values in named.items():
        overrides[table] |= {key: value for key, value in values.items() if value is not None}
    for key, value in _pairs(settings):
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
