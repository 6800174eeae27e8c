"""How far back models remember, told: what the pictures say in plain words, and all of it as one HTML page."""

import html
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from unroll.insight.memory.contexts import GRADIENT_ROWS
from unroll.insight.memory.measure import GAIN, Memory, ModelMemory
from unroll.insight.memory.picture import (
    BITS,
    PAGE,
    between,
    context,
    disturbed,
    drawn,
    gradient,
    in_bits,
    life_of,
    noun,
    told,
)
from unroll.insight.plots import labels, shown_name

FLAT = 1e-4
"""Nats by which a loss may move where nothing can move it but rounding."""
FADED = 0.01
"""What is left of a gradient where its half-life ends to be fitted."""


# ---- in plain words


def told_of(one: ModelMemory) -> str:
    """Return all three views of a model in a line."""
    limit, far = int(one.plan.contexts[-1]), one.farthest
    if math.isnan(one.span_99.symbols):
        return "gains nothing for sure from what came before"
    within = f"{told(one.span_99, limit)} {noun([one])}s{between(one.span_99, limit)}"
    line = (
        f"{100 * GAIN:.0f} % of its gain, {one.gain * BITS:.2f} bits, within {within}; order counts up to "
        f"{told(one.shuffled_99, far)}, anything up to {told(one.replaced_99, far)}"
    )
    return f"{line}; the gradient halves every {life_of(one)}" if one.half_life else line


def context_readings(found: Memory) -> Iterator[str]:
    """Yield what the first picture says of each model."""
    each = noun(found.models)
    for label, one in zip(labels(found.models), found.models, strict=True):
        limit, span = int(one.plan.contexts[-1]), one.span_99
        pays = (
            f"it pays {one.losses[0] * BITS:.2f} bits per {each} after one {each} and "
            f"{float(one.full.mean()) * BITS:.2f} after all of the text before."
        )
        if math.isnan(span.symbols):
            yield f"{label} gains nothing for sure from what came before: {pays}"
        elif math.isinf(span.symbols):
            yield f"{label} goes on gaining beyond {limit:,} {each}s: {pays}"
        else:
            within = f"within {told(span, limit)} {each}s{between(span, limit)}"
            yield f"{label} has {100 * GAIN:.0f} % of its gain {within}: {pays}"
        if (worse := one.rise) is not None:
            start, end, cost = worse
            yield (
                f"More context hurts {label} between {start:,} and {end:,} {each}s, by {cost * BITS:.2f} bits: a state "
                "that begins in the midst of a text can lead astray until enough is read"
                + (" (try --context unrelated)." if one.plan.context == "fresh" else ".")
            )
        if one.context is not None and one.beyond is not None and one.context < limit:
            if one.beyond < FLAT:
                yield (
                    f"The line of {label} is flat after {one.context}, as it must be: it can see no further, and no "
                    f"loss moves by more than {one.beyond:.0e} nats."
                )
            else:
                yield (
                    f"The line of {label} should be flat after {one.context}, which is all that it can see, but losses "
                    f"move by up to {one.beyond:.2g} nats: something leaks into its state."
                )


def disturbed_readings(found: Memory) -> Iterator[str]:
    """Yield what the second picture says of each model."""
    each = noun(found.models)
    for label, one in zip(labels(found.models), found.models, strict=True):
        far, order, what = one.farthest, one.shuffled_99, one.replaced_99
        if math.isnan(order.symbols):
            continue
        fuzzy = ": sharp nearby, fuzzy far away." if what.symbols > 1.25 * order.symbols else "."
        yield (
            f"For {label} the order of {each}s counts up to {told(order, far)} back{between(order, far)}, and which "
            f"they are up to {told(what, far)}{between(what, far)}{fuzzy}"
        )


