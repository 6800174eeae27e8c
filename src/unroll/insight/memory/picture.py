"""How far back models remember, drawn: loss over context, what disturbing it costs, gradients by lag."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unroll.errors import UserError
from unroll.insight.memory.measure import GAIN, Memory, ModelMemory, Span
from unroll.insight.plots import (
    COLOURS,
    GREY,
    LEGEND_LINE,
    MARKERS,
    UNIT_NAMES,
    Entry,
    check_picture,
    drawing,
    encoded,
    labels,
    legend,
    plain,
    shown_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Paint = Callable[[Figure, Memory], tuple[str, list[Entry]]]
    """Draws what was found, without a legend; returns the title and the legend's entries."""

BITS = 1 / math.log(2)
TOLD_APART = 0.01
"""Bits below which a thousand targets tell little apart."""
LEAST = 1e-9
"""The least gradient that is drawn, as a share of the largest."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SLIDE, PAGE = 8.5, 5.2
"""Widths of a picture by itself and of one in a page, which a telephone makes narrower still, in inches."""


def check_written(models: int, report: Path | None, plot: Path | None) -> None:
    """Raise UserError for a page or a picture that cannot be made, before anything is measured for it."""
    if models > len(COLOURS):
        raise UserError(
            f"{models} models in one picture",
            allowed=f"1 to {len(COLOURS)}, one for each colour that all can tell apart",
            fix="make several",
        )
    if report is not None:
        if report.suffix.lower() not in (".html", ".htm"):
            raise UserError(
                f"{report} is no name of a page", allowed="names that end in .html", fix=f"--report {report.stem}.html"
            )
        check_picture(report.with_suffix(".svg"))  # of which the page has some
    if plot is not None:
        check_picture(plot)


def main_picture(found: Memory, ending: str) -> bytes:
    """Return the loss over the context as PNG or SVG."""
    return drawn(found, context, ending, SLIDE, titled=True)


def drawn(found: Memory, paint: "Paint", ending: str, width: float, *, titled: bool) -> bytes:
    """Return what `paint` draws, with its legend; the same numbers give the same bytes."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(width, 0.5 * width + 0.8), layout="constrained")
        title, entries = paint(figure, found)
        figure.set_figheight(figure.get_figheight() + LEGEND_LINE * (len(entries) + titled))
        legend(figure, title if titled else "", entries)
        return encoded(figure, ending)


