"""`unroll cells`: which cell tracks a property of the text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console, pictures
from unroll.cli.inputs import reads_text
from unroll.cli.options import FILE, JSON, PATH, plot_option
from unroll.errors import number_of

if TYPE_CHECKING:
    from unroll.insight.cells.findings import Finding, Tracking


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
@reads_text
def verb(model: Path, file: Path | None, asked: str, top: int, plot: Path | None, as_json: bool) -> None:
    """Find the cells of the network in DIR that track a property of a text."""
    pictures.check(plot)
    from unroll.artifact.open import open_model
    from unroll.insight.cells.measure import track
    from unroll.insight.cells.picture import picture
    from unroll.insight.cells.properties import label, read_text

    opened = open_model(model, needs="network")
    text = read_text(opened, file)
    tracking = console.run(track(opened, text, label(text, asked), top=top))
    pictures.write(plot, lambda ending: picture(tracking, ending))
    if as_json:
        console.put_json(tracking.figures() | {"plot": plot})
    else:
        put(tracking, model, file)
        console.warn(*tracking.notes)


def put(tracking: "Tracking", model: Path, file: Path | None) -> None:
    """Print the findings as a table and as sentences, the probes, and how to see the best cell."""
    console.put_rule(
        f"{tracking.labels.name}: {tracking.labels.what}, in {number_of(tracking.symbols, 'symbol')} of {tracking.file}"
    )
    console.put_columns(table(tracking))
    console.put_rule("in words")
    for finding in tracking.findings:
        console.put_columns([(str(finding.cell), " ".join(sentence(tracking, finding)))])
    if tracking.probe is not None:
        console.put_rule("linear probes, fitted on the first half")
        console.put_columns(probes(tracking))
    best = tracking.findings[0].cell
    where = f"{best.layer}:{best.unit} --signal {best.signal} --file {file or 'TEXT'}"
    console.put_columns(
        [("see it", f"unroll trace {model} --unit {where}"), ("clamp it", f"unroll ablate {model} --cell {where}")]
    )


def table(tracking: "Tracking") -> Iterator[tuple[str, ...]]:
    """Yield a head and a row for each finding."""
    metric = "AUROC" if tracking.labels.binary else "correlation"
    yield "cell", f"{metric} (95 %)", "chance", "untrained", "gain (95 %)", "clamped", "verdict"
    for finding in tracking.findings:
        yield (
            str(finding.cell),
            f"{finding.score:.3f} ({finding.interval[0]:.3f}–{finding.interval[1]:.3f})",
            f"{finding.null:.3f}",
            f"{finding.untrained:.3f}",
            "–" if finding.gain is None or finding.gain_interval is None
            else f"{finding.gain:+.3f} ({finding.gain_interval[0]:+.3f} to {finding.gain_interval[1]:+.3f})",
            "–" if finding.ablation is None else f"× {finding.ablation.ratio:.1f}",
            finding.word,
        )  # fmt: skip


def sentence(tracking: "Tracking", finding: "Finding") -> Iterator[str]:
    """Yield the evidence about a cell, and the reason for its verdict."""
    labels = tracking.labels
    rising, falling, metric = ("high", "low", "AUROC") if labels.binary else ("rises with", "falls with", "correlation")
    recent = "" if tracking.recent is None else f", the last 8 characters {tracking.recent:.3f}"
    yield (
        f"{rising if finding.rises else falling} {labels.what}: {metric} {finding.score:.3f} on the half of the text "
        f"that it was not chosen on. In both halves it reaches {finding.weaker:.3f}, the best of {tracking.searched:,} "
        f"signals {finding.null:.3f} by chance, an untrained network {finding.untrained:.3f}{recent}."
    )
    if (ablation := finding.ablation) is not None:
        marks = " ".join(tracking.marks[:6]) + (" …" if len(tracking.marks) > 6 else "") if tracking.marks else ""
        low, high = (1000 * bound for bound in ablation.interval)
        yield (
            f"Clamped at its mean it adds {1000 * ablation.cost:.2f} millinats a symbol ({low:.2f} to {high:.2f}) to "
            f"telling {marks} from other symbols, {ablation.ratio:.1f} times what {ablation.matched} matched cells "
            f"add on average, and elsewhere {ablation.elsewhere_ratio:.1f} times what they add."
        )
    yield f"So: {finding.word}{why(finding)}."


def why(finding: "Finding") -> str:
    """Return what a finding lacks for the next verdict."""
    from unroll.insight.cells.ablation import APART, CAUSAL
    from unroll.insight.cells.findings import ALPHA

    ablation = finding.ablation
    if finding.p_value > ALPHA:
        return f", because chance does as well (p = {finding.p_value:.2f})"
    if finding.weaker <= finding.untrained:
        return ", no more, because an untrained network has a unit as good"
    if finding.gain_interval is None:
        return ", no more, because its gain over the last 8 characters is unknown"
    if finding.gain_interval[0] <= 0:
        return ", no more, because the last 8 characters may reveal as much"
    if ablation is None:
        return ", and was not clamped"
    if ablation.interval[0] <= 0:
        return ", no more, because clamping it may add nothing"
    if ablation.ratio < CAUSAL:
        return f", no more, because clamping it adds less than {CAUSAL:g} times what matched cells do"
    if ablation.cost <= ablation.matched_largest:
        return ", no more, because a matched cell adds as much"
    return "" if ablation.causal else f", no more, because it harms everything else more than 1/{APART:g} as much"


def probes(tracking: "Tracking") -> Iterator[tuple[str, ...]]:
    """Yield the scores of linear probes."""
    assert tracking.probe is not None
    probe = tracking.probe
    yield (
        "all units",
        f"{probe.score:.3f} ({probe.interval[0]:.3f}–{probe.interval[1]:.3f}), "
        f"in an untrained network {probe.untrained:.3f}",
    )
    for cells, score in probe.small:
        yield ("1 unit" if len(cells) == 1 else f"{len(cells)} units"), f"{score:.3f}: {', '.join(map(str, cells))}"
