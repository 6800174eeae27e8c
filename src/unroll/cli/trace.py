"""`unroll trace`: the states and gates of a model at every step of a text."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
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
    from unroll.insight.recorded import EncoderTrace
    from unroll.insight.trace import Ids, LayerUse
    from unroll.nn.config import ModelConfig
    from unroll.nn.encoder_config import EncoderConfig
    from unroll.nn.model import Model

MOST_COLOURED = 100_000
"""Maximum number of symbols in a page or on a terminal: the first of a language model's text are coloured."""
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
Of a classifier, one row for each word or character, which it reads from both ends: forwards0/c,
backwards0/c and so on; characters/forwards/c of the characters of words; attention, the weights
of that pooling; pooled, the text as one vector; logits of the labels. Row t of backwards0 is what
was read from the end down to unit t. A tagger's arrays are the same, one row for each token, with
the logits and probabilities of its tags.

\b
Examples:
  unroll trace runs/book "He said “yes”." --unit 0:17 --unit 0:42 --signal c
  unroll trace runs/book --file book.txt --out trace.npz --layer 0
  unroll trace runs/book --file page.txt --unit 0:17 --html cell.html
  unroll trace runs/book "He said “yes”." --signal f --plot forget.png
  unroll trace runs/reviews "What a film!" --unit backwards0:17 --out trace.npz""",
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
    "--unit",
    "units",
    metavar="L:K",
    multiple=True,
    help="Colour the text by unit K of layer L (of a classifier or tagger, forwards0:K).  May be repeated.",
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
    from unroll.artifact.directory import CLASSIFIER, TAGGER, read_kind
    from unroll.files import printable_name, refuse_input
    from unroll.insight.cells.colours import page
    from unroll.insight.plots import heat_map

    for written in (html, plot, options["out"]):
        refuse_input(written, file)
    asked = {"text": text, "file": file, "units": units, "draws": plot is not None, **options}
    traces = {CLASSIFIER: of_classifier, TAGGER: of_tagger}
    shown = traces.get(read_kind(model)["kind"], of_symbols)(model, **asked)
    title = f"{printable_name(model)} on {printable_name(file) if file else 'a text'}"
    pictures.write(html, lambda _: page(title, shown.symbols, shown.rows).encode())
    drawn = f"{' and '.join(shown.drawn)} of {printable_name(model)}"
    pictures.write(plot, lambda ending: heat_map(shown.drawn, shown.symbols, drawn, ending))
    if as_json:
        console.put_json({"model": model, **shown.figures, "out": options["out"], "html": html, "plot": plot,
                          "symbols": shown.symbols if shown.rows else None,
                          "units": [{"name": name, "values": [float(value) for value in values]}
                                    for name, values in shown.rows]})  # fmt: skip
        return
    for name, values in shown.rows:
        console.put_rule(name)
        put_coloured(shown.symbols, values)
    console.put_columns([*shown.lines, *rows_of(shown.layers)], err=bool(shown.rows))
    if options["out"] is not None:
        names = ", ".join(shown.figures["arrays"])
        console.put_columns([("arrays", f"{options['out']}: {names}, ids")], err=bool(shown.rows))


@dataclass(frozen=True)
class Shown:
    """What is shown of a trace."""

    symbols: list[str]
    """The text of every symbol or unit, with the space behind it."""
    rows: list[tuple[str, Any]]
    """The name and the values (T,) of each unit of the network that the text is coloured by."""
    drawn: dict[str, Any]
    """The values (T, H) of the heat maps, by name."""
    lines: list[tuple[str, str]]
    layers: "tuple[LayerUse, ...]"
    figures: dict[str, Any]
    """For JSON."""


def check_length(count: int, noun: str, *, draws: bool, colours: bool) -> None:
    """Raise UserError for a text that is too long for a picture."""
    if count > (most := MOST_DRAWN if draws else MOST_COLOURED) and (draws or colours):
        raise UserError(
            f"the text has {number_of(count, noun)}",
            allowed=f"{most:,} at most in a heat map" if draws else f"{most:,} at most to be coloured",
            fix="take a part of it; --out has no limit",
        )


def of_symbols(
    model: Path, *, text: str | None, file: Path | None, units: tuple[str, ...], draws: bool, **options: Any
) -> Shown:
    """Trace a text through the network of a language model."""
    from unroll.artifact.open import open_model
    from unroll.insight.trace import ids_of_file, network_of, trace_ids

    opened = open_model(model, needs="network")
    ids = ids_of_file(opened, file) if file else opened.tokenizer.encode(text or "")
    network = network_of(opened)
    places = [place(unit, network.config, model) for unit in units]
    check_length(len(ids), "symbol", draws=draws, colours=False)
    traced = console.run(trace_ids(opened, ids, **options, keep=False))
    if places and len(ids) > MOST_COLOURED:
        console.warn(f"only the first {MOST_COLOURED:,} of {len(ids):,} symbols are coloured")
    coloured = ids[:MOST_COLOURED]
    names = drawn_signals(network.config.arch, options["signals"])
    pairs = [(f"layer{layer}/{name}", k) for layer, k in places for name in names]
    drawn = f"layer{options['layers'][0] if options['layers'] else 0}/{names[0]}"
    names_kept = {name for name, _ in pairs} | ({drawn} if draws else set())
    arrays = kept(network, coloured, opened.tokenizer.start_id, names_kept)
    return Shown(
        symbols_of(opened, coloured) if places or draws else [],
        [(f"{name}, unit {k}", arrays[name][:, k]) for name, k in pairs],
        {drawn: arrays[drawn]} if draws else {},
        [("text", f"{number_of(len(ids), 'symbol')}, {traced.nats / len(ids):.4f} nats each")],
        traced.layers,
        {
            "tokens": len(ids),
            "nats": traced.nats,
            "arrays": list(traced.names),
            "layers": [layer.figures() for layer in traced.layers],
        },
    )


def of_classifier(
    model: Path, *, text: str | None, file: Path | None, units: tuple[str, ...], draws: bool, **options: Any
) -> Shown:
    """Trace a text through a classifier."""
    from unroll.artifact.classifier import open_classifier
    from unroll.insight.classifier.trace import tracing
    from unroll.tasks.classify.predict import of_logits

    opened, text = open_classifier(model), text_of(text, file)
    config = opened.info.config
    places = [layer_place(unit, config, model) for unit in units]
    check_length(int(opened.reader.read([text]).units.ends[-1]), "unit", draws=draws, colours=bool(units))
    traced = console.run(tracing(opened, text, **options))
    (probabilities,) = of_logits(traced.arrays["logits"][None], multi_label=config.multi_label)
    best = int(probabilities.argmax())
    label, share = opened.info.labels[best], float(probabilities[best])
    line = f"{number_of(len(traced.pieces), 'unit')}, {label} {100 * share:.1f} %"
    return of_encoder(config, traced, places, options, line, {"label": label, "probability": share}, draws=draws)


def of_tagger(
    model: Path, *, text: str | None, file: Path | None, units: tuple[str, ...], draws: bool, **options: Any
) -> Shown:
    """Trace a sentence through a tagger."""
    from unroll.artifact.tagger import open_tagger
    from unroll.insight.tagger.sentences import sentence_of
    from unroll.insight.tagger.trace import tracing_tagger

    opened, text = open_tagger(model), text_of(text, file)
    config, sentence = opened.info.config, sentence_of(opened, text)
    places = [layer_place(unit, config, model) for unit in units]
    check_length(len(sentence.spans), "token", draws=draws, colours=bool(units))
    traced = console.run(tracing_tagger(opened, text, **options))
    ids = opened.network.best(traced.arrays["logits"], sentence.reading.units.lengths).tolist()
    shares = [float(row[id]) for row, id in zip(traced.arrays["probabilities"], ids, strict=True)]
    tags = [
        {"token": text[start:end], "start": start, "end": end, "tag": opened.info.tags[id], "probability": share}
        for (start, end), id, share in zip(sentence.spans, ids, shares, strict=True)
    ]
    said = " ".join(f"{tag['token']}/{tag['tag']} {100 * share:.0f} %" for tag, share in zip(tags, shares, strict=True))
    line = f"{number_of(len(tags), 'token')}: {said}"
    return of_encoder(config, traced, places, options, line, {"tags": tags}, draws=draws)


def text_of(text: str | None, file: Path | None) -> str:
    """Return the text that is traced: the one given, or a file's, without its last line end."""
    from unroll.data.lines import line_text, read_lines

    if file is None:
        return text or ""
    lines = (line_text(line, file, number) for number, line in enumerate(read_lines(file), 1))
    return "".join(lines).removesuffix("\n").removesuffix("\r")


