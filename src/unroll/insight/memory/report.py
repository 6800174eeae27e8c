"""How far back models remember, in words: what the pictures show, and everything as one HTML page."""

import html
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from unroll.insight.memory.contexts import GRADIENT_ROWS
from unroll.insight.memory.measure import GAIN, Memory, ModelMemory, Span
from unroll.insight.memory.picture import (
    BITS,
    PAGE,
    context,
    disturbed,
    drawn,
    gradient,
    in_bits,
    interval_text,
    life_of,
    noun,
    span_text,
)
from unroll.insight.plots import labels, shown_name

FLAT = 1e-4
"""Nats by which rounding alone may move a loss."""
FADED = 0.01
"""Share of the gradient at which the fit of its half-life ends."""


# ---- in plain words


def summary(model: ModelMemory) -> str:
    """Return all three views of a model in one line."""
    limit, farthest = int(model.plan.contexts[-1]), model.farthest
    if math.isnan(model.span_99.symbols):
        return "shows no significant gain from context"
    within = f"{span_text(model.span_99, limit)} {noun([model])}s{interval_text(model.span_99, limit)}"
    line = (
        f"{100 * GAIN:.0f} % of its gain, {model.gain * BITS:.2f} bits, within {within}; order matters up to "
        f"{span_text(model.shuffled_99, farthest)}, anything up to {span_text(model.replaced_99, farthest)}"
    )
    return f"{line}; the gradient halves every {life_of(model)}" if model.half_life else line


def context_readings(memory: Memory) -> Iterator[str]:
    """Yield what the first picture shows of each model."""
    symbol = noun(memory.models)
    for label, model in zip(labels(memory.models), memory.models, strict=True):
        limit, span = int(model.plan.contexts[-1]), model.span_99
        costs = (
            f"it pays {model.losses[0] * BITS:.2f} bits per {symbol} after one {symbol} and "
            f"{float(model.full.mean()) * BITS:.2f} after all of the preceding text."
        )
        if math.isnan(span.symbols):
            yield f"{label} shows no significant gain from context: {costs}"
        elif math.isinf(span.symbols):
            yield f"{label} keeps gaining beyond {limit:,} {symbol}s: {costs}"
        else:
            within = f"within {span_text(span, limit)} {symbol}s{interval_text(span, limit)}"
            yield f"{label} reaches {100 * GAIN:.0f} % of its gain {within}: {costs}"
        if (rise := model.rise) is not None:
            start, end, cost = rise
            yield (
                f"More context hurts {label} between {start:,} and {end:,} {symbol}s, by {cost * BITS:.2f} bits: "
                "starting mid-text can mislead the model until it has read enough"
                + (" (try --context unrelated)." if model.plan.context == "fresh" else ".")
            )
        if model.context is not None and model.beyond is not None and model.context < limit:
            if model.beyond < FLAT:
                yield (
                    f"The line of {label} is flat after {model.context}, as it must be: it sees no further, and no "
                    f"loss moves by more than {model.beyond:.0e} nats."
                )
            else:
                yield (
                    f"The line of {label} should be flat after {model.context}, all that the model sees, but losses "
                    f"move by up to {model.beyond:.2g} nats: something leaks into its state."
                )


def disturbed_readings(memory: Memory) -> Iterator[str]:
    """Yield what the second picture shows of each model."""
    symbol = noun(memory.models)
    for label, model in zip(labels(memory.models), memory.models, strict=True):
        farthest, order, replaced = model.farthest, model.shuffled_99, model.replaced_99
        if math.isnan(order.symbols):
            continue
        ending = ": sharp nearby, fuzzy far away." if replaced.symbols > 1.25 * order.symbols else "."
        order_back = f"{span_text(order, farthest)} back{interval_text(order, farthest)}"
        yield (
            f"For {label} the order of {symbol}s matters up to {order_back}, and which "
            f"they are, up to {span_text(replaced, farthest)}{interval_text(replaced, farthest)}{ending}"
        )


def gradient_readings(memory: Memory) -> Iterator[str]:
    """Yield what the third picture shows of each model that has gradients."""
    symbol = noun(memory.models)
    for label, model in zip(labels(memory.models), memory.models, strict=True):
        if model.gradient is None:
            continue
        norms = model.gradient.norms[1:]
        last = int(np.flatnonzero(norms).max(initial=-1)) + 1
        if last < len(norms):
            yield f"The gradient of {label} is exactly 0 from {last + 1} {symbol}s back."
        elif model.half_life is None:
            yield f"The gradient of {label} does not fade within {last} {symbol}s."
        else:
            peak, remaining = int(norms.argmax()), norms[-1] / norms[0]
            faded = 1 + peak + np.flatnonzero(norms[peak:] < FADED * norms[peak])
            until = f" until {100 * FADED:.0f} % is left, {faded[0]} back" if len(faded) else ""
            fading = f"halves every {life_of(model)} {symbol}s{until}"
            yield f"The gradient of {label} {fading}; after {last}, {remaining:.1g} is left."


