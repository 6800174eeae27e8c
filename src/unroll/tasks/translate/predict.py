"""Translations of texts, with their scores and what was attended to; without torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from unroll.artifact.translator import AnyTranslator, OpenTranslator, as_translator
from unroll.data.ragged import Ragged, side_by_side
from unroll.data.reader import left_out
from unroll.engine.network import Precision
from unroll.engine.reference import Array
from unroll.errors import UserError, check_positive
from unroll.progress import Progress, Work, result
from unroll.tasks.translate.beam import Hypothesis, greedy, search

BEAM, MOST_BEAM = 5, 64
ROWS = 96
"""Most beginnings of translations that are continued side by side."""


def translate(
    model: AnyTranslator,
    texts: Sequence[str],
    *,
    beam: int = BEAM,
    n_best: int = 1,
    attention: bool = False,
    precision: Precision = "float32",
) -> list[dict[str, Any]]:
    """Return for each text its most probable translations, the best first.

    Each is `{"text", "translations": [{"text", "score", "nats"}]}`. `nats` is -ln P of the translation, its end
    included, given the text; `score` the mean of ln P over its symbols, by which translations are ranked. With
    `attention` each has too what it attended to: `{"source": [piece], "target": [piece], "weights"}`, a row of weights
    that sum to 1 for each piece of the translation, its end the last. An empty text has an empty translation. Raises
    UserError.
    """
    opened = as_translator(model, precision)
    translated = result(translations(opened, texts, beam=beam, n_best=n_best))
    return translation_rows(opened, texts, translated, attention=attention)


def stream(model: AnyTranslator, text: str, *, precision: Precision = "float32") -> Iterator[tuple[str, float]]:
    """Yield the translation of a text piece by piece, as it comes, each with its nats; the last ends it, and is empty.

    Each piece is the most probable one after those before it: a beam of one. Raises UserError.
    """
    opened = as_translator(model, precision)
    tokenizer, source = opened.readers.target.tokenizer, opened.readers.source.read([text.strip()]).units[0]
    decoder = tokenizer.stream_decoder()
    if text.strip():
        for id, nats in greedy(opened.network, source, opened.end, opened.never):
            yield decoder.flush() if id == opened.end else decoder.push(id), nats


class Translation(NamedTuple):
    """A translation of a text."""

    text: str
    hypothesis: Hypothesis | None
    """None of an empty text."""


@dataclass(frozen=True)
class Translated:
    """The translations of some texts."""

    of_texts: list[list[Translation]]
    """The best first; an empty text has an empty one."""
    cut: int
    """Number of units left out behind the most that is read of a text."""
    most: int
    """Units that are read of a text, at most."""

    @property
    def remark(self) -> str:
        """What a person should know; empty where there is nothing."""
        return f"{left_out(self.cut)}: the first {self.most:,} are read" if self.cut else ""


def translations(model: OpenTranslator, texts: Sequence[str], *, beam: int = BEAM, n_best: int = 1) -> Work[Translated]:
    """Search for the `n_best` best translations of each text, which do not depend on the other texts.

    Raises UserError for a beam or a number below 1, for a beam above `MOST_BEAM`, and for more translations than the
    beam keeps.
    """
    check_positive("beam", beam, "keep one beginning at least")
    if beam > MOST_BEAM:
        raise UserError(f"beam is {beam:,}", allowed=f"1 to {MOST_BEAM}", fix="keep fewer: 5 are usual")
    check_positive("n_best", n_best, "ask for one translation at least")
    if n_best > beam:
        raise UserError(f"n_best is {n_best}, and beam {beam}", allowed="at most as many as the beam keeps",
                        fix=f"search with a beam of {n_best}")  # fmt: skip
    texts = [text.strip() for text in texts]  # as in training
    reading, decode = model.readers.source.read(texts), model.readers.target.tokenizer.decode
    of_texts, done = [[Translation("", None)] for _ in texts], 0
    lengths = reading.units.lengths
    for numbers in side_by_side(lengths, np.argsort(lengths, kind="stable"), max(1, ROWS // beam)):
        full = numbers[[bool(texts[number]) for number in numbers]]
        sources = reading.units.select(full)
        of_sources = search(model.network, sources, model.end, model.never, beam=beam, n_best=n_best)
        for number, hypotheses in zip(full.tolist(), of_sources, strict=True):
            of_texts[number] = [Translation(decode(hypothesis.ids[:-1]), hypothesis) for hypothesis in hypotheses]
        done += len(numbers)
        yield Progress("translating", done, len(texts), "texts")
    return Translated(of_texts, reading.cut, model.info.max_units)


def translation_rows(
    model: OpenTranslator, texts: Sequence[str], translated: Translated, *, attention: bool = False
) -> list[dict[str, Any]]:
    """Return the translations of texts as JSON. Raises UserError for the attention of a translator without it."""

    def entry(text: str, translation: Translation) -> dict[str, Any]:
        best = translation.hypothesis
        score, nats = (best.score, float(best.nats.sum())) if best else (0.0, 0.0)
        what = {"attention": attended(model, text, translation).as_json()} if attention else {}
        return {"text": translation.text, "score": score, "nats": nats, **what}

    rows = zip(texts, translated.of_texts, strict=True)
    return [
        {"text": text, "translations": [entry(text, translation) for translation in of_text]} for text, of_text in rows
    ]


class Attended(NamedTuple):
    """What each piece of a translation attended to."""

    source: list[str]
    """The pieces of the text."""
    target: list[str]
    """The pieces of the translation, and its end."""
    weights: Array
    """The weights (T, S) of the text's pieces at each piece of the translation; a row's sum is 1."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"source": self.source, "target": self.target, "weights": self.weights.astype(float).tolist()}


def attended(model: OpenTranslator, text: str, translation: Translation) -> Attended:
    """Return what a translation attended to. Raises UserError for a translator without attention."""
    if model.info.config.attention == "none":
        raise UserError(
            f"{model.path} has no attention to show: its decoder reads one vector of the whole source",
            allowed="a translator trained with --attention dot or additive",
            fix="train one: `unroll translate train SRC TGT`",
        )
    source = text.strip()
    if translation.hypothesis is None:
        return Attended([], [], np.zeros((0, 0)))
    ids = translation.hypothesis.ids
    memory = model.network.read(model.readers.source.read([source]).units)
    _, weights = model.network.nats(memory, Ragged.of([ids]), model.end)
    assert weights is not None
    return Attended(
        model.readers.source.pieces(source), written_pieces(model, translation.hypothesis), np.array(weights)
    )


def written_pieces(model: OpenTranslator, hypothesis: Hypothesis) -> list[str]:
    """Return the pieces of a translation, and its end."""
    tokenizer = model.readers.target.tokenizer
    decoder = tokenizer.stream_decoder()
    pieces = [decoder.push(id) for id in hypothesis.ids[:-1].tolist()]
    return [*pieces, decoder.flush() or tokenizer.symbol(model.end)]
