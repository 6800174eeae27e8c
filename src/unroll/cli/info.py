"""`unroll info`: what a model is, how it was trained, on what, how good it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from unroll.cli import console
from unroll.cli.forecasts import forecaster_rows
from unroll.cli.options import PATH
from unroll.data.tables import listed
from unroll.errors import number_of


@click.command(
    "info",
    epilog="""\b
Examples:
  unroll info runs/book
  unroll info runs/book --json | jq .valid_bits_per_char""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the whole recipe.")
def verb(model: Path, as_json: bool) -> None:
    """Describe the model in DIR: what it is, how it was trained, on what, and how good it is."""
    from unroll.artifact.info import info

    description = info(model)
    if as_json:
        console.put_json(description)
    else:
        rows = ROWS.get(description.get("kind", ""), rows_of)
        console.put_columns([(name, value) for name, value in rows(description) if value])


def chars_of(description: dict[str, Any], name: str) -> float | None:
    """Return the characters of a symbol of a part; None for words, and where they are not known."""
    part = (description["parts"] or {}).get(name)
    if description["level"] in ("char", "word"):
        return 1.0 if description["level"] == "char" else None
    return part["chars"] / part["tokens"] if part and part["tokens"] else None


def labels_of(counts: dict[str, int]) -> str:
    """Return the most frequent labels of a column, each with the number of its texts."""
    ranked = sorted(counts, key=counts.__getitem__, reverse=True)
    return ", ".join(f"{label} {counts[label]:,}" for label in ranked[:20]) + (" …" if len(ranked) > 20 else "")


