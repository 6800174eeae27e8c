"""`unroll quantize`: what eight-bit weights cost a model."""

from pathlib import Path
from typing import Any

import click

from unroll.artifact.directory import CLASSIFIER, TAGGER, TRANSLATOR, read_kind
from unroll.cli import console
from unroll.cli.options import PATH, json_option
from unroll.errors import number_of

Cost = tuple[dict[str, Any], str, str]
"""What was measured, what the nats are per, and the end of the sentence about it."""


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
    cost, unit, rest = OF_KINDS.get(read_kind(model)["kind"], _of_network)(model)
    if as_json:
        console.put_json({"model": str(model), **cost})
    else:
        console.put(
            f"int8 costs {cost['cost_nats']:+.5f} nats per {unit}: {cost['int8_nats']:.5f} against "
            f"{cost['float32_nats']:.5f}, {rest}"
        )


def _of_network(model: Path) -> Cost:
    from unroll.artifact.quantize import measure_cost

    cost = console.run(measure_cost(model))
    return cost, "symbol", f"{cost['tokens']:,} validation symbols, carried state"


def _of_classifier(model: Path) -> Cost:
    from unroll.tasks.classify.quantize import measure_classifier_cost

    cost = console.run(measure_classifier_cost(model))
    return cost, "example", _right(cost, "held-out example", cost["count"])


def _of_tagger(model: Path) -> Cost:
    from unroll.tasks.tag.quantize import measure_tagger_cost

    cost = console.run(measure_tagger_cost(model))
    return cost, "token", _right(cost, "held-out token", cost["tokens"])


def _of_translator(model: Path) -> Cost:
    from unroll.tasks.translate.quantize import measure_translator_cost

    cost = console.run(measure_translator_cost(model))
    return cost, "symbol", f"{cost['symbols']:,} symbols of held-out targets"


def _right(cost: dict[str, Any], unit: str, count: int) -> str:
    """Return how often eight bits are right, and all bits."""
    right, before = 100 * cost["int8_accuracy"], 100 * cost["float32_accuracy"]
    return f"and is right about {right:.2f} % against {before:.2f} % of {number_of(count, unit)}"


OF_KINDS = {CLASSIFIER: _of_classifier, TAGGER: _of_tagger, TRANSLATOR: _of_translator}
"""What measures the model of a task."""
