"""`unroll sequences`: trains a model of sequences of numbers, asks it for labels or numbers, measures it."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click

from unroll.cli import console, process
from unroll.cli.figures import put_label_figures
from unroll.cli.options import PATH, PRECISION, json_option, plot_option
from unroll.cli.training import Display, refuse_beside_resume, show_training, training_options
from unroll.errors import UserError, number_of
from unroll.files import real_folder
from unroll.nn.series_config import Answer


@click.group(
    "sequences",
    epilog="""\b
Examples:
  unroll sequences train gestures.csv --id gesture --target name
  unroll sequences predict runs/gestures new.csv
  unroll sequences eval runs/gestures test.csv""",
)
def verb() -> None:
    """Train a model of sequences of numbers, ask it for labels or numbers, measure it."""


@verb.command(
    "train",
    short_help="Train a model on sequences of numbers.",
    epilog="""\b
Examples:
  unroll sequences train gestures.csv --id gesture --time t --target name
  unroll sequences train digits.npz --minutes 1
  unroll sequences train JapaneseVowels_TRAIN.ts
  unroll sequences train engines.parquet --id engine --target life --task regress
  unroll sequences train --resume runs/gestures      continues where it stopped""",
)
@click.argument("file", metavar="[FILE]", required=False, type=PATH)
@click.option("--target", metavar="COL", help="The column of the labels or numbers to learn; in an npz the array.")
@click.option(
    "--task", type=click.Choice(get_args(Answer)), default="classify", show_default=True, help="What is to be learnt."
)
@click.option("--id", metavar="COL", help="The column that names the sequence of each row.")
@click.option("--time", metavar="COL", help="The column of the times, which must rise within each sequence.")
@click.option("--valid", metavar="FILE", type=PATH, help="Validate on these sequences instead of a tenth of FILE.")
@training_options
@click.pass_context
def train_verb(
    ctx: click.Context,
    /,
    file: Path | None,
    out: Path | None,
    resume: Path | None,
    device: str,
    as_json: bool,
    **choices: Any,
) -> int:
    """Train a model on the sequences of FILE: a table (CSV, JSON lines, parquet), an npz or a ts file.

    A table has a row for each step, and --id names the sequence that it belongs to; without --id each row is a whole
    sequence. All columns but those of --id, --time and --target are read, as numbers. An npz has the arrays X (N, T) or
    (N, T, C), y (N,) and perhaps lengths (N,). A missing value is read as the last one before it. Without --valid, one
    sequence in ten is held out, by a hash of its values. Ctrl-C saves, and --resume continues.
    """
    from unroll.artifact.directory import output_folder
    from unroll.artifact.series_info import series_info
    from unroll.tasks.sequences import request

    if resume is not None:
        refuse_beside_resume(ctx)
        folder = real_folder(resume)
        reports: Any = request.resume_sequences(folder, device=device)
    else:
        if file is None:
            raise UserError(
                "there is no file of sequences to train on",
                allowed="FILE --target COL",
                fix="`unroll sequences train --help` shows examples",
            )
        folder = real_folder(out if out is not None else output_folder(file))
        reports = request.train_sequences(file, out=folder, device=device, started=process.began(), **choices)
    display = Display("sequences train", _started, _figures, _ended, series_info)
    wanted = process.ended_by is not None
    return show_training(display, folder, reports, wanted=wanted, resumed=resume is not None, as_json=as_json)


def _figures(report: Any) -> str:
    if "accuracy" in report.detail:
        return f"validation {report.nats:.3f} nats, {100 * report.detail['accuracy']:.1f} % right"
    return f"validation {report.nats:.3f}, mean absolute error {report.detail['mae']:.4g}"


def _ended(folder: Path) -> Iterator[tuple[str, str]]:
    from unroll.artifact.series import read_series_info

    if result := read_series_info(folder).result:
        of = f"of {number_of(result['valid_count'], 'held-out sequence')} · step {result['best_step']:,}"
        if "valid_accuracy" in result:
            yield "accuracy", f"{100 * result['valid_accuracy']:.1f} % {of}"
        else:
            by_mean = f"{result['valid_baseline_mae']:.4g} by the mean of training"
            yield "error", f"{result['valid_mae']:.4g} on average, {by_mean}, {of}"
        yield "next", f"unroll sequences predict {console.quoted(folder)} FILE"


def _started(detail: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "sequences", f"{detail['train_examples']:,} for training, {detail['valid_examples']:,} held out"
    steps = f"{detail['shortest']:,}" if detail["shortest"] == detail["longest"] else (
        f"{detail['shortest']:,} to {detail['longest']:,}"
    )  # fmt: skip
    yield "steps", f"{steps} of {number_of(detail['channels'], 'channel')}"
    if detail["labels"]:
        yield "labels", f"{detail['labels']:,}"
    yield "model", f"{detail['parameters']:,} parameters"
    yield "training", f"{number_of(detail['steps'], 'step')}, {detail['epochs']:.3g} times the sequences"


@verb.command(
    "predict",
    short_help="Show what a model predicts for sequences.",
    epilog="""\b
