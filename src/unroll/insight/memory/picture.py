"""Pictures of how far back models remember: loss over context, the cost of disturbing it, gradients by lag."""

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
    RAISED,
    UNIT_NAMES,
    Entry,
    check_picture,
    drawing,
    encoded,
    labels,
    legend,
    plain,
    shown_name,
    ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Paint = Callable[[Figure, Memory], tuple[str, list[Entry]]]
    """Draws a memory without its legend; returns the title and the entries of the legend."""

BITS = 1 / math.log(2)
NOISE_BITS = 0.01
"""Bits below which a thousand targets hardly differ from chance."""
LEAST = 1e-9
"""Smallest gradient drawn, as a share of the largest."""
SLIDE, PAGE = 8.5, 5.2
"""Widths of a picture by itself and of one in a page, in inches."""


def check_written(models: int, report: Path | None, plot: Path | None) -> None:
    """Raise UserError for a page or a picture that cannot be made, before anything is measured."""
    if models > len(COLOURS):
        raise UserError(
            f"{models} models in one picture",
            allowed=f"1 to {len(COLOURS)}, one for each distinct colour",
            fix="make several pictures",
        )
    if report is not None:
        if report.suffix.lower() not in (".html", ".htm"):
            raise UserError(
                f"{report} is not a .html",
                allowed="a page whose name ends in .html",
                fix=f"--report {report.stem}.html",
            )
        check_picture(report.with_suffix(".svg"))  # the page contains some
    if plot is not None:
        check_picture(plot)


def main_picture(memory: Memory, ending: str) -> bytes:
    """Return the loss over the context as PNG or SVG."""
    return drawn(memory, context, ending, SLIDE, titled=True)


