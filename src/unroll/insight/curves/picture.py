"""Pictures of models on a text: reliability, loss by position, surprisal; with the numbers behind them."""

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from unroll.artifact.open import open_model
from unroll.errors import UserError, check_choice
from unroll.files import StrPath, as_path, write_atomically
from unroll.insight.plots import (
    COLOURS,
    GREY,
    LEAST,
    LEGEND_LINE,
    MARKERS,
    UNIT_NAMES,
    Entry,
    check_picture,
    drawing,
    encoded,
    labels,
    legend,
    shown,
    shown_name,
    ticks,
)
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
from unroll.lm.reliability import EDGES, SPAN, Reliability
from unroll.progress import Work, result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")

NARROW, WIDE = 60, 26
"""Bars in a row: of symbols, of words."""


@dataclass(frozen=True)
class Plot:
    """A picture of models on a text: the numbers of each model, and where the picture was written."""

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
) -> Plot:
    """Draw models on a text file into the picture `out`, a .png or .svg, and return the numbers behind it.

    `reliability`: predicted probabilities against how often the predictions came true. `position`: loss by the number
    of symbols read, over crops of `length` symbols from fresh states; with `smooth`, averaged over neighbouring
    positions. `surprisal`: bits of every `unit`, token or word, of a short text. Without `out` nothing is drawn, and
    matplotlib is not needed. Raises UserError.
    """
    paths = [Path(models)] if isinstance(models, str | os.PathLike) else [Path(model) for model in models]
    target = None if out is None else Path(out)
    return result(draw(kind, paths, as_path(file), target, length=length, smooth=smooth, unit=unit))


def draw(
    kind: Kind,
    models: Sequence[Path],
    file: Path,
    out: Path | None,
    *,
    length: int = LENGTH,
    smooth: bool = False,
    unit: UnitName = "word",
) -> Work[Plot]:
    """Do what `plot` does, yielding progress; returns the result. Refuses at once what cannot be drawn."""
    _check(kind, models, out, unit)
    curves: list[Curve] = []
    vocabularies: set[str] = set()
    for path in models:
        opened = open_model(path)
        vocabularies.add(opened.tokenizer.digest)
        curves.append((yield from measure(kind, opened, file, length=length, smooth=smooth, unit=unit)))
    notes = list(_remarks(curves))
    if kind == "position" and len(vocabularies) > 1:
        notes.append("the models have different vocabularies: bits per symbol compare only within one vocabulary")
    if out is not None:
        data, missing = picture(kind, curves, file.name, out.suffix.lower())
        write_atomically(out, data)
        if missing:
            notes.append("the font of the picture lacks some characters of the text: a PNG shows them as boxes")
    return Plot(kind, file, out, tuple(curves), tuple(notes))


def _check(kind: Kind, models: Sequence[Path], out: Path | None, unit: UnitName) -> None:
    check_choice("the kind of picture", kind, KINDS)
    check_choice("the unit", unit, UNITS)
    if not 1 <= len(models) <= len(COLOURS):
        raise UserError(
            f"{len(models)} models in one picture",
            allowed=f"1 to {len(COLOURS)}, one for each distinct colour",
            fix="make several pictures",
        )
    if out is not None:
        check_picture(out)


def _remarks(curves: Sequence[Curve]) -> Iterator[str]:
    """Yield notes on the curves; raises UserError for texts that the models split in different ways."""
    spans = [tuple((unit.start, unit.end) for unit in curve.numbers.units)
             for curve in curves if isinstance(curve.numbers, Surprisal)]  # fmt: skip
    if len(set(spans)) > 1:
        raise UserError(
            "the models split the text in different ways",
            allowed="models whose bars cover the same stretches of the text",
            fix="use --unit word with models of characters, bytes or BPE pieces, or make a picture of each",
        )
    for curve in curves:
        if isinstance(curve.numbers, Surprisal) and (unknown := sum(unit.unknown for unit in curve.numbers.units)):
            yield f"{curve.model}: symbols that count as <unk>: {unknown:,}"
        if isinstance(curve.numbers, Reliability) and (stride := curve.numbers.stride) > 1:
            yield (
                f"{curve.model}: measured on a sample of the text, {SPAN} symbols of every {stride * SPAN:,}, "
                "each after all that precedes it"
            )