def agreement(memory: Memory) -> Iterator[str]:
    """Yield the order in which each view puts models of equal levels, and whether the views agree.

    Models whose intervals overlap are not ranked. A model without a half-life, as a window, has no place by gradients.
    """
    if len({model.level for model in memory.models}) > 1:
        return
    names = dict(zip(labels(memory.models), memory.models, strict=True))
    lives = {name: model.half_life for name, model in names.items()}
    views = {
        "by length of context": {name: model.span_99 for name, model in names.items()},
        "by replaced symbols": {name: model.replaced_99 for name, model in names.items()},
        "by gradients": {name: Span(life, life, life) for name, life in lives.items() if life},
    }
    views = {view: {name: span for name, span in spans.items() if span.low > 0} for view, spans in views.items()}
    views = {view: spans for view, spans in views.items() if len(spans) > 1}  # nan, of no gain, is not above 0
    if len(views) < 2:
        return
    orders = {view: _order(spans) for view, spans in views.items()}
    shorter = [{(a, b) for a in spans for b in spans if spans[a].high < spans[b].low} for spans in views.values()]
    contradictory = any((b, a) in other for pairs in shorter for a, b in pairs for other in shorter)
    if len({*orders.values()}) == 1:
        count = "All three" if len(orders) == 3 else "Both"
        yield f"{count} views agree, from the shortest memory to the longest: {next(iter(orders.values()))}."
        return
    begin = "The views contradict each other" if contradictory else "No view contradicts another"
    yield f"{begin}, from the shortest memory to the longest:"
    yield from (f"{view}: {order}." for view, order in orders.items())


def _order(spans: dict[str, Span]) -> str:
    """Return names from the shortest span to the longest, those together whose intervals overlap."""
    groups: list[list[str]] = []
    reach = -math.inf
    for name in sorted(spans, key=lambda name: spans[name].symbols):
        if spans[name].low > reach:
            groups.append([])
        groups[-1].append(name)
        reach = max(reach, spans[name].high)
    return ", then ".join(
        group[0] if len(group) == 1 else f"{' and '.join(group)} (their intervals overlap)" for group in groups
    )


# ---- the page

STYLES = (
    "body{font:17px/1.55 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;background:#fff;"
    "color:#111}"
    "h1{font-size:1.7rem;line-height:1.2}h2{font-size:1.25rem;margin-top:2.2rem}figure{margin:1rem 0}"
    "svg{width:100%;height:auto;max-width:40rem;display:block}.scroll{overflow-x:auto}"
    "table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right;overflow-wrap:break-word}"
    "th:first-child,td:first-child{text-align:left}thead th{vertical-align:bottom}"
    "@media print{body{font-size:10.5pt;margin:0;max-width:none}svg{max-width:12.5cm}"
    "figure,table{break-inside:avoid}h2{break-after:avoid}}"
)


