"""`unroll attribute`: which earlier symbols made a prediction."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console, pictures
from unroll.cli.options import JSON, PATH, plot_option

if TYPE_CHECKING:
    from unroll.insight.attribution.measure import Attribution, Floats, Method


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
Examples:
  unroll attribute runs/pronouns "Alice reads the book . the letter is for Bob . she"
  unroll attribute runs/pronouns "Alice reads the book ." --target she --against he
  unroll attribute runs/book "He said “yes" --target "”" --method leave-out
  unroll attribute runs/book "It was a dark night" --html night.html --plot night.png""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("text", metavar="TEXT")
@click.option("--target", metavar="SYMBOL", help="Symbol predicted after TEXT.  [default: the last symbol of TEXT]")
@click.option("--against", metavar="SYMBOL", help="Why the target rather than this symbol?")
@click.option("--at", metavar="N", type=int, help="Explain the prediction after N symbols of TEXT instead.")
@click.option(
    "--method",
    type=click.Choice(["gradient", "integrated", "leave-out"]),
    default="integrated",
    show_default=True,
    help="How to score symbols.",
)
@click.option("--steps", metavar="N", type=int, default=64, show_default=True, help="Steps of integrated gradients.")
@click.option("--html", metavar="F", type=PATH, help="Write the coloured text as one HTML page.")
@plot_option("a bar for each symbol")
@JSON
def verb(
    model: Path,
    text: str,
    target: str | None,
    against: str | None,
    at: int | None,
    method: "Method",
    steps: int,
    html: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show which symbols of TEXT made the network in DIR predict what comes next."""
    pictures.check(plot)
    from unroll.artifact.open import open_model
    from unroll.files import printable_name
    from unroll.insight.attribution.measure import NAMES, attributing, formula
    from unroll.insight.attribution.picture import picture
    from unroll.insight.cells.colours import page

    opened = open_model(model, needs="network")
    attribution = console.run(
        attributing(opened, text, target=target, against=against, at=at, method=method, steps=steps)
    )
    symbols = list(map(str.__add__, attribution.symbols, opened.tokenizer.gaps(attribution.ids)))
    shown = {NAMES[method]: attribution.scores} | {NAMES["leave-out"]: attribution.leave_out}
    rows = [(f"{name}: ±1 is {largest(values):.4f} nats", shares(values)) for name, values in shown.items()]
    title = f"{formula(attribution)} of {printable_name(model)}"
    pictures.write(html, lambda _: page(title, symbols, rows).encode())
    question = f"What made {printable_name(model)} expect this?"
    pictures.write(plot, lambda ending: picture(attribution, question, ending))
    if as_json:
        console.put_json({"model": model, "text": text, **attribution.figures(), "html": html, "plot": plot})
    else:
        put_scores(attribution, symbols)
        console.put_columns(rows_of(attribution), err=True)
        console.warn(*attribution.notes)


def put_scores(attribution: "Attribution", symbols: list[str]) -> None:
    """Print the text by its scores: in colours on a terminal, else score, leave-one-out and symbol a line."""
    from unroll.insight.cells.colours import in_terminal

    if console.has_colours(sys.stdout):
        console.put("".join(in_terminal([console.visible(symbol) for symbol in symbols], shares(attribution.scores))))
        return
    for symbol, score, left_out in zip(attribution.symbols, attribution.scores, attribution.leave_out, strict=True):
        console.put(f"{score:9.4f}  {left_out:9.4f}  {symbol!r}")


def rows_of(attribution: "Attribution") -> Iterator[tuple[str, str]]:
    """Yield what was predicted, what the scores sum to, and how far leave-one-out agrees."""
    from unroll.insight.attribution.measure import NAMES, formula

    yield (
        "prediction",
        f"{formula(attribution)} = {attribution.value:.4f} nats, {attribution.baseline:.4f} with all embeddings zero",
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
