"""`unroll plot`: pictures of models on a text."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import PATH
from unroll.errors import UserError

if TYPE_CHECKING:
    from unroll.insight.curves.picture import Plot
    from unroll.lm.curves import Kind

OWN = {"length": "position", "smooth": "position", "unit": "surprisal"}
"""The kind of picture that an option belongs to."""


@click.command(
    "plot",
    epilog="""\b
Kinds:
  reliability  are the probabilities right? The probabilities of all symbols at all positions, in
               bins, against how often the symbols came; ECE: the expected calibration error of
               the most probable one, in 15 bins. The text is read as one, with carried state.
  position     what is context worth? Bits per symbol by the number of symbols read since a fresh
               state. A window is flat beyond its length; what remembers more keeps falling.
  surprisal    what surprises? Bits of every word or symbol of a short text.

\b
Examples:
  unroll plot reliability runs/book test.txt --out reliability.png
  unroll plot position runs/window runs/rnn runs/lstm test.txt --length 512 --out position.svg
  unroll plot surprisal runs/lstm runs/window sentence.txt --unit token --out surprisal.png
  unroll plot position runs/book test.txt --json       only the numbers""",
)
@click.argument("kind", metavar="KIND", type=click.Choice(["reliability", "position", "surprisal"]))
@click.argument("models", metavar="DIR...", nargs=-1, required=True, type=PATH)
@click.argument("file", metavar="FILE", type=TEXT)
@click.option("--out", metavar="F", type=PATH, help="The picture to write: a .png or .svg file.")
@click.option("--length", metavar="N", type=int, help="position: length of a crop.  [default: 256]")
@click.option("--smooth", is_flag=True, help="position: average over neighbours, eight bins to the octave.")
@click.option("--unit", type=click.Choice(["token", "word"]), help="surprisal: what a bar is.  [default: word]")
@click.option("--json", "as_json", is_flag=True, help='Print the numbers as one JSON object: {"models": [...], ...}.')
@reads_text
def verb(kind: "Kind", models: tuple[Path, ...], file: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Draw reliability, loss by position, or surprisal of the models in the DIRs on the text FILE."""
    choices = {name: value for name, value in options.items() if value is not None and value is not False}
    if wrong := next((name for name in choices if OWN[name] != kind), None):
        raise UserError(
            f"--{wrong} applies to {OWN[wrong]} only", allowed=f"the kind {OWN[wrong]}", fix=f"leave out --{wrong}"
        )
    if out is None and not as_json:
        raise UserError(
            "nowhere to draw", allowed="--out PICTURE.png or .svg, or --json", fix=f"for example: --out {kind}.png"
        )
    from unroll.insight.curves.picture import draw

    result = console.run(draw(kind, models, file, out, **choices))
    if as_json:
        console.put_json(result.figures())
    else:
        console.put_columns(rows_of(result))
        console.warn(*result.notes)


def rows_of(result: "Plot") -> Iterator[tuple[str, str]]:
    """Yield what the picture says of each model, and where it is."""
    from unroll.insight.plots import labels
    from unroll.lm.curves import PositionLoss
    from unroll.lm.reliability import Reliability

    for name, curve in zip(labels(result.curves), result.curves, strict=True):
        match curve.numbers:
            case Reliability() as numbers:
                yield (
                    name,
                    f"ECE {numbers.ece:.4f}: the most probable symbol is right in {100 * numbers.accuracy:.1f} % of "
                    f"{numbers.positions:,} positions, where {100 * numbers.confidence:.1f} % are said",
                )
            case PositionLoss() as numbers:
                first, last = numbers.nats[0] / math.log(2), numbers.nats[-1] / math.log(2)
                end = (
                    f"{numbers.first[-1]:,} to {numbers.length:,}"
                    if numbers.first[-1] < numbers.length
                    else f"{numbers.length:,}"
                )
                yield (
                    name,
                    f"{numbers.nats_per_token / math.log(2):.4f} bits per symbol: {first:.2f} after 1, {last:.2f} "
                    f"after {end}, in {numbers.crops:,} crops",
                )
            case numbers:
                bits = numbers.nats / math.log(2)
                yield name, f"{bits.sum():,.1f} bits, {bits.mean():.2f} for each {numbers.unit}"
    yield "picture", str(result.out)
