"""`unroll quantize`: what eight-bit weights cost a model."""

from pathlib import Path

import click

from unroll.cli import console
from unroll.cli.options import PATH, json_option
from unroll.errors import number_of


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
    from unroll.artifact.directory import CLASSIFIER, read_kind

    if read_kind(model)["kind"] == CLASSIFIER:
        _of_classifier(model, as_json)
        return
    from unroll.artifact.quantize import measure_cost

    cost = console.run(measure_cost(model))
    if as_json:
        console.put_json({"model": str(model), **cost})
    else:
        console.put(
            f"int8 costs {cost['cost_nats']:+.5f} nats per symbol: {cost['int8_nats']:.5f} against "
            f"{cost['float32_nats']:.5f}, {cost['tokens']:,} validation symbols, carried state"
        )


def _of_classifier(model: Path, as_json: bool) -> None:
    """Measure a classifier on its held-out examples."""
    from unroll.tasks.classify.quantize import measure_classifier_cost

    cost = console.run(measure_classifier_cost(model))
    if as_json:
        console.put_json({"model": str(model), **cost})
        return
    right, before = 100 * cost["int8_accuracy"], 100 * cost["float32_accuracy"]
    console.put(
        f"int8 costs {cost['cost_nats']:+.5f} nats per example: {cost['int8_nats']:.5f} against "
        f"{cost['float32_nats']:.5f}, and is right about {right:.2f} % against {before:.2f} % "
        f"of {number_of(cost['count'], 'held-out example')}"
    )
