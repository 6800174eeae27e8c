"""`unroll cells`: which cell tracks a property of the text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console
from unroll.cli.options import FILE, JSON, PATH, plot_option

if TYPE_CHECKING:
    from unroll.insight.cells.measure import Finding, Tracking


@click.command(
    "cells",
    epilog="""\b
Properties:
  quotes    inside quotation marks        line    characters since the newline
  bracket   inside ( ) or [ ]             indent  blanks and tabs that the line began with
  comment   in a comment: C, Python, HTML depth   open brackets
  tag       inside < >                    word    letters of the word so far
  link      inside [[ ]]                  case    in a word that began with a capital
  math      inside $ $                    url     in a URL
  re:PATTERN         inside a match of Python's regular expression, or of its first group
  FILE.tsv[:COLUMN]  a table with a header: a number for each symbol of the text; or columns
                     start and end, in bytes, and a number for each stretch (1 if absent)

\b
Units are compared by AUROC, or by correlation where the property is a number. The sign of each
is taken from the first half of the text, its score from the second; the weaker half counts.
Verdicts:
  leans   suggestive: in both halves its score exceeds what the best of all units reaches in 99 %
          of all circular shifts of the labels (p <= 0.01); text repeats itself, so chance
          reaches far
  tracks  leans, and scores above every unit of an untrained network and above what the last
          8 characters reveal (the 95 % interval of the gain lies above 0)
  causal  tracks, and clamping it at its mean costs the network, in telling the property's marks
          from other symbols, 10 times what clamping matched cells costs, more than any of them
          (95 % interval above 0), and relative to them twice what it costs elsewhere
  none    none of these
Matched cells: the 20 of the layer, from the half least related to the property, whose h moves
as much.

\b
Examples:
  unroll cells runs/book --file test.txt
  unroll cells runs/kernel --file kernel.c --property comment --plot comment.png
  unroll cells runs/book --file test.txt --property line --top 3
  unroll cells runs/book --file test.txt --property 're:\\d+'
  unroll cells runs/book --file test.txt --property tagged.tsv:person --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@FILE
@click.option("--property", "asked", metavar="P", default="quotes", show_default=True, help="The property.")
@click.option("--top", metavar="N", type=int, default=10, show_default=True, help="Number of units to list.")
@plot_option("the best cell over a stretch of text")
@JSON
def verb(model: Path, file: Path | None, asked: str, top: int, plot: Path | None, as_json: bool) -> None:
    """Find the cells of the network in DIR that track a property of a text."""
    if plot:
        from unroll.insight.plots import check_picture

        check_picture(plot)
    from unroll.artifact.open import open_model
    from unroll.insight.cells.measure import track
    from unroll.insight.cells.properties import label, read_text

    opened = open_model(model, needs="network")
    text = read_text(opened, file)
    found = console.run(track(opened, text, label(text, asked), top=top))
    if plot:
        from unroll.files import write_atomically
        from unroll.insight.cells.picture import picture

        write_atomically(plot, picture(found, plot.suffix.lower()))
    if as_json:
        console.put_json(found.figures() | {"plot": None if plot is None else str(plot)})
        return
    put(found, model, file)
    for note in found.notes:
        console.warn(note)


def put(found: "Tracking", model: Path, file: Path | None) -> None:
    """Print the findings as a table and as sentences, the probes, and how to see the best cell."""
    console.put_rule(f"{found.labels.name}: {found.labels.what}, in {found.symbols:,} symbols of {found.file}")
    console.put_columns(table(found))
    console.put_rule("in words")
    for one in found.findings:
        console.put_columns([(str(one.cell), " ".join(sentence(found, one)))])
    if found.probe is not None:
        console.put_rule("linear probes, fitted on the first half")
        console.put_columns(probes(found))
    best = found.findings[0].cell
    where = f"{best.layer}:{best.unit} --signal {best.signal} --file {file or 'TEXT'}"
    console.put_columns(
        [("see it", f"unroll trace {model} --unit {where}"), ("clamp it", f"unroll ablate {model} --cell {where}")]
    )


