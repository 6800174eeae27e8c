"""`unroll attribute`: which symbols made a prediction, which units of a text, or values, decided a label or a tag."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console, pictures
from unroll.cli.options import JSON, PATH, plot_option, refuse_options

if TYPE_CHECKING:
    from unroll.insight.attribution.scores import Attribution, Floats, Method
    from unroll.insight.sequences.attribution import SequenceAttribution


@click.command(
    "attribute",
    epilog="""\b
Methods, each a score in nats for every symbol before the prediction:
  gradient    gradient × input: how the prediction would change to first order
  integrated  integrated gradients: the same, averaged along the path from baseline to text; the
              scores sum to F(text) - F(baseline), and the residual is reported
  leave-out   leave-one-out: F(text) - F(text without the symbol); the check of the other two

\b
F is log p(target), or with --against the difference of the two. A symbol is left out by setting
its embedding to zero: it keeps its place, so all others stand as far back as before. The
baseline is the text with all embeddings zero; the start symbol is kept and has no score.

\b
Of a classifier, F is log p(label), or with --against the difference of two labels, and what is
scored are the words or characters of the text. One is left out by reading it, and the characters
of a word, as unknown; the baseline is the text with all of them unknown. Of a tagger it is the
same for the tag of token N, counted from 1, by default the last; of a CRF p(tag) is the share of
all paths that have it there. Of a translator it is log p of piece N of the translation, the first
by default, given those before it; the attention is shown beside the scores, and is none of them.

\b
Of a model of sequences TEXT is a file, and --at N names a sequence, by default the first. Each of
its values is scored: one is left out by reading the mean of its channel in its place.

\b
Examples:
  unroll attribute runs/pronouns "Alice reads the book ." --target she --against he
  unroll attribute runs/book "It was a dark night" --html night.html --plot night.png
  unroll attribute runs/reviews "What a film!" --label good --against bad
  unroll attribute runs/ewt "They can fish" --at 3 --label NOUN --against VERB
  unroll attribute runs/de-en "ein alter hund" --at 2""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("text", metavar="TEXT")
