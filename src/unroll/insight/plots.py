"""Pictures of models on a text, as PNG or SVG: the same numbers give the same bytes. Only here matplotlib is used."""

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from unroll.artifact.open import open_model
from unroll.errors import UserError, install
from unroll.files import StrPath, write_atomically
from unroll.lm.curves import (
    KINDS,
    LENGTH,
    UNITS,
    Curve,
    Kind,
    PositionLoss,
    Surprisal,
    UnitName,
    measure,
)
from unroll.lm.intervals import Floats
from unroll.lm.reliability import EDGES, Reliability
from unroll.progress import Work, result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
Entry = tuple[Any, str]
"""Of a legend: what was drawn, and its label."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito (2008), told apart by the colour-blind; without their yellow, which is too pale for lines on white."""
MARKERS = "osD^vPX"
GREY = "#555555"
FORMATS: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None}}
"""What can be written, and what is left out of it so that it is the same each time."""
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "unroll",
    "text.parse_math": False,  # a dollar sign in a text is one
}
DPI = 150
LEGEND_LINE = 0.22
"""Inches."""
LEAST = 1e-7
"""The least probability that is drawn."""
UNIT_NAMES = {"char": "character", "byte": "byte", "word": "word", "bpe": "piece"}
NARROW, WIDE = 60, 26
"""Symbols and words in a row of bars."""
LONGEST = 16
"""Characters of a word below its bar."""
PICTURED = {ord(" "): "␣", ord("\n"): "↵", ord("\t"): "⇥"}


@dataclass(frozen=True)
class Plotted:
    """A picture: the numbers behind it, of each model, and where it was written."""

    kind: Kind
    file: Path
    out: Path | None
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "kind": self.kind,
            "file": str(self.file),
            "out": None if self.out is None else str(self.out),
            "models": [curve.figures() for curve in self.curves],
            "notes": list(self.notes),
        }


def plot(
    kind: Kind,
    models: StrPath | Sequence[StrPath],
    file: StrPath,
    *,
    out: StrPath | None = None,
    length: int = LENGTH,
    smooth: bool = False,
    unit: UnitName = "word",
) -> Plotted:
    """Draw models on a text file into the picture `out`, a .png or .svg, and return the numbers behind it.

    `reliability`: predicted probabilities against how often what was predicted came. `position`: loss by the number
    of symbols read, over crops of `length` symbols from fresh states; with `smooth`, averaged over neighbouring
    positions. `surprisal`: bits of every `unit`, token or word, of a short text. Without `out` nothing is drawn, and
    matplotlib is not needed. Raises UserError.
    """
    paths = [Path(models)] if isinstance(models, str | os.PathLike) else [Path(model) for model in models]
    target = None if out is None else Path(out)
    return result(draw(kind, paths, Path(file), target, length=length, smooth=smooth, unit=unit))


def draw(
    kind: Kind,
    models: Sequence[Path],
    file: Path,
    out: Path | None,
    *,
    length: int = LENGTH,
    smooth: bool = False,
    unit: UnitName = "word",
) -> Work[Plotted]:
    """Do what `plot` does, yielding progress; returns the result. What cannot be drawn is refused at once."""
    _check(kind, models, out, unit)
    curves: list[Curve] = []
    vocabularies: set[str] = set()
    for path in models:
        opened = open_model(path)
        vocabularies.add(opened.tokenizer.digest)
        curves.append((yield from measure(kind, opened, file, length=length, smooth=smooth, unit=unit)))
    notes = list(_notes(curves))
    if kind == "position" and len(vocabularies) > 1:
        notes.append("the models have different vocabularies: bits per symbol compare only where symbols are the same")
    if out is not None:
        data, missing = picture(kind, curves, file.name, out.suffix.lower())
        write_atomically(out, data)
        if missing:
            notes.append("the picture's font has not all characters of the text: in a PNG they are boxes")
    return Plotted(kind, file, out, tuple(curves), tuple(notes))


def _check(kind: Kind, models: Sequence[Path], out: Path | None, unit: UnitName) -> None:
    for what, value, allowed in (("kind of picture", kind, KINDS), ("unit", unit, UNITS)):
        if value not in allowed:
            raise UserError(f"the {what} is {value!r}", allowed=", ".join(allowed), fix="choose one of them")
    if not 1 <= len(models) <= len(COLOURS):
        raise UserError(
            f"{len(models)} models in one picture",
            allowed=f"1 to {len(COLOURS)}, one for each colour that all can tell apart",
            fix="make several pictures",
        )
    if out is not None:
        check_picture(out)


