"""Forecasts as a picture: the end of each series, the median of what follows, its interval, and the two rules."""

from pathlib import Path

import numpy as np

from unroll.artifact.forecaster import OpenForecaster
from unroll.data.history import Floats
from unroll.data.series import Series
from unroll.files import write_atomically
from unroll.insight.plots import COLOURS, GREY, drawing, encoded, shown_name
from unroll.insight.plots import check_picture as check_picture
from unroll.tasks.forecast.naive import last_value, seasonal
from unroll.tasks.forecast.predict import check_length, quantiles_after, times_of
from unroll.tasks.forecast.reading import histories_of

MOST = 6
"""Series in a picture."""
SHOWN = 5
"""Horizons or seasons of the past that are shown."""


def draw_forecasts(model: OpenForecaster, series: Series, out: Path, *, behind: int = 0) -> None:
    """Draw how the first series of a file continue, from `behind` steps before their ends: what came is drawn as well.

    Raises UserError for a series that is too short.
    """
    check_picture(out)
    config = model.info.config
    ids, histories = series.ids[:MOST], histories_of(series.rows)
    for id, history in zip(ids, histories, strict=False):
        check_length(series, id, history, config.lags + behind, config.lags)
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.0, 1.2 + 2.6 * len(ids)), layout="constrained")
        rows = figure.subplots(len(ids), 1, squeeze=False)[:, 0]
        for k, (axes, id) in enumerate(zip(rows, ids, strict=True)):
            history = histories[k]
            end = len(history) - behind
            first = max(0, end - SHOWN * max(config.season, config.horizon))
            times = times_of(series, k, len(history), config.horizon - behind)
            ahead = slice(end, end + config.horizon)

            def joined(values: Floats, last: float = history.values[end - 1]) -> Floats:
                """Return values ahead with the last known one before them, so that lines meet."""
                return np.concatenate([[last], values])

            places = times[end - 1 : end + config.horizon]
            quantiles = quantiles_after(model, history, np.array([end]))[0]
            known = history.values[None, :end]
            middle, levels = config.levels.index(0.5), config.levels
            for low in range(middle):
                high = len(levels) - 1 - low
                label = f"{100 * (levels[high] - levels[low]):g} % interval"
                axes.fill_between(
                    places, joined(quantiles[:, low]), joined(quantiles[:, high]), color=COLOURS[0], alpha=0.22,
                    linewidth=0, label=label,
                )  # fmt: skip
            if config.season > 1:
                before = seasonal(known, config.horizon, config.season)[0]
                axes.plot(places, joined(before), color=COLOURS[1], linestyle=":", label="the last season again")
            axes.plot(places, joined(last_value(known, config.horizon)[0]), color=GREY, linestyle=":",
                      label="the last value")  # fmt: skip
            axes.plot(places, joined(quantiles[:, middle]), color=COLOURS[0], label="forecast, its median")
            values = np.where(history.present, history.values, np.nan)
            axes.plot(times[first:end], values[first:end], color="black", linewidth=1.1, label="known")
            if behind:
                came = joined(values[ahead])
                axes.plot(places[: len(came)], came, color="black", linewidth=0.8, marker=".", markersize=4,
                          label="what came")  # fmt: skip
            axes.set_title(shown_name(id), loc="left", fontsize=10)
            axes.set_ylabel(shown_name(model.info.target_column or "value"))
        figure.legend(*rows[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
        write_atomically(out, encoded(figure, out.suffix.lower()))