def picture(kind: Kind, curves: Sequence[Curve], name: str, ending: str) -> tuple[bytes, bool]:
    """Return a picture as bytes of PNG or SVG, and whether its font lacks characters; `name` is that of the text."""
    from matplotlib.figure import Figure

    paint = {"reliability": _reliability, "position": _position, "surprisal": _surprisal}[kind]
    with drawing(), warnings.catch_warnings(record=True) as missing:
        warnings.filterwarnings("always", "Glyph .* missing from")
        figure = Figure(layout="constrained")
        paint(figure, curves, shown_name(name))
        data = encoded(figure, ending)
    return data, any("Glyph" in str(warning.message) for warning in missing)


# ---- the three pictures


def _reliability(figure: "Figure", curves: Sequence[Curve], name: str) -> None:
    """Draw observed frequencies over predicted probabilities and, below, how many predictions there were."""
    figure.set_size_inches(7.5, 8.2 + LEGEND_LINE * len(curves))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    entries: list[Entry] = []
    least, any_at_zero = EDGES[0], False
    for label, (_, reliability), colour, marker in zip(
        labels(curves), _of_type(curves, Reliability), COLOURS, MARKERS, strict=False
    ):
        filled = reliability.predictions > 0
        x, observed = reliability.predicted[filled], reliability.observed[filled]
        low, high = (edge[filled] for edge in reliability.interval)
        occurred = observed > 0
        # A logarithmic axis has no 0: an open mark shows the upper end of the interval instead.
        any_at_zero |= not occurred.all()
        bars = np.stack([observed - low, high - observed])
        points = upper.errorbar(
            x[occurred], observed[occurred], bars[:, occurred], color=colour, marker=marker, ms=5, lw=1.3, capsize=2.5
        )
        entries.append((points, f"{label}: ECE {reliability.ece:.3f}"))
        upper.plot(x[~occurred], high[~occurred], color=colour, marker="v", mfc="white", ls="none", ms=6)
        lower.plot(x, reliability.predictions[filled], color=colour, marker=marker, ms=4, lw=1.3)
        least = min(least, *x, *np.where(occurred, observed, high))
    least = 10.0 ** math.floor(math.log10(max(least, LEAST)))
    entries += [(line, "as predicted") for line in upper.plot([least, 1], [least, 1], color=GREY, ls="--", lw=1)]
    if any_at_zero:
        marks = upper.plot([], [], color=GREY, marker="v", mfc="white", ls="none", ms=6)
        entries += [(mark, "never occurred: the upper end of the interval") for mark in marks]
    for axes in (upper, lower):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.minorticks_off()
    decades = [10.0**k for k in range(round(math.log10(least)), 1)]
    ticks(upper.xaxis, decades)
    ticks(upper.yaxis, decades)
    upper.set_xlim(least, 1.4)
    upper.set_ylim(least, 1.6)
    upper.set_ylabel("observed frequency (95 % interval)")
    lower.set_xlabel("predicted probability (mean of each bin)")
    lower.set_ylabel("predictions")
    lower.yaxis.set_major_formatter(_short)
    legend(figure, f"Are the probabilities right?  Every symbol at every position of {name}", entries)