def check_picture(out: Path) -> None:
    """Raise UserError for a picture that cannot be written, before anything is computed for it."""
    if out.suffix.lower() not in FORMATS:
        raise UserError(
            f"{out} is no name of a picture",
            allowed="names that end in .png or .svg",
            fix=f"name it {out.stem}.png",
        )
    if not out.parent.is_dir():
        raise UserError(
            f"the folder {out.parent} of the picture is not there",
            allowed="a folder that is",
            fix=f"mkdir -p {out.parent}",
        )
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise UserError(
            "drawing needs matplotlib, which is not installed",
            allowed="the numbers alone without it: --json and no --out",
            fix=install("insight"),
        ) from None


def _notes(curves: Sequence[Curve]) -> Iterator[str]:
    """Yield what is to be kept in mind; raises UserError for texts taken apart in different ways."""
    spans = [tuple((unit.start, unit.end) for unit in curve.numbers.units)
             for curve in curves if isinstance(curve.numbers, Surprisal)]  # fmt: skip
    if len(set(spans)) > 1:
        raise UserError(
            "the models take the text apart in different ways",
            allowed="models whose bars stand for the same stretches of it",
            fix="use --unit word with models of characters, bytes or BPE pieces, or make a picture of each",
        )
    for curve in curves:
        if isinstance(curve.numbers, Surprisal) and (unknown := sum(unit.unknown for unit in curve.numbers.units)):
            yield f"{curve.model}: {unknown:,} symbols count as <unk>"


def picture(kind: Kind, curves: Sequence[Curve], name: str, ending: str) -> tuple[bytes, bool]:
    """Return a picture as bytes of PNG or SVG, and whether its font lacks characters; `name` is that of the text."""
    from matplotlib import style
    from matplotlib.figure import Figure

    paint = {"reliability": _reliability, "position": _position, "surprisal": _surprisal}[kind]
    data = BytesIO()
    with ExitStack() as stack:
        stack.enter_context(style.context(["default", STYLE]))  # whatever its user has made the default
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.filterwarnings("always", "Glyph .* missing from")
        figure = Figure(layout="constrained")
        paint(figure, curves, shown_name(name))
        figure.savefig(data, format=ending[1:], dpi=DPI, metadata=FORMATS[ending])
    return data.getvalue(), any("Glyph" in str(warning.message) for warning in caught)


def heat_map(values: Floats, symbols: Sequence[str], title: str, ending: str) -> bytes:
    """Return a picture of what units do at every symbol: `values` (T, H), blue below 0 and red above, gates in grey."""
    from matplotlib import style
    from matplotlib.figure import Figure

    data = BytesIO()
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=(max(6.0, min(24.0, 2 + 0.13 * len(symbols))), 6.5), layout="constrained")
        axes = figure.subplots()
        largest = max(1.0, float(np.abs(values).max(initial=0.0)))
        signed = float(values.min(initial=0.0)) < 0  # gates are not
        image = axes.imshow(
            values.T,
            aspect="auto",
            cmap="RdBu_r" if signed else "Greys",
            vmin=-largest if signed else 0.0,
            vmax=largest,
            interpolation="nearest",
        )
        axes.set_xticks(range(len(symbols)), [shown(symbol) for symbol in symbols], fontsize=7)
        axes.tick_params(axis="x", length=0, rotation=90 if max(map(len, symbols)) > 1 else 0)
        axes.grid(visible=False)
        axes.set_ylabel("unit")
        axes.set_title(title)
        figure.colorbar(image, ax=axes, label="value", pad=0.01)
        figure.savefig(data, format=ending[1:], dpi=DPI, metadata=FORMATS[ending])
    return data.getvalue()


# ---- the three pictures


