"""`unroll cells`: which cell tracks a property of the text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console, pictures
from unroll.cli.inputs import reads_examples
from unroll.cli.options import FILE, JSON, PATH, plot_option
from unroll.errors import UserError, number_of

if TYPE_CHECKING:
    from unroll.insight.cells.findings import Finding, Tracking
    from unroll.insight.classifier.cells import ClassifierTracking


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
  suggestive  (leans in JSON) in both halves its score exceeds what the best of all units reaches
              in 99 % of all circular shifts of the labels (p <= 0.01), which the table calls
              chance; text repeats itself, so chance reaches far
  tracks      suggestive, and scores above every unit of an untrained network and above what the
              last 8 characters reveal (gain, whose 95 % interval lies above 0)
  causal      tracks, and clamping it at its mean costs the network, in telling the property's
              marks from other symbols, 10 times what clamping matched cells costs (clamped),
              more than any of them (95 % interval above 0), and relative to them twice what it
              costs elsewhere
  none        none of these
Matched cells: the 20 of the layer, from the half least related to the property, whose h moves
as much.

\b
Of a classifier, --file is a table of texts, or has one in each line. All properties but tables
are compared with the states at each word or character; tracks also asks for more than the 8
characters on either side reveal. label:NAME is compared with the pooled vector of a text; tracks
then asks for more than guessing. Without --property, the best unit of each label is listed.
Nothing is clamped, so nothing is causal.

\b
Examples:
  unroll cells runs/kernel --file kernel.c --property comment --plot comment.png
  unroll cells runs/book --file test.txt --property line --top 3
  unroll cells runs/book --file test.txt --property 're:\\d+'
  unroll cells runs/book --file test.txt --property tagged.tsv:person --json
  unroll cells runs/reviews --property label:good --plot good.png""",
)
@click.argument("model", metavar="DIR", type=PATH)
@FILE
@click.option(
    "--property", "asked", metavar="P", help="The property.  [default: quotes; of a classifier each of its labels]"
)
@click.option("--top", metavar="N", type=int, default=10, show_default=True, help="Number of units to list.")
@plot_option("the best cell over a stretch of text")
@JSON
@reads_examples
def verb(model: Path, file: Path | None, asked: str | None, top: int, plot: Path | None, as_json: bool) -> None:
    """Find the cells of the network in DIR that track a property of a text."""
    pictures.check(plot)
    from unroll.artifact.directory import CLASSIFIER, read_kind

    if read_kind(model)["kind"] == CLASSIFIER:
        of_classifier(model, file, asked, top, plot, as_json)
        return
    from unroll.artifact.open import open_model
    from unroll.insight.cells.measure import track
    from unroll.insight.cells.picture import picture
    from unroll.insight.cells.properties import label, read_text

    opened = open_model(model, needs="network")
    text = read_text(opened, file)
    tracking = console.run(track(opened, text, label(text, asked or "quotes"), top=top))
    pictures.write(plot, lambda ending: picture(tracking, ending))
    if as_json:
        console.put_json(tracking.figures() | {"plot": plot})
    else:
        put(tracking, model, file)
        console.warn(*tracking.notes)


def of_classifier(
    model: Path, file: Path | None, asked: str | None, top: int, plot: Path | None, as_json: bool
) -> None:
    """Find the units of a classifier that follow a property of its texts, or tell its labels apart."""
    from unroll.artifact.classifier import open_classifier
    from unroll.insight.cells.picture import picture
    from unroll.insight.classifier.cells import track_classifier, track_labels
    from unroll.insight.classifier.picture import label_picture

    opened = open_classifier(model)
    if asked is None:
        if plot is not None:
            raise UserError(
                "--plot draws one property",
                allowed=f"--property label:{opened.info.labels[0]}, and so on",
                fix="name one",
            )
        trackings = console.run(track_labels(opened, file, opened.info.labels, top=1))
        if as_json:
            console.put_json({"model": str(model), "labels": [tracking.figures() for tracking in trackings]})
        else:
            put_labels(trackings, opened.info.labels)
        return
    tracking = console.run(track_classifier(opened, file, asked, top=top))
    pictures.write(plot, lambda ending: (label_picture if tracking.of_label else picture)(tracking, ending))
    if as_json:
        console.put_json(tracking.figures() | {"plot": plot})
        return
    read = f"{number_of(tracking.texts, 'text')} of {tracking.file}"
    read = read if tracking.of_label else f"{number_of(tracking.symbols, 'unit')} of {read}"
    put_findings(tracking, read)
    best = tracking.findings[0].cell
    signal = "h" if tracking.of_label else best.signal
    console.put_columns(
        [("see it", f"unroll trace {console.quoted(model)} TEXT --unit {best.place} --signal {signal}")]
    )
    console.warn(*tracking.notes)


