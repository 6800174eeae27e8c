"""`unroll trace`: the states and gates of a model at every step of a text."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console, pictures
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import JSON, PATH, plot_option
from unroll.errors import UserError, number_of
from unroll.nn.arch import ARCHITECTURES

if TYPE_CHECKING:
    from unroll.artifact.open import Opened
    from unroll.insight.trace import Ids, Traced
    from unroll.nn.config import ModelConfig
    from unroll.nn.model import Model

MOST_COLOURED = 100_000
"""Maximum number of symbols in a page or on a terminal."""
MOST_DRAWN = 400
"""Maximum number of symbols in a heat map, where they can still be distinguished."""
SIGNALS = "\n".join(
    f"  {a.label:8} {', '.join(f'{name} {word}' for name, word in a.signals.items())}" for a in ARCHITECTURES.values()
)


@click.command(
    "trace",
    epilog=f"""\b
Signals, one row for each symbol of the text, one column for each unit:
{SIGNALS}
  nats     how surprising each symbol was    logits   what was expected after it

\b
Examples:
  unroll trace runs/book "He said “yes” (or no)."
  unroll trace runs/book "He said “yes”." --unit 0:17 --unit 0:42 --signal c
  unroll trace runs/book --file book.txt --out trace.npz --layer 0
  unroll trace runs/book --file page.txt --unit 0:17 --html cell.html
  unroll trace runs/book "He said “yes”." --signal f --plot forget.png""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("text", metavar="[TEXT]", required=False)
