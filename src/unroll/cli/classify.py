"""`unroll classify`: trains a classifier of texts, asks it for labels, measures it."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from unroll.cli import console, process
from unroll.cli.figures import put_label_figures
from unroll.cli.inputs import TEXT, column_names, reads_lists
from unroll.cli.options import PATH, PRECISION, check_source, json_option, plot_option
from unroll.cli.training import Display, refuse_beside_resume, rounds, show_training, training_options
from unroll.errors import UserError, number_of
from unroll.files import real_folder


@click.group(
    "classify",
    epilog="""\b
Examples:
  unroll classify train reviews.csv --text review --label stars
  unroll classify predict runs/reviews "What a film!"
  unroll classify eval runs/reviews test.csv""",
)
def verb() -> None:
    """Train a classifier of texts, ask it for labels, measure it."""


@verb.command(
    "train",
    short_help="Train a classifier on labelled texts.",
    epilog="""\b
Examples:
  unroll classify train reviews.csv --text review --label stars
  unroll classify train names.tsv --text name --label language --minutes 1 --out runs/names
  unroll classify train posts.jsonl --text title,body --label tags --multi-label
  unroll classify train --resume runs/reviews      continues where it stopped""",
)
@click.argument("file", metavar="[FILE]", required=False, type=TEXT)
@click.option("--text", metavar="COL[,COL]", help="The columns, or keys of JSON lines, that are read.")
@click.option("--label", metavar="COL", help="The column of the labels.")
@click.option("--valid", metavar="FILE", type=TEXT, help="Validate on these examples instead of a tenth of FILE.")
@click.option("--multi-label", is_flag=True, help="A text has any number of labels: a|b in CSV, a list in JSON lines.")
@click.option("--pretrained", metavar="DIR", type=PATH, help="Begin with the embedding and layers of a language model.")
@click.option("--vectors", metavar="FILE", type=TEXT, help="Begin with word vectors, as word2vec or GloVe write them.")
@training_options
@click.pass_context
@reads_lists
def train_verb(
    ctx: click.Context,
    /,
    file: Path | None,
    text: str | None,
    label: str | None,
    out: Path | None,
    resume: Path | None,
    device: str,
    as_json: bool,
    **choices: Any,
) -> int:
    """Train a classifier on the rows of FILE: CSV with a header (separated by commas, tabs, semicolons or bars) or JSON
    lines.

    Without --valid, one text in ten is held out, by its hash. By those examples the best weights are chosen. Texts of
    three words or more, on average, are read as words and their characters, shorter ones as characters. It ends before
    its minutes are over where more rounds would teach it nothing. Ctrl-C saves, and --resume continues.
    """
    from unroll.artifact.classifier_info import classifier_info
    from unroll.artifact.directory import output_folder
    from unroll.tasks.classify import request

    if resume is not None:
        refuse_beside_resume(ctx)
        folder = real_folder(resume)
        reports: Any = request.resume_classifier(folder, device=device)
    else:
        if file is None or not text or not label:
            raise UserError(
                "a classifier needs a file, the column of its texts and that of its labels",
                allowed="FILE --text COL --label COL",
                fix="`unroll classify train --help` shows examples",
            )
        folder = real_folder(out if out is not None else output_folder(file))
        columns = column_names(text)
        reports = request.train_classifier(
            file, text=columns, label=label, out=folder, device=device, started=process.began(), **choices
        )
    display = Display("classify train", _started, _figures, _ended, classifier_info)
    wanted = process.ended_by is not None
    return show_training(display, folder, reports, wanted=wanted, resumed=resume is not None, as_json=as_json)


def _figures(report: Any) -> str:
    return f"validation {report.nats:.3f} nats, {100 * report.detail['accuracy']:.1f} % right"


def _ended(folder: Path) -> Iterator[tuple[str, str]]:
    from unroll.artifact.classifier import read_classifier

    if result := read_classifier(folder).result:
        held_out = number_of(result["valid_count"], "held-out example")
        yield "accuracy", f"{100 * result['valid_accuracy']:.1f} % of {held_out} · step {result['best_step']:,}"
        yield "next", f'unroll classify predict {console.quoted(folder)} "…"'


def _started(detail: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "examples", f"{detail['train_examples']:,} for training, {detail['valid_examples']:,} held out"
    yield "labels", f"{detail['labels']:,}"
    yield "units", f"{detail['vocab_size']:,}, level {detail['level']}"
    yield "model", f"{detail['parameters']:,} parameters"
    yield "training", rounds(detail, "examples")


@verb.command(
    "predict",
    short_help="Show the labels of texts, with their probabilities.",
    epilog="""\b
