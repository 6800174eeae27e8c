"""What pictures share: style, colours, checks, legends, and how models and symbols are called; and a heat map."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unroll.errors import UserError, install

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Entry = tuple[Any, str]
"""What a legend explains: what was drawn, and its label."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito (2008), distinct to the colour-blind; without their yellow, which is too pale for lines on white."""
MARKERS = "osD^vPX"
GREY = "#555555"
FORMATS: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None}}
"""Formats of pictures, with the metadata to leave out so that equal numbers give equal bytes."""
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: searchable, and readable aloud
    "svg.hashsalt": "unroll",
    "text.parse_math": False,  # a dollar sign in a text is a dollar sign
}
DPI = 150
LEGEND_LINE = 0.22
"""Height of a line of the legend, in inches."""
LEAST = 1e-7
"""The smallest probability drawn."""
UNIT_NAMES = {"char": "character", "byte": "byte", "word": "word", "bpe": "piece"}
LONGEST = 16
"""Characters of a word shown below its bar."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PICTURED = {ord(" "): "␣", ord("\n"): "↵", ord("\t"): "⇥"}


def check_picture(out: Path) -> None:
    """Raise UserError for a picture that cannot be written, before anything is computed for it."""
    if out.suffix.lower() not in FORMATS:
        raise UserError(
            f"{out} is not a .png or .svg",
            allowed="names that end in .png or .svg",
            fix=f"name it {out.with_suffix('.png')}",
        )
    if not out.parent.is_dir():
        raise UserError(
            f"the folder {out.parent} does not exist",
            allowed="a picture in an existing folder",
            fix=f"mkdir -p {out.parent}",
        )
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise UserError(
            "drawing needs matplotlib, which is not installed",
            allowed="numbers without a picture: leave out the picture's option",
            fix=install("insight"),
        ) from None


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in one style, whatever the user's defaults; characters that the font lacks become boxes without a warning.

    A figure is encoded within it as well.
    """
    from matplotlib import style

    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def encoded(figure: "Figure", ending: str) -> bytes:
    """Return a figure as bytes of PNG or SVG: the same figure gives the same bytes."""
    data = BytesIO()
    figure.savefig(data, format=ending[1:], dpi=DPI, metadata=FORMATS[ending])
    return data.getvalue()


def heat_map(panels: Mapping[str, NDArray[np.floating]], symbols: Sequence[str], title: str, ending: str) -> bytes:
    """Return heat maps of units over symbols, one below the other: (T, H) by name, blue below 0 and red above; gates
    in grey."""
    from matplotlib.figure import Figure

    largest = max(1.0, *(float(np.abs(values).max(initial=0.0)) for values in panels.values()))
    signed = min(float(values.min(initial=0.0)) for values in panels.values()) < 0  # gates have no sign
    with drawing():
        figure = Figure(figsize=(max(6.0, min(24.0, 2 + 0.13 * len(symbols))), 6.5), layout="constrained")
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, values) in zip(rows, panels.items(), strict=True):
            image = axes.imshow(
                values.T,
                aspect="auto",
                cmap="RdBu_r" if signed else "Greys",
                vmin=-largest if signed else 0.0,
                vmax=largest,
                interpolation="nearest",
            )
            axes.grid(visible=False)
            axes.tick_params(axis="x", length=0, rotation=90 if max(map(len, symbols)) > 1 else 0)
            axes.set_ylabel("unit" if len(panels) == 1 else f"unit of {name}")
        rows[-1].set_xticks(range(len(symbols)), [shown(symbol) for symbol in symbols], fontsize=7)
        rows[0].set_title(title)
        figure.colorbar(image, ax=list(rows), label="value", pad=0.01)
        return encoded(figure, ending)


def ticks(axis: "Axis", places: Sequence[float]) -> None:
    """Put the ticks of an axis at these places, with plain numbers, and none between them."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(plain)


def legend(figure: "Figure", title: str, entries: Sequence[Entry]) -> None:
    """Put the title and the legend above the picture."""
    handles = [handle for handle, _ in entries]
    box = figure.legend(
        handles, ["."] * len(entries), title=title, title_fontsize=12, alignment="left", loc="outside upper left"
    )
    for text, (_, label) in zip(box.get_texts(), entries, strict=True):
        text.set_text(label)  # set afterwards: matplotlib skips labels that begin with _


class Named(Protocol):
    """A model as a label names it."""

    @property
    def model(self) -> str:
        """Its directory."""

    @property
    def arch(self) -> str:
        """Its architecture."""

    @property
    def level(self) -> str:
        """The level of its symbols."""

    @property
    def context(self) -> int | None:
        """Symbols that the model can see; None for no limit."""


def labels(models: Sequence[Named]) -> list[str]:
    """Return a label for each model: its name, or the whole path where two share it, architecture and level."""
    names = [Path(model.model).name for model in models]
    return [
        f"{shown_name(model.model if names.count(name) > 1 else name)} ({architecture(model)}, {model.level})"
        for model, name in zip(models, names, strict=True)
    ]


def architecture(model: Named) -> str:
    """Return the architecture of a model, and how far it sees where that is limited."""
    match model.arch:
        case "ngram":
            return f"{(model.context or 0) + 1}-gram"
        case "window":
            return f"window of {model.context}"
        case _:
            return model.arch


def shown(text: str) -> str:
    """Return a word or a symbol as a label of an axis: on one line, visible, without its final space."""
    visible = shown_name((text.rstrip(" ") or text).translate(PICTURED))
    return visible if len(visible) <= LONGEST else visible[: LONGEST - 1] + "…"


def shown_name(text: str) -> str:
    """Return a text with unprintable characters as escapes; bytes that are not UTF-8 become \\xff."""
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code < 0xDD00:  # a byte, by PEP 383
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def plain(value: float, _place: float | None = None) -> str:
    """Return a tick label as 0.0001 or 256."""
    return f"{value:.7f}".rstrip("0").rstrip(".") if value < 1 else f"{value:,.0f}"
