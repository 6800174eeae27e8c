"""`unroll embed`: every line of a text as a vector."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import PATH, PRECISION, json_option
from unroll.errors import UserError

if TYPE_CHECKING:
    from unroll.engine.network import Precision
    from unroll.lm.vectors import Pool

POOL = click.option(
    "--pool",
    type=click.Choice(("last", "mean", "max")),
    help="The hidden state after the last symbol, or the mean or maximum over all symbols; not for a classifier.  "
    "[default: last]",
)


@click.command(
    "embed",
    epilog="""\b
Row k of the file is the vector of line k + 1, float32, as numpy.load reads it. Each line is
read from a fresh state, without its newline. Memory does not grow with the file. The vector of a
classifier is what its head reads: the pooled outputs of both directions.

\b
Examples:
  unroll embed runs/book sentences.txt --out sentences.npy
  unroll similar runs/book sentences.txt --vectors sentences.npy --query "It was late." """,
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("file", metavar="FILE", type=TEXT)
@click.option("--out", metavar="F.npy", type=PATH, help="The vectors.  [default: <name of FILE>.npy, here]")
@POOL
@PRECISION
@json_option('"out", "lines", "size", ...')
@reads_text
def verb(model: Path, file: Path, out: Path | None, pool: "Pool | None", precision: "Precision", as_json: bool) -> None:
    """Write the lines of FILE as vectors: the hidden state of the last layer sums up each line."""
    from unroll.artifact.open import open_any
    from unroll.lm.vectors import embed_lines

    if out is None and (out := Path(f"{file.name}.npy")).exists():
        raise UserError(f"{out} exists", allowed="a new file", fix=f"to replace it, add --out {out}")
    result = console.run(embed_lines(open_any(model, precision), file, out, pool))
    figures = {"model": model, "out": out} | result.figures()
    if as_json:
        console.put_json(figures)
    else:
        console.put(f"{out}: {figures['lines']:,} vectors of {figures['size']:,} numbers")
        console.warn(*figures["notes"])
