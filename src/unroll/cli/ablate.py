"""`unroll ablate`: what changes when a cell is clamped."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console
from unroll.cli.options import FILE, JSON, PATH
from unroll.errors import UserError

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
    from unroll.insight.cells.ablation import hold

    found = console.run(
        hold(open_model(model, needs="network"), layer, unit, file, value=0.0 if zero else value, **options)
    )
    if as_json:
        console.put_json(found.figures())
        return
    put(found)
    for note in found.notes:
        console.warn(note)


def place(cell: str) -> tuple[int, int]:
    """Return layer and unit of `L:K`; raises UserError for anything else."""
    layer, _, unit = cell.partition(":")
    if layer.isdecimal() and unit.isdecimal():
        return int(layer), int(unit)
    raise UserError(f"--cell {cell!r} names no cell", allowed="L:K, unit K of layer L", fix="for example: --cell 0:17")


def put(found: "Ablated") -> None:
    """Print what changes: in all, by class of symbols, the symbols hurt most, and samples."""
    console.put_rule(
        f"{found.cell} clamped at {found.value:.3f}, of mean {found.mean:.3f} ± {found.deviation:.3f}, "
        f"in {found.symbols:,} symbols of {found.file}"
    )
    console.put_columns(rows_of(found))
    console.put_rule("nats by class of symbols, unchanged and clamped")
    console.put_columns(table(found.classes))
    console.put_rule("symbols that lose most in all")
    console.put_columns(table(found.worst))
    if found.samples is not None:
        for title, text in zip(("unchanged", "clamped"), found.samples, strict=True):
            console.put_rule(title)
            console.put(console.printable((found.prompt or "") + text))


def rows_of(found: "Ablated") -> Iterator[tuple[str, str]]:
    """Yield what changes in all, and what matched cells change."""
    spread = "" if found.interval is None else f" (95 %: {found.interval[0]:+.5f} to {found.interval[1]:+.5f})"
    yield "nats per symbol", f"{found.nats:.4f}, clamped {found.held:.4f}: {found.held - found.nats:+.5f}{spread}"
    yield "divergence", f"{found.divergence:.5f} nats per symbol, KL(unchanged ‖ clamped)"
    if found.matched:
        yield (
            "matched cells",
            f"add {found.matched_mean:.5f} on average of {found.matched}, {found.matched_largest:+.5f} at most: the "
            f"cell adds {found.ratio:.1f} times as much",
        )


def table(changes: "tuple[Change, ...]") -> Iterator[tuple[str, ...]]:
    """Yield a head and a row for each group of symbols."""
    yield "", f"{'symbols':>8}", f"{'unchanged':>9}", f"{'clamped':>9}", f"{'added each':>11}", f"{'in all':>9}"
    for one in changes:
        added = one.held - one.nats
        yield (
            one.name, f"{one.count:8,}", f"{one.nats:9.4f}", f"{one.held:9.4f}", f"{added:+11.4f}",
            f"{added * one.count:+9.2f}",
        )  # fmt: skip
