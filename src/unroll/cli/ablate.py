"""`unroll ablate`: what changes when a cell is clamped."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console
from unroll.cli.inputs import reads_text
from unroll.cli.options import FILE, JSON, PATH
from unroll.errors import UserError, number_of

if TYPE_CHECKING:
    from unroll.insight.cells.ablation import Ablated, Change


@click.command(
    "ablate",
    epilog="""\b
The cell is clamped at every step: neither the step's output nor the next step sees its own
value. The text is read in stretches of 256 symbols, each from the true state before it, once
unchanged and once with the cell clamped. For comparison the 20 units of the layer whose h moves
as much are clamped too, as many standard deviations from their means.

\b
Examples:
  unroll ablate runs/book --cell 0:17 --file test.txt
  unroll ablate runs/book --cell 0:17 --zero --prompt "He said, "
  unroll ablate runs/book --cell 0:17 --clamp 2.5 --signal c --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.option("--cell", metavar="L:K", required=True, help="Unit K of layer L, both counted from 0.")
@click.option("--signal", metavar="c|h", help="Clamp its memory cell or its output.  [default: c where there is one]")
@click.option("--mean", is_flag=True, help="Clamp it at its mean on the text.  [default]")
@click.option("--zero", is_flag=True, help="Clamp it at 0.")
@click.option("--clamp", "--set", "value", metavar="V", type=float, help="Clamp it at V.")
@FILE
@click.option("--prompt", metavar="T", help="Also continue the text T, unchanged and with the cell clamped.")
@click.option(
    "--length", metavar="N", type=click.IntRange(1), default=300, show_default=True, help="Length of that, in symbols."
)
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Random seed of that.")
@JSON
@reads_text
def verb(
    model: Path,
    cell: str,
    mean: bool,
    zero: bool,
    value: float | None,
    file: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Clamp a cell of the network in DIR and show what it then predicts worse."""
    if mean + zero + (value is not None) > 1:
        raise UserError(
            "a cell is clamped at one value", allowed="one of --mean, --zero, --clamp V", fix="leave out the others"
        )
    layer, unit = place(cell)
    from unroll.artifact.open import open_model
    from unroll.insight.cells.ablation import ablating

    ablated = console.run(
        ablating(open_model(model, needs="network"), layer, unit, file, value=0.0 if zero else value, **options)
    )
    if as_json:
        console.put_json(ablated.figures())
    else:
        put(ablated)


def place(cell: str) -> tuple[int, int]:
    """Return layer and unit of `L:K`; raises UserError for anything else."""
    layer, _, unit = cell.partition(":")
    if layer.isdecimal() and unit.isdecimal():
        return int(layer), int(unit)
    raise UserError(f"--cell {cell!r} names no cell", allowed="L:K, unit K of layer L", fix="for example: --cell 0:17")


def put(ablated: "Ablated") -> None:
    """Print what changes: in all, by class of symbols, the symbols hurt most, and samples; then the notes."""
    console.put_rule(
        f"{ablated.cell} clamped at {ablated.value:.3f}, of mean {ablated.mean:.3f} ± {ablated.deviation:.3f}, "
        f"in {number_of(ablated.symbols, 'symbol')} of {ablated.file}"
    )
    console.put_columns(rows_of(ablated))
    console.put_rule("nats by class of symbols, unchanged and clamped")
    console.put_columns(table(ablated.classes))
    console.put_rule("symbols that lose most in all")
    console.put_columns(table(ablated.worst))
    if ablated.samples is not None:
        for title, text in zip(("unchanged", "clamped"), ablated.samples, strict=True):
            console.put_rule(title)
            console.put(console.printable((ablated.prompt or "") + text))
    console.warn(*ablated.notes)


def rows_of(ablated: "Ablated") -> Iterator[tuple[str, str]]:
    """Yield what changes in all, and what matched cells change."""
    spread = "" if ablated.interval is None else f" (95 %: {ablated.interval[0]:+.5f} to {ablated.interval[1]:+.5f})"
    yield (
        "nats per symbol",
        f"{ablated.nats:.4f}, clamped {ablated.held:.4f}: {ablated.held - ablated.nats:+.5f}{spread}",
    )
    yield "divergence", f"{ablated.divergence:.5f} nats per symbol, KL(unchanged ‖ clamped)"
    if ablated.matched:
        yield (
            "matched cells",
            f"add {ablated.matched_mean:.5f} on average of {ablated.matched}, {ablated.matched_largest:+.5f} at most: "
            f"the cell adds {ablated.ratio:.1f} times as much",
        )


def table(changes: "tuple[Change, ...]") -> Iterator[tuple[str, ...]]:
    """Yield a head and a row for each group of symbols."""
    yield "", f"{'symbols':>8}", f"{'unchanged':>9}", f"{'clamped':>9}", f"{'added each':>11}", f"{'in all':>9}"
    for change in changes:
        added = change.held - change.nats
        yield (
            change.name, f"{change.count:8,}", f"{change.nats:9.4f}", f"{change.held:9.4f}", f"{added:+11.4f}",
            f"{added * change.count:+9.2f}",
        )  # fmt: skip
