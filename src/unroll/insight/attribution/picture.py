"""The picture of an attribution: a bar for each symbol, and leaving it out as a mark."""

from typing import Any

import numpy as np

from unroll.insight.attribution.measure import NAMES, Attribution, formula
from unroll.insight.plots import COLOURS, GREY, drawing, encoded, shown


def picture(found: Attribution, title: str, ending: str) -> bytes:
    """Return bars, a score for each symbol, with leave-one-out as marks, as bytes of PNG or SVG."""
    from matplotlib.figure import Figure

    names = [shown(symbol) for symbol in found.symbols[: found.at]]
    upright = max(map(len, names)) <= 2
    with drawing():
        figure = Figure(figsize=(max(6.0, min(24.0, 2 + (0.2 if upright else 0.55) * len(names))), 4.2),
                        layout="constrained")  # fmt: skip
        axes = figure.subplots()
        places = np.arange(len(names))
        scores = found.scores[: found.at]
        axes.bar(
            places, scores, 0.72, color=[COLOURS[1] if score > 0 else COLOURS[0] for score in scores],
            label=NAMES[found.method],
        )  # fmt: skip
        if found.method != "leave-out":
            axes.plot(places, found.leave_out[: found.at], ls="none", marker="D", ms=5, mfc="white", color="black",
                      label=NAMES["leave-out"])  # fmt: skip
        axes.axhline(0, color=GREY, lw=0.8)
        turned: dict[str, Any] = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(places, names, **turned)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(f"nats of {formula(found)}")
        axes.set_title(title, loc="left")
        axes.legend(loc="best")
        return encoded(figure, ending)