def context(figure: "Figure", found: Memory) -> tuple[str, list[Entry]]:
    """Draw the loss over the context that is there, where 99 % of the gain is had, and how far a model can see."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes = figure.subplots()
    limit = int(found.models[0].plan.contexts[-1])
    everything = 2.0 * limit  # where the carried state is drawn, which has read all
    entries: list[Entry] = []
    limited = False
    for label, one, colour, marker in zip(labels(found.models), found.models, COLOURS, MARKERS, strict=False):
        x, losses, half = one.plan.contexts, one.losses * BITS, one.half * BITS
        full = float(one.full.mean()) * BITS
        (line,) = axes.plot(x, losses, color=colour, lw=1.8, marker=marker, ms=4.5)
        axes.fill_between(x, losses - half, losses + half, color=colour, alpha=0.18, lw=0)
        axes.plot([limit, everything], [losses[-1], full], color=colour, lw=1.2, ls=":", marker=marker, ms=4.5)
        unit = "" if noun(found.models) == noun([one]) else f" {noun([one])}s"
        entries.append((line, f"{label}: {100 * GAIN:.0f} % of its gain within {told(one.span_99, limit)}{unit}"))
        if math.isfinite(one.span_99.symbols):
            at = full + (1 - GAIN) * one.gain * BITS
            axes.plot([one.span_99.symbols], [at], color=colour, marker=marker, ms=11, mfc="none", mew=1.6, ls="none")
        if one.context is not None and 1 < one.context <= limit:
            axes.axvline(one.context, color=colour, lw=1.2, ls=":")
            limited = True
    (ring,) = axes.plot([], [], color=GREY, marker="o", ms=11, mfc="none", mew=1.6, ls="none")
    entries.append((ring, f"where {100 * GAIN:.0f} % of the gain is had"))
    if limited:
        entries += [(line, "as far back as a model can see") for line in axes.plot([], [], color=GREY, ls=":", lw=1.2)]
    axes.set_xscale("log", base=2)
    ticks = [2.0**k for k in range(limit.bit_length())]
    axes.xaxis.set_major_locator(FixedLocator([*ticks, everything]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([*ticks, everything], [*map(plain, ticks), "all"])
    axes.set_xlim(0.9, everything * 1.12)
    read = "read from a fresh state" if found.models[0].plan.context == "fresh" else "read after other text"
    axes.set_xlabel(f"{noun(found.models)}s of context, {read}")
    axes.set_ylabel(f"bits per {noun(found.models)}")
    return f"What is context worth?  {shown_name(found.text)}", entries


def disturbed(figure: "Figure", found: Memory) -> tuple[str, list[Entry]]:
    """Draw what it costs to shuffle, and to replace, all of a history beyond a distance."""
    from matplotlib.ticker import FixedLocator, NullLocator

    figure.set_figheight(5.6)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    history = int(found.models[0].plan.distances[-1])
    entries: list[Entry] = []
    for label, one, colour, marker in zip(labels(found.models), found.models, COLOURS, MARKERS, strict=False):
        for axes, how in zip(panels, ("shuffled", "replaced"), strict=True):
            harm = one.harm[how] * BITS
            (line,) = axes.plot(one.plan.distances, harm, color=colour, lw=1.8, marker=marker, ms=4.5)
        entries.append((line, label))
    for axes, name in zip(panels, ("shuffled", "replaced by random ones"), strict=True):
        axes.set_title(f"further {noun(found.models)}s {name}", fontsize=10, loc="left")
        axes.set_ylabel("bits lost")
        # Logarithmic as far down as there is more than chance, with room for 0 below.
        axes.set_yscale("symlog", linthresh=TOLD_APART, linscale=0.5)
        axes.yaxis.set_major_locator(FixedLocator([0, *(10.0**k for k in range(-2, 2))]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(plain)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(history.bit_length())]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(plain)
    panels[1].set_xlabel(f"{noun(found.models)}s nearby that are left as they are")
    return "What must stay as it is?", entries


def gradient(figure: "Figure", found: Memory) -> tuple[str, list[Entry]]:
    """Draw the size of the gradient with respect to the states before, lag by lag."""
    from matplotlib.ticker import NullLocator

    axes = figure.subplots()
    entries: list[Entry] = []
    sizes: list[float] = []
    for label, one, colour, marker in zip(labels(found.models), found.models, COLOURS, MARKERS, strict=False):
        if one.gradient is None:
            continue
        norms = one.gradient.norms[1:]
        lags = 1 + np.flatnonzero(norms)  # a logarithm has no place for the 0 beyond a window's length
        every = max(1, len(norms) // 10)
        (line,) = axes.plot(lags, norms[lags - 1], color=colour, lw=1.8, marker=marker, ms=4.5, markevery=every)
        life = f": halves every {life_of(one)}" if one.half_life else ""
        entries.append((line, f"{label}{life}" + (", by its inputs" if one.arch == "window" else "")))
        sizes += norms[lags - 1].tolist()
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: "10" + f"{math.log10(value):.0f}".translate(RAISED))
    if sizes:
        least, largest = max(min(sizes), LEAST * max(sizes)), max(sizes)
        axes.set_ylim(10.0 ** math.floor(math.log10(least)), 10.0 ** math.ceil(math.log10(largest)))
    axes.set_xlabel(f"{noun(found.models)}s between a state and the loss")
    axes.set_ylabel("size of the gradient")
    return "How far back does an error reach?", entries


# ---- in words


def noun(models: Sequence[ModelMemory]) -> str:
    """Return what the models' symbols are: characters, or just symbols where they differ."""
    levels = {one.level for one in models}
    return UNIT_NAMES[levels.pop()] if len(levels) == 1 else "symbol"


def symbols(count: float) -> str:
    """Return a number of symbols, to a tenth where there are few."""
    return f"{count:,.0f}" if count >= 9.95 else f"{count:.1f}".removesuffix(".0")


def in_bits(nats: float) -> str:
    """Return nats as bits, to four digits; what rounds to 0 has no sign."""
    return f"{round(float(nats) * BITS, 4) + 0.0:.4f}"


def life_of(one: ModelMemory) -> str:
    """Return the half-life of a model's gradient, a dash where there is none."""
    return symbols(one.half_life) if one.half_life else "–"


def told(span: Span, most: int) -> str:
    """Return a span in a word or two."""
    if math.isnan(span.symbols):
        return "–"
    return symbols(span.symbols) if math.isfinite(span.symbols) else f"more than {most:,}"


def between(span: Span, most: int) -> str:
    """Return the 95 % interval of a span, in brackets."""
    if math.isnan(span.low) or math.isnan(span.high):
        return ""
    ends = (Span(end, end, end) for end in (span.low, span.high))
    return " ({} to {})".format(*(told(end, most) for end in ends))