def gradient_readings(found: Memory) -> Iterator[str]:
    """Yield what the third picture says of each model that has gradients."""
    each = noun(found.models)
    for label, one in zip(labels(found.models), found.models, strict=True):
        if one.gradient is None:
            continue
        norms = one.gradient.norms[1:]
        last = int(np.flatnonzero(norms).max(initial=-1)) + 1
        if last < len(norms):
            yield f"The gradient of {label} is exactly 0 from {last + 1} {each}s back on."
        elif one.half_life is None:
            yield f"The gradient of {label} does not fade within {last} {each}s."
        else:
            peak, left = int(norms.argmax()), norms[-1] / norms[0]
            gone = 1 + peak + np.flatnonzero(norms[peak:] < FADED * norms[peak])
            until = f" until {100 * FADED:.0f} % is left, {gone[0]} back" if len(gone) else ""
            life = f"halves every {life_of(one)} {each}s{until}"
            yield f"The gradient of {label} {life}; after {last}, {left:.1g} is left."


def agreement(found: Memory) -> Iterator[str]:
    """Yield in which order the three views put models of like symbols, and whether that is the same."""
    if len({one.level for one in found.models}) > 1:
        return
    names = dict(zip(labels(found.models), found.models, strict=True))
    views: dict[str, dict[str, float | None]] = {
        "by the context that is there": {name: one.span_99.symbols for name, one in names.items()},
        "by what is replaced": {name: one.replaced_99.symbols for name, one in names.items()},
        "by gradients": {name: one.half_life for name, one in names.items()},
    }
    # Compared are models of which all three can be told.
    of_all = [name for name in names if all(not math.isnan(values[name] or math.nan) for values in views.values())]
    if len(of_all) < 2:
        return
    orders = {view: sorted(of_all, key=lambda name: values[name] or 0.0) for view, values in views.items()}
    if len({tuple(order) for order in orders.values()}) == 1:
        yield f"All three views agree, from the shortest memory to the longest: {', '.join(orders['by gradients'])}."
    else:
        yield "The three views do not agree, from the shortest memory to the longest:"
        yield from (f"{view}: {', '.join(order)}." for view, order in orders.items())


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


def page(found: Memory) -> str:
    """Return the report as one self-contained HTML page, well-formed as XML too."""
    each = noun(found.models)
    plan = found.models[0].plan
    title = "How far back do they remember?"
    names = labels(found.models)
    views = [
        ("What is context worth?", context, context_readings, _context_table),
        ("What must stay as it is?", disturbed, disturbed_readings, _disturbed_table),
    ]
    if any(one.gradient is not None for one in found.models):
        views.append(("How far back does an error reach?", gradient, gradient_readings, _gradient_table))
    parts = [
        f"<h1>{title}</h1>",
        f"<p>{', '.join(map(_text, names))}, on {_text(found.text)}: {len(plan.targets):,} {each}s of it, each told "
        "from what stands before it.</p>",
        _table(
            [
                "model",
                f"{100 * GAIN:.0f} % of the gain within",
                "order counts up to",
                "anything counts up to",
                "gradient halves every",
            ],
            [[name, *_summary(one)] for name, one in zip(names, found.models, strict=True)],
        ),
        f"<p>In {each}s; in brackets intervals of 95 %.</p>",
        _list(agreement(found)),
    ]
    for number, (heading, paint, readings, table) in enumerate(views, 1):
        picture = _inline(drawn(found, paint, ".svg", PAGE, titled=False).decode(), heading, f"picture{number}-")
        parts += [f"<h2>{heading}</h2>", f"<figure>{picture}</figure>", _list(readings(found)), table(found)]
    parts += ["<h2>How this was measured</h2>", _list(method(found))]
    if notes := [*found.notes, *(f"{one.model}: {note}" for one in found.models for note in one.notes)]:
        parts += ["<h2>Keep in mind</h2>", _list(iter(notes))]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{title}</title>\n<style>{STYLES}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def method(found: Memory) -> Iterator[str]:
    """Yield how it was measured."""
    plan, each = found.models[0].plan, noun(found.models)
    start = (
        "zero, with nothing read, not even a start symbol"
        if plan.context == "fresh"
        else f"that after {plan.contexts[-1]:,} {each}s from elsewhere in the text"
    )
    yield (
        f"Targets: {len(plan.targets):,} {each}s, one at random in each of as many equal stretches of the text (seed "
        f"{found.seed}), the same in all measurements. Intervals are of 95 %, by bootstrap over the targets."
    )
    yield (
        f"Context: each target is told from exactly so many {each}s before it. The state before these is {start}. "
        "“All” is the state carried on from the beginning of the text, after its start symbol."
    )
    yield (
        f"The gain is what all of the context saves over a single {each}. Where {100 * GAIN:.0f} % of it is had is "
        "interpolated, on the logarithmic axis, between the contexts that were measured. Shaded are the intervals of "
        "the difference from “all”."
    )
    yield (
        f"Disturbed (Khandelwal et al. 2018): of the {plan.distances[-1]:,} {each}s before a target, read from a fresh "
        f"state, those further back than so many are shuffled, or replaced by {each}s drawn at random from the text. "
        f"They count up to where that costs less than {100 * (1 - GAIN):.0f} % of the gain."
    )
    if any(one.gradient is not None for one in found.models):
        yield (
            f"Gradient: of the nats of up to {GRADIENT_ROWS} of the targets, by the whole state so many steps before "
            "(Pascanu et al. 2013), in float64 and in the geometric mean; its half-life is that of the line through "
            "its logarithm, down to 1 %. A window has no state: there it is by the inputs."
        )