@click.option("--file", metavar="F", type=TEXT, help="Trace this text instead.")
@click.option(
    "--layer",
    "layers",
    metavar="L",
    multiple=True,
    type=int,
    help="Keep only this layer, counted from 0.  May be repeated.",
)
@click.option(
    "--signal",
    "signals",
    metavar="NAME",
    multiple=True,
    help="Keep only this signal.  May be repeated.  [default: all]",
)
@click.option(
    "--unit", "units", metavar="L:K", multiple=True, help="Colour the text by unit K of layer L.  May be repeated."
)
@click.option("--out", metavar="F.npz", type=PATH, help="Write arrays (T, H), named layer0/c and so on.")
@click.option("--html", metavar="F", type=PATH, help="Write the coloured text as one HTML page.")
@plot_option("a heat map of all units (of one --layer and --signal)")
@JSON
@reads_text
def verb(
    model: Path,
    text: str | None,
    file: Path | None,
    units: tuple[str, ...],
    html: Path | None,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show every state and gate of the network in DIR at every symbol of TEXT."""
    if (text is None) == (file is None):
        raise UserError(
            "nothing to trace" if text is None else "both a text and a file are given",
            allowed="one TEXT, or --file F",
            fix='for example: unroll trace DIR "John is driving a car"',
        )
    if html and not units:
        raise UserError("--html needs --unit", allowed="one --unit L:K or more", fix="add --unit 0:0")
    pictures.check(plot)
    from unroll.artifact.open import open_model
    from unroll.files import printable_name, refuse_input
    from unroll.insight.cells.colours import page
    from unroll.insight.trace import ids_of_file, network_of, trace_ids

    for written in (html, plot, options["out"]):
        refuse_input(written, file)
    opened = open_model(model, needs="network")
    ids = ids_of_file(opened, file) if file else opened.tokenizer.encode(text or "")
    network = network_of(opened)
    places = [place(unit, network.config, model) for unit in units]
    if len(ids) > (most := MOST_DRAWN if plot else MOST_COLOURED) and (plot or units):
        raise UserError(
            f"the text has {number_of(len(ids), 'symbol')}",
            allowed=f"{most:,} at most in a heat map" if plot else f"{most:,} at most to be coloured",
            fix="take a part of it; --out has no limit",
        )
    traced = console.run(trace_ids(opened, ids, **options, keep=False))
    own = ARCHITECTURES[network.config.arch].signals
    names = [name for name in options["signals"] if name in own] or ["c" if "c" in own else "h"]
    rows = coloured(network, ids, opened.tokenizer.start_id, places, names) if places else []
    symbols = symbols_of(opened, traced) if rows or plot else []
    title = f"{printable_name(model)} on {printable_name(file) if file else 'a text'}"
    pictures.write(html, lambda _: page(title, symbols, rows).encode())
    drawn = f"layer{options['layers'][0] if options['layers'] else 0}/{names[0]}"
    pictures.write(plot, lambda ending: heat_map_of(opened, network, traced.ids, symbols, drawn, ending))
    if as_json:
        console.put_json(
            {
                "model": model,
                "tokens": len(traced.ids),
                "nats": traced.nats,
                "arrays": list(traced.names),
                "out": options["out"],
                "html": html,
                "plot": plot,
                "layers": [layer.figures() for layer in traced.layers],
                "symbols": symbols if rows else None,
                "units": [{"name": name, "values": [float(value) for value in values]} for name, values in rows],
            }
        )
        return
    for name, values in rows:
        console.put_rule(name)
        put_coloured(symbols, values)
    console.put_columns(rows_of(traced, options["out"]), err=bool(rows))


def place(unit: str, config: "ModelConfig", model: Path) -> tuple[int, int]:
    """Return layer and unit of `L:K`; raises UserError for a unit that does not exist."""
    layer, _, number = unit.partition(":")
    if layer.isdigit() and number.isdigit() and int(layer) < config.num_layers and int(number) < config.hidden_size:
        return int(layer), int(number)
    raise UserError(
        f"--unit {unit} is not a unit of {model}",
        allowed=f"L:K with L from 0 to {config.num_layers - 1} and K from 0 to {config.hidden_size - 1}",
        fix="for example: --unit 0:17",
    )


def coloured(
    network: "Model", ids: "Ids", start_id: int, places: list[tuple[int, int]], names: list[str]
) -> list[tuple[str, Any]]:
    """Return the name and the values (T,) of each unit and signal that the text is coloured by."""
    import numpy as np

    from unroll.insight.trace import parts

    pieces_of: dict[str, list[Any]] = {}
    for part in parts(network, ids, start_id):
        for layer, unit in places:
            for name in names:
                pieces_of.setdefault(f"layer{layer}/{name}, unit {unit}", []).append(
                    part.arrays[f"layer{layer}/{name}"][:, unit]
                )
    return [(name, np.concatenate(pieces)) for name, pieces in pieces_of.items()]


def heat_map_of(opened: "Opened", network: "Model", ids: "Ids", symbols: list[str], name: str, ending: str) -> bytes:
    """Return a picture of all units of the signal `name` of a layer, such as `layer0/c`."""
    import numpy as np

    from unroll.files import printable_name
    from unroll.insight.plots import heat_map
    from unroll.insight.trace import parts

    values = np.concatenate([part.arrays[name] for part in parts(network, ids, opened.tokenizer.start_id)])
    return heat_map(values, symbols, f"{name} of {printable_name(opened.path)}", ending)


def symbols_of(opened: "Opened", traced: "Traced") -> list[str]:
    """Return the text of every symbol, with the space between words; bytes of an unfinished character show as �."""
    tokenizer = opened.tokenizer
    gaps = tokenizer.gaps(traced.ids)
    return [tokenizer.decode([id]) + gap for id, gap in zip(traced.ids.tolist(), gaps, strict=True)]


def put_coloured(symbols: list[str], values: Any) -> None:
    """Print the text by its values: in colours on a terminal, else a symbol and its value a line."""
    from unroll.insight.cells.colours import in_terminal

    if console.has_colours(sys.stdout):
        console.put("".join(in_terminal([console.visible(symbol) for symbol in symbols], values)))
        return
    for symbol, value in zip(symbols, values, strict=True):
        console.put(f"{value:9.4f}  {symbol!r}")


def rows_of(traced: "Traced", out: Path | None) -> Iterator[tuple[str, str]]:
    """Yield a line for each layer and gate, and where the arrays are."""
    import numpy as np

    yield "text", f"{number_of(len(traced.ids), 'symbol')}, {traced.nats / len(traced.ids):.4f} nats each"
    for layer in traced.layers:
        for gate in layer.gates:
            yield (
                f"layer{layer.layer}/{gate.name}",
                f"{gate.mean:.2f} on average, below 0.1 in {100 * gate.closed:.1f} % "
                f"and above 0.9 in {100 * gate.open:.1f} %",
            )
        if layer.time_constants is not None:
            middle, tenth = np.quantile(layer.time_constants, [0.5, 0.9])
            longest = ", ".join(
                f"{layer.layer}:{k} {layer.time_constants[k]:,.1f}" for k in np.argsort(-layer.time_constants)[:5]
            )
            yield (
                f"layer{layer.layer}/c",
                f"fades to 1/e in {middle:.1f} symbols (median), {tenth:.1f} (a tenth of them); longest: {longest}",
            )
    if out is not None:
        yield "arrays", f"{out}: {', '.join(traced.names)}, ids"
