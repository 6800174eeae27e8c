"""Which units of a text decided its label: each hidden by itself, or by gradients from nothing known to the text."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from unroll.artifact.classifier import AnyClassifier, OpenClassifier, as_classifier, label_ids
from unroll.data.reader import Reading
from unroll.errors import UserError
from unroll.insight.attribution.scores import (
    STEPS,
    Attribution,
    Floats,
    Ids,
    Method,
    check_method,
    missed_by,
    rank_correlation,
)
from unroll.progress import Work, result
from unroll.tasks.classify.decisive import hidden_one_by_one, log_of, read_short, spans_of, without
from unroll.tasks.classify.predict import Predicted, probabilities_of

if TYPE_CHECKING:
    from unroll.insight.classifier.quantity import UnitQuantity


@dataclass(frozen=True)
class LabelAttribution(Attribution):
    """A score in nats for each unit of a text: its effect on the probability of a label, the `target`."""

    pieces: tuple[str, ...]
    """The text that is read cut before each unit."""
    spans: Ids
    """Where each unit stands in the text, in code points (T, 2)."""
    probability: float
    """Of the label."""
    origin: ClassVar[str] = "all units unknown"

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        rows = zip(self.symbols, *self.spans.T.tolist(), self.scores.tolist(), self.leave_out.tolist(), strict=True)
        units = [
            {"text": text, "start": start, "end": end, "score": score, "leave_out": left_out}
            for text, start, end, score, left_out in rows
        ]
        of_symbols = ("target", "at", "symbols")
        figures = {name: figure for name, figure in super().figures().items() if name not in of_symbols}
        return {"label": self.target, "probability": self.probability, **figures, "units": units}


def attribute_classifier(
    model: AnyClassifier,
    text: str,
    label: str | None = None,
    *,
    against: str | None = None,
    method: Method = "leave-out",
    steps: int = STEPS,
) -> LabelAttribution:
    """Score the units of a text by their effect on a label, by default the predicted one.

    The scored quantity is log p(label), with `against` the difference to log p(against), in nats. To leave a unit out
    is to read it, and its characters, as unknown; `integrated` and `gradient` start from all units unknown, and need
    torch. Raises UserError.
    """
    opened = as_classifier(model)
    return result(attributing_label(opened, text, label, against=against, method=method, steps=steps))


def attributing_label(
    opened: OpenClassifier,
    text: str,
    label: str | None = None,
    *,
    against: str | None = None,
    method: Method = "leave-out",
    steps: int = STEPS,
) -> Work[LabelAttribution]:
    """Do what `attribute_classifier` does, yielding progress; returns the result."""
    check_method(method, steps)
    names = [name for name in (label, against) if name is not None]
    ids = dict(zip(names, label_ids(opened.info, names), strict=True))
    reading, spans = read_short(opened.reader, text), spans_of(opened.reader, text)
    if spans == [(0, 0)]:
        raise UserError("the text has no units", allowed="a text of at least one unit", fix="give a text")
    (probability,) = probabilities_of(opened, reading)
    label_id = int(probability.argmax()) if label is None else ids[label]
    against_id = None if against is None else ids[against]
    hidden = yield from hidden_one_by_one(opened, reading)
    unknown = without(opened.reader, reading, np.ones((1, len(spans)), np.bool_))
    answers = Answers(probability, probabilities_of(opened, unknown)[0], hidden)

    def quantity() -> "UnitQuantity":
        from unroll.insight.classifier.network import in_float64
        from unroll.insight.classifier.quantity import LabelQuantity

        return LabelQuantity(in_float64(opened), label_id, against_id)

    figures = yield from effects(
        answers, (label_id, against_id), method, partial(by_gradients, quantity, (reading, unknown), method, steps)
    )
    remark = Predicted(probability[None], reading.cut, opened.info.max_units).remark
    return LabelAttribution(
        method=method,
        ids=reading.units.values.astype(np.int64),
        symbols=tuple(text[start:end] for start, end in spans),
        at=len(spans),
        target=opened.info.labels[label_id],
        against=against,
        steps=steps if method == "integrated" else None,
        notes=(*([remark] if remark else []), *figures.notes(method)),
        pieces=tuple(opened.reader.pieces(text)),
        spans=np.array(spans),
        probability=float(probability[label_id]),
        **figures._asdict(),
    )


class Answers(NamedTuple):
    """The probabilities of all labels: of a text, of the same with all units unknown, and with each unit hidden."""

    text: Floats
    """(K,)"""
    unknown: Floats
    """(K,)"""
    hidden: Floats
    """(T, K)"""


class Effects(NamedTuple):
    """F of a text and of its baseline, and the effect of each unit on it, as `Attribution` has them."""

    value: float
    baseline: float
    scores: Floats
    leave_out: Floats
    agreement: float | None

    def notes(self, method: Method) -> tuple[str, ...]:
        """Return what the scores miss."""
        return tuple(missed_by(method, self.scores, self.value - self.baseline))


def effects(
    answers: Answers, labels: tuple[int, int | None], method: Method, gradients: Callable[[], Work[Floats]]
) -> Work[Effects]:
    """Score what was hidden by its effect on a label against another or none.

    `gradients` returns the scores (T,) of a method other than leaving out. Raises UserError.
    """
    label, against = labels
    if label == against:
        raise UserError("the label is set against itself", allowed="two labels", fix="name another one")
    values = log_of(np.concatenate([answers.text[None], answers.unknown[None], answers.hidden]))
    quantities = values[:, label] - (0 if against is None else values[:, against])
    leave_out = quantities[0] - quantities[2:]
    scores, agreement = leave_out, None
    if method != "leave-out":
        scores = yield from gradients()
        agreement = rank_correlation(scores, leave_out)
    return Effects(float(quantities[0]), float(quantities[1]), scores, leave_out, agreement)


def by_gradients(
    quantity: "Callable[[], UnitQuantity]", texts: tuple[Reading, Reading], method: Method, steps: int
) -> Work[Floats]:
    """Return the scores (T,) of the units of a text, given with the same all unknown, by a quantity's gradients."""
    from unroll.insight.classifier.quantity import scored

    return (yield from scored(quantity(), *texts, method, steps))
