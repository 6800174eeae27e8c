"""The picture of patching: D by the place of patching, and by the number of units patched together."""

from typing import Any

import numpy as np

from unroll.insight.patching.measure import Patched
from unroll.insight.plots import COLOURS, GREY, MARKERS, drawing, encoded, shown


def picture(patched: Patched, title: str, ending: str) -> bytes:
    """Return D by the place of patching and, for recurrent models, by the number of units, as bytes of PNG or SVG."""
    from matplotlib.figure import Figure

    symbols = [shown(patched.symbols[place - 1]) if place else "" for place in patched.positions.tolist()]
    upright = max(map(len, symbols)) <= 2
    units = len(patched.set_values)
    with drawing():
        width = max(4.5, min(16.0, 1.5 + (0.2 if upright else 0.5) * len(symbols)))
        figure = Figure(figsize=(width + (4.5 if units else 0.5), 4.8), layout="constrained")
        panels = figure.subplots(
            1, 2 if units else 1, sharey=True, squeeze=False, width_ratios=[width, 4.5][: 1 + bool(units)]
        )[0]
        for axes in panels:
            for name, value, dash in (("first text", patched.first, "--"), ("second text", patched.second, ":")):
                axes.axhline(value, color=GREY, ls=dash, lw=1.2, label=name if axes is panels[0] else None)
            axes.axhline(0, color=GREY, lw=0.8)
        for number, name in enumerate(patched.main_parts):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
            panels[0].plot(patched.curves[name], color=colour, marker=marker, ms=5, lw=1.6, label=name)
        rotated: dict[str, Any] = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        panels[0].set_xticks(range(len(symbols)), symbols, **rotated)
        panels[0].set_xlabel("patched after this symbol")
        panels[0].set_ylabel(f"log p({shown(patched.target)}) − log p({shown(patched.against)}), nats")
        if units:
            panels[1].plot(
                np.arange(1, units + 1), patched.set_values, color=COLOURS[3], marker=MARKERS[3], ms=4, lw=1.6
            )
            ticks = [2**k for k in range(units.bit_length())]
            panels[1].set_xscale("log", base=2)
            panels[1].set_xticks(ticks, [str(tick) for tick in ticks])
            panels[1].set_xlabel(f"units patched together after {patched.at[0]} symbols, the strongest first")
        figure.legend(loc="outside upper left", ncols=5, title=title, title_fontsize=12, alignment="left")
        return encoded(figure, ending)
