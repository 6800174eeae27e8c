"""Which pieces of a source made a piece of its translation, beside what it attended to: the two are not the same."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from unroll.artifact.translator import AnyTranslator, OpenTranslator, as_translator
from unroll.data.ragged import Ragged
from unroll.data.reader import Reading
from unroll.errors import UserError
from unroll.insight.attribution.scores import STEPS, Floats, Method, check_method, rank_correlation
from unroll.insight.classifier.attribution import Answers, LabelAttribution, by_gradients, effects
from unroll.progress import Work, result
from unroll.tasks.classify.decisive import one_by_one, read_short, spans_of, without
from unroll.tasks.translate.predict import translations, written_pieces

if TYPE_CHECKING:
    from unroll.insight.classifier.quantity import UnitQuantity


@dataclass(frozen=True)
class PieceAttribution(LabelAttribution):
    """A score in nats for each piece of a source: its effect on the probability of piece `at` of its translation."""

    translation: tuple[str, ...]
    """Its pieces, its end the last."""
    attention: Floats | None
    """(S,) the weights of the source's pieces at that piece; None without attention."""

    @property
    def attention_agreement(self) -> float | None:
        """Spearman's rank correlation of the attention with leave-one-out; None without attention."""
        return None if self.attention is None else rank_correlation(self.attention, self.leave_out)

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        figures = super().figures()
        return {
            "at": self.at,
            "piece": figures.pop("label"),
            "translation": list(self.translation),
            "attention": None if self.attention is None else self.attention.tolist(),
            "attention_agreement": self.attention_agreement,
            **figures,
        }


def attribute_translator(
    model: AnyTranslator, text: str, *, at: int | None = None, method: Method = "leave-out", steps: int = STEPS
) -> PieceAttribution:
    """Score the pieces of a text by their effect on piece `at` of its translation, by default the first.

    Pieces are counted from 1. The scored quantity is log p of that piece, given those before it. The translation is
    that of `translate`; all else is as in `attribute_classifier`. Raises UserError.
    """
    return result(attributing_piece(as_translator(model), text, at=at, method=method, steps=steps))


def attributing_piece(
    opened: OpenTranslator, text: str, *, at: int | None = None, method: Method = "leave-out", steps: int = STEPS
) -> Work[PieceAttribution]:
    """Do what `attribute_translator` does, yielding progress; returns the result."""
    check_method(method, steps)
    if not (text := text.strip()):
        raise UserError("the text is empty", allowed="a text of at least one unit", fix="give a text")
    reader, network = opened.readers.source, opened.network
    reading, spans = read_short(reader, text), spans_of(reader, text)
    translated = yield from translations(opened, [text])
    hypothesis = translated.of_texts[0][0].hypothesis
    assert hypothesis is not None, "only an empty text has no translation to look into"
    pieces, at = written_pieces(opened, hypothesis), 1 if at is None else at
    if not 1 <= at <= len(pieces):
        raise UserError(
            f"there is no piece {at} of the translation",
            allowed=f"1 to {len(pieces)}, the last its end",
            fix="pieces are counted from 1",
        )
    ids = hypothesis.ids[:at]

    def answer(sources: Reading) -> Floats:
        nats, _ = network.nats(network.read(sources.units), Ragged.of([ids] * len(sources)), opened.end)
        return np.exp(-nats[at - 1 :: at, None])

    _, attention = network.nats(network.read(reading.units), Ragged.of([ids]), opened.end)
    unknown = without(reader, reading, np.ones((1, len(spans)), np.bool_))
    hidden = yield from one_by_one(reader, reading, answer)
    answers = Answers(answer(reading)[0], answer(unknown)[0], hidden)

    def quantity() -> "UnitQuantity":
        from unroll.insight.translator.quantity import quantity_of

        return quantity_of(opened, ids)

    figures = yield from effects(
        answers, (0, None), method, partial(by_gradients, quantity, (reading, unknown), method, steps)
    )
    remark = translated.remark
    return PieceAttribution(
        method=method,
        ids=reading.units.values.astype(np.int64),
        symbols=tuple(text[start:end] for start, end in spans),
        at=at,
        target=pieces[at - 1].strip() or pieces[at - 1],
        against=None,
        steps=steps if method == "integrated" else None,
        notes=(*([remark] if remark else []), *figures.notes(method)),
        pieces=tuple(reader.pieces(text)),
        spans=np.array(spans),
        probability=float(answers.text[0]),
        translation=tuple(pieces),
        attention=None if attention is None else np.asarray(attention[-1], np.float64),
        **figures._asdict(),
    )