def classifier_rows(description: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows of the description of a classifier."""
    ways = "both directions" if description["bidirectional"] else "one direction"
    yield "model", f"{console.shape(description)}, {ways}, embedding {description['embedding_size']}"
    yield "size", f"{description['parameters']:,} parameters, {console.size(description['weights_bytes'])}"
    yield "units", f"{description['vocab_size']:,}, level {description['level']}"
    shown = ", ".join(description["labels"][:20]) + (" …" if len(description["labels"]) > 20 else "")
    yield "labels", f"{number_of(len(description['labels']), 'label')}: {shown}"
    yield "columns", f"text {', '.join(description['text_columns'])} · label {description['label_column']}"
    if description["steps"] is not None:
        yield "training", console.steps(description)
    if (accuracy := description["valid_accuracy"]) is not None:
        held_out = number_of(description["valid_count"], "held-out example")
        yield "validation", f"{100 * accuracy:.1f} % of {held_out}, {description['valid_nats']:.3f} nats"
    if (cost := description["int8"]) is not None:
        yield "int8", f"{100 * cost['int8_accuracy']:.1f} % of them, costs {cost['cost_nats']:+.5f} nats per example"
    yield "made with", ", ".join(f"{name} {version}" for name, version in description["made_with"].items())


def translator_rows(description: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows of the description of a translator."""
    fed = " with input feeding" if description["input_feeding"] else ""
    yield "model", f"{console.shape(description)}, attention {description['attention']}{fed}"
    yield "size", f"{description['parameters']:,} parameters, {console.size(description['weights_bytes'])}"
    own = f"{description['source_size']:,} of sources and " if description["source_size"] else ""
    yield "units", f"{own}{description['vocab_size']:,}{' of targets' if own else ''}, level {description['level']}"
    if description["steps"] is not None:
        yield "training", console.steps(description)
    if (nats := description["valid_nats"]) is not None:
        held_out = number_of(description["valid_count"], "held-out pair")
        yield "validation", f"{nats:.3f} nats a symbol of {held_out}"
    if (cost := description["int8"]) is not None:
        yield "int8", f"costs {cost['cost_nats']:+.5f} nats per symbol of them"
    yield "made with", ", ".join(f"{name} {version}" for name, version in description["made_with"].items())


def series_rows(description: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows of the description of a model of sequences."""
    if description["task"] == "forecast":
        yield from forecaster_rows(description)
        return
    ways = "both directions" if description["bidirectional"] else "one direction"
    yield "model", f"{console.shape(description)}, {ways}"
    yield "size", f"{description['parameters']:,} parameters, {console.size(description['weights_bytes'])}"
    yield "channels", listed(description["channels"])
    yield "task", description["task"] + (f": {listed(description['labels'])}" if description["labels"] else "")
    if description["steps"] is not None:
        yield "training", console.steps(description)
    held_out = number_of(description["valid_count"] or 0, "held-out sequence")
    if (accuracy := description["valid_accuracy"]) is not None:
        yield "validation", f"{100 * accuracy:.1f} % of {held_out}, {description['valid_loss']:.3f} nats"
    elif (mae := description["valid_mae"]) is not None:
        yield (
            "validation",
            f"mean absolute error {mae:.4g} of {held_out}, {description['valid_baseline_mae']:.4g} by the mean",
        )
    if (cost := description["int8"]) is not None:
        right = f"{100 * cost['int8_accuracy']:.1f} % of them" if "int8_accuracy" in cost else ""
        yield "int8", right or f"mean absolute error {cost['int8_mae']:.4g}"
    yield "made with", ", ".join(f"{name} {version}" for name, version in description["made_with"].items())


def rows_of(description: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows of the description, each with its name; an empty text if unknown."""
    counted = description["order"] is not None
    yield "model", console.shape(description) + ("" if counted else f", embedding {description['embedding_size']}")
    what = "n-grams" if counted else "parameters"
    yield "size", f"{description['parameters']:,} {what}, {console.size(description['weights_bytes'])}"
    yield "symbols", f"{description['vocab_size']:,}, level {description['level']}"
    for column, counts in (description["labels"] or {}).items():
        yield "labels", f"{column}: {labels_of(counts)}"
    for source in description["trained_on"] or []:
        text = f"{source['name']} · {console.size(source['bytes'])} · sha256 {source['sha256'][:16]}"
        text += " · its byte order mark was dropped" if source["byte_order_mark"] else ""
        yield "text", text + (" · its final newline was added" if source["newline_added"] else "")
    parts = description["parts"] or {}
    yield "parts", ", ".join(f"{part['tokens']:,} {name}" for name, part in parts.items())
    yield "tuned from", description["fine_tuned_from"] or ""
    yield ("counted", console.counted(description)) if counted else ("training", console.spent(description))
    if (step := description["best_step"]) is not None:
        yield "weights", f"those of step {step:,}, the best by validation"
    if description["valid_nats_per_token"] is not None:
        quality = console.final_quality(description) + console.unknown(description)
        yield "validation", f"{quality} · protocol {description['protocol']}"
    elif (nats := description["quick_valid_nats_per_token"]) is not None:
        quality = console.quality(nats, description["chars_per_token"]) + console.unknown(description)
        yield "validation", f"about {quality}"
    if (nats := description["test_nats_per_token"]) is not None:
        yield "test", console.quality(nats, chars_of(description, "test")) + console.unknown(description, "test")
    if (cost := description["int8_cost_nats"]) is not None:
        yield "int8", f"costs {cost:+.5f} nats per symbol of the validation part"
    yield "made with", ", ".join(f"{name} {version}" for name, version in description["made_with"].items())
    for note in description["notes"]:
        yield "note", note


def tagger_rows(description: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows of the description of a tagger."""
    ways, path = ("both directions" if description["bidirectional"] else "one direction"), description["crf"] * ", CRF"
    yield "model", f"{console.shape(description)}, {ways}, embedding {description['embedding_size']}{path}"
    if description["context_size"]:
        yield "contexts", f"{description['context_size']:,} numbers of a language model, which is in the folder context"
    yield "size", f"{description['parameters']:,} parameters, {console.size(description['weights_bytes'])}"
    yield "tokens", f"{description['vocab_size']:,} different ones"
    shown = ", ".join(description["tags"][:20]) + (" …" if len(description["tags"]) > 20 else "")
    yield "tags", f"{number_of(len(description['tags']), 'tag')} of column {description['column']}: {shown}"
    if description["scheme"] != "none":
        yield "scheme", description["scheme"]
    if description["steps"] is not None:
        yield "training", console.steps(description)
    if (accuracy := description["valid_accuracy"]) is not None:
        held_out = number_of(description["valid_tokens"], "held-out token")
        yield "validation", f"{100 * accuracy:.2f} % of {held_out}, {description['valid_nats']:.3f} nats"
    if (cost := description["int8"]) is not None:
        yield "int8", f"{100 * cost['int8_accuracy']:.2f} % of them, costs {cost['cost_nats']:+.5f} nats per token"
    yield "made with", ", ".join(f"{name} {version}" for name, version in description["made_with"].items())


ROWS = {"classifier": classifier_rows, "sequence": series_rows, "tagger": tagger_rows, "translator": translator_rows}
"""What yields the rows of a task's model."""
