"""Gradients of models with their picture: norms by lag for every layer and signal, and norms while training."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unroll.artifact.directory import CLASSIFIER, read_kind
from unroll.errors import UserError
from unroll.files import StrPath, as_path, write_atomically
from unroll.insight.classifier.gradients import ClassifierGradients, measure_classifiers
from unroll.insight.gradients.advice import Floats
from unroll.insight.gradients.measure import LAGS, GradientReport, Gradients, halving, measure
from unroll.insight.plots import (
    COLOURS,
    GREY,
    LEGEND_LINE,
    MARKERS,
    RAISED,
    Entry,
    check_picture,
    drawing,
    encoded,
    labels,
    legend,
    shown_name,
)
from unroll.progress import Work, result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = {"h": "--", "c": "-", "x": ":", "y": ":"}
DEEPEST = 1e-12
"""Smallest share of the largest norm that is drawn."""


def gradients(
    models: StrPath | Sequence[StrPath],
    file: StrPath | None = None,
    *,
    lags: int | None = None,
    fresh: bool = False,
    plot: StrPath | None = None,
) -> GradientReport:
    """Measure gradients of models on their way back through a text: by lag, at every step, while training.

    The text is `file`, or each model's own validation part; of classifiers, a table of examples, or those held out.
    By default `lags` is 100, of classifiers the median number of units of a text, less one.
    With `fresh`, untrained weights of each model's shape are
    measured beside it. `plot` is a .png or .svg to draw. Raises UserError.
    """
    paths = [Path(models)] if isinstance(models, str | os.PathLike) else [Path(model) for model in models]
    text, out = as_path(file), None if plot is None else Path(plot)
    return result(draw(paths, text, out, lags=lags, fresh=fresh))


def draw(
    paths: Sequence[Path],
    file: Path | None,
    plot: Path | None,
    *,
    lags: int | None = None,
    fresh: bool = False,
    curve: bool = False,
) -> Work[GradientReport]:
    """Do what `gradients` does, yielding progress; returns the result; `curve` adds the norms while training."""
    if plot is None:
        return (yield from _measured(paths, file, lags, fresh=fresh))
    if (models := len(paths) * (1 + fresh)) > len(COLOURS):
        raise UserError(
            f"{models} lines of models in one picture",
            allowed=f"at most {len(COLOURS)}, one for each distinct colour; --fresh makes two of each",
            fix="make several pictures",
        )
    check_picture(plot)
    report = yield from _measured(paths, file, lags, fresh=fresh)
    write_atomically(plot, picture(report, plot.suffix.lower(), curve=curve))
    return replace(report, plot=plot)


def _measured(paths: Sequence[Path], file: Path | None, lags: int | None, *, fresh: bool) -> Work[GradientReport]:
    """Measure language models, or classifiers; raises UserError for both together."""
    classify = {read_kind(path)["kind"] == CLASSIFIER for path in paths}
    if len(classify) > 1:
        raise UserError(
            "language models and classifiers have no gradients of the same loss",
            allowed="models of one kind",
            fix="measure the classifiers by themselves",
        )
    if classify == {True}:
        return measure_classifiers(paths, file, lags=lags, fresh=fresh)
    return measure(paths, file, lags=LAGS if lags is None else lags, fresh=fresh)


def picture(report: GradientReport, ending: str, *, curve: bool = False) -> bytes:
    """Return a picture as bytes of PNG or SVG; `curve` adds the norms while training below."""
    from matplotlib.figure import Figure

    trained = [model for model in report.models if model.training] if curve else []
    names = named(report)
    lines = sum(len(drawn(report, model)) for model in report.models) + len(trained)
    with drawing():
        figure = Figure(figsize=(8.5, (5.3 if not trained else 8.3) + LEGEND_LINE * lines), layout="constrained")
        panels = figure.subplots(1 + bool(trained), 1, squeeze=False, height_ratios=(3, 2)[: 1 + bool(trained)])[:, 0]
        entries = list(_by_lag(panels[0], report, names))
        if trained:
            entries += _while_training(panels[1], report, names)
        own = "texts held out" if isinstance(report.models[0], ClassifierGradients) else "the validation part"
        text = shown_name(report.file.name) if report.file else own
        legend(figure, f"Do gradients vanish or explode?  Norms on their way back through {text}", entries)
        return encoded(figure, ending)


def named(report: GradientReport) -> list[str]:
    """Return a label for each model."""
    names = labels(report.models)
    return [f"{name}, untrained" if model.fresh else name for name, model in zip(names, report.models, strict=True)]


def drawn(report: GradientReport, model: Gradients) -> list[str]:
    """Return the names of the norms drawn of a model: by states, and by inputs if there is a window.

    Of a classifier by what is handed on, c if there is one, and by outputs.
    """
    if isinstance(model, ClassifierGradients):
        return [name for name in model.norms.rows if not (name.endswith("/h") and f"{name[:-1]}c" in model.norms.rows)]
    windows = any(other.arch == "window" for other in report.models)
    return [name for name in model.norms.rows if name != "x" or windows]


def _by_lag(axes: "Axes", report: GradientReport, names: list[str]) -> Iterator[Entry]:
    """Draw the norms by lag; a colour for each model, or each layer of a single one, a dash for each signal."""
    single = len(report.models) == 1
    largest = max(float(np.nanmax(model.norms.mean(name))) for model in report.models for name in drawn(report, model))
    for number, (label, model) in enumerate(zip(names, report.models, strict=True)):
        layers = list(dict.fromkeys(name.rpartition("/")[0] for name in model.norms.rows))
        for name in drawn(report, model):
            layer, _, signal = name.rpartition("/")
            depth = layers.index(layer) if layer else 0
            colour = COLOURS[(depth if single else number) % len(COLOURS)]
            norms = model.norms.mean(name)
            visible = norms > largest * DEEPEST
            lags = np.flatnonzero(visible)
            (line,) = axes.plot(
                lags,
                norms[visible],
                color=colour,
                ls=LINES[signal],
                lw=1.6 if layer else 1.1,
                marker=MARKERS[depth % len(MARKERS)],
                ms=4.5,
                markevery=_apart(len(lags), number),
            )
            if signal == ("c" if model.norms.c is not None else "h") or model.arch == "window":
                low, high = (model.norms.quantile(name, share)[visible] for share in (0.1, 0.9))
                axes.fill_between(lags, np.maximum(low, largest * DEEPEST), high, color=colour, alpha=0.12, lw=0)
            yield line, f"{label}: {_what(name, norms, model)}"
        if model.context is not None and model.context <= report.lags:
            axes.axvline(model.context - 1, color=COLOURS[0 if single else number], lw=1.2, ls=(0, (1, 3)))
    _logarithmic(axes)
    axes.set_xlim(-0.01 * report.lags, 1.01 * report.lags)
    of_texts = isinstance(report.models[0], ClassifierGradients)
    back = "units back from the last that each direction reads" if of_texts else "steps back from the last symbol read"
    axes.set_xlabel(f"lag: {back}")
    places = "texts" if of_texts else "positions"
    axes.set_ylabel(f"norm of the loss's gradient\n(geometric mean; band: 80 % of the {places})")


def _what(name: str, norms: Floats, model: Gradients) -> str:
    """Return what a line is the gradient by, and its half-life if it has one."""
    layer, _, signal = name.rpartition("/")
    if not layer:
        return "by the input" + (f", 0 beyond {model.context} symbols" if model.context is not None else "")
    if isinstance(model, ClassifierGradients):
        if signal == "y":
            return f"by the outputs of {layer}"
        place = f"by {signal} that {layer} hands on"
    else:
        place = f"by {signal} of layer {layer.removeprefix('layer')}"
    half = halving(norms)
    return place if half is None else f"{place}, halves in {half:.3g} steps"


def _while_training(axes: "Axes", report: GradientReport, names: list[str]) -> Iterator[Entry]:
    """Draw the norm of all gradients at the logged steps of the trainings, and where it was clipped."""
    for number, (label, model) in enumerate(zip(names, report.models, strict=True)):
        if (training := model.training) is None:
            continue
        colour = COLOURS[number]
        (line,) = axes.plot(training.steps, np.maximum(training.norms, np.finfo(np.float64).tiny), color=colour, lw=1.2)
        clip = f", clipped at {training.grad_clip:g}" if training.grad_clip else ""
        yield line, f"{label}: all gradients while training{clip}"
        if training.grad_clip:
            axes.axhline(training.grad_clip, color=GREY, lw=1, ls=":")
    _logarithmic(axes)
    axes.set_xlabel("training step")
    axes.set_ylabel("norm of all gradients")


def _logarithmic(axes: "Axes") -> None:
    """Make the vertical axis logarithmic, with its ticks at powers of ten, and between them where there are few."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(10, (1.0,) if high / low > 50 else (1.0, 2.0, 5.0), numticks=9))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(power)


def power(value: float, _place: float | None = None) -> str:
    """Return a tick label as 0.02, or 10⁻⁶ where that is shorter."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    digits = str(exponent).translate(RAISED)
    lead = value / 10.0**exponent
    return f"10{digits}" if abs(lead - 1) < 1e-6 else f"{lead:g}·10{digits}"


def _apart(count: int, number: int) -> list[int]:
    """Return where a line of `count` points is marked: at a few places, different for each model."""
    step = max(1, math.ceil(count / 7))
    return list(range(min(number * step // 3, max(0, count - 1)), count, step))
