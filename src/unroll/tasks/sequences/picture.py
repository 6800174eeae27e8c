"""True and predicted numbers as a picture."""

from pathlib import Path
from typing import Any

from unroll.files import write_atomically
from unroll.insight.plots import check_picture, drawing, encoded


def draw_numbers(figures: dict[str, Any], out: Path) -> None:
    """Draw each predicted number over the true one, of what `measure_sequences` returns."""
    check_picture(out)
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.8, 4.6), layout="constrained")
        axes = figure.add_subplot()
        truth, predicted = figures["true"], figures["predicted"]
        ends = [min(truth + predicted), max(truth + predicted)]
        axes.plot(ends, ends, color="0.6", linewidth=1, label="exactly right")
        axes.axhline(figures["baseline"]["mean"], color="0.6", linewidth=1, linestyle=":", label="mean of training")
        axes.scatter(truth, predicted, s=12, alpha=0.6)
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")
        axes.set_title(f"mean absolute error {figures['mae']:.4g}, of the mean {figures['baseline']['mae']:.4g}")
        axes.legend(frameon=False)
        write_atomically(out, encoded(figure, out.suffix.lower()))
