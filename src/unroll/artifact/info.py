"""Describes a model directory: the model, its training, its text, its figures, its samples."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from unroll.artifact.classifier_info import classifier_info
from unroll.artifact.directory import (
    CLASSIFIER,
    SEQUENCE,
    TAGGER,
    TRANSLATOR,
    WEIGHTS,
    check_types,
    data_path,
    kind_of,
    read_description,
    read_kind,
    read_weights_info,
)
from unroll.artifact.events import METRICS, SAMPLE, SAMPLES, read_events
from unroll.artifact.quantize import read_cost
from unroll.artifact.series_info import series_info
from unroll.artifact.steering import read_steering
from unroll.artifact.tagger_info import tagger_info
from unroll.artifact.translator_info import translator_info
from unroll.data.corpus import CorpusInfo, load_corpus
from unroll.errors import UserError, WrongKind
from unroll.files import StrPath
from unroll.settings import check, read_toml

TABLES = ("about", "data", "model", "optim", "training")
ABOUT: dict[str, Any] = dict.fromkeys(("corpus_digest", "fine_tuned_from", "valid_file", "test_file"), str | None)
OF_TASK = {
    CLASSIFIER: classifier_info, SEQUENCE: series_info, TAGGER: tagger_info, TRANSLATOR: translator_info
}  # fmt: skip
"""What describes the model of a task."""

MUCH_UNKNOWN = 0.05
"""Share of `<unk>` in a text above which a fine-tuning should add its symbols."""
ADD_THEM = "Give them ids of their own: fine-tune with --new-symbols add"


def info(path: StrPath) -> dict[str, Any]:
    """Return a description of a model, its training, its text and its figures, as JSON.

    Figures that are unknown, or do not apply, are None, and `notes` says why. `valid_nats_per_token` is the exact
    figure of the kept weights, known when the training is finished; `valid_bits_per_char` and `valid_bits_per_byte` are
    for the same symbols. `train_seconds` includes validation and samples; `tokens_per_second`, the median of the rates
    reported on the way, does not. The parameters of an n-gram are the n-grams in its tables, and `fallback_discounts`
    its orders whose discounts could not be estimated. `overlaps` has, for a validation or test text given as a file,
    how much of it occurs in the training text. `labels` has, for each column of labels that steer the model, how many
    texts for training have each label. The model of a task has members of its own. Raises UserError for a
    foreign or damaged directory.
    """
    path = Path(path)
    if (of_task := OF_TASK.get(read_kind(path)["kind"])) is not None:
        return of_task(path)
    description = read_description(path)
    model, result = description["model"], description.get("result") or {}
    kept, steering = read_weights_info(path), read_steering(description, str(path / "model.json"))
    recipe = _recipe(path / "recipe.toml")
    about = recipe.pop("about", {})
    events = read_events(path / METRICS)
    last = events[-1] if events else {}
    rates = [event["tokens_per_second"] for event in events if event.get("tokens_per_second") is not None]
    data = data_path(path)
    text = load_corpus(data).info if os.path.exists(data) else None
    steps = result.get("steps", last.get("step", kept.get("step")))
    tokens = result.get("tokens_seen", last.get("tokens_seen", kept.get("tokens_seen")))
    nats, level = result.get("valid_nats_per_token"), description["level"]
    per_char, per_byte = _exact(level, result, text)
    files = {name: about.get(name) for name in ("valid_file", "test_file")}
    return {
        "path": str(path),
        "arch": model.get("arch"),
        "level": level,
        "words": text.config.words if text is not None and level == "word" else None,
        "min_count": text.config.min_count if text is not None and level == "word" else None,
        "order": model.get("order"),
        "layers": model.get("num_layers"),
        "hidden_size": model.get("hidden_size"),
        "embedding_size": model.get("embedding_size"),
        "parameters": description.get("parameters"),
        "vocab_size": model.get("vocab_size"),
        "labels": steering
        and {column.name: dict(zip(column.labels, column.counts, strict=True)) for column in steering.columns},
        "weights_bytes": (path / WEIGHTS).stat().st_size,
        "finished": bool(result),
        "steps": steps,
        "planned_steps": recipe.get("training", {}).get("steps"),
        "best_step": kept.get("step"),
        "tokens_seen": tokens,
        "train_seconds": last.get("seconds"),
        "tokens_per_second": round(median(rates)) if rates else None,
        "valid_nats_per_token": nats,
        "valid_bits_per_char": _bits(nats, per_char),
        "valid_bits_per_byte": _bits(nats, per_byte),
        "test_nats_per_token": result.get("test_nats_per_token"),
        "test_tokens": result.get("test_tokens"),
        "valid_perplexity": math.exp(nats) if nats is not None and nats < 700 else None,
        "int8_cost_nats": None if (cost := read_cost(path)) is None else cost["cost_nats"],
        "fallback_discounts": _fallback_discounts(path, result),
        "protocol": result.get("protocol"),
        "valid_tokens": result.get("valid_tokens"),
        "valid_part_tokens": result.get("valid_part_tokens"),
        "split": None if any(files.values()) or steering is not None else recipe.get("data", {}).get("split"),
        **files,
        "quick_valid_nats_per_token": kept.get("valid_nats"),
        "chars_per_token": chars_per_token(level, text),
        "parts": text
        and {
            name: {"tokens": part.tokens, "chars": part.chars, "bytes": part.bytes, "unknown": part.unknown}
            for name, part in text.parts.items()
        },
        "trained_on": text and [vars(source) for source in text.sources],
        "byte_order_marks": text and text.byte_order_marks,
        "newlines_added": text and text.newlines_added,
        "overlaps": text and {name: vars(overlap) for name, overlap in text.overlaps.items()},
        "corpus_digest": about.get("corpus_digest"),
        "fine_tuned_from": about.get("fine_tuned_from"),
        "made_with": {name: about[name] for name in ("unroll", "torch", "numpy", "python", "device") if name in about},
        "notes": [*_notes(description, last, recipe, text), *_unknown_note(about, text)],
        "recipe": recipe or None,
    }


def evolution(path: StrPath) -> list[dict[str, Any]]:
    """Return the samples taken while a model was trained: `step, nats, prompt, temperature, seed, text` each."""
    if kind_of(read_description(Path(path))) == "ngram":
        why = "it was counted at once, and wrote no samples on the way"
        fix = "write one now: `unroll sample DIR`"
        raise WrongKind(Path(path), "ngram", why, allowed="a model made by `unroll train`", fix=fix)
    return read_events(Path(path) / SAMPLES, SAMPLE)


def chars_per_token(level: str | None, text: CorpusInfo | None) -> float | None:
    """Return the characters of a validation token; None for words, whose figure is perplexity, and without the text."""
    if level == "char":
        return 1.0
    valid = None if text is None or level == "word" else text.parts.get("valid")
    return valid.chars / valid.tokens if valid is not None and valid.tokens else None


def _exact(level: str, result: dict[str, Any], text: CorpusInfo | None) -> tuple[float | None, float | None]:
    """Return the characters and the bytes of each symbol of the result; None where they are not known.

    They are known where every symbol is one, and where the result is for the whole part, which was counted.
    """
    per_char, per_byte = (1.0 if level == "char" else None), (1.0 if level == "byte" else None)
    if text is None or text.config.words == "space" or "valid" not in text.parts:
        return per_char, per_byte
    valid = text.parts["valid"]
    if result.get("valid_tokens") == valid.tokens or valid.tokens == valid.chars == valid.bytes:
        per_char, per_byte = per_char or valid.chars / valid.tokens, per_byte or valid.bytes / valid.tokens
    # The nats of an unknown symbol are those of <unk>, whatever it is: they do not pay for its bytes.
    return None if valid.unknown and level == "word" else per_char, None if valid.unknown else per_byte


def _fallback_discounts(path: Path, result: dict[str, Any]) -> list[int] | None:
    """Return the orders of an n-gram that have fall-back discounts; None of a network, and where it is not known."""
    orders = result.get("fallback_discounts")
    if orders is None or (isinstance(orders, list) and all(type(order) is int for order in orders)):
        return orders
    raise UserError(
        f"fallback_discounts in the result in {path / 'model.json'} is {orders!r}", allowed="a list of orders",
        fix="restore the directory",
    )  # fmt: skip


def _bits(nats: float | None, units: float | None) -> float | None:
    return nats / math.log(2) / units if nats is not None and units else None


def _recipe(file: Path) -> dict[str, Any]:
    """Read recipe.toml as far as a description needs it; empty where it is missing."""
    if not os.path.lexists(file):
        return {}
    recipe = read_toml(file)
    for name in TABLES:
        check(recipe.get(name, {}), dict, f"{name} in {file}")
    check_types(recipe.get("about", {}), ABOUT, f"[about] of {file}")
    check_types(recipe.get("data", {}), {"split": str | None}, f"[data] of {file}")
    check_types(recipe.get("training", {}), {"steps": int | None}, f"[training] of {file}")
    try:
        json.dumps(recipe, allow_nan=False)
    except (TypeError, ValueError) as error:  # TOML has dates, NaN and infinity
        raise UserError(
            f"{file} has values that no recipe has: {error}", allowed="texts, numbers, true, false", fix="restore it"
        ) from None
    return recipe


def _notes(
    description: dict[str, Any], last: dict[str, Any], recipe: dict[str, Any], text: CorpusInfo | None
) -> Iterator[str]:
    """Yield the reasons for missing figures, and the caveats of those that are there."""
    result, level = description.get("result"), description["level"]
    valid = text.parts.get("valid") if text else None
    if not result:
        planned = recipe.get("training", {}).get("steps")
        place = f"step {last.get('step', 0):,}" + (f" of {planned:,}" if planned else "")
        yield f"not finished: {place}; the exact validation figure comes at the end"
    elif result["valid_nats_per_token"] is None:
        yield "no text was held back for validation: run `unroll eval` on a text that it has not seen"
    elif (read := result["valid_tokens"] or 0) < (whole := result["valid_part_tokens"] or 0):
        yield f"the validation figures are for the first {read:,} of the {whole:,} symbols of that part"
        per_char, per_byte = _exact(level, result, text)
        units = [name for name, known in (("character", per_char), ("byte", per_byte)) if not known]
        if valid is not None and text and text.config.words != "space" and units and not valid.unknown:
            yield f"bits per {' and per '.join(units)} are not known: only the whole part was counted"
    if text is not None:
        yield from text.warnings
        if level == "word" and text.spacing is not None:
            yield words_note(text)
    if description["model"].get("arch") == "ngram":
        yield "the weights of an n-gram hold the text itself"
        if orders := (result or {}).get("fallback_discounts"):
            yield (
                f"the discounts of {_orders(orders)} could not be estimated (few n-grams occur one to three times): "
                "they are 0.5, 1 and 1.5"
            )
    if not recipe:
        yield "recipe.toml is missing: the settings of its training are not known"
    if text is None:
        yield "the training text is not beside the model: what it was trained on, and its bytes, are not known"
    if level == "word" and (text is None or text.config.words == "space"):
        yield "bits per character and per byte do not apply to words, from which the text cannot be restored"
    elif valid is not None and valid.unknown:
        yield (
            f"{valid.unknown:,} of {valid.tokens:,} validation symbols count as <unk>, whichever they are: "
            f"bits per {'character and per ' * (level == 'word')}byte do not apply"
        )


def _unknown_note(about: dict[str, Any], text: CorpusInfo | None) -> Iterator[str]:
    """Yield advice for a fine-tuned model that does not know much of its text; bytes and pieces know all of it."""
    valid = text.parts.get("valid") if text and about.get("fine_tuned_from") else None
    if valid is not None and valid.unknown_share > MUCH_UNKNOWN:
        yield f"{100 * valid.unknown_share:.3g} % of the validation symbols are unknown to the model. {ADD_THEM}"


def words_note(text: CorpusInfo) -> str:
    """Return where the words of a text end, and why."""
    where = {
        "space": "at white space",
        "unicode": "at white space and at punctuation marks, which are symbols of their own",
    }
    reason = f": {text.spacing.reason}" if text.spacing and text.spacing.boundaries == text.config.words else ""
    return f"words end {where[text.config.words]}{reason}"


def _orders(orders: list[int]) -> str:
    """Return orders as `order 3` or `the orders 1, 4 to 9`."""
    runs: list[list[int]] = []
    for order in orders:
        if runs and order == runs[-1][-1] + 1:
            runs[-1].append(order)
        else:
            runs.append([order])
    listed = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"the orders {listed}" if len(orders) > 1 else f"order {listed}"
