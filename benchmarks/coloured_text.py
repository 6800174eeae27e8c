"""A text coloured by the value of a cell at each character, as SVG for pages that keep no styles."""

import html
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from unroll.insight.cells.colours import ink, shade

TAB = 4
COLUMNS, CELL, ROW = 80, 8.4, 21
"""Characters of a line of a coloured text, and the size of a character in pixels."""
FONT = "ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace"
SHADES = 10
"""Shades of a colour."""


def coloured(cell: dict[str, Any]) -> str:
    """Return a passage as SVG, the value of a cell behind each character, and a line under where its property holds."""
    binary = cell["metric"] == "auroc"
    rows: list[list[tuple[str, int, bool]]] = [[]]
    for letter, value, label in zip(cell["text"], cell["values"], cell["labels"], strict=True):
        level = round(value * SHADES / 100)
        for shown in "↵" if letter == "\n" else printable(letter):
            if len(rows[-1]) == COLUMNS:
                rows.append([])
            rows[-1].append((shown, level, binary and label > 0))
        if letter == "\n":
            rows.append([])
    rows = [row for row in rows if row]
    width, height = COLUMNS * CELL + 24, len(rows) * ROW + 24
    body = [element for number, row in enumerate(rows) for element in line_of(row, 12 + number * ROW)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}" '
        f'role="img">\n<title>{alternative(cell)}</title>\n'
        f'<rect width="100%" height="100%" rx="6" fill="#fff"/>\n'
        f'<g font-family="{FONT}" font-size="14">\n' + "\n".join(body) + "\n</g>\n</svg>\n"
    )


def line_of(row: list[tuple[str, int, bool]], top: int) -> Iterator[str]:
    """Yield the elements of a line: backgrounds, letters, underlines."""
    places = list(enumerate(row))
    for level, group in groupby(places, key=lambda pair: pair[1][1]):
        stretch = list(group)
        if level:
            yield rectangle(stretch[0][0], top, len(stretch), ROW - 2, background(level))
    for colour, group in groupby(places, key=lambda pair: ink(background(pair[1][1]))):
        stretch = list(group)
        text = "".join(letter for _, (letter, _, _) in stretch).replace(" ", "\N{NO-BREAK SPACE}")  # kept everywhere
        if text.strip():
            yield (
                f'<text x="{left(stretch[0][0]):g}" y="{top + 14}" textLength="{len(stretch) * CELL:.4g}" '
                f'fill="{hexadecimal(colour)}">{html.escape(text, quote=False)}</text>'
            )
    for holds, group in groupby(places, key=lambda pair: pair[1][2]):
        stretch = list(group)
        if holds:
            yield rectangle(stretch[0][0], top + 16, len(stretch), 1.5, (0, 0, 0))


def rectangle(column: int, top: int, columns: int, height: float, colour: tuple[int, int, int]) -> str:
    """Return a rectangle behind or below so many characters."""
    place = f'x="{left(column):g}" y="{top}" width="{columns * CELL:.4g}" height="{height:g}"'
    return f'<rect {place} fill="{hexadecimal(colour)}"/>'


def left(column: int) -> float:
    """Return where a column begins."""
    return round(12 + column * CELL, 1)


def background(level: int) -> tuple[int, int, int]:
    """Return the colour of a level from -SHADES to SHADES."""
    return shade(level / SHADES)


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """Return a colour as SVG has it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def place(cell: dict[str, Any]) -> str:
    """Return the name of a cell, as verbs take it."""
    return f"{cell['layer']}:{cell['unit']}"


def alternative(cell: dict[str, Any]) -> str:
    """Return what a coloured text shows, for who does not see it."""
    return f"A passage of the sample, coloured by the value of unit {place(cell)} at each character"


def printable(letter: str) -> str:
    """Return a character, or what stands for one that cannot be shown."""
    return (
        " " * TAB
        if letter == "\t"
        else letter
        if letter == "\n" or letter.isprintable()
        else "\N{REPLACEMENT CHARACTER}"
    )
