"""`unroll quantize`: what eight-bit weights cost a model."""

from pathlib import Path
from typing import Any

import click

from unroll.artifact.directory import CLASSIFIER, SEQUENCE, TAGGER, TRANSLATOR, read_kind
from unroll.cli import console
from unroll.cli.options import PATH, json_option
from unroll.errors import number_of

Cost = tuple[dict[str, Any], str]
"""What was measured, and a sentence about it."""


@click.command(
    "quantize",
    epilog="""\b
Nothing is converted: `--precision int8` rounds the weights when a model is opened, each row of a
matrix with its own scale. The cost is written to int8.json in DIR, and `unroll info` shows it.

\b
Examples:
  unroll quantize runs/book
  unroll sample runs/book --precision int8""",
)
@click.argument("model", metavar="DIR", type=PATH)
@json_option('"cost_nats", "float32_nats", "int8_nats", …')
def verb(model: Path, as_json: bool) -> None:
    """Measure what eight-bit weights cost the model in DIR, on what was held out of its training."""
    cost, line = OF_KINDS.get(read_kind(model)["kind"], _of_network)(model)
    if as_json:
        console.put_json({"model": str(model), **cost})
    else:
        console.put(line)


def _of_network(model: Path) -> Cost:
    from unroll.artifact.quantize import measure_cost

    cost = console.run(measure_cost(model))
    return cost, f"{_nats(cost, 'symbol')}, {cost['tokens']:,} validation symbols, carried state"


def _of_classifier(model: Path) -> Cost:
    from unroll.tasks.classify.quantize import measure_classifier_cost

    cost = console.run(measure_classifier_cost(model))
    return cost, _of_labels(cost, "example", cost["count"])


def _of_tagger(model: Path) -> Cost:
    from unroll.tasks.tag.quantize import measure_tagger_cost

    cost = console.run(measure_tagger_cost(model))
    return cost, _of_labels(cost, "token", cost["tokens"])


def _of_translator(model: Path) -> Cost:
    from unroll.tasks.translate.quantize import measure_translator_cost

    cost = console.run(measure_translator_cost(model))
    return cost, f"{_nats(cost, 'symbol')}, {cost['symbols']:,} symbols of held-out targets"


def _of_sequences(model: Path) -> Cost:
    from unroll.tasks.sequences.quantize import measure_sequences_cost

    cost = console.run(measure_sequences_cost(model))
    return cost, (_of_numbers if "int8_mae" in cost else _of_labels)(cost, "sequence", cost["count"])


def _nats(cost: dict[str, Any], unit: str) -> str:
    after, before = cost["int8_nats"], cost["float32_nats"]
    return f"int8 costs {cost['cost_nats']:+.5f} nats per {unit}: {after:.5f} against {before:.5f}"


def _of_labels(cost: dict[str, Any], unit: str, count: int) -> str:
    """Return the cost for what has labels or tags."""
    right, before = 100 * cost["int8_accuracy"], 100 * cost["float32_accuracy"]
    held_out = number_of(count, f"held-out {unit}")
    return f"{_nats(cost, unit)}, and is right about {right:.2f} % against {before:.2f} % of {held_out}"


def _of_numbers(cost: dict[str, Any], unit: str, count: int) -> str:
    """Return the cost for what has numbers."""
    after, before = cost["int8_mae"], cost["float32_mae"]
    held_out = number_of(count, f"held-out {unit}")
    return f"{_nats(cost, unit)}, and is off by {after:.5g} on average against {before:.5g}, of {held_out}"


OF_KINDS = {CLASSIFIER: _of_classifier, TAGGER: _of_tagger, TRANSLATOR: _of_translator, SEQUENCE: _of_sequences}
"""What measures the model of a task."""