def drawn(memory: Memory, paint: "Paint", ending: str, width: float, *, titled: bool) -> bytes:
    """Return what `paint` draws, with its legend; the same numbers give the same bytes."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(width, 0.5 * width + 0.8), layout="constrained")
        title, entries = paint(figure, memory)
        figure.set_figheight(figure.get_figheight() + LEGEND_LINE * (len(entries) + titled))
        legend(figure, title if titled else "", entries)
        return encoded(figure, ending)


def context(figure: "Figure", memory: Memory) -> tuple[str, list[Entry]]:
    """Draw the loss over the length of context, where 99 % of the gain is reached, and how far a model can see."""
    axes = figure.subplots()
    limit = int(memory.models[0].plan.contexts[-1])
    last_position = 2.0 * limit  # position of the carried state, which has read everything
    entries: list[Entry] = []
    limited = False
    for label, model, colour, marker in zip(labels(memory.models), memory.models, COLOURS, MARKERS, strict=False):
        x, losses, half = model.plan.contexts, model.losses * BITS, model.half * BITS
        full = float(model.full.mean()) * BITS
        (line,) = axes.plot(x, losses, color=colour, lw=1.8, marker=marker, ms=4.5)
        axes.fill_between(x, losses - half, losses + half, color=colour, alpha=0.18, lw=0)
        axes.plot([limit, last_position], [losses[-1], full], color=colour, lw=1.2, ls=":", marker=marker, ms=4.5)
        own_noun = "" if noun(memory.models) == noun([model]) else f" {noun([model])}s"
        entries.append(
            (line, f"{label}: {100 * GAIN:.0f} % of its gain within {span_text(model.span_99, limit)}{own_noun}")
        )
        if math.isfinite(model.span_99.symbols):
            height = full + (1 - GAIN) * model.gain * BITS
            axes.plot(
                [model.span_99.symbols], [height], color=colour, marker=marker, ms=11, mfc="none", mew=1.6, ls="none"
            )
        if model.context is not None and 1 < model.context <= limit:
            axes.axvline(model.context, color=colour, lw=1.2, ls=":")
            limited = True
    (ring,) = axes.plot([], [], color=GREY, marker="o", ms=11, mfc="none", mew=1.6, ls="none")
    entries.append((ring, f"where {100 * GAIN:.0f} % of the gain is reached"))
    if limited:
        entries += [(line, "as far back as a model can see") for line in axes.plot([], [], color=GREY, ls=":", lw=1.2)]
    axes.set_xscale("log", base=2)
    lengths = [2.0**k for k in range(limit.bit_length())]
    ticks(axes.xaxis, [*lengths, last_position])
    axes.set_xticklabels([*map(plain, lengths), "all"])
    axes.set_xlim(0.9, last_position * 1.12)
    read = "read from a fresh state" if memory.models[0].plan.context == "fresh" else "read after other text"
    axes.set_xlabel(f"{noun(memory.models)}s of context, {read}")
    axes.set_ylabel(f"bits per {noun(memory.models)}")
    return f"What is context worth?  {shown_name(memory.text)}", entries


def disturbed(figure: "Figure", memory: Memory) -> tuple[str, list[Entry]]:
    """Draw the cost of shuffling, and of replacing, all of a history beyond a distance."""
    figure.set_figheight(5.6)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    history = int(memory.models[0].plan.distances[-1])
    entries: list[Entry] = []
    for label, model, colour, marker in zip(labels(memory.models), memory.models, COLOURS, MARKERS, strict=False):
        for axes, disturbance in zip(panels, ("shuffled", "replaced"), strict=True):
            harm = model.harm[disturbance] * BITS
            (line,) = axes.plot(model.plan.distances, harm, color=colour, lw=1.8, marker=marker, ms=4.5)
        entries.append((line, label))
    for axes, name in zip(panels, ("shuffled", "replaced by random ones"), strict=True):
        axes.set_title(f"further {noun(memory.models)}s {name}", fontsize=10, loc="left")
        axes.set_ylabel("bits lost")
        # Logarithmic down to the level of chance, with room for 0 below.
        axes.set_yscale("symlog", linthresh=NOISE_BITS, linscale=0.5)
        ticks(axes.yaxis, [0, *(10.0**k for k in range(-2, 2))])
        axes.set_xscale("log", base=2)
        ticks(axes.xaxis, [2.0**k for k in range(history.bit_length())])
    panels[1].set_xlabel(f"{noun(memory.models)}s nearby that are left unchanged")
    return "What must stay as it is?", entries


def gradient(figure: "Figure", memory: Memory) -> tuple[str, list[Entry]]:
    """Draw the size of the gradient with respect to the states before, lag by lag."""
    from matplotlib.ticker import NullLocator

    axes = figure.subplots()
    entries: list[Entry] = []
    sizes: list[float] = []
    for label, model, colour, marker in zip(labels(memory.models), memory.models, COLOURS, MARKERS, strict=False):
        if model.gradient is None:
            continue
        norms = model.gradient.norms[1:]
        lags = 1 + np.flatnonzero(norms)  # a logarithmic axis has no 0, as beyond a window's length
        spacing = max(1, len(norms) // 10)
        (line,) = axes.plot(lags, norms[lags - 1], color=colour, lw=1.8, marker=marker, ms=4.5, markevery=spacing)
        half_life = f": halves every {life_of(model)}" if model.half_life else ""
        entries.append((line, f"{label}{half_life}" + (", by its inputs" if model.arch == "window" else "")))
        sizes += norms[lags - 1].tolist()
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: "10" + f"{math.log10(value):.0f}".translate(RAISED))
    if sizes:
        least, largest = max(min(sizes), LEAST * max(sizes)), max(sizes)
        axes.set_ylim(10.0 ** math.floor(math.log10(least)), 10.0 ** math.ceil(math.log10(largest)))
    axes.set_xlabel(f"{noun(memory.models)}s between a state and the loss")
    axes.set_ylabel("size of the gradient")
    return "How far back does an error reach?", entries


# ---- in words


def noun(models: Sequence[ModelMemory]) -> str:
    """Return the noun for the models' symbols: character, say, or symbol if they differ."""
    levels = {model.level for model in models}
    return UNIT_NAMES[levels.pop()] if len(levels) == 1 else "symbol"


def symbols(count: float) -> str:
    """Return a number of symbols, to a tenth where there are few."""
    return f"{count:,.0f}" if count >= 9.95 else f"{count:.1f}".removesuffix(".0")


def in_bits(nats: float) -> str:
    """Return nats as bits, to four digits, without a sign if they round to 0."""
    return f"{round(float(nats) * BITS, 4) + 0.0:.4f}"


def life_of(model: ModelMemory) -> str:
    """Return the half-life of a model's gradient, a dash if there is none."""
    return symbols(model.half_life) if model.half_life else "–"


def span_text(span: Span, limit: int) -> str:
    """Return a span in a word or two."""
    if math.isnan(span.symbols):
        return "–"
    return symbols(span.symbols) if math.isfinite(span.symbols) else f"more than {limit:,}"


def interval_text(span: Span, limit: int) -> str:
    """Return the 95 % interval of a span, in brackets."""
    if math.isnan(span.low) or math.isnan(span.high):
        return ""
    ends = (Span(end, end, end) for end in (span.low, span.high))
    return " ({} to {})".format(*(span_text(end, limit) for end in ends))
