"""`unroll sequences`: trains a model of sequences of numbers, asks it for labels, numbers or forecasts, measures it."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from unroll.cli import console, forecasts, process
from unroll.cli.figures import put_label_figures
from unroll.cli.options import PATH, PRECISION, json_option, plot_option
from unroll.cli.training import Display, refuse_beside_resume, rounds, show_training, training_options
from unroll.errors import UserError, number_of
from unroll.files import real_folder
from unroll.nn.series_config import TASKS, Task


@click.group(
    "sequences",
    epilog="""\b
Examples:
  unroll sequences train gestures.csv --id gesture --target name
  unroll sequences predict runs/gestures new.csv
  unroll sequences eval runs/gestures test.csv""",
)
def verb() -> None:
    """Train a model of sequences of numbers, ask it for labels, numbers or forecasts, measure it."""


@verb.command(
    "train",
    short_help="Train a model on sequences of numbers.",
    epilog="""\b
Examples:
  unroll sequences train gestures.csv --id gesture --time t --target name
  unroll sequences train digits.npz --minutes 1
  unroll sequences train engines.parquet --id engine --target life --task regress
  unroll sequences train sales.csv --id shop --time day --target sold --task forecast --horizon 14
  unroll sequences train --resume runs/gestures      continues where it stopped""",
)
@click.argument("file", metavar="[FILE]", required=False, type=PATH)
@click.option("--target", metavar="COL", help="The column of the labels or numbers to learn; in an npz the array.")
@click.option("--task", type=click.Choice(TASKS), default="classify", show_default=True, help="What is to be learnt.")
@click.option("--horizon", metavar="H", type=int, help="Number of steps to forecast.")
@click.option(
    "--season", metavar="P", type=int, help="Steps of a season, 1 for none.  [default: estimated by autocorrelation]"
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
    task: Task,
    **choices: Any,
) -> int:
    """Train a model on the sequences of FILE: a table (CSV, JSON lines, parquet), an npz or a ts file.

    A table has a row for each step, and --id names the sequence that it belongs to; without --id each row is a whole
    sequence. All columns but those of --id, --time and --target are read, as numbers. An npz has the arrays X (N, T) or
    (N, T, C), y (N,) and perhaps lengths (N,). A missing value is read as the last one before it. Without --valid, one
    sequence in ten is held out, by a hash of its values. A forecast continues the column --target, of which the end of
    each series is held out; without --id all rows are one series, no other columns are read, and times must be regular.
    Ctrl-C saves, and --resume continues.
    """
    from unroll.artifact.directory import output_folder
    from unroll.artifact.series import read_task
    from unroll.artifact.series_info import series_info
    from unroll.tasks.forecast.request import resume_forecaster
    from unroll.tasks.sequences import request

    if resume is not None:
        refuse_beside_resume(ctx)
        folder = real_folder(resume)
        task = read_task(folder)  # type: ignore[assignment]
        resumed = resume_forecaster if task == "forecast" else request.resume_sequences
        reports: Any = resumed(folder, device=device)
    else:
        if file is None:
            raise UserError(
                "there is no file of sequences to train on",
                allowed="FILE --target COL",
                fix="`unroll sequences train --help` shows examples",
            )
        folder = real_folder(out if out is not None else output_folder(file))
        choices |= {"out": folder, "device": device, "started": process.began()}
        reports = _forecasting(file, choices) if task == "forecast" else _answering(file, task, choices)
    answers = Display("sequences train", _started, _figures, _ended, series_info)
    display = forecasts.display() if task == "forecast" else answers
    wanted = process.ended_by is not None
    return show_training(display, folder, reports, wanted=wanted, resumed=resume is not None, as_json=as_json)


def _forecasting(file: Path, choices: dict[str, Any]) -> Any:
    """Return the reports of the training of a forecaster. Raises UserError."""
    from unroll.tasks.forecast.request import train_forecaster

    if choices.pop("valid") is not None:
        raise UserError(
            "--valid is given, and a forecaster is validated on the end of each series",
            allowed="--set held_out=0.2, the part of each series that is held out",
            fix="leave it out",
        )
    if choices["target"] is None or choices["horizon"] is None:
        raise UserError(
            "a forecaster needs the column of its values and the number of steps to forecast",
            allowed="FILE --target COL --task forecast --horizon H",
            fix="`unroll sequences train --help` shows an example",
        )
    return train_forecaster(file, **choices)


def _answering(file: Path, task: Task, choices: dict[str, Any]) -> Any:
    """Return the reports of the training of a model that tells labels or numbers. Raises UserError."""
    from unroll.tasks.sequences.request import train_sequences

    for name in ("horizon", "season"):
        if choices.pop(name) is not None:
            raise UserError(
                f"--{name} is given, and the task is {task}", allowed="--task forecast", fix="leave one of them out"
            )
    return train_sequences(file, task=task, **choices)


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
    yield "training", rounds(detail, "sequences")


@verb.command(
    "predict",
    short_help="Show what a model predicts for sequences.",
    epilog="""\b
