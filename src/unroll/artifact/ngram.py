"""An n-gram as a model directory: counted from files, measured on held-back text, written, and opened again."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from unroll._version import __version__
from unroll.artifact.directory import (
    DATA,
    DATA_PATH,
    WEIGHTS,
    check_free,
    clear,
    damaged,
    locked,
    output_folder,
    partial_of,
    publish,
    put_back_replaced,
    read_info,
    save_description,
)
from unroll.artifact.events import METRICS, EventLog
from unroll.data.blocks import file_size
from unroll.data.corpus import (
    Corpus,
    DataConfig,
    is_prepared,
    load_corpus,
    prepared_corpus,
    refuse_split_and_valid,
    write_corpus,
)
from unroll.files import Files, Folder, StrPath, as_path, as_paths, explained, printable_name, real_folder
from unroll.predict.ngram import NgramConfig, NgramPredictor, Tables, fault
from unroll.predict.ngram_counts import count
from unroll.predict.protocols import stream
from unroll.progress import Progress, Work, mapped
from unroll.settings import from_mapping, to_mapping, toml_of

UNSIGNED = ("U8", "U16", "U32")


def ngram(
    files: Files,
    *,
    order: int,
    out: StrPath | None = None,
    level: str | None = None,
    words: str | None = None,
    split: str | None = None,
    valid: StrPath | None = None,
    test: StrPath | None = None,
    separator: str | None = None,
    min_count: int | None = None,
    vocab_size: int | None = None,
    force: bool = False,
) -> Work[None]:
    """Count a Kneser-Ney n-gram of text files, or of a prepared corpus, yielding progress.

    The model appears in `out`, by default `ngram_folder(files, order)`. All of the text is counted, unless a `split`
    holds parts of it back, or `valid` and `test` name other texts, on which it is measured. Raises UserError.
    """
    refuse_split_and_valid(split, valid)
    choices = {"level": level, "words": words, "split": split, "separator": separator}
    counts = {"min_count": min_count, "vocab_size": vocab_size}
    data = {name: value for name, value in (choices | counts).items() if value is not None}
    folder = Path(out) if out is not None else ngram_folder(files, order)
    return write_ngram(as_paths(files), folder, order, data, valid=as_path(valid), test=as_path(test), force=force)


def ngram_folder(files: Files, order: int) -> Path:
    """Return where an n-gram is written when no folder is named: runs/, the name of the first text and the order."""
    folder = output_folder(files)
    return folder.with_name(f"{folder.name}-{order}gram")


def write_ngram(
    files: Sequence[Path],
    out: Path,
    order: int,
    data: Mapping[str, Any],
    *,
    valid: Path | None = None,
    test: Path | None = None,
    force: bool = False,
) -> Work[None]:
    """Count the n-grams of text files, or of a prepared corpus, yielding progress; `out` appears when it is complete.

    `data` are the keys of a DataConfig that the user fixed. All of the text is counted, unless they name a split.
    Raises UserError for what a user can fix.
    """
    started = time.monotonic()
    config = from_mapping(DataConfig, {"split": "100"} | dict(data), "the settings")
    NgramConfig(vocab_size=1, order=order, start_id=0)  # refuses a wrong order before anything is read
    out = real_folder(out)
    put_back_replaced(out)
    inputs = [path for path in (*files, valid, test) if path is not None]
    check_free(out, inputs, force=force)
    for path in inputs:
        if not is_prepared(path):
            file_size(path)
    partial = partial_of(out)
    with ExitStack() as stack:
        with explained(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir(exist_ok=True)
        folder = stack.enter_context(locked(partial, out))
        published = False
        try:
            check_free(out, inputs, force=force)
            earlier = stack.enter_context(locked(out)) if (out / "model.json").exists() else None
            clear(partial)
            if is_prepared(files[0]):
                corpus = prepared_corpus(files, data, valid, test)
                folder.write(DATA_PATH, os.fsencode(files[0].resolve()))
            else:
                yield from write_corpus(files, partial / DATA, config, valid=valid, test=test)
                corpus = load_corpus(partial / DATA)
                folder.check()
            named = {"valid_file": valid, "test_file": test}
            yield from _fill(folder, corpus, order, {name: path.name for name, path in named.items() if path}, started)
            published = True
            publish(folder, out, earlier)
        except BaseException:
            if not published:
                folder.remove()
            raise


def load_ngram(path: Path, config: NgramConfig) -> NgramPredictor:
    """Load the tables of a model directory; raises UserError where they are missing, damaged or not as described."""
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file

    file = path / WEIGHTS
    read_info(file)
    names = _names(config.order)
    try:
        with safe_open(file, "np") as opened:
            keys = opened.keys()
            if set(keys) != {"text", "discounts", *(name for group in names.values() for name in group)}:
                raise damaged(file, f"its tables are not those of order {config.order}")
            for name in keys:
                part = opened.get_slice(name)
                dtypes = ("F64",) if name == "discounts" else UNSIGNED
                shape = [config.order, 3] if name == "discounts" else part.get_shape()[:1]
                if part.get_dtype() not in dtypes or part.get_shape() != shape:
                    raise damaged(file, f"{name} is {part.get_shape()} {part.get_dtype()}")
        arrays = load_file(file)
    except (SafetensorError, ValueError, OSError) as error:
        raise damaged(file, str(error)) from None
    counts, symbols, follows, places = (tuple(arrays[name] for name in members) for members in names.values())
    tables = Tables(config, arrays["text"], arrays["discounts"], counts, symbols, follows, places)
    if why := fault(tables):
        raise damaged(file, why)
    return NgramPredictor(tables)


def _fill(folder: Folder, corpus: Corpus, order: int, about: dict[str, str], started: float) -> Work[None]:
    """Count, measure, and write the files of a model directory."""
    tokenizer, parts = corpus.tokenizer, corpus.info.parts
    config = NgramConfig(tokenizer.vocab_size, order, tokenizer.start_id, lines=tokenizer.level == "word")
    size = parts["train"].bytes
    counting = count(corpus.train, config)
    tables = yield from mapped(counting, lambda orders: Progress("counting", size * orders // order, size, "bytes"))
    folder.write(WEIGHTS, _packed(tables, {"tokens_seen": len(corpus.train)}))
    predictor = NgramPredictor(tables)
    nats: dict[str, float] = {}
    for name, ids in (("valid", corpus.valid), ("test", corpus.test)):
        if ids is None or not len(ids):
            continue
        total, done = 0.0, 0
        for window, _ in stream(predictor, ids, tokenizer.start_id):
            total, done = total + float(window.sum()), done + len(window)
            yield Progress(f"scoring {name}", parts[name].bytes * done // len(ids), parts[name].bytes, "bytes")
        nats[name] = total / len(ids)
    valid_tokens = len(corpus.valid) or None
    result = {
        "protocol": "stream",
        "tokens_seen": len(corpus.train),
        "valid_nats_per_token": nats.get("valid"),
        "valid_tokens": valid_tokens,
        "valid_part_tokens": valid_tokens,
        "test_nats_per_token": nats.get("test"),
        "fallback_discounts": list(tables.fallback_discounts or ()),
    }
    about = {name: printable_name(Path(file)) for name, file in about.items()} | {
        "unroll": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "corpus_digest": corpus.info.digest,
    }
    recipe = {"about": about, "data": to_mapping(corpus.info.config), "model": to_mapping(config)}
    folder.write("recipe.toml", toml_of(recipe))
    folder.write("tokenizer.json", tokenizer.to_json().encode())
    save_description(folder, config, tokenizer, result, parameters=tables.size)
    with closing(EventLog(folder, METRICS)) as log:
        log.write({"kind": "end", "tokens_seen": len(corpus.train), "seconds": round(time.monotonic() - started, 3)})


def _names(order: int) -> dict[str, list[str]]:
    """Return the names that the arrays of Tables have in the file."""
    orders = range(1, order + 1)
    orders_of = {"counts": orders, "symbols": orders[1:], "follows": orders[:-1], "places": orders[:-1]}
    return {group: [f"{group}/{number}" for number in numbers] for group, numbers in orders_of.items()}


def _packed(tables: Tables, info: dict[str, Any]) -> bytes:
    """Return the tables as the content of a safetensors file."""
    from safetensors.numpy import save

    arrays = {"text": tables.text, "discounts": tables.discounts}
    for group, names in _names(tables.config.order).items():
        arrays |= zip(names, getattr(tables, group), strict=True)
    return save(arrays, metadata={"info": json.dumps(info, sort_keys=True)})