def _summary(one: ModelMemory) -> list[str]:
    limit, far = int(one.plan.contexts[-1]), one.farthest
    spans = ((one.span_99, limit), (one.shuffled_99, far), (one.replaced_99, far))
    return [*(told(*span) + between(*span) for span in spans), life_of(one)]


def _context_table(found: Memory) -> str:
    contexts = found.models[0].plan.contexts
    rows = [[f"{k:,}", *(in_bits(one.losses[row]) for one in found.models)] for row, k in enumerate(contexts.tolist())]
    rows.append(["all", *(in_bits(one.full.mean()) for one in found.models)])
    return _table([f"bits per {noun(found.models)} after", *labels(found.models)], rows)


def _disturbed_table(found: Memory) -> str:
    distances = found.models[0].plan.distances[:-1].tolist()
    tables = []
    for how in ("shuffled", "replaced"):
        rows = [[f"{d:,}", *(in_bits(one.harm[how][row]) for one in found.models)] for row, d in enumerate(distances)]
        tables.append(_table([f"bits lost, {how} beyond", *labels(found.models)], rows))
    return "\n".join(tables)


def _gradient_table(found: Memory) -> str:
    some = {name: one.gradient.norms for name, one in zip(labels(found.models), found.models, strict=True)
            if one.gradient is not None}  # fmt: skip
    lags = [0, *(2**k for k in range(20) if 2**k < len(next(iter(some.values()))))]
    return _table(
        ["gradient at lag", *some],
        [[str(k), *(f"{norms[k]:.2e}" if norms[k] else "0" for norms in some.values())] for k in lags],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>\n<thead><tr>{first}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _list(lines: Iterator[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>\n" for line in lines)
    return f"<ul>\n{items}</ul>" if items else ""


def _text(text: str) -> str:
    """Return a text as it stands in a page: visible, and no markup."""
    return html.escape(shown_name(text))


def _inline(svg: str, name: str, prefix: str) -> str:
    """Return an SVG as part of a page: with a name, without what it says of itself, its ids unlike those of others."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    renamed = r"(\bid=\"|href=\"#|url\(#)"
    svg = re.sub(r"<[^<>]+>", lambda tag: re.sub(renamed, rf"\1{prefix}", tag[0]), svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_text(name)}" ', 1).strip()
