"""How far back models remember: loss by length of context, by what of it is disturbed, and gradients by lag.

All are measured at the same places of a text, the targets. With L(k) the mean nats of the targets after exactly k
symbols, L(1) - L(all) is what history is worth to a model, its gain; `span_99` is the k that brings 99 % of it.
"""

import math
import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from unroll.artifact.open import Opened, open_model
from unroll.errors import UserError
from unroll.files import StrPath, as_path
from unroll.insight.memory.contexts import (
    CONTEXTS,
    FEWEST_TARGETS,
    TARGETS,
    Context,
    Counts,
    Floats,
    Gradient,
    Plan,
    after,
    checked_limit,
    context_nats,
    gradient_of,
    plan_of,
    replaced_nats,
    rows_together,
    shuffled_nats,
    text_name,
    texts_of,
)
from unroll.lm.compare import context as sight
from unroll.lm.intervals import Z95, number
from unroll.predict.predictor import Nats
from unroll.predict.protocols import stream
from unroll.progress import Progress, Work, mapped, result

T = TypeVar("T")

GAIN = 0.99
RESAMPLES = 1000


@dataclass(frozen=True)
class Span:
    """A number of symbols and its 95 % interval, by bootstrap over targets (Efron & Tibshirani 1993, chapter 13).

    inf if it lies beyond what was measured; nan if history brings no significant gain, so that there is no span.
    """

    symbols: float
    low: float
    high: float

    def figures(self, name: str) -> dict[str, Any]:
        """Return both as JSON, None for inf and nan."""
        return {name: number(self.symbols), f"{name}_interval": [number(self.low), number(self.high)]}


