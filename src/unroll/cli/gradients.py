"""`unroll gradients`: do gradients vanish or explode?"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_examples
from unroll.cli.options import PATH, json_option, plot_option

if TYPE_CHECKING:
    from unroll.insight.gradients.measure import GradientReport, Gradients

SHOWN = (1, 3, 10, 30, 100, 300, 1000)
"""Lags of the table, up to the largest, which is the last."""


@click.command(
    "gradients",
    epilog="""\b
Lag k: the loss at a symbol, differentiated with respect to the hidden state h and the cell c
that a layer handed on k steps before, and to the input vector x read then. Exact, in float64, at
128 places of the text; geometric means.

\b
Advice:
  explodes    at some lag 10 times as large as at lag 1, or 10 times the median during training
  vanishes    below 1 % of lag 1
  fades       below half of lag 1
  half-life   from a straight line through ln norm against lag, from the largest norm to 1 % of it

\b
Of a classifier, the loss is the nats of a text's label, and a lag is counted from the last unit
that a direction reads: forwards from the end of the text, backwards from its beginning.
  forwards0/h, c   what a layer hands on to its next step; at lag 0 there is none
  forwards0/y      an output with all that follows from it: handed on, pooled, read above
Where all outputs are pooled (mean, max, attention), y does not vanish even where h and c do.
--file is a table of examples; --lags K takes the texts of more than K units, by default the
longer half.

\b
Examples:
  unroll gradients runs/book
  unroll gradients runs/rnn runs/lstm --file test.txt --lags 200 --plot gradients.png
  unroll gradients runs/book --fresh          compare with untrained weights of the same shape
  unroll gradients runs/book --curve          the norm at every logged training step
  unroll gradients runs/reviews --file test.csv""",
)
@click.argument("models", metavar="DIR...", nargs=-1, required=True, type=PATH)
@click.option(
    "--file", metavar="F", type=TEXT, help="The text.  [default: the models' own validation part, or held-out texts]"
)
@click.option(
    "--lags", metavar="K", type=int, help="Number of steps to look back.  [default: 100; of classifiers see above]"
)
@click.option("--fresh", is_flag=True, help="Also measure untrained weights of the same shape.")
@click.option("--curve", is_flag=True, help="Show the norm during training, step by step.")
@plot_option("the norms by lag")
@json_option('"models": [...], ...')
@reads_examples
def verb(
    models: tuple[Path, ...],
    file: Path | None,
    lags: int | None,
    fresh: bool,
    curve: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Report whether gradients vanish or explode in the networks in the DIRs, and what to do about it."""
    from unroll.insight.gradients.picture import draw

    report = console.run(draw(models, file, plot, lags=lags, fresh=fresh, curve=curve))
    if as_json:
        console.put_json(report.figures(curve=curve))
    else:
        put_report(report, curve=curve)


def put_report(report: "GradientReport", *, curve: bool) -> None:
    """Print each model: norms by lag, the step, the training, and advice."""
    lags = [lag for lag in SHOWN if lag < report.lags] + [report.lags]
    for model in report.models:
        console.put_rule(f"{model.model}, untrained" if model.fresh else model.model)
        console.put_columns(table(model, lags))
        console.put()
        console.put_columns(rows_of(model))
        if curve and (training := model.training):
            console.put()
            norms = zip(training.steps, training.norms, strict=True)
            console.put_columns([("step", "norm"), *((str(step), f"{norm:.4g}") for step, norm in norms)])
    for model in report.models:
        console.warn(*(f"{model.model}: {note}" for note in model.notes))
    console.warn(*report.notes)


def table(model: "Gradients", lags: list[int]) -> Iterator[tuple[str, ...]]:
    """Yield the norms at some lags, a line for each layer and signal."""
    from unroll.insight.gradients.measure import halving

    yield ("lag", *map(str, lags), "" if model.arch == "window" else "half-life")
    for name in model.norms.rows:
        norms = model.norms.mean(name)
        without = name == "x" or name.endswith("/y")
        half = None if without else halving(norms)
        life = "" if without else "none" if half is None else f"{half:.3g} steps"
        yield (name, *(f"{norms[lag]:.2g}" for lag in lags), life)


def rows_of(model: "Gradients") -> Iterator[tuple[str, str]]:
    """Yield a line for what a step does, one for the training, and the advice."""
    if model.step:
        radius, stretch = model.step.radius, model.step.stretch
        yield (
            "one step",
            f"spectral radius {radius.mean:.3g} ({radius.least:.3g} to {radius.largest:.3g}), largest singular value "
            f"{stretch.mean:.3g} ({stretch.least:.3g} to {stretch.largest:.3g}), at {model.step.places} places",
        )
    if model.growth:
        rate, half = model.growth
        interval = f" ({math.exp(rate - half):.3f} to {math.exp(rate + half):.3f})" if math.isfinite(half) else ""
        yield "long run", f"a gradient is multiplied by {math.exp(rate):.3f}{interval} at every step back"
    if training := model.training:
        figures = training.figures(curve=False)
        clip = {None: "", 0.0: ", unclipped"}.get(training.grad_clip, f", clipped at {training.grad_clip:g}")
        share = f" in {100 * figures['clipped']:.0f} % of them" if training.grad_clip else ""
        yield (
            "training",
            f"norm of all gradients {figures['median']:.2g} (median of {figures['logged_steps']:,} logged steps), "
            f"at most {figures['max']:.2g} at step {figures['max_step']:,}{clip}{share}",
        )
    for line in model.advice:
        yield "advice", line
