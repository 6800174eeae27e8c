"""`unroll ablate`: what changes when a cell is held."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console
from unroll.errors import UserError

if TYPE_CHECKING:
    from unroll.insight.cells.ablation import Ablated, Change

PATH = click.Path(path_type=Path)


@click.command(
    "ablate",
    epilog="""\b
The cell is held at every step: neither the step's output nor the next step sees its own value.
The text is read in stretches of 256 symbols from the true state before each, once as the
network is and once with the cell held; so are the 20 units of the layer whose h moves as much,
as many standard deviations from their means.

\b
Examples:
  unroll ablate runs/book --cell 0:17 --file test.txt
  unroll ablate runs/book --cell 0:17 --zero --prompt "He said, "
  unroll ablate runs/book --cell 0:17 --set 2.5 --signal c --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.option("--cell", metavar="L:K", required=True, help="Unit K of layer L, both counted from 0.")
@click.option("--signal", metavar="c|h", help="Hold its memory cell or its output.  [default: c where there is one]")
@click.option("--mean", is_flag=True, help="Hold it at its mean on the text.  [default]")
@click.option("--zero", is_flag=True, help="Hold it at 0.")
@click.option("--set", "value", metavar="V", type=float, help="Hold it at V.")
@click.option("--file", metavar="F", type=PATH, help="The text.  [default: the model's own validation part]")
@click.option("--prompt", metavar="T", help="Also let the network write on from T, as it is and with the cell held.")
@click.option("--length", metavar="N", type=click.IntRange(1), default=300, show_default=True, help="Symbols of that.")
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Of its random numbers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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
    """Hold a cell of the network in DIR and show what it then predicts worse."""
    if mean + zero + (value is not None) > 1:
        raise UserError("a cell is held at one value", allowed="one of --mean, --zero, --set V", fix="leave out others")
    layer, unit = place(cell)
    from unroll.artifact.open import open_model
    from unroll.insight.cells.ablation import ablating

    found = console.run(ablating(open_model(model), layer, unit, file, value=0.0 if zero else value, **options))
    if as_json:
        console.put_json(found.figures())
        return
    put(found)
    for note in found.notes:
        console.warn(note)


def place(cell: str) -> tuple[int, int]:
    """Return layer and unit of `L:K`; raises UserError for what is written otherwise."""
    layer, _, unit = cell.partition(":")
    if layer.isdecimal() and unit.isdecimal():
        return int(layer), int(unit)
    raise UserError(f"--cell {cell!r} names no cell", allowed="L:K, unit K of layer L", fix="for example: --cell 0:17")


def put(found: "Ablated") -> None:
    """Print what changes: in all, by class of symbols, the symbols hurt most, and samples."""
    console.put_rule(
        f"{found.cell} held at {found.value:.3f}, of mean {found.mean:.3f} ± {found.deviation:.3f}, "
        f"in {found.symbols:,} symbols of {found.file}"
    )
    console.put_columns(rows_of(found))
    console.put_rule("nats of the symbols, as it is and held")
    console.put_columns(table(found.classes))
    console.put_rule("to which most is added in all")
    console.put_columns(table(found.worst))
    if found.samples is not None:
        for title, text in zip(("as it is", "held"), found.samples, strict=True):
            console.put_rule(title)
            console.put(console.printable((found.prompt or "") + text))


def rows_of(found: "Ablated") -> Iterator[tuple[str, str]]:
    """Yield what changes in all, and what matched cells change."""
    spread = "" if found.interval is None else f" (95 %: {found.interval[0]:+.5f} to {found.interval[1]:+.5f})"
    yield "nats per symbol", f"{found.nats:.4f}, held {found.held:.4f}: {found.held - found.nats:+.5f}{spread}"
    yield "divergence", f"{found.divergence:.5f} nats per symbol, KL(as it is ‖ held)"
    if found.matched:
        yield (
            "matched cells",
            f"add {found.matched_mean:.5f} on average of {found.matched}, {found.matched_largest:+.5f} at most: the "
            f"cell adds {found.ratio:.1f} times as much",
        )


def table(changes: "tuple[Change, ...]") -> Iterator[tuple[str, ...]]:
    """Yield a head and a row for each group of symbols."""
    yield "", f"{'symbols':>8}", f"{'as it is':>9}", f"{'held':>9}", f"{'added each':>11}", f"{'in all':>9}"
    for one in changes:
        added = one.held - one.nats
        yield (
            one.name, f"{one.count:8,}", f"{one.nats:9.4f}", f"{one.held:9.4f}", f"{added:+11.4f}",
            f"{added * one.count:+9.2f}",
        )  # fmt: skip
