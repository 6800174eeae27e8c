"""The picture of which values of a sequence decided its label: a heat map of steps and channels."""

import numpy as np

from unroll.insight.attribution.scores import formula
from unroll.insight.plots import drawing, encoded, shown
from unroll.insight.sequences.attribution import SequenceAttribution

MOST_NAMES = 40
"""Channels whose names are written."""


def picture(attribution: SequenceAttribution, title: str, ending: str) -> bytes:
    """Return a heat map of the scores, steps from left to right and a row for each channel, as bytes of PNG or SVG."""
    from matplotlib.figure import Figure

    steps, channels = attribution.table.shape
    largest = float(np.abs(attribution.scores).max(initial=0.0)) or 1.0
    with drawing():
        size = max(6.0, min(24.0, 2 + 0.2 * steps)), max(2.4, min(12.0, 1.6 + 0.25 * channels))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(
            attribution.table.T, aspect="auto", cmap="PuOr_r", vmin=-largest, vmax=largest, interpolation="nearest",
            extent=(0.5, steps + 0.5, channels - 0.5, -0.5),
        )  # fmt: skip
        axes.grid(visible=False)
        axes.set_xlabel("step")
        if channels <= MOST_NAMES:
            axes.set_yticks(range(channels), [shown(name) for name in attribution.channels])
        axes.set_title(title, loc="left")
        figure.colorbar(image, ax=axes, label=f"nats of {formula(attribution)}", pad=0.01)
        return encoded(figure, ending)
