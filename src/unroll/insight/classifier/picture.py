"""The picture of the unit that tells a label from all others: how often it has which value in texts of either."""

import numpy as np

from unroll.insight.classifier.cells import ClassifierTracking
from unroll.insight.plots import COLOURS, drawing, encoded, legend, shown

BINS = 40


def label_picture(tracking: ClassifierTracking, ending: str) -> bytes:
    """Return the values of the best unit in the texts of the second half, as bytes of PNG or SVG."""
    from matplotlib.figure import Figure

    sample, best = tracking.sample, tracking.findings[0]
    assert sample is not None
    name = shown(tracking.labels.name.partition(":")[2])
    edges = np.histogram_bin_edges(sample.values, BINS).tolist()
    with drawing():
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes, entries = figure.subplots(), []
        for inside, colour in ((0, COLOURS[0]), (1, COLOURS[1])):
            values = sample.values[sample.labels == inside]
            *_, bars = axes.hist(
                values, edges, weights=np.full(len(values), 100 / len(values)), color=colour, alpha=0.55
            )
            entries.append((bars, f"{name}: {len(values):,} texts" if inside else f"all others: {len(values):,} texts"))
        axes.set_xlabel(f"{sample.cell}, over a text")
        axes.set_ylabel("% of these texts")
        axes.grid(visible=False, axis="x")
        legend(figure, f"Unit {sample.cell.place}: AUROC {best.score:.3f} on held-out texts, {best.word}", entries)
        return encoded(figure, ending)