def page(memory: Memory) -> str:
    """Return the report as one self-contained HTML page, well-formed as XML too."""
    symbol = noun(memory.models)
    plan = memory.models[0].plan
    title = "How far back do they remember?"
    names = labels(memory.models)
    views = [
        ("What is context worth?", context, context_readings, _context_table),
        ("What must stay as it is?", disturbed, disturbed_readings, _disturbed_table),
    ]
    if any(model.gradient is not None for model in memory.models):
        views.append(("How far back does an error reach?", gradient, gradient_readings, _gradient_table))
    parts = [
        f"<h1>{title}</h1>",
        f"<p>{', '.join(map(_text, names))}, on {_text(memory.text)}: {len(plan.targets):,} {symbol}s of it, each "
        "predicted from what precedes it.</p>",
        _table(
            [
                "model",
                f"{100 * GAIN:.0f} % of the gain within",
                "order matters up to",
                "anything matters up to",
                "gradient halves every",
            ],
            [[name, *_summary(model)] for name, model in zip(names, memory.models, strict=True)],
        ),
        f"<p>In {symbol}s; in brackets 95 % intervals.</p>",
        _list(agreement(memory)),
    ]
    for number, (heading, paint, readings, table) in enumerate(views, 1):
        picture = _inline(drawn(memory, paint, ".svg", PAGE, titled=False).decode(), heading, f"picture{number}-")
        parts += [f"<h2>{heading}</h2>", f"<figure>{picture}</figure>", _list(readings(memory)), table(memory)]
    parts += ["<h2>How this was measured</h2>", _list(method(memory))]
    if notes := [*memory.notes, *(f"{model.model}: {note}" for model in memory.models for note in model.notes)]:
        parts += ["<h2>Keep in mind</h2>", _list(iter(notes))]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{title}</title>\n<style>{STYLES}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def method(memory: Memory) -> Iterator[str]:
    """Yield how memories were measured."""
    plan, symbol = memory.models[0].plan, noun(memory.models)
    start = (
        "zero, before anything is read, even a start symbol"
        if plan.context == "fresh"
        else f"the one after {plan.contexts[-1]:,} {symbol}s from elsewhere in the text"
    )
    yield (
        f"Targets: {len(plan.targets):,} {symbol}s, one at random in each of as many equal stretches of the text (seed "
        f"{memory.seed}), the same in all measurements. Intervals are 95 %, by bootstrap over the targets."
    )
    yield (
        f"Context: each target is predicted from exactly k {symbol}s before it. The state before these is {start}. "
        "“All” is the state carried from the beginning of the text, after its start symbol."
    )
    yield (
        f"The gain is what all of the context saves over a single {symbol}. Where {100 * GAIN:.0f} % is reached is "
        "interpolated, on the logarithmic axis, between the measured contexts. Shading shows the intervals of the "
        "difference from “all”."
    )
    yield (
        f"Disturbed (Khandelwal et al. 2018): of the {plan.distances[-1]:,} {symbol}s before a target, read from a "
        f"fresh state, those beyond a distance are shuffled, or replaced by {symbol}s drawn at random from the text. "
        f"They matter up to where that costs less than {100 * (1 - GAIN):.0f} % of the gain."
    )
    if any(model.gradient is not None for model in memory.models):
        yield (
            f"Gradient: of the nats of up to {GRADIENT_ROWS} of the targets, by the whole state k steps before "
            "(Pascanu et al. 2013), in float64, geometric means; its half-life is that of the line through its "
            "logarithm, down to 1 %. A window has no state: its gradient is by the inputs."
        )


def _summary(model: ModelMemory) -> list[str]:
    limit, farthest = int(model.plan.contexts[-1]), model.farthest
    spans = ((model.span_99, limit), (model.shuffled_99, farthest), (model.replaced_99, farthest))
    return [*(span_text(*span) + interval_text(*span) for span in spans), life_of(model)]


def _context_table(memory: Memory) -> str:
    contexts = memory.models[0].plan.contexts
    rows = [
        [f"{k:,}", *(in_bits(model.losses[row]) for model in memory.models)] for row, k in enumerate(contexts.tolist())
    ]
    rows.append(["all", *(in_bits(model.full.mean()) for model in memory.models)])
    return _table([f"bits per {noun(memory.models)} after", *labels(memory.models)], rows)


def _disturbed_table(memory: Memory) -> str:
    distances = memory.models[0].plan.distances[:-1].tolist()
    tables = []
    for disturbance in ("shuffled", "replaced"):
        rows = [
            [f"{d:,}", *(in_bits(model.harm[disturbance][row]) for model in memory.models)]
            for row, d in enumerate(distances)
        ]
        tables.append(_table([f"bits lost, {disturbance} beyond", *labels(memory.models)], rows))
    return "\n".join(tables)


def _gradient_table(memory: Memory) -> str:
    gradients = {
        name: model.gradient.norms
        for name, model in zip(labels(memory.models), memory.models, strict=True)
        if model.gradient is not None
    }
    lags = [0, *(2**k for k in range(20) if 2**k < len(next(iter(gradients.values()))))]
    return _table(
        ["gradient at lag", *gradients],
        [[str(k), *(f"{norms[k]:.2e}" if norms[k] else "0" for norms in gradients.values())] for k in lags],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>\n<thead><tr>{first}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _list(lines: Iterator[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>\n" for line in lines)
    return f"<ul>\n{items}</ul>" if items else ""


def _text(text: str) -> str:
    """Return a text for a page: visible, and without markup."""
    return html.escape(shown_name(text))


def _inline(svg: str, name: str, prefix: str) -> str:
    """Return an SVG as part of a page: with a name and unique ids, without metadata."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    renamed = r"(\bid=\"|href=\"#|url\(#)"
    svg = re.sub(r"<[^<>]+>", lambda tag: re.sub(renamed, rf"\1{prefix}", tag[0]), svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_text(name)}" ', 1).strip()
