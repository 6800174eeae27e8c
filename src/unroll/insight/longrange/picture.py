"""The picture of long-range tasks: how much each architecture gets right, by distance."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unroll.insight.longrange.table import SOLVED_ERROR, WINDOW, LongRange, Result, named, student
from unroll.insight.longrange.tasks import CHANCE_ERROR, VectorTask
from unroll.insight.plots import COLOURS, GREY, LEGEND_LINE, MARKERS, Entry, drawing, encoded, legend, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDEWAYS = 0.018
"""Sideways offset between lines, as a share of the distance."""


def point(result: Result) -> tuple[float, float, float]:
    """Return a result with the ends of its interval, in percent or, for sums, as mean squared error of all seeds.

    The error of one seed has no interval.
    """
    if not result.errors:
        low, high = result.interval
        return 100 * result.accuracy, 100 * low, 100 * high
    mean = sum(result.errors) / len(result.errors)
    low, high = student(result.errors) or (mean, mean)
    return mean, max(0.0, low), high


def picture(longrange: LongRange, ending: str) -> bytes:
    """Return the picture as bytes of PNG or SVG: lines over distance, or bars for a single distance."""
    from matplotlib.figure import Figure

    plan = longrange.plan
    sums = isinstance(plan.task, VectorTask)
    archs = [arch for arch in plan.archs if any(result.arch == arch for result in longrange.results)]
    with drawing():
        figure = Figure(figsize=(8.5, 4.6 + LEGEND_LINE * (len(archs) + 2)), layout="constrained")
        axes = figure.subplots()
        paint = _lines if len(plan.distances) > 1 else _bars
        entries = paint(axes, longrange, archs)
        chance = CHANCE_ERROR if sums else 100 * plan.task.chance
        name = "always the middle" if sums else "chance"
        entries.append((axes.axhline(chance, color=GREY, ls="--", lw=1), f"{name}: {chance:.3g}{'' if sums else ' %'}"))
        if sums:
            entries.append((axes.axhline(SOLVED_ERROR, color=GREY, ls=":", lw=1.2), f"solved: {SOLVED_ERROR}"))
        axes.set_ylim(0, 1.25 * CHANCE_ERROR if sums else 103)
        seeds = max(len(result.accuracies) for result in longrange.results)
        spread = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
        spread += ", 95 % interval" if seeds > 1 or not sums else ""
        axes.set_ylabel(f"{'mean squared error' if sums else 'right decisions in %'}\n({spread})")
        training = "on all distances at once" if plan.mixed else "on each distance by itself"
        legend(figure, f"{plan.task.name}: {plan.task.about}\n{plan.steps:,} steps {training}", entries)
        return encoded(figure, ending)


def _lines(axes: "Axes", longrange: LongRange, archs: Sequence[str]) -> list[Entry]:
    entries: list[Entry] = []
    for number, (arch, colour, marker) in enumerate(zip(archs, COLOURS, MARKERS, strict=False)):
        results = [result for result in longrange.results if result.arch == arch]
        # A little apart, so that intervals stay distinct where lines coincide.
        offset = 1 + SIDEWAYS * (number - (len(archs) - 1) / 2)
        x = np.array([result.distance for result in results]) * offset
        y, low, high = np.array([point(result) for result in results]).T
        line = axes.errorbar(x, y, [y - low, high - y], color=colour, marker=marker, ms=5, lw=1.6, capsize=2.5)
        entries.append((line, f"{named(arch)}, {results[0].parameters:,} weights"))
        if arch == "window":
            end = axes.axvline(WINDOW, color=colour, lw=1.2, ls=":")
            entries.append((end, "as far back as the window sees"))
    distances = longrange.plan.distances
    axes.set_xscale("log")
    ticks(axes.xaxis, distances)
    axes.set_xlabel("symbols from the cue to the answer")
    return entries


def _bars(axes: "Axes", longrange: LongRange, archs: Sequence[str]) -> list[Entry]:
    entries: list[Entry] = []
    for position, (result, colour) in enumerate(zip(longrange.results, COLOURS, strict=False)):
        y, low, high = point(result)
        bar = axes.bar(position, y, 0.62, color=colour, yerr=[[y - low], [high - y]], capsize=4)
        entries.append((bar, f"{named(result.arch)}, {result.parameters:,} weights"))
    axes.set_xticks(range(len(archs)), [named(arch) for arch in archs])
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    (distance,) = longrange.plan.distances
    axes.set_xlabel(f"distance {distance:,}")
    return entries