def put_labels(trackings: "list[ClassifierTracking]", labels: tuple[str, ...]) -> None:
    """Print the unit that tells each label best from all others."""
    if trackings:
        console.put_rule(
            f"the best unit for each label, in {number_of(trackings[0].texts, 'text')} of {trackings[0].file}"
        )
    rows = [("label", "texts", "unit", "AUROC (95 %)", "chance", "untrained", "verdict")]
    for tracking in trackings:
        (finding,), (low, high) = tracking.findings, tracking.findings[0].interval
        count = f"{int(tracking.labels.values.sum()):,}"
        score = f"{finding.score:.3f} ({low:.3f}–{high:.3f})"
        name = tracking.labels.name.removeprefix("label:")
        rows.append(
            (name, count, str(finding.cell), score, f"{finding.null:.3f}", f"{finding.untrained:.3f}", finding.word)
        )
    console.put_columns(rows)
    if rare := len(labels) - len(trackings):
        console.warn(f"{number_of(rare, 'label')} without texts in one of the halves: left out")


def put(tracking: "Tracking", model: Path, file: Path | None) -> None:
    """Print the findings, and how to see the best cell."""
    put_findings(tracking, f"{number_of(tracking.symbols, 'symbol')} of {tracking.file}")
    best = tracking.findings[0].cell
    where = f"{best.layer}:{best.unit} --signal {best.signal} --file {console.quoted(file) if file else 'TEXT'}"
    folder = console.quoted(model)
    console.put_columns(
        [("see it", f"unroll trace {folder} --unit {where}"), ("clamp it", f"unroll ablate {folder} --cell {where}")]
    )


def put_findings(tracking: "Tracking", read: str) -> None:
    """Print the findings in what was read as a table and as sentences, and the probes."""
    console.put_rule(f"{tracking.labels.name}: {tracking.labels.what}, in {read}")
    console.put_columns(table(tracking))
    console.put_rule("in words")
    for finding in tracking.findings:
        console.put_columns([(str(finding.cell), " ".join(sentence(tracking, finding)))])
    if tracking.probe is not None:
        console.put_rule("linear probes, fitted on the first half")
        console.put_columns(probes(tracking))


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
    recent = "" if tracking.recent is None else f", {tracking.outdone} {tracking.recent:.3f}"
    yield (
        f"{rising if finding.rises else falling} {labels.what}: {metric} {finding.score:.3f} on the half that it was "
        f"not chosen on. In both halves it reaches {finding.weaker:.3f}, the best of {tracking.searched:,} "
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
    yield f"So: {finding.word}{why(finding, tracking.outdone)}."


def why(finding: "Finding", outdone: str) -> str:
    """Return what a finding lacks for the next verdict."""
    from unroll.insight.cells.ablation import APART, CAUSAL
    from unroll.insight.cells.findings import ALPHA

    ablation = finding.ablation
    if finding.p_value > ALPHA:
        return f", because chance does as well (p = {finding.p_value:.2f})"
    if finding.weaker <= finding.untrained:
        return ", no more, because an untrained network has a unit as good"
    if finding.gain_interval is None:
        return f", no more, because its gain over {outdone} is unknown"
    if finding.gain_interval[0] <= 0:
        return f", no more, because {outdone} may reveal as much"
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