@dataclass(frozen=True)
class ModelMemory:
    """How far back one model remembers; nats of P targets, one row for each."""

    model: str
    arch: str
    level: str
    context: int | None
    """Symbols that the model can see; None for no limit."""
    plan: Plan
    full: Nats  # (P,) after the whole text before each target, the state carried on
    nats: Nats  # (P, K) after exactly so many symbols
    shuffled: Nats  # (P, D) after a history that is shuffled beyond these distances
    replaced: Nats  # (P, D) after one that is replaced there by symbols drawn from the text
    gradient: Gradient | None

    @property
    def losses(self) -> Floats:
        """L(k), the mean nats of the targets after exactly k symbols (K,)."""
        return np.asarray(self.nats.mean(axis=0))

    @property
    def half(self) -> Floats:
        """Half the 95 % interval of L(k) - L(all) (K,), from the differences at the same targets."""
        differences = self.nats - self.full[:, None]
        return np.asarray(Z95 * differences.std(axis=0, ddof=1) / math.sqrt(len(differences)))

    @property
    def gain(self) -> float:
        """What history is worth, in nats for each symbol: L of the smallest context less L of all."""
        return float((self.nats[:, 0] - self.full).mean())

    @property
    def harm(self) -> dict[str, Floats]:
        """Mean nats that a target costs more when the history is disturbed beyond each distance (D,)."""
        return {"shuffled": _harm(self.shuffled).mean(axis=0), "replaced": _harm(self.replaced).mean(axis=0)}

    @property
    def farthest(self) -> int:
        """The largest distance beyond which a history was disturbed."""
        return int(self.plan.distances[-2])

    @cached_property
    def span_99(self) -> Span:
        """The smallest context that brings 99 % of the gain, interpolated over log k between the measured ones."""
        return self._fallen(self.plan.contexts, self.nats - self.full[:, None])

    @cached_property
    def shuffled_99(self) -> Span:
        """The distance beyond which order is worth less than 1 % of the gain, interpolated likewise."""
        return self._fallen(self.plan.distances[:-1], _harm(self.shuffled)[:, :-1])

    @cached_property
    def replaced_99(self) -> Span:
        """The distance beyond which the symbols themselves are worth less than 1 % of the gain."""
        return self._fallen(self.plan.distances[:-1], _harm(self.replaced)[:, :-1])

    def _fallen(self, places: Counts, above: Nats) -> Span:
        """Return where the mean of `above` (P, N) falls to 1 % of the gain; nan if the gain is not significant."""
        if self.gain <= self.half[0]:
            return Span(math.nan, math.nan, math.nan)
        per_target = np.column_stack([above, self.nats[:, 0] - self.full])
        count = len(per_target)
        resamples = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
        means = np.concatenate([per_target.mean(axis=0)[None], resamples @ per_target])
        spans = fallen(places, means[:, :-1], (1 - GAIN) * means[:, -1])
        low, high = np.quantile(spans[1:], [0.025, 0.975], method="inverted_cdf")  # does not mix inf with numbers
        return Span(float(spans[0]), float(low), float(high))

    @property
    def rise(self) -> tuple[int, int, float] | None:
        """The two contexts between which more context costs most, and how many nats; None where that may be chance.

        It may be below 1 % of the gain, or within the 95 % interval of the difference.
        """
        losses = self.losses
        end = int(np.argmax(losses - np.minimum.accumulate(losses)))
        start = int(np.argmin(losses[: end + 1]))
        cost = self.nats[:, end] - self.nats[:, start]
        least = max((1 - GAIN) * abs(self.gain), Z95 * float(cost.std(ddof=1)) / math.sqrt(len(cost)))
        if cost.mean() <= least:
            return None
        return int(self.plan.contexts[start]), int(self.plan.contexts[end]), float(cost.mean())

    @property
    def beyond(self) -> float | None:
        """Largest change of a target's nats beyond what the model sees; None if it sees more than the contexts."""
        if self.context is None or self.context > self.plan.contexts[-1]:
            return None
        losses = np.column_stack([self.nats[:, self.plan.contexts >= self.context], self.full])
        return float((losses.max(axis=1) - losses.min(axis=1)).max())

    @property
    def half_life(self) -> float | None:
        """Steps in which the gradient halves; None if there is no half-life."""
        return None if self.gradient is None else self.gradient.half_life

    @property
    def notes(self) -> tuple[str, ...]:
        """The reasons for figures that are None."""
        limit, farthest, reasons = int(self.plan.contexts[-1]), self.farthest, []
        if math.isnan(self.span_99.symbols):
            reasons.append("no significant benefit from history (the 95 % interval of its gain contains 0): no span")
        if math.isinf(self.span_99.symbols):
            reasons.append(f"{limit:,} symbols bring less than 99 % of the gain")
        if math.isinf(self.shuffled_99.symbols):
            reasons.append(f"the order of symbols matters beyond the last {farthest:,}")
        if math.isinf(self.replaced_99.symbols):
            reasons.append(f"symbols matter beyond the last {farthest:,}")
        if self.gradient is None:
            reasons.append("an n-gram has no state and so no gradient")
        elif self.half_life is None:
            window = "a window has no state: its gradient is by its inputs and has no half-life"
            reasons.append(window if self.arch == "window" else "the gradient does not fade: no half-life")
        return tuple(reasons)

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON, in nats for each symbol; one that does not apply is None."""
        plan, gradient = self.plan, self.gradient
        full = [round(float(plan.targets.mean())), float(self.full.mean())]  # after as many symbols, on average
        return {
            "model": self.model,
            "arch": self.arch,
            "level": self.level,
            "context": self.context,
            "context_loss": [*pairs(plan.contexts, self.losses), full],
            "context_half_interval": [*map(float, self.half), 0.0],
            "full_nats": float(self.full.mean()),
            "gain": self.gain,
            **self.span_99.figures("span_99"),
            "beyond_context": self.beyond,
            "shuffled": pairs(plan.distances, self.harm["shuffled"]),
            **self.shuffled_99.figures("shuffled_99"),
            "replaced": pairs(plan.distances, self.harm["replaced"]),
            **self.replaced_99.figures("replaced_99"),
            "gradient": None if gradient is None else by_lag(gradient.norms),
            "gradient_signals": {name: by_lag(norms) for name, norms in gradient.signals.items()} if gradient else None,
            "half_life": self.half_life,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Memory:
    """Models side by side on a text: how far back each remembers."""

    file: Path | None
    """None: the models' own validation part."""
    models: tuple[ModelMemory, ...]
    seed: int
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The name of the text."""
        return text_name(self.file, self.models[0].model)

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        plan = self.models[0].plan
        return {
            "file": None if self.file is None else str(self.file),
            "context": plan.context,
            "limit": int(plan.contexts[-1]),
            "history": int(plan.distances[-1]),
            "targets": len(plan.targets),
            "seed": self.seed,
            "models": [model.figures() for model in self.models],
            "notes": list(self.notes),
        }


def memory(
    models: StrPath | Sequence[StrPath],
    *,
    file: StrPath | None = None,
    limit: int | None = None,
    context: Context = "fresh",
    targets: int = TARGETS,
    seed: int = 0,
) -> Memory:
    """Measure how far back models remember on a text file, or else on their own validation part.

    The nats of `targets` symbols, spread over the text, are taken after exactly 1, 2, 4, … `limit` symbols, read from
    a fresh state (or, with `unrelated`, from the state after other text); after a history disturbed beyond 1, 2, 4, …
    symbols (Khandelwal et al. 2018); and their gradients by lag. Raises UserError.
    """
    paths = [Path(models)] if isinstance(models, str | os.PathLike) else [Path(model) for model in models]
    text = as_path(file)
    return result(measure(paths, text, limit=limit, context=context, targets=targets, seed=seed))


def measure(
    models: Sequence[Path],
    file: Path | None,
    *,
    limit: int | None = None,
    context: Context = "fresh",
    targets: int = TARGETS,
    seed: int = 0,
) -> Work[Memory]:
    """Do what `memory` does, yielding progress; returns the result."""
    if context not in CONTEXTS:
        raise UserError(f"the context is {context!r}", allowed=", ".join(CONTEXTS), fix="choose one of them")
    if targets < FEWEST_TARGETS:
        raise UserError(f"targets is {targets}", allowed=f"{FEWEST_TARGETS} or more", fix=f"the default is {TARGETS:,}")
    if not models:
        raise UserError("no model is given", allowed="one or more", fix="name a model directory")
    opened_models = [open_model(path) for path in models]
    texts, notes = texts_of(opened_models, file)
    limit = checked_limit(limit, min(map(len, texts)), text_name(file, str(models[0])))
    sights = [sight(opened_model.description["model"]) for opened_model in opened_models]
    plans: dict[str, Plan] = {}
    memories = []
    for opened_model, ids, limit_of_sight in zip(opened_models, texts, sights, strict=True):
        plan = plans.setdefault(opened_model.tokenizer.digest, plan_of(ids, limit, sights, context, targets, seed))
        reading = read(opened_model, plan, limit_of_sight)
        memories.append((yield from reported(opened_model.path.name, plan.symbols, reading)))
    if len(plans) > 1:
        notes.append("the models have different vocabularies: nats per symbol do not compare (bits per byte would)")
    if len({model.level for model in memories}) > 1:
        notes.append("a span is in symbols of each model's own")
    return Memory(file, tuple(memories), seed, tuple(notes))


def reported(name: str, total: int, reading: Generator[int, None, T]) -> Work[T]:
    """Yield the number of symbols read, of `total`, as progress; returns what the reading returns."""
    done = 0

    def progress(symbols: int) -> Progress:
        nonlocal done
        done += symbols
        return Progress(name, min(done, total), total, "symbols")

    return mapped(reading, progress)


def read(opened: Opened, plan: Plan, sight: int | None) -> Generator[int, None, ModelMemory]:
    """Read the plan with one model, yielding numbers of symbols read; returns its memory."""
    predictor, start_id = opened.predictor, opened.tokenizer.start_id
    carried: list[Nats] = []
    for nats, _ in stream(predictor, plan.ids[: plan.targets[-1] + 1], start_id):
        carried.append(nats)
        yield len(nats)
    rows, history = plan.rows(int(plan.contexts[-1])), int(plan.distances[-1])
    targets = np.asarray(plan.ids[plan.targets], np.int64)
    # Text from elsewhere: that before the target half of all targets away.
    elsewhere = np.roll(rows, len(rows) // 2, axis=0) if plan.context == "unrelated" else None
    batches: list[tuple[Nats, Nats, Nats]] = []
    size = rows_together(predictor)
    for first in range(0, len(rows), size):
        batch = slice(first, first + size)
        state = None
        if elsewhere is not None:
            _, state = yield from after(predictor, elsewhere[batch], None)
        near = rows[batch, -history:]
        batches.append(
            (
                (yield from context_nats(predictor, rows[batch], targets[batch], plan.contexts, state)),
                (yield from shuffled_nats(predictor, near, targets[batch], plan.distances, plan.keys[batch])),
                (yield from replaced_nats(predictor, near, targets[batch], plan.distances, plan.others[batch])),
            )
        )
    nats, shuffled, replaced = (np.concatenate(part) for part in zip(*batches, strict=True))
    config = opened.description["model"]
    return ModelMemory(
        str(opened.path),
        config["arch"],
        opened.tokenizer.level,
        sight,
        plan,
        np.concatenate(carried)[plan.targets],
        nats,
        shuffled,
        replaced,
        None if config["arch"] == "ngram" else gradient_of(opened, plan),
    )


# ---- figures


def fallen(places: Counts, values: Floats, levels: Floats) -> Floats:
    """Return where each row of `values` (R, N) first falls to its level (R,), interpolated over log `places` (N,).

    inf if it never does, nan if the level is not above 0.
    """
    reached = values <= levels[:, None]
    first = reached.argmax(axis=1)
    row, before = np.arange(len(values)), np.maximum(first - 1, 0)
    drop = values[row, before] - values[row, first]
    share = np.divide(values[row, before] - levels, drop, out=np.ones(len(values)), where=drop > 0)
    x = np.log2(places)
    crossings = 2 ** (x[before] + share * (x[first] - x[before]))
    return np.where(levels > 0, np.where(reached.any(axis=1), crossings, np.inf), np.nan)


def _harm(nats: Nats) -> Nats:
    """Return the extra cost of each target over the undisturbed history, the last column."""
    return np.asarray(nats - nats[:, -1:])


def pairs(places: Iterable[int], values: Iterable[float]) -> list[list[float]]:
    """Return places and values side by side, for JSON."""
    return [[int(place), float(value)] for place, value in zip(places, values, strict=True)]


def by_lag(norms: Floats) -> list[list[float | None]]:
    """Return sizes (K+1,) beside their lags, for JSON."""
    return [[lag, number(norm)] for lag, norm in enumerate(norms.tolist())]