def _reliability(figure: "Figure", curves: Sequence[Curve], name: str) -> None:
    """Draw observed frequencies over predicted probabilities and, below, how many predictions there were."""
    figure.set_size_inches(7.5, 8.2 + LEGEND_LINE * len(curves))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    entries: list[Entry] = []
    least, never = EDGES[0], False
    for label, (_, its), colour, marker in zip(
        labels(curves), _of_type(curves, Reliability), COLOURS, MARKERS, strict=False
    ):
        filled = its.predictions > 0
        x, observed, count = its.predicted[filled], its.observed[filled], its.predictions[filled]
        low, high = (edge[filled] for edge in its.interval)
        came = observed > 0
        # What lies at 0 cannot stand on a logarithmic axis: an open mark says how far up it may be.
        never |= not came.all()
        bars = np.stack([observed - low, high - observed])
        drawn = upper.errorbar(x[came], observed[came], bars[:, came], color=colour, marker=marker, ms=5, lw=1.3,
                               capsize=2.5)  # fmt: skip
        entries.append((drawn, f"{label}: ECE {its.ece:.3f}"))
        upper.plot(x[~came], high[~came], color=colour, marker="v", mfc="white", ls="none", ms=6)
        lower.plot(x, count, color=colour, marker=marker, ms=4, lw=1.3)
        least = min(least, *x, *np.where(came, observed, high))
    least = 10.0 ** math.floor(math.log10(max(least, LEAST)))
    entries += [(line, "as predicted") for line in upper.plot([least, 1], [least, 1], color=GREY, ls="--", lw=1)]
    if never:
        marks = upper.plot([], [], color=GREY, marker="v", mfc="white", ls="none", ms=6)
        entries += [(mark, "never came: the upper end of the interval") for mark in marks]
    for axes in (upper, lower):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.minorticks_off()
    _decades(upper, least)
    upper.set_xlim(least, 1.4)
    upper.set_ylim(least, 1.6)
    upper.set_ylabel("observed frequency (95 % interval)")
    lower.set_xlabel("predicted probability (mean of each bin)")
    lower.set_ylabel("predictions")
    lower.yaxis.set_major_formatter(_short)
    legend(figure, f"Are the probabilities right?  Every symbol at every position of {name}", entries)


def _decades(axes: "Axes", least: float) -> None:
    """Put the powers of ten on both axes."""
    from matplotlib.ticker import FixedLocator, NullLocator

    decades = [10.0**k for k in range(round(math.log10(least)), 1)]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(decades))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(plain)


def _position(figure: "Figure", curves: Sequence[Curve], name: str) -> None:
    """Draw the loss over the number of symbols read, and how far back a model sees where that is limited."""
    from matplotlib.ticker import FixedLocator, NullLocator

    figure.set_size_inches(8.5, 5.3 + LEGEND_LINE * len(curves))
    axes = figure.subplots()
    found = _of_type(curves, PositionLoss)
    length, smoothed = found[0][1].length, found[0][1].smoothed
    entries: list[Entry] = []
    limited = False
    for label, (curve, its), colour, marker in zip(labels(curves), found, COLOURS, MARKERS, strict=False):
        x, bits, half = (its.first + its.last) / 2, its.nats / math.log(2), its.half / math.log(2)
        mean = its.nats_per_token / math.log(2)
        drawn = axes.plot(x, bits, color=colour, lw=1.6, marker=marker, ms=4, markevery=_octaves(x))
        entries += [(line, f"{label}: {mean:.2f} bits on average") for line in drawn]
        axes.fill_between(x, bits - half, bits + half, color=colour, alpha=0.18, lw=0)
        if curve.context is not None and 1 < curve.context <= its.length:
            axes.axvline(curve.context, color=colour, lw=1.2, ls=":")
            limited = True
    if limited:
        entries += [(line, "as far back as a model sees") for line in axes.plot([], [], color=GREY, ls=":", lw=1.2)]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(length.bit_length())]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(plain)
    axes.set_xlim(0.93, length * 1.07)
    averaged = ", averaged over stretches, eight to the octave" if smoothed else ""
    axes.set_xlabel(f"symbols read since the fresh state{averaged}")
    levels = {curve.level for curve in curves}
    each = UNIT_NAMES[levels.pop()] if len(levels) == 1 else "symbol"
    spread = " (95 % interval)" if all(its.crops > 1 for _, its in found) else ""
    axes.set_ylabel(f"bits per {each}{spread}")
    legend(figure, f"What is context worth?  Crops of {length:,} symbols of {name}, each from a fresh state", entries)


def _octaves(x: Floats) -> list[int]:
    """Return where the curve is marked: once to the octave, so that it is told apart without colours too."""
    return sorted({int(np.searchsorted(x, 2.0**k)) for k in range(int(math.log2(x[-1])) + 1)})