Examples:
  unroll classify predict runs/reviews "What a film!" "Two hours that I want back."
  unroll classify predict runs/reviews --file new.csv --tsv
  unroll classify predict runs/names Nakamura --top 3 --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("texts", metavar="TEXT...", nargs=-1)
@click.option("--file", metavar="F", type=TEXT, help="The lines of this file, or the texts of a table as in training.")
@click.option("--top", metavar="K", type=int, help="Number of labels to show.  [default: all; in --tsv the first]")
@click.option(
    "--label", metavar="COL", help="Which column of labels, of a language model with several.  [default: the first]"
)
@click.option("--tsv", is_flag=True, help="Print the label, its probability and the text of each, with tabs between.")
@PRECISION
@json_option('"predictions": [{"text", "labels": [{"label", "probability"}]}]')
@reads_lists
def predict_verb(
    model: Path,
    texts: tuple[str, ...],
    file: Path | None,
    top: int | None,
    label: str | None,
    tsv: bool,
    precision: Any,
    as_json: bool,
) -> None:
    """Show the labels of TEXTs, the most probable first.

    DIR is a classifier, or a language model that labels steer (`unroll train --label`): its labels are by Bayes' rule.
    """
    from unroll.data.labelled import read_texts
    from unroll.tasks.classify.bayes import as_labeller
    from unroll.tasks.classify.predict import prediction, probabilities

    check_source(texts, file, "classify")
    if top is not None and top < 1:
        raise UserError(f"--top is {top}", allowed="1 or more", fix="leave it out for all labels")
    opened = as_labeller(model, precision, label)
    if file is not None:
        texts = tuple(console.run(read_texts(file, opened.info.text_columns)))
    predicted = console.run(probabilities(opened, texts))
    if predicted.cut:
        console.warn(predicted.remark)
    pairs = zip(texts, predicted.probabilities, strict=True)
    rows = [prediction(opened, text, row, top) for text, row in pairs]
    if as_json:
        console.put_json({"predictions": rows})
    elif tsv:
        console.put(_table(rows, top or 1).rstrip("\n"))
    else:
        for row in rows:
            console.put(console.visible(row["text"]))
            console.put_columns([(f"  {100 * item['probability']:5.1f} %", item["label"]) for item in row["labels"]])


def _table(rows: list[dict[str, Any]], top: int) -> str:
    written = io.StringIO()
    writer = csv.writer(written, delimiter="\t", lineterminator="\n")
    writer.writerow(["label", "probability", "text"])
    for row in rows:
        for item in row["labels"][:top]:
            writer.writerow([item["label"], f"{item['probability']:.6f}", row["text"]])
    return written.getvalue()


@verb.command(
    "eval",
    short_help="Measure a classifier on labelled texts.",
    epilog="""\b
Examples:
  unroll classify eval runs/reviews test.csv
  unroll classify eval runs/reviews test.csv --plot confusion.png --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("file", metavar="FILE", type=TEXT)
@click.option("--text", metavar="COL[,COL]", help="The columns of the texts.  [default: as in training]")
@click.option("--label", metavar="COL", help="The column of the labels.  [default: as in training]")
@plot_option("the confusion of labels")
@PRECISION
@json_option('"accuracy", "count", "interval", "per_class": {label: {"precision", "recall", "f1", "count"}}, …')
@reads_lists
def eval_verb(
    model: Path, file: Path, text: str | None, label: str | None, plot: Path | None, precision: Any, as_json: bool
) -> None:
    """Measure how often the classifier in DIR is right about the examples in FILE, label by label."""
    from unroll.tasks.classify.bayes import as_labeller
    from unroll.tasks.classify.evaluate import measure_classifier

    if plot is not None:
        from unroll.tasks.classify.picture import check_picture

        check_picture(plot)
    opened = as_labeller(model, precision)
    columns = None if text is None else column_names(text)
    figures = console.run(measure_classifier(opened, file, columns, label))
    if plot is not None:
        from unroll.tasks.classify.picture import draw_confusion

        draw_confusion(figures, plot)
    if as_json:
        console.put_json(figures)
        return
    put_label_figures(figures, "example")
