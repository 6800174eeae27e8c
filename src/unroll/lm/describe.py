"""What is known of a model directory: the model, its training, its text, its figures."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unroll.config import read_toml
from unroll.data.corpus import CorpusInfo, load_corpus
from unroll.data.encode import Part
from unroll.lm import checkpoint
from unroll.lm.run import data_path


def describe(path: Path) -> dict[str, Any]:
    """Return what a model is, how it was trained, on what, and how good it is, as JSON.

    What is not known, or does not apply, is None, and `notes` says why. `valid_nats_per_token` is the exact figure of
    the kept weights, known when the training is finished. Raises UserError for a foreign or damaged directory.
    """
    description = checkpoint.read_description(path)
    model, result = description["model"], description.get("result") or {}
    kept = checkpoint.read_info(path / checkpoint.WEIGHTS)
    recipe = read_toml(path / "recipe.toml") if (path / "recipe.toml").exists() else {}
    about = recipe.pop("about", {})
    events = checkpoint.read_events(path / checkpoint.METRICS)
    last = events[-1] if events else {}
    text = load_corpus(data_path(path)).info if data_path(path).exists() else None
    steps = result.get("steps", last.get("step", kept.get("step")))
    tokens = result.get("tokens_seen", last.get("tokens_seen", kept.get("tokens_seen")))
    seconds = last.get("seconds")
    nats, ratio = result.get("valid_nats_per_token"), chars_per_token(description.get("level"), text)
    return {
        "path": str(path),
        "arch": model.get("arch"),
        "level": description.get("level"),
        "layers": model.get("num_layers"),
        "hidden_size": model.get("hidden_size"),
        "embedding_size": model.get("embedding_size"),
        "parameters": description.get("parameters"),
        "vocab_size": model.get("vocab_size"),
        "weights_bytes": (path / checkpoint.WEIGHTS).stat().st_size,
        "finished": bool(result),
        "steps": steps,
        "planned_steps": recipe.get("training", {}).get("steps"),
        "best_step": kept.get("step"),
        "tokens_seen": tokens,
        "train_seconds": seconds,
        "tokens_per_second": round(tokens / seconds) if tokens and seconds else None,
        "valid_nats_per_token": nats,
        "valid_bits_per_char": nats / math.log(2) / ratio if nats is not None and ratio else None,
        "valid_perplexity": math.exp(nats) if nats is not None and nats < 700 else None,
        "protocol": result.get("protocol"),
        "split": recipe.get("data", {}).get("split"),
        "quick_valid_nats_per_token": kept.get("valid_nats"),
        "chars_per_token": ratio,
        "parts": text and {name: _sizes(part) for name, part in text.parts.items()},
        "trained_on": text and [vars(source) for source in text.sources],
        "corpus_digest": about.get("corpus_digest"),
        "fine_tuned_from": about.get("fine_tuned_from"),
        "made_with": {name: about[name] for name in ("unroll", "torch", "python", "device") if name in about},
        "notes": list(_notes(description, last, recipe, text)),
        "recipe": recipe or None,
    }


def chars_per_token(level: str | None, text: CorpusInfo | None) -> float | None:
    """Return the characters of a validation token; None for words, and where the text is gone."""
    if level == "char":
        return 1.0
    if text is None or level == "word":
        return None
    return text.parts["valid"].chars / text.parts["valid"].tokens


def _sizes(part: Part) -> dict[str, int]:
    return {"tokens": part.tokens, "chars": part.chars, "bytes": part.bytes, "unknown": part.unknown}


def _notes(
    description: dict[str, Any], last: dict[str, Any], recipe: dict[str, Any], text: CorpusInfo | None
) -> Iterator[str]:
    """Yield why figures are missing and what to keep in mind about those that are there."""
    result = description.get("result")
    if not result:
        steps = recipe.get("training", {}).get("steps")
        yield f"not finished: step {last.get('step', 0)} of {steps}; the exact validation figure comes at the end"
    elif (read := result["valid_tokens"]) < (whole := result["valid_part_tokens"]):
        yield f"the validation figures are of the first {read:,} of the {whole:,} symbols of that part"
    if not recipe:
        yield "recipe.toml is missing: how it was trained is not known"
    if text is None:
        yield "the training text is not beside the model: what it was trained on is not known"
    if description.get("level") == "word":
        yield "bits per character do not apply to words, which do not give the text back"
    elif text is not None and text.parts["valid"].unknown:
        valid = text.parts["valid"]
        yield f"{valid.unknown:,} of {valid.tokens:,} validation symbols count as <unk>, whichever they are"