Examples:
  unroll sequences predict runs/gestures new.csv
  unroll sequences predict runs/gestures new.npz --top 3 --json
  unroll sequences predict runs/engines new.parquet --csv
  unroll sequences predict runs/sales sales.csv --plot sales.png""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--top", metavar="K", type=int, help="Number of labels to show.  [default: all; in --csv the first]")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table: the sequence, its label and its probability.")
@plot_option("how series continue, of a forecaster,")
@PRECISION
@json_option(
    '"predictions": [{"id", "labels": [{"label", "probability"}]} or {"id", "prediction"}], or of a forecaster '
    '"forecasts": [{"id", "steps": [{"time", "quantiles", "last", "seasonal"}]}]'
)
def predict_verb(
    model: Path, file: Path, top: int | None, as_csv: bool, plot: Path | None, precision: Any, as_json: bool
) -> None:
    """Show the labels of the sequences in FILE, the most probable first, their numbers, or how they continue.

    FILE has the columns of the training; that of a label or number may be missing, and is not read. A forecaster
    continues each series with quantiles and, beside them, by the last value and by the last season.
    """
    from unroll.artifact.series import open_series, read_task
    from unroll.data.series_files import read_series
    from unroll.tasks.sequences.predict import answers, columns_of, predictions

    if top is not None and top < 1:
        raise UserError(f"--top is {top}", allowed="1 or more", fix="leave it out for all labels")
    if read_task(model) == "forecast":
        _refuse_for_forecaster({"--top": top is not None, "--precision": precision != "float32"})
        _forecast(model, file, plot, as_csv=as_csv, as_json=as_json)
        return
    _refuse_for_others({"--plot": plot is not None})
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


def _forecast(model: Path, file: Path, plot: Path | None, *, as_csv: bool, as_json: bool) -> None:
    """Show how the series of a file continue."""
    from unroll.tasks.forecast.predict import as_forecaster, forecasts_of, read_series_of

    opened = as_forecaster(model)
    if plot is not None:
        from unroll.tasks.forecast.picture import check_picture

        check_picture(plot)
    series = console.run(read_series_of(opened, file))
    continued = console.run(forecasts_of(opened, series))
    if plot is not None:
        from unroll.tasks.forecast.picture import draw_forecasts

        draw_forecasts(opened, series, plot)
    if as_json:
        console.put_json({"forecasts": continued})
    else:
        forecasts.put_forecasts(continued, as_csv=as_csv)


def _refuse_for_forecaster(options: dict[str, bool]) -> None:
    """Raise UserError for the first option that is given."""
    for name, given in options.items():
        if given:
            raise UserError(f"{name} is given, and the model is a forecaster",
                            allowed="a model that tells labels or numbers", fix="leave it out")  # fmt: skip


def _refuse_for_others(options: dict[str, bool]) -> None:
    """Raise UserError for the first option of a forecaster that is given."""
    for name, given in options.items():
        if given:
            raise UserError(f"{name} is given, and the model forecasts nothing", allowed="a forecaster",
                            fix="leave it out")  # fmt: skip


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
  unroll sequences eval runs/gestures test.csv --plot confusion.png --json
  unroll sequences eval runs/sales sales.csv --origins 30""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--origins", metavar="N", type=int, help="Forecasts of each series, of a forecaster.  [default: 20]")
@plot_option("the confusion of labels, predicted over true numbers, or the last forecasts,")
@PRECISION
@json_option(
    '"accuracy", "interval", "per_class", … or "mae", "rmse", "r2", "baseline": {"mae", "rmse"}, …; "count"; of a '
    'forecaster "mae", "rmse", "mase", "pinball", "coverage", "rules": {"last", "seasonal"}, …'
)
def eval_verb(model: Path, file: Path, origins: int | None, plot: Path | None, precision: Any, as_json: bool) -> None:
    """Measure how often the model in DIR is right about the sequences in FILE or, of numbers, how far it is off.

    FILE has the columns of the training. Beside the errors of numbers stand those of their mean in the training. A
    forecaster forecasts the end of each series from rolling origins, one step apart; beside its errors stand those of
    the last value and of the last season.
    """
    from unroll.artifact.series import open_series, read_task
    from unroll.tasks.sequences.evaluate import measure_sequences

    if plot is not None:
        from unroll.insight.plots import check_picture

        check_picture(plot)
    if read_task(model) == "forecast":
        _refuse_for_forecaster({"--precision": precision != "float32"})
        _measure_forecaster(model, file, origins, plot, as_json=as_json)
        return
    _refuse_for_others({"--origins": origins is not None})
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


def _measure_forecaster(model: Path, file: Path, origins: int | None, plot: Path | None, *, as_json: bool) -> None:
    """Measure a forecaster on the series of a file."""
    from unroll.tasks.forecast.evaluate import ORIGINS, measure_forecaster
    from unroll.tasks.forecast.predict import as_forecaster, read_series_of

    opened = as_forecaster(model)
    series = console.run(read_series_of(opened, file))
    figures = console.run(measure_forecaster(opened, series, ORIGINS if origins is None else origins))
    if plot is not None:
        from unroll.tasks.forecast.picture import draw_forecasts

        draw_forecasts(opened, series, plot, behind=opened.info.config.horizon)
    if as_json:
        console.put_json(figures)
    else:
        forecasts.put_forecast_figures(figures)
