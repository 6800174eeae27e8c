"""The picture of the best cell: its value and the property at every symbol of a stretch."""

import numpy as np

from unroll.insight.cells.findings import Tracking
from unroll.insight.plots import COLOURS, GREY, drawing, encoded, legend, shown

ROW = 60
"""Symbols in a row of the picture."""
ROWS = 3


def picture(tracking: Tracking, ending: str) -> bytes:
    """Return the best cell over the stretch in which the property changes most often, as bytes of PNG or SVG."""
    from matplotlib.figure import Figure

    sample, best = tracking.sample, tracking.findings[0]
    assert sample is not None
    count = min(ROWS, -(-len(sample.symbols) // ROW))
    low, high = min(0.0, float(sample.values.min())), max(0.0, float(sample.values.max()))
    margin = 0.08 * (high - low or 1.0)
    with drawing():
        figure = Figure(figsize=(11, 0.9 + 1.75 * count), layout="constrained")
        for row, axes in enumerate(figure.subplots(count, 1, sharey=True, squeeze=False)[:, 0]):
            part = slice(row * ROW, (row + 1) * ROW)
            values, labels = sample.values[part], sample.labels[part]
            places = np.arange(len(values))
            cell_line = axes.plot(places, values, color=COLOURS[0], marker="o", ms=3.5, lw=1.6, zorder=3)[0]
            axes.axhline(0, color=GREY, lw=0.8)
            if tracking.labels.binary:
                # A symbol is as wide as 1, so that a property of a single symbol shows too.
                property_handle = axes.bar(
                    places, labels, 1.0, transform=axes.get_xaxis_transform(), color=COLOURS[4], alpha=0.35, lw=0
                )
            else:
                beside = axes.twinx()
                property_handle = beside.plot(places, labels, color=COLOURS[1], ls="--", lw=1.4)[0]
                beside.set_ylim(-0.03 * max(1.0, tracking.labels.values.max()), 1.05 * sample.labels.max())
                beside.grid(visible=False)
                beside.spines["right"].set_visible(True)
                beside.set_ylabel("property")
            axes.set_xticks(places, [shown(symbol) for symbol in sample.symbols[part]])
            rotated = max(map(len, sample.symbols)) > 2
            axes.tick_params(axis="x", length=0, rotation=90 if rotated else 0)
            axes.set_xlim(-0.8, ROW - 0.2)
            axes.set_ylim(low - margin, high + margin)
            axes.grid(visible=False, axis="x")
            axes.set_ylabel(sample.cell.signal)
        metric = "AUROC" if tracking.labels.binary else "correlation"
        title = f"Unit {sample.cell.place}: {metric} {best.score:.3f} on held-out text, {best.word}"
        legend(
            figure,
            title,
            [(cell_line, f"{sample.cell.signal} after each symbol"), (property_handle, tracking.labels.what)],
        )
        return encoded(figure, ending)
