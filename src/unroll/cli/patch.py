"""`unroll patch`: where a network keeps what distinguishes two texts."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console, pictures
from unroll.cli.options import JSON, PATH, plot_option
from unroll.errors import UserError

if TYPE_CHECKING:
    from unroll.insight.patching.measure import Effect, Patched


@click.command(
    "patch",
    epilog="""\b
Both texts are read up to a point. There the state of SECOND, or a part of it, replaces that of
FIRST, and the rest of FIRST is read. How far does
  D = log p(target) - log p(against)
move from that of FIRST (0 %) to that of SECOND (100 %), and does the decision turn?

\b
The point is where the texts become the same, or --at N symbols, or --after a WORD of both. A unit
is its h and c together, unless --signal names one. The smallest set is found greedily: units are
patched together, in the order of their effect alone, until the decision turns.

\b
Examples:
  unroll patch runs/people "Ann ran ." "Bob ran ." --target she --against he
  unroll patch runs/people "Ann ran ." "Bob ran ." --target she --against he --at 2 --signal c
  unroll patch runs/people "Ann ran ." "Bob ran ." --target she --against he --units 0:17,0:42
  unroll patch runs/people "Ann ran ." "Bob ran ." --target she --against he --plot kept.png""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("first", metavar="FIRST")
@click.argument("second", metavar="SECOND")
@click.option("--target", metavar="SYMBOL", required=True, help="Expected continuation of FIRST.")
@click.option("--against", metavar="SYMBOL", required=True, help="Expected continuation of SECOND.")
@click.option("--at", metavar="N", type=int, help="Patch after N symbols of both texts.")
@click.option("--after", metavar="WORD", help="Patch after this word of both texts.")
@click.option("--units", metavar="L:K,…", help="Patch only these units: unit K of layer L.")
@click.option(
    "--layer", "layers", metavar="L", multiple=True, type=int, help="Patch only this layer.  May be repeated."
)
@click.option(
    "--signal", "signals", metavar="c|h", multiple=True, help="Patch only this part of the state.  May be repeated."
)
@click.option(
    "--top", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="Number of units to list."
)
@plot_option("D by place and by number of units")
@JSON
def verb(
    model: Path,
    first: str,
    second: str,
    units: str | None,
    top: int,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Put the state of the text SECOND into the text FIRST and show what the network in DIR then predicts."""
    pictures.check(plot)
    from unroll.artifact.open import open_model
    from unroll.files import printable_name
    from unroll.insight.patching.measure import patching
    from unroll.insight.patching.picture import picture

    opened = open_model(model, needs="network")
    patched = console.run(patching(opened, first, second, units=listed(units), **options))
    title = f"Where does {printable_name(model)} keep it?  The state of the second text put into the first"
    pictures.write(plot, lambda ending: picture(patched, title, ending))
    if as_json:
        texts = {"model": model, "first_text": first, "second_text": second}
        console.put_json({**texts, **patched.figures(top), "plot": plot})
    else:
        put(patched, first, second, top)
        console.warn(*patched.notes)


def listed(units: str | None) -> list[tuple[int, int]]:
    """Return the layers and units of `L:K,L:K`; raises UserError for anything else."""
    places = []
    for unit in units.split(",") if units is not None else ():
        layer, _, number = unit.strip().partition(":")
        if not (layer.isdecimal() and number.isdecimal()):
            raise UserError(
                f"--units {unit!r} names no unit", allowed="L:K,L:K,…", fix="for example: --units 0:17,0:42"
            )
        places.append((int(layer), int(number)))
    return places


def put(patched: "Patched", first: str, second: str, top: int) -> None:
    """Print D of both texts, by part, by unit, of the smallest set that turns it, and by place."""
    console.put_rule(f"D = log p({patched.target}) − log p({patched.against}), in nats")
    console.put_columns([("first", f"{patched.first:8.3f}", first), ("second", f"{patched.second:8.3f}", second)])
    read = f"after {patched.symbols[patched.at[0] - 1]!r}" if patched.at[0] else "at the start"
    console.put_rule(f"the second's state put into the first {read}, symbol {patched.at[0]} of {len(patched.symbols)}")
    head = ("", f"{'D':>8}", f"{'recovery':>9}", "predicts")
    console.put_columns([head, *(cells_of(patched, patched.effect(*part)) for part in patched.parts.items())])
    if len(patched.units):
        console.put_rule(f"single units, the strongest {min(top, len(patched.units))} of {len(patched.units):,}")
        console.put_columns([head, *(cells_of(patched, effect) for effect in islice(patched.ranked(), top))])
        console.put_rule("the smallest set of units that turns the decision")
        console.put_columns([smallest(patched)])
    console.put_rule("put in after each symbol: recovery by part")
    names = patched.main_parts
    console.put_columns([("", *(f"{name:>9}" for name in names), "whole state predicts"), *by_place(patched, names)])


def cells_of(patched: "Patched", effect: "Effect") -> tuple[str, ...]:
    """Return an effect as cells: its name, D, recovery, and the symbol that is more probable now."""
    return effect.name, f"{effect.value:8.3f}", share(effect.recovery), prediction(patched, effect.value)


def prediction(patched: "Patched", value: float) -> str:
    """Return the more probable of the two symbols."""
    return patched.target if value > 0 else patched.against


def smallest(patched: "Patched") -> tuple[str, ...]:
    """Return the smallest set as cells."""
    size = patched.smallest
    if size is None:
        return "none", "patched together, the strongest first, they do not turn it"
    effect = patched.effect("", float(patched.set_values[size - 1]))
    names = [unit.name for unit in islice(patched.ranked(), min(size, 12))]
    more = "" if size <= len(names) else f" and {size - len(names)} more"
    return f"{size:,} of {len(patched.units):,}", f"{effect.value:8.3f}", share(effect.recovery), " ".join(names) + more


def by_place(patched: "Patched", names: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each place: the symbol before it, the recovery by part, what the whole state makes of it."""
    for number, place in enumerate(patched.positions.tolist()):
        values = {name: float(patched.curves[name][number]) for name in names}
        shares = (share(patched.effect(name, value).recovery) for name, value in values.items())
        yield repr(patched.symbols[place - 1]) if place else "", *shares, prediction(patched, values["state"])


def share(recovery: float | None) -> str:
    """Return a recovery as a percentage."""
    return f"{'–':>9}" if recovery is None else f"{recovery:9.1%}"