def _surprisal(figure: "Figure", curves: Sequence[Curve], name: str) -> None:
    """Draw the bits of each word or symbol as bars above the text, in rows."""
    found = _of_type(curves, Surprisal)
    noun = "word" if found[0][1].unit == "word" else "symbol"
    names = [shown(one.text) for one in found[0][1].units]
    longest = max(map(len, names))
    upright = longest <= 2
    most = NARROW if upright else WIDE
    count = math.ceil(len(names) / most)
    width = math.ceil(len(names) / count)
    high = 1.5 if upright else 1.5 + 0.06 * longest
    figure.set_size_inches(max(7.0, 11 * width / most), 0.5 + LEGEND_LINE * len(found) + high * count)
    rows = figure.subplots(count, 1, sharey=True, squeeze=False)[:, 0]
    bar = 0.82 / len(found)
    entries: list[Entry] = []
    for number, (label, (_, its)) in enumerate(zip(labels(curves), found, strict=True)):
        bits = its.nats / math.log(2)
        for row, axes in enumerate(rows):
            some = bits[row * width : (row + 1) * width]
            places = np.arange(len(some)) + (number - (len(found) - 1) / 2) * bar
            drawn = axes.bar(places, some, bar, color=COLOURS[number])
        entries.append((drawn, f"{label}: {bits.sum():,.1f} bits, {bits.mean():.2f} for each {noun}"))
    turned = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "fontsize": 9}
    for row, axes in enumerate(rows):
        below = names[row * width : (row + 1) * width]
        axes.set_xticks(np.arange(len(below)), below, **turned)
        axes.set_xlim(-0.7, width - 0.3)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("bits")
    legend(figure, f"What surprises?  Bits of each {noun} of {name}", entries)


def legend(figure: "Figure", title: str, entries: Sequence[Entry]) -> None:
    """Put the title and what each line stands for above the picture."""
    handles = [handle for handle, _ in entries]
    made = figure.legend(
        handles, ["."] * len(entries), title=title, title_fontsize=12, alignment="left", loc="outside upper left"
    )
    for text, (_, label) in zip(made.get_texts(), entries, strict=True):
        text.set_text(label)  # not at once: a label that begins with _ would be left out


# ---- what they share


class Named(Protocol):
    """What a label tells of a model."""

    @property
    def model(self) -> str:
        """Its directory."""

    @property
    def arch(self) -> str:
        """What it is."""

    @property
    def level(self) -> str:
        """What its symbols are."""

    @property
    def context(self) -> int | None:
        """Symbols that it can see; None where there is no limit."""


def labels(curves: Sequence[Named]) -> list[str]:
    """Return what to call each model: its name, the whole path where two share it, what it is and its symbols."""
    names = [Path(curve.model).name for curve in curves]
    return [
        f"{shown_name(curve.model if names.count(name) > 1 else name)} ({architecture(curve)}, {curve.level})"
        for curve, name in zip(curves, names, strict=True)
    ]


def architecture(curve: Named) -> str:
    """Return what a model is, and how far it sees where that is limited."""
    match curve.arch:
        case "ngram":
            return f"{(curve.context or 0) + 1}-gram"
        case "window":
            return f"window of {curve.context}"
        case _:
            return curve.arch


def shown(text: str) -> str:
    """Return a word or a symbol as it stands below its bar: on one line, visible, without the space that ends it."""
    visible = shown_name((text.rstrip(" ") or text).translate(PICTURED))
    return visible if len(visible) <= LONGEST else visible[: LONGEST - 1] + "…"


def shown_name(text: str) -> str:
    """Return a text with what cannot be printed as escapes; bytes that are not UTF-8 are \\xff."""
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code < 0xDD00:  # as PEP 383 has bytes
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _of_type(curves: Sequence[Curve], wanted: type[T]) -> list[tuple[Curve, T]]:
    return [(curve, curve.numbers) for curve in curves if isinstance(curve.numbers, wanted)]


def plain(value: float, _place: float | None = None) -> str:
    """Return a tick as 0.0001 or 256."""
    return f"{value:.7f}".rstrip("0").rstrip(".") if value < 1 else f"{value:,.0f}"


def _short(value: float, _place: float | None = None) -> str:
    """Return a count as 10 k."""
    for size, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{name}"
    return f"{value:g}"
