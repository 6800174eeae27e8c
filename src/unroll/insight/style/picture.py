"""The picture of growth: each measure over the steps of a training, with the text's own value as a dashed line."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from unroll.insight.plots import COLOURS, GREY, drawing, encoded, legend, shown_name, ticks
from unroll.insight.style.measure import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
LINEAR = 100
"""Steps up to which the axis is linear, so that it has a 0; logarithmic from there on."""


def picture(style: Style, ending: str) -> bytes:
    """Return small multiples, one for each measure, as bytes of PNG or SVG."""
    from matplotlib.figure import Figure

    names = list(style.ceiling)
    rows = math.ceil(len(names) / COLUMNS)
    with drawing():
        figure = Figure(figsize=(8.4, 0.9 + 2.0 * rows), layout="constrained")
        grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
        for number, axes in enumerate(grid.flat):
            if number < len(names):
                _measure(axes, style, names[number])
                axes.xaxis.set_tick_params(labelbottom=number + COLUMNS >= len(names))
            else:
                axes.set_axis_off()
        for row in grid:
            row[0].set_ylabel("%")
        line = grid.flat[0].plot([], [], color=GREY, ls="--", lw=1.2)[0]
        points = grid.flat[0].plot([], [], color=COLOURS[0], marker="o", ms=3.5)[0]
        entries = [
            (points, "the sample at each step"),
            (line, f"held-out text, pieces of {style.length:,} characters"),
        ]
        legend(figure, f"From noise to style: {shown_name(Path(style.model).name)}", entries)
        figure.supxlabel("step", fontsize=10)
        return encoded(figure, ending)


def _measure(axes: "Axes", style: Style, name: str) -> None:
    """Draw one measure in percent; where it says nothing, there is no point."""
    shares = [(sample["step"], sample["measures"][name]) for sample in style.samples]
    known = [(step, 100 * share) for step, share in shares if share is not None]
    last = max((step for step, _ in shares), default=0)
    if (ceiling := style.ceiling[name]) is not None:
        axes.axhline(100 * ceiling, color=GREY, ls="--", lw=1.2)
    axes.plot([step for step, _ in known], [share for _, share in known], color=COLOURS[0], marker="o", ms=3.5, lw=1.4)
    if not known:
        axes.text(0.5, 0.5, "too few to measure", transform=axes.transAxes, ha="center", color=GREY, fontsize=9)
    axes.set_title(name, fontsize=10, loc="left")
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_xlim(-5, max(last, LINEAR) * 1.25)
    axes.set_ylim(-4, 104)
    ticks(axes.xaxis, [0, *(10.0**k for k in range(2, len(str(max(last, LINEAR)))))])
    ticks(axes.yaxis, [0, 50, 100])
