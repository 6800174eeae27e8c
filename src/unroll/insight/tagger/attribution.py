"""Which tokens of a sentence decided the tag of one of them: each hidden by itself, or by gradients."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from unroll.artifact.tagger import AnyTagger, OpenTagger, as_tagger
from unroll.data.reader import Reading
from unroll.errors import UserError, did_you_mean
from unroll.insight.attribution.scores import STEPS, Floats, Method, check_method
from unroll.insight.classifier.attribution import Answers, LabelAttribution, by_gradients, effects
from unroll.insight.tagger.sentences import sentence_of
from unroll.progress import Work, result
from unroll.tasks.classify.decisive import one_by_one, without

if TYPE_CHECKING:
    from unroll.insight.classifier.quantity import UnitQuantity


@dataclass(frozen=True)
class TagAttribution(LabelAttribution):
    """A score in nats for each token of a sentence: its effect on the probability of the tag of token `at`."""

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        figures = super().figures()
        return {"at": self.at, "token": self.symbols[self.at - 1], "tag": figures.pop("label"), **figures}


def attribute_tagger(
    model: AnyTagger,
    text: str,
    tag: str | None = None,
    *,
    at: int | None = None,
    against: str | None = None,
    method: Method = "leave-out",
    steps: int = STEPS,
) -> TagAttribution:
    """Score the tokens of a sentence by their effect on the tag of token `at`, counted from 1, by default the last.

    The tag is by default the predicted one; all else is as in `attribute_classifier`. Raises UserError.
    """
    opened = as_tagger(model)
    return result(attributing_tag(opened, text, tag, at=at, against=against, method=method, steps=steps))


def attributing_tag(
    opened: OpenTagger,
    text: str,
    tag: str | None = None,
    *,
    at: int | None = None,
    against: str | None = None,
    method: Method = "leave-out",
    steps: int = STEPS,
) -> Work[TagAttribution]:
    """Do what `attribute_tagger` does, yielding progress; returns the result."""
    check_method(method, steps)
    if opened.context is not None:
        raise UserError(
            f"{opened.path} reads contexts, in which a token that is left out would still stand",
            allowed="a tagger trained without --pretrained",
            fix="trace it instead: `unroll trace DIR TEXT`",
        )
    tags = opened.info.tags
    for name in (tag, against):
        if name is not None and name not in tags:
            raise UserError(
                f"there is no tag {name}", allowed=", ".join(tags), fix=did_you_mean(name, tags, "check it")
            )
    reading, spans, pieces = sentence_of(opened, text)
    count = len(spans)
    at = count if at is None else at
    if not 1 <= at <= count:
        raise UserError(f"there is no token {at}", allowed=f"1 to {count}", fix="tokens are counted from 1")

    def answer(sentences: Reading) -> Floats:
        lengths = sentences.units.lengths
        return opened.network.probabilities(opened.network.scores(sentences), lengths)[at - 1 :: count]

    (probability,) = answer(reading)
    ids = opened.network.best(opened.network.scores(reading), reading.units.lengths)
    tag_id = int(ids[at - 1]) if tag is None else tags.index(tag)
    against_id = None if against is None else tags.index(against)
    unknown = without(opened.reader, reading, np.ones((1, count), np.bool_))
    hidden = yield from one_by_one(opened.reader, reading, answer)

    def quantity() -> "UnitQuantity":
        from unroll.insight.tagger.network import in_float64
        from unroll.insight.tagger.quantity import TagQuantity

        return TagQuantity(in_float64(opened), at - 1, tag_id, against_id)

    answers = Answers(probability, answer(unknown)[0], hidden)
    figures = yield from effects(
        answers, (tag_id, against_id), method, partial(by_gradients, quantity, (reading, unknown), method, steps)
    )
    return TagAttribution(
        method=method,
        ids=reading.units.values.astype(np.int64),
        symbols=tuple(text[start:end] for start, end in spans),
        at=at,
        target=tags[tag_id],
        against=against,
        steps=steps if method == "integrated" else None,
        notes=figures.notes(method),
        pieces=tuple(pieces),
        spans=np.array(spans),
        probability=float(probability[tag_id]),
        **figures._asdict(),
    )