def _position(figure: "Figure", curves: Sequence[Curve], name: str) -> None:
    """Draw the loss over the number of symbols read, and how far back a model sees where that is limited."""
    figure.set_size_inches(8.5, 5.3 + LEGEND_LINE * len(curves))
    axes = figure.subplots()
    losses = _of_type(curves, PositionLoss)
    length, smoothed = losses[0][1].length, losses[0][1].smoothed
    entries: list[Entry] = []
    limited = False
    for label, (curve, loss), colour, marker in zip(labels(curves), losses, COLOURS, MARKERS, strict=False):
        x, bits, half = (loss.first + loss.last) / 2, loss.nats / math.log(2), loss.half / math.log(2)
        mean = loss.nats_per_token / math.log(2)
        # Marked once to the octave, to distinguish curves without colours too.
        octaves = sorted({int(np.searchsorted(x, 2.0**k)) for k in range(int(math.log2(x[-1])) + 1)})
        lines = axes.plot(x, bits, color=colour, lw=1.6, marker=marker, ms=4, markevery=octaves)
        entries += [(line, f"{label}: {mean:.2f} bits on average") for line in lines]
        axes.fill_between(x, bits - half, bits + half, color=colour, alpha=0.18, lw=0)
        if curve.context is not None and 1 < curve.context <= loss.length:
            axes.axvline(curve.context, color=colour, lw=1.2, ls=":")
            limited = True
    if limited:
        entries += [(line, "as far back as a model sees") for line in axes.plot([], [], color=GREY, ls=":", lw=1.2)]
    axes.set_xscale("log", base=2)
    ticks(axes.xaxis, [2.0**k for k in range(length.bit_length())])
    axes.set_xlim(0.93, length * 1.07)
    averaged = ", averaged over stretches, eight to the octave" if smoothed else ""
    axes.set_xlabel(f"symbols read since the fresh state{averaged}")
    levels = {curve.level for curve in curves}
    noun = UNIT_NAMES[levels.pop()] if len(levels) == 1 else "symbol"
    spread = " (95 % interval)" if all(loss.crops > 1 for _, loss in losses) else ""
    axes.set_ylabel(f"bits per {noun}{spread}")
    legend(figure, f"What is context worth?  Crops of {length:,} symbols of {name}, each from a fresh state", entries)


def _surprisal(figure: "Figure", curves: Sequence[Curve], name: str) -> None:
    """Draw the bits of each word or symbol as bars above the text, in rows."""
    surprisals = _of_type(curves, Surprisal)
    noun = "word" if surprisals[0][1].unit == "word" else "symbol"
    names = [shown(word.text) for word in surprisals[0][1].units]
    longest = max(map(len, names))
    upright = longest <= 2
    per_row = NARROW if upright else WIDE
    count = math.ceil(len(names) / per_row)
    width = math.ceil(len(names) / count)
    high = 1.5 if upright else 1.5 + 0.06 * longest
    figure.set_size_inches(max(7.0, 11 * width / per_row), 0.5 + LEGEND_LINE * len(surprisals) + high * count)
    rows = figure.subplots(count, 1, sharey=True, squeeze=False)[:, 0]
    bar = 0.82 / len(surprisals)
    entries: list[Entry] = []
    for number, (label, (_, surprisal)) in enumerate(zip(labels(curves), surprisals, strict=True)):
        bits = surprisal.nats / math.log(2)
        for row, axes in enumerate(rows):
            row_bits = bits[row * width : (row + 1) * width]
            places = np.arange(len(row_bits)) + (number - (len(surprisals) - 1) / 2) * bar
            handle = axes.bar(places, row_bits, bar, color=COLOURS[number])
        entries.append((handle, f"{label}: {bits.sum():,.1f} bits, {bits.mean():.2f} for each {noun}"))
    turned = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "fontsize": 9}
    for row, axes in enumerate(rows):
        below = names[row * width : (row + 1) * width]
        axes.set_xticks(np.arange(len(below)), below, **turned)
        axes.set_xlim(-0.7, width - 0.3)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("bits")
    legend(figure, f"What surprises?  Bits of each {noun} of {name}", entries)


def _of_type(curves: Sequence[Curve], numbers_type: type[T]) -> list[tuple[Curve, T]]:
    return [(curve, curve.numbers) for curve in curves if isinstance(curve.numbers, numbers_type)]


def _short(value: float, _place: float | None = None) -> str:
    """Return a count as 10 k."""
    for size, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{name}"
    return f"{value:g}"