def of_encoder(
    config: "EncoderConfig",
    traced: "EncoderTrace",
    places: list[tuple[str, int]],
    options: dict[str, Any],
    line: str,
    answer: dict[str, Any],
    *,
    draws: bool,
) -> Shown:
    """Return what is shown of the trace of an encoder, and what it says."""
    names = drawn_signals(config.arch, options["signals"])
    level = options["layers"][0] if options["layers"] else 0
    pairs = [(f"{layer}/{name}", k) for layer, k in places for name in names]
    return Shown(
        list(traced.pieces),
        [(f"{name}, unit {k}", traced.arrays[name][:, k]) for name, k in pairs],
        {f"{way}{level}/{names[0]}": traced.arrays[f"{way}{level}/{names[0]}"] for way in config.directions}
        if draws
        else {},
        [("text", line)],
        traced.layers,
        {
            "tokens": len(traced.pieces),
            **answer,
            "arrays": list(traced.names[:-1]),
            "layers": [layer.figures() for layer in traced.layers],
        },
    )


def drawn_signals(arch: str, asked: tuple[str, ...]) -> list[str]:
    """Return the signals that a text is coloured by: those asked for, or the cell."""
    own = ARCHITECTURES[arch].signals
    return [name for name in asked if name in own] or ["c" if "c" in own else "h"]


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


