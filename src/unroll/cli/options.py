"""Options that several verbs have."""

import click

PRECISION = click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="int8 is faster and takes a quarter of the memory; `unroll quantize` measures what it costs.",
)
