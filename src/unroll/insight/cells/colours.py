"""A text coloured by the value of a unit at each symbol (Karpathy et al. 2015), for terminals and as one HTML page."""

import html
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

LOW, HIGH = (0, 114, 178), (213, 94, 0)
"""Blue below zero and vermilion above it (Okabe & Ito 2008), distinct to the colour-blind."""


def strengths(values: Floats) -> Floats:
    """Return values (T,) from -1 to 1: unchanged within these bounds, else divided by the largest size."""
    largest = float(np.abs(values).max(initial=0.0))
    return values / largest if largest > 1 else values


def shade(strength: float) -> tuple[int, int, int]:
    """Return the background for a strength from -1 to 1, white for 0."""
    end = HIGH if strength > 0 else LOW
    share = min(1.0, abs(strength))
    red, green, blue = (round(255 + share * (part - 255)) for part in end)
    return red, green, blue


def ink(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever is readable on the background (relative luminance, WCAG 2)."""
    red, green, blue = ((part / 255) ** 2.2 for part in background)
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else (255, 255, 255)


def in_terminal(symbols: Sequence[str], values: Floats) -> Iterator[str]:
    """Yield symbols with their background for terminals of 24-bit colour; a newline shows as ↵ before itself."""
    for symbol, strength in zip(symbols, strengths(values), strict=True):
        background = shade(float(strength))
        colours = "48;2;{};{};{};38;2;{};{};{}".format(*background, *ink(background))
        text = symbol.replace("\n", "↵")
        yield f"\x1b[{colours}m{text}\x1b[0m" + ("\n" if "\n" in symbol else "")


def page(title: str, symbols: Sequence[str], rows: Sequence[tuple[str, Floats]]) -> str:
    """Return one self-contained HTML page: the text once for each row, a name and values (T,), shown on hovering."""
    blocks = []
    for name, values in rows:
        spans = []
        for symbol, value, strength in zip(symbols, values, strengths(values), strict=True):
            background = shade(float(strength))
            style = "background:#{:02x}{:02x}{:02x};color:#{:02x}{:02x}{:02x}".format(*background, *ink(background))
            text = html.escape(symbol).replace("\n", "↵\n")
            spans.append(f'<span style="{style}" title="{value:.4f}">{text}</span>')
        largest = float(np.abs(values).max(initial=0.0))
        scale = f"−{max(1.0, largest):.2f} blue, 0 white, +{max(1.0, largest):.2f} orange"
        blocks.append(f"<h2>{html.escape(name)}</h2>\n<p>{scale}</p>\n<pre>{''.join(spans)}</pre>")
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        "<style>body{font:16px/1.5 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;background:#fff;"
        "color:#000}pre{font:15px/1.6 monospace;white-space:pre-wrap;overflow-wrap:anywhere}p{color:#555}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n" + "\n".join(blocks) + "\n</html>\n"
    )