def layer_place(unit: str, config: "EncoderConfig", model: Path) -> tuple[str, int]:
    """Return layer and unit of `backwards0:K`; raises UserError for a unit that does not exist."""
    layer, _, number = unit.partition(":")
    layers = [f"{way}{k}" for k in range(config.num_layers) for way in config.directions]
    if layer in layers and number.isdigit() and int(number) < config.hidden_size:
        return layer, int(number)
    raise UserError(
        f"--unit {unit} is not a unit of {model}",
        allowed=f"L:K with L of {', '.join(layers)} and K from 0 to {config.hidden_size - 1}",
        fix="for example: --unit forwards0:17",
    )


def kept(network: "Model", ids: "Ids", start_id: int, names: set[str]) -> dict[str, Any]:
    """Return the arrays (T, H) of these names."""
    import numpy as np

    from unroll.insight.trace import parts

    pieces: dict[str, list[Any]] = {name: [] for name in names}
    for part in parts(network, ids, start_id) if names else ():
        for name in names:
            pieces[name].append(part.arrays[name])
    return {name: np.concatenate(arrays) for name, arrays in pieces.items()}


def symbols_of(opened: "Opened", ids: "Ids") -> list[str]:
    """Return the text of every symbol, with the space between words; bytes of an unfinished character show as �."""
    tokenizer = opened.tokenizer
    gaps = tokenizer.gaps(ids)
    return [tokenizer.decode([id]) + gap for id, gap in zip(ids.tolist(), gaps, strict=True)]


def put_coloured(symbols: list[str], values: Any) -> None:
    """Print the text by its values: in colours on a terminal, else a symbol and its value a line."""
    from unroll.insight.cells.colours import in_terminal

    if console.has_colours(sys.stdout):
        console.put("".join(in_terminal([console.visible(symbol) for symbol in symbols], values)))
        return
    for symbol, value in zip(symbols, values, strict=True):
        console.put(f"{value:9.4f}  {symbol!r}")


def rows_of(layers: "tuple[LayerUse, ...]") -> Iterator[tuple[str, str]]:
    """Yield a line for each layer and gate."""
    import numpy as np

    for layer in layers:
        for gate in layer.gates:
            yield (
                f"{layer.name}/{gate.name}",
                f"{gate.mean:.2f} on average, below 0.1 in {100 * gate.closed:.1f} % "
                f"and above 0.9 in {100 * gate.open:.1f} %",
            )
        if layer.time_constants is not None:
            middle, tenth = np.quantile(layer.time_constants, [0.5, 0.9])
            prefix = layer.name.removeprefix("layer")
            longest = ", ".join(
                f"{prefix}:{k} {layer.time_constants[k]:,.1f}" for k in np.argsort(-layer.time_constants)[:5]
            )
            yield (
                f"{layer.name}/c",
                f"fades to 1/e in {middle:.1f} steps (median), {tenth:.1f} (a tenth of them); longest: {longest}",
            )
