"""What `unroll sequences` prints of forecasts: how one is trained, how series continue, how far off it is."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unroll.cli import console
from unroll.cli.training import Display, rounds
from unroll.errors import number_of

Rows = Iterator[tuple[str, str]]


def display() -> Display:
    """Return how the training of a forecaster is shown."""
    from unroll.artifact.forecaster import forecaster_info

    return Display("sequences train", _started, _figures, _ended, forecaster_info, unit="")


def _started(detail: dict[str, Any]) -> Rows:
    missing = f", {detail['missing']:,} missing" if detail["missing"] else ""
    yield "series", f"{detail['series']:,} with {number_of(detail['values'], 'value')}{missing}"
    yield "season", season(detail["season"]) + (", estimated by autocorrelation" if detail["season_estimated"] else "")
    yield "forecast", f"{number_of(detail['horizon'], 'step')}, after the last {number_of(detail['reach'], 'value')}"
    yield "model", f"{detail['parameters']:,} parameters"
    examples = f"{number_of(detail['train_windows'], 'example')}, {detail['valid_windows']:,} held out"
    yield "training", rounds(detail, examples)


def season(steps: int) -> str:
    """Return a season in words."""
    return number_of(steps, "step") if steps > 1 else "none"


def _figures(report: Any) -> str:
    return f"validation {report.nats:.3f}, mean absolute error {report.detail['mae']:.4g}"


def _ended(folder: Path) -> Rows:
    from unroll.artifact.forecaster import read_forecaster

    if result := read_forecaster(folder).result:
        held_out = number_of(result["valid_count"], "held-out forecast")
        yield "error", f"{result['valid_mae']:.4g} on average of {held_out} · step {result['best_step']:,}"
        yield "last value", f"{result['valid_last_mae']:.4g} by the rule that nothing changes"
        if result["valid_seasonal_mae"] is not None:
            yield "season", f"{result['valid_seasonal_mae']:.4g} by the rule that the last season comes again"
        yield "next", f"unroll sequences predict {console.quoted(folder)} FILE"


def forecaster_rows(description: dict[str, Any]) -> Rows:
    """Yield the rows of the description of a forecaster."""
    yield "model", console.shape(description)
    yield "size", f"{description['parameters']:,} parameters, {console.size(description['weights_bytes'])}"
    yield "task", f"forecast of {description['target_column']}, {number_of(description['horizon'], 'step')}"
    yield "season", season(description["season"])
    yield "quantiles", description["quantiles"]
    if description["steps"] is not None:
        yield "training", console.steps(description)
    if (mae := description["valid_mae"]) is not None:
        rule, rules = description["valid_seasonal_mae"], f"{description['valid_last_mae']:.4g} by the last value"
        rules += "" if rule is None else f", {rule:.4g} by the last season"
        count = number_of(description["valid_count"], "held-out forecast")
        yield "validation", f"mean absolute error {mae:.4g} of {count}, {rules}"
    yield "made with", ", ".join(f"{name} {version}" for name, version in description["made_with"].items())


def put_forecasts(forecasts: list[dict[str, Any]], *, as_csv: bool) -> None:
    """Print how series continue, as columns or as a table of CSV."""
    if as_csv:
        written = io.StringIO()
        rows = [["id", *_header(forecasts)]]
        rows += [[row["id"], *_cells(step, repr)] for row in forecasts for step in row["steps"]]
        csv.writer(written, lineterminator="\n").writerows(rows)
        console.put(written.getvalue().rstrip("\n"))
        return
    for row in forecasts:
        console.put(console.visible(row["id"]))
        rows = [_header(forecasts), *(_cells(step, "{:.6g}".format) for step in row["steps"])]
        console.put_columns([("  " + first, *others) for first, *others in rows])


def _header(forecasts: list[dict[str, Any]]) -> list[str]:
    first = forecasts[0]["steps"][0]
    quantiles = [f"{100 * float(level):g} %" for level in first["quantiles"]]
    return ["time", *quantiles, "last", *(["seasonal"] if first["seasonal"] is not None else [])]


def _cells(step: dict[str, Any], shown: Any) -> list[str]:
    rules = [step["last"], *([step["seasonal"]] if step["seasonal"] is not None else [])]
    return [str(step["time"]), *map(shown, [*step["quantiles"].values(), *rules])]


def put_forecast_figures(figures: dict[str, Any]) -> None:
    """Print how far off forecasts are."""
    names = {"last": "the last value", "seasonal": "the last season"}
    rows = [("", "mean absolute error", "root mean squared error")]
    rows += [
        (name, shown(errors["mae"]), shown(errors["rmse"]))
        for name, errors in [("model", figures), *((names[name], row) for name, row in figures["rules"].items())]
    ]
    console.put_columns(rows)
    console.put()
    origins = f"{number_of(figures['origins'], 'origin')} of {figures['series']:,} series, one step apart"
    console.put_columns([
        ("forecasts", f"{origins}, {number_of(figures['horizon'], 'step')} ahead: {figures['count']:,} values"),
        ("scaled error", shown(figures["mase"])),
        ("pinball loss", shown(figures["pinball"])),
        ("interval", "unknown" if figures["coverage"] is None else f"holds {100 * figures['coverage']:.1f} % of the "
                     f"values, where {100 * figures['nominal']:g} % should be"),
        *(("note", note) for note in figures["notes"]),
    ])  # fmt: skip


def shown(value: float | None) -> str:
    """Return a figure in five digits."""
    return "unknown" if value is None else f"{value:.5g}"
