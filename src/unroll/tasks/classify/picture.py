"""The confusion of labels as a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from unroll.errors import UserError
from unroll.files import write_atomically
from unroll.insight.plots import check_picture as check_picture
from unroll.insight.plots import drawing, encoded, shown

MOST = 60
"""Labels in a picture."""


def draw_confusion(figures: dict[str, Any], out: Path) -> None:
    """Draw how often texts of each label are given which one, of what `measure_classifier` returns.

    Raises UserError for a classifier whose texts have several labels, and for too many labels.
    """
    check_picture(out)
    if figures["confusion"] is None:
        raise UserError(
            "there is no confusion where a text may have several labels",
            allowed="a classifier trained without --multi-label",
            fix="leave --plot out",
        )
    counts, labels = np.array(figures["confusion"]), [shown(label) for label in figures["labels"]]
    if len(labels) > MOST:
        raise UserError(f"{len(labels)} labels are too many for a picture", allowed=f"at most {MOST}",
                        fix="leave --plot out; --json has all counts")  # fmt: skip
    with drawing():
        from matplotlib.figure import Figure

        side = max(3.6, 1.6 + 0.34 * len(labels))
        figure = Figure(figsize=(side + 0.8, side), layout="constrained")
        axes = figure.add_subplot()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if shares[row, column] > 0.6 else "black"
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink, fontsize=8)
        axes.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 6 else 0)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.grid(visible=False)
        low, high = figures["interval"]
        axes.set_title(f"{100 * figures['accuracy']:.1f} % right ({100 * low:.1f} to {100 * high:.1f})")
        figure.colorbar(image, ax=axes, label="share of the true label", shrink=0.8)
        write_atomically(out, encoded(figure, out.suffix.lower()))