def table(found: "Tracking") -> Iterator[tuple[str, ...]]:
    """Yield a head and a row for each finding."""
    metric = "AUROC" if found.labels.binary else "correlation"
    yield "cell", f"{metric} (95 %)", "chance", "untrained", "gain (95 %)", "clamped", "verdict"
    for one in found.findings:
        yield (
            str(one.cell),
            f"{one.score:.3f} ({one.interval[0]:.3f}–{one.interval[1]:.3f})",
            f"{one.null:.3f}",
            f"{one.untrained:.3f}",
            "–" if one.gain is None or one.gain_interval is None
            else f"{one.gain:+.3f} ({one.gain_interval[0]:+.3f} to {one.gain_interval[1]:+.3f})",
            "–" if one.ablation is None else f"× {one.ablation.ratio:.1f}",
            one.verdict,
        )  # fmt: skip


def sentence(found: "Tracking", one: "Finding") -> Iterator[str]:
    """Yield the evidence about a cell, and the reason for its verdict."""
    way = ("high" if one.rises else "low") if found.labels.binary else ("rises with" if one.rises else "falls with")
    metric = "AUROC" if found.labels.binary else "correlation"
    yield f"{way} {found.labels.what}: {metric} {one.score:.3f} on the half of the text that it was not chosen on."
    recent = "" if found.recent is None else f", the last 8 characters {found.recent:.3f}"
    yield f"In both halves it reaches {one.weaker:.3f}, the best of {found.searched:,} signals {one.null:.3f} by"
    yield f"chance, an untrained network {one.untrained:.3f}{recent}."
    if (held := one.ablation) is not None:
        which = " ".join(found.marks[:6]) + (" …" if len(found.marks) > 6 else "") if found.marks else ""
        low, high = (1000 * bound for bound in held.interval)
        yield f"Clamped at its mean it adds {1000 * held.cost:.2f} millinats a symbol ({low:.2f} to {high:.2f}) to"
        yield f"telling {which} from other symbols, {held.ratio:.1f} times what {held.matched} matched cells add on"
        yield f"average, and elsewhere {held.elsewhere_ratio:.1f} times what they add."
    yield f"So: {one.verdict}{why(one)}."


def why(one: "Finding") -> str:
    """Return what a finding lacks for the next verdict."""
    from unroll.insight.cells.ablation import APART, CAUSAL
    from unroll.insight.cells.measure import ALPHA

    held = one.ablation
    if one.p_value > ALPHA:
        return f", because chance does as well (p = {one.p_value:.2f})"
    if one.weaker <= one.untrained:
        return ", no more, because an untrained network has a unit as good"
    if one.gain_interval is None:
        return ", no more, because its gain over the last 8 characters is unknown"
    if one.gain_interval[0] <= 0:
        return ", no more, because the last 8 characters may reveal as much"
    if held is None:
        return ", and was not clamped"
    if held.interval[0] <= 0:
        return ", no more, because clamping it may add nothing"
    if held.ratio < CAUSAL:
        return f", no more, because clamping it adds less than {CAUSAL:g} times what matched cells do"
    if held.cost <= held.matched_largest:
        return ", no more, because a matched cell adds as much"
    return "" if held.causal else f", no more, because it harms everything else more than 1/{APART:g} as much"


def probes(found: "Tracking") -> Iterator[tuple[str, ...]]:
    """Yield the scores of linear probes."""
    assert found.probe is not None
    its = found.probe
    yield (
        "all units",
        f"{its.score:.3f} ({its.interval[0]:.3f}–{its.interval[1]:.3f}), in an untrained network {its.untrained:.3f}",
    )
    for cells, score in its.small:
        yield ("1 unit" if len(cells) == 1 else f"{len(cells)} units"), f"{score:.3f}: {', '.join(map(str, cells))}"