Examples:
  unroll sequences predict runs/gestures new.csv
  unroll sequences predict runs/gestures new.npz --top 3 --json
  unroll sequences predict runs/engines new.parquet --csv""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--top", metavar="K", type=int, help="Number of labels to show.  [default: all; in --csv the first]")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table: the sequence, its label and its probability.")
@PRECISION
@json_option('"predictions": [{"id", "labels": [{"label", "probability"}]} or {"id", "prediction"}]')
def predict_verb(model: Path, file: Path, top: int | None, as_csv: bool, precision: Any, as_json: bool) -> None:
    """Show the labels of the sequences in FILE, the most probable first, or their numbers.

    FILE has the columns of the training; that of the target may be missing, and is not read.
    """
    from unroll.artifact.series import open_series
    from unroll.data.series_files import read_series
    from unroll.tasks.sequences.predict import answers, columns_of, predictions

    if top is not None and top < 1:
        raise UserError(f"--top is {top}", allowed="1 or more", fix="leave it out for all labels")
    opened = open_series(model, precision)
    series = console.run(read_series(file, columns_of(opened, required=False)))
    rows = predictions(opened, series.ids, console.run(answers(opened, series.rows)), top)
    if as_json:
        console.put_json({"predictions": rows})
    elif as_csv:
        console.put(_table(rows, top or 1).rstrip("\n"))
    elif opened.info.config.task == "regress":
        console.put_columns([(row["id"], f"{row['prediction']:.6g}") for row in rows])
    else:
        for row in rows:
            console.put(console.visible(row["id"]))
            console.put_columns([(f"  {100 * item['probability']:5.1f} %", item["label"]) for item in row["labels"]])


def _table(rows: list[dict[str, Any]], top: int) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    if "prediction" in rows[0]:
        writer.writerows([("id", "prediction"), *((row["id"], repr(row["prediction"])) for row in rows)])
        return written.getvalue()
    writer.writerow(["id", "label", "probability"])
    for row in rows:
        writer.writerows([(row["id"], item["label"], f"{item['probability']:.6f}") for item in row["labels"][:top]])
    return written.getvalue()


@verb.command(
    "eval",
    short_help="Measure a model on sequences with targets.",
    epilog="""\b
Examples:
  unroll sequences eval runs/gestures test.csv
  unroll sequences eval runs/gestures test.csv --plot confusion.png --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("file", metavar="FILE", type=PATH)
@plot_option("the confusion of labels, or predicted over true numbers,")
@PRECISION
@json_option('"accuracy", "interval", "per_class", … or "mae", "rmse", "r2", "baseline": {"mae", "rmse"}, …; "count"')
def eval_verb(model: Path, file: Path, plot: Path | None, precision: Any, as_json: bool) -> None:
    """Measure how often the model in DIR is right about the sequences in FILE or, of numbers, how far it is off.

    FILE has the columns of the training. Beside the errors of numbers stand those of their mean in the training.
    """
    from unroll.artifact.series import open_series
    from unroll.tasks.sequences.evaluate import measure_sequences

    if plot is not None:
        from unroll.insight.plots import check_picture

        check_picture(plot)
    opened = open_series(model, precision)
    figures = console.run(measure_sequences(opened, file))
    numbers = opened.info.config.task == "regress"
    if plot is not None:
        from unroll.tasks.classify.picture import draw_confusion
        from unroll.tasks.sequences.picture import draw_numbers

        (draw_numbers if numbers else draw_confusion)(figures, plot)
    if as_json:
        console.put_json(figures)
    elif not numbers:
        put_label_figures(figures, "sequence")
    else:
        base = figures["baseline"]
        console.put_columns([
            ("mean absolute error", f"{figures['mae']:.5g}", f"{base['mae']:.5g} by the mean of training"),
            ("root mean squared error", f"{figures['rmse']:.5g}", f"{base['rmse']:.5g} by the mean of training"),
            ("R²", "unknown: all are equal" if figures["r2"] is None else f"{figures['r2']:.4f}", ""),
            ("sequences", f"{figures['count']:,}", ""),
        ])  # fmt: skip
