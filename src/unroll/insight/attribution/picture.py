"""The picture of an attribution: a bar for each symbol, and leaving it out as a mark."""

from typing import Any

import numpy as np

from unroll.insight.attribution.scores import NAMES, Attribution, formula
from unroll.insight.plots import COLOURS, GREY, drawing, encoded, shown


def picture(attribution: Attribution, title: str, ending: str) -> bytes:
    """Return bars of the scores of symbols, with leave-one-out as marks, as bytes of PNG or SVG."""
    from matplotlib.figure import Figure

    names = [shown(symbol) for symbol in attribution.symbols[: attribution.at]]
    upright = max(map(len, names)) <= 2
    with drawing():
        figure = Figure(figsize=(max(6.0, min(24.0, 2 + (0.2 if upright else 0.55) * len(names))), 4.2),
                        layout="constrained")  # fmt: skip
        axes = figure.subplots()
        places = np.arange(len(names))
        scores = attribution.scores[: attribution.at]
        axes.bar(
            places, scores, 0.72, color=[COLOURS[1] if score > 0 else COLOURS[0] for score in scores],
            label=NAMES[attribution.method],
        )  # fmt: skip
        if attribution.method != "leave-out":
            left_out = attribution.leave_out[: attribution.at]
            axes.plot(
                places, left_out, ls="none", marker="D", ms=5, mfc="white", color="black", label=NAMES["leave-out"]
            )
        axes.axhline(0, color=GREY, lw=0.8)
        rotated: dict[str, Any] = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(places, names, **rotated)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(f"nats of {formula(attribution)}")
        axes.set_title(title, loc="left")
        axes.legend(loc="best")
        return encoded(figure, ending)