@click.option("--target", metavar="SYMBOL", help="Symbol predicted after TEXT.  [default: the last symbol of TEXT]")
@click.option("--label", metavar="L", help="Label of TEXT, or tag of a token.  [default: the predicted one]")
@click.option("--against", metavar="SYMBOL", help="Why the target, or label, rather than this one?")
@click.option(
    "--at",
    metavar="N",
    type=int,
    help="Explain the prediction after N symbols of TEXT, the tag of token N, piece N of the translation, or the label "
    "of sequence N.",
)
@click.option(
    "--method",
    type=click.Choice(["gradient", "integrated", "leave-out"]),
    help="How to score symbols.  [default: integrated; of labels and tags leave-out]",
)
@click.option("--steps", metavar="N", type=int, default=64, show_default=True, help="Steps of integrated gradients.")
@click.option("--html", metavar="F", type=PATH, help="Write the coloured text as one HTML page.")
@plot_option("a bar for each symbol")
@JSON
def verb(
    model: Path,
    text: str,
    target: str | None,
    label: str | None,
    against: str | None,
    at: int | None,
    method: "Method | None",
    steps: int,
    html: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show which symbols of TEXT made the network in DIR predict what comes next, or which decided a label or tag."""
    pictures.check(plot)
    from unroll.artifact.directory import CLASSIFIER, KIND, SEQUENCE, TAGGER, TRANSLATOR, read_kind
    from unroll.files import printable_name
    from unroll.insight.attribution.picture import picture
    from unroll.insight.attribution.scores import NAMES, formula
    from unroll.insight.cells.colours import page

    draw: Any = picture
    if (kind := read_kind(model)["kind"]) == TAGGER:
        refuse_options(model, TAGGER, {"--target": target}, "--label TAG, --against TAG, --at N")
        attribution, symbols = tag_scores(model, text, label, against, at, method or "leave-out", steps)
        question = f"What made {printable_name(model)} say {attribution.target} of token {attribution.at}?"
    elif kind == TRANSLATOR:
        refuse_options(model, TRANSLATOR, {"--target": target, "--label": label, "--against": against}, "--at N")
        attribution, symbols = piece_scores(model, text, at, method or "leave-out", steps)
        question = f"What made {printable_name(model)} write {attribution.target}?"
    elif kind == CLASSIFIER:
        refuse_options(model, CLASSIFIER, {"--target": target, "--at": at}, "--label L, --against L")
        attribution, symbols = label_scores(model, text, label, against, method or "leave-out", steps)
        question = f"What made {printable_name(model)} say {attribution.target}?"
    elif kind == SEQUENCE:
        from unroll.insight.sequences.picture import picture as heat_map

        refuse_options(model, SEQUENCE, {"--target": target}, "--label L, --against L, --at N")
        draw = heat_map
        attribution = value_scores(model, text, label, against, at, method or "leave-out", steps)
        symbols = [f"{symbol} " for symbol in attribution.symbols]
        question = f"What made {printable_name(model)} say {attribution.target} of sequence {attribution.id}?"
    else:
        refuse_options(model, KIND, {"--label": label}, "--target SYMBOL, --against SYMBOL")
        attribution, symbols = symbol_scores(model, text, target, against, at, method or "integrated", steps)
        question = f"What made {printable_name(model)} expect this?"
    shown = {NAMES[attribution.method]: attribution.scores} | {NAMES["leave-out"]: attribution.leave_out}
    rows = [(f"{name}: ±1 is {largest(values):.4f} nats", shares(values)) for name, values in shown.items()]
    title = f"{formula(attribution)} of {printable_name(model)}"
    pictures.write(html, lambda _: page(title, symbols, rows).encode())
    pictures.write(plot, lambda ending: draw(attribution, question, ending))
    if as_json:
        console.put_json({"model": model, "text": text, **attribution.figures(), "html": html, "plot": plot})
    else:
        put_scores(attribution, symbols)
        console.put_columns(rows_of(attribution), err=True)
        console.warn(*attribution.notes)


def symbol_scores(
    model: Path, text: str, target: str | None, against: str | None, at: int | None, method: "Method", steps: int
) -> tuple["Attribution", list[str]]:
    """Return the scores of the symbols before a prediction, and the text in pieces that show where each stands."""
    from unroll.artifact.open import open_model
    from unroll.insight.attribution.measure import attributing

    opened = open_model(model, needs="network")
    attribution = console.run(
        attributing(opened, text, target=target, against=against, at=at, method=method, steps=steps)
    )
    return attribution, list(map(str.__add__, attribution.symbols, opened.tokenizer.gaps(attribution.ids)))


def label_scores(
    model: Path, text: str, label: str | None, against: str | None, method: "Method", steps: int
) -> tuple["Attribution", list[str]]:
    """Return the scores of the units of a text for its label, and the text in pieces."""
    from unroll.artifact.classifier import open_classifier
    from unroll.insight.classifier.attribution import attributing_label

    opened = open_classifier(model)
    attribution = console.run(attributing_label(opened, text, label, against=against, method=method, steps=steps))
    return attribution, list(attribution.pieces)


def tag_scores(
    model: Path, text: str, tag: str | None, against: str | None, at: int | None, method: "Method", steps: int
) -> tuple["Attribution", list[str]]:
    """Return the scores of the tokens of a sentence for the tag of one of them, and the text in pieces."""
    from unroll.artifact.tagger import open_tagger
    from unroll.insight.tagger.attribution import attributing_tag

    opened = open_tagger(model)
    attribution = console.run(attributing_tag(opened, text, tag, at=at, against=against, method=method, steps=steps))
    return attribution, list(attribution.pieces)


def piece_scores(
    model: Path, text: str, at: int | None, method: "Method", steps: int
) -> tuple["Attribution", list[str]]:
    """Return the scores of the pieces of a text for a piece of its translation, and the text in pieces."""
    from unroll.artifact.translator import open_translator
    from unroll.insight.translator.attribution import attributing_piece

    attribution = console.run(attributing_piece(open_translator(model), text, at=at, method=method, steps=steps))
    written = " ".join(f"{number}:{piece.strip()}" for number, piece in enumerate(attribution.translation, 1))
    console.put_columns([("translation", written)], err=True)
    if (agreement := attribution.attention_agreement) is not None:
        console.put_columns([("attention", f"rank agreement with leave-one-out (Spearman): {agreement:.2f}")], err=True)
    return attribution, list(attribution.pieces)


def value_scores(
    model: Path, file: str, label: str | None, against: str | None, at: int | None, method: "Method", steps: int
) -> "SequenceAttribution":
    """Return the scores of the values of a sequence in a file for its label."""
    from unroll.artifact.series import open_series
    from unroll.insight.sequences.attribution import attributing_sequence

    return console.run(attributing_sequence(open_series(model), Path(file), label, at, against, method, steps))


def put_scores(attribution: "Attribution", symbols: list[str]) -> None:
    """Print the text by its scores: in colours on a terminal, else score, leave-one-out and symbol a line."""
    from unroll.insight.cells.colours import in_terminal

    if console.has_colours(sys.stdout):
        console.put("".join(in_terminal([console.visible(symbol) for symbol in symbols], shares(attribution.scores))))
        return
    alone = attribution.method == "leave-out"
    for symbol, score, left_out in zip(attribution.symbols, attribution.scores, attribution.leave_out, strict=True):
        console.put(f"{score:9.4f}  {symbol!r}" if alone else f"{score:9.4f}  {left_out:9.4f}  {symbol!r}")


def rows_of(attribution: "Attribution") -> Iterator[tuple[str, str]]:
    """Yield what was predicted, what the scores sum to, and how far leave-one-out agrees."""
    from unroll.insight.attribution.scores import NAMES, formula

    share = f" ({100 * math.exp(attribution.value):.3g} %)" if attribution.against is None else ""
    yield (
        "prediction",
        f"{formula(attribution)} = {attribution.value:.4f} nats{share}, {attribution.baseline:.4f} with "
        f"{attribution.origin}",
    )
    name, total = NAMES[attribution.method], attribution.scores.sum()
    legend = f"{name}, orange for it and blue against it, up to {largest(attribution.scores):.4f} nats"
    if attribution.residual is None:
        yield "scores", f"{legend}; sum {total:.4f}"
    else:
        difference = attribution.value - attribution.baseline
        yield "scores", f"{legend}; sum {total:.4f} of {difference:.4f}, residual {attribution.residual:.1e}"
    if attribution.agreement is not None:
        yield "check", f"rank agreement with leave-one-out (Spearman): {attribution.agreement:.2f}"


def largest(values: "Floats") -> float:
    """Return the largest size among the values."""
    return float(abs(values).max(initial=0.0))


def shares(values: "Floats") -> Any:
    """Return the values as shares of the largest, -1 to 1."""
    return values / (largest(values) or 1.0)
