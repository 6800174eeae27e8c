"""How good a translator is: BLEU and chrF by sacrebleu, and nats of the references; of all, and by source length."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.translator import AnyTranslator, OpenTranslator, as_translator
from unroll.data.parallel import read_parallel
from unroll.data.ragged import Ragged, side_by_side
from unroll.data.words import lines_spacing
from unroll.engine.network import Precision
from unroll.errors import UserError, check_choice, install, number_of
from unroll.files import StrPath
from unroll.progress import Progress, Work, result
from unroll.tasks.translate.predict import BEAM, translations

GROUPS = 4
"""Groups of pairs by the length of their sources, of about equal size."""
TOGETHER = 64
"""Targets that are read side by side."""


def evaluate_translator(
    model: AnyTranslator,
    source: StrPath,
    target: StrPath,
    *,
    beam: int = BEAM,
    tokenize: str | None = None,
    precision: Precision = "float32",
) -> dict[str, Any]:
    """Return how good a translator is on the pairs of two files, as `measure_translator` does. Raises UserError."""
    opened = as_translator(model, precision)
    return result(measure_translator(opened, Path(source), Path(target), beam=beam, tokenize=tokenize))


def measure_translator(
    model: OpenTranslator, source: Path, target: Path, *, beam: int = BEAM, tokenize: str | None = None
) -> Work[dict[str, Any]]:
    """Translate the lines of `source` and compare them with those of `target`.

    `bleu` (Papineni et al. 2002) and `chrf` (Popović 2015) are sacrebleu's, of the whole, with their signatures;
    `tokenize` is what sacrebleu does to both texts before it counts words: by default `none` where the references are
    tokenised already, else its own `13a`. `nats` is the mean of -ln P over the symbols of the references, their ends
    included, `length_ratio` how long translations are beside them, in characters. `by_length` has the same for sources
    of similar length, in units. Pairs with an empty line are left out. Raises UserError.
    """
    scores = Scores(tokenize)
    pairs = yield from read_parallel(source, target)
    scores.settle(pairs.targets)
    translated = yield from translations(model, pairs.sources, beam=beam)
    hypotheses = [best.text for best, *_ in translated.of_texts]
    sources, targets = model.readers.source.read(pairs.sources), model.readers.target.read(pairs.targets)
    nats, symbols = yield from nats_of(model, sources.units, targets.units)
    lengths, rows = sources.units.lengths, np.arange(len(pairs))

    def figures(some: NDArray[np.int64]) -> dict[str, Any]:
        ours, theirs = ([texts[row] for row in some.tolist()] for texts in (hypotheses, pairs.targets))
        return {
            "count": len(some),
            **scores.of(ours, theirs),
            "nats": float(nats[some].sum() / symbols[some].sum()),
            "length_ratio": sum(map(len, ours)) / sum(map(len, theirs)),
        }

    notes = [*filter(None, (pairs.remark, translated.remark))]
    unknown = model.readers.target.tokenizer.count_unknown(targets.units.values)
    if unknown:
        notes.append(f"{number_of(unknown, 'symbol')} of the references unknown: `nats` counts them as <unk>")
    return {
        **figures(rows),
        "symbols": int(symbols.sum()),
        "signatures": scores.signatures,
        "beam": beam,
        "by_length": [
            {"units": [int(lengths[some].min()), int(lengths[some].max())]} | figures(some)
            for some in by_length(lengths)
        ],
        "notes": notes,
    }


class Scores:
    """BLEU and chrF by sacrebleu. Raises UserError where it is absent, and for a tokenisation that it lacks."""

    def __init__(self, tokenize: str | None) -> None:
        try:
            from sacrebleu import BLEU, CHRF
        except ModuleNotFoundError as error:
            if error.name != "sacrebleu":
                raise
            raise UserError(
                "BLEU and chrF need sacrebleu, which is not installed",
                allowed="with it: `unroll translate eval`; without: `unroll translate predict`",
                fix=install("translate"),
            ) from None
        if tokenize is not None:
            check_choice("--tokenize", tokenize, [*BLEU.TOKENIZERS])
        self._tokenize, self._bleu_of, self._chrf = tokenize, BLEU, CHRF()

    def settle(self, references: Sequence[str]) -> None:
        """Choose the tokenisation by the references, unless it is given."""
        if self._tokenize is None:
            tokenised = lines_spacing(references).boundaries == "space"
            self._tokenize = "none" if tokenised else "13a"
        self._bleu = self._bleu_of(tokenize=self._tokenize, force=True)

    def of(self, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """Return `bleu` and `chrf`, 0 to 100."""
        return {
            "bleu": float(self._bleu.corpus_score(hypotheses, [references]).score),
            "chrf": float(self._chrf.corpus_score(hypotheses, [references]).score),
        }

    @property
    def signatures(self) -> dict[str, str]:
        """What sacrebleu says that it did, by the names of the scores."""
        return {"bleu": str(self._bleu.get_signature()), "chrf": str(self._chrf.get_signature())}


def nats_of(
    model: OpenTranslator, sources: Ragged, targets: Ragged
) -> Work[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Return -ln P of each target and its end, given its source, and how many symbols these are, both (N,)."""
    nats, symbols, done = np.zeros(len(sources)), targets.lengths + 1, 0
    for numbers in side_by_side(symbols, np.argsort(symbols, kind="stable"), TOGETHER):
        ended = Ragged.of([[*targets[row].tolist(), model.end] for row in numbers.tolist()])
        memory = model.network.read(sources.select(numbers))
        of_symbols, _ = model.network.nats(memory, ended, model.end)
        nats[numbers] = np.add.reduceat(of_symbols, ended.starts)
        done += len(numbers)
        yield Progress("scoring", done, len(sources), "references")
    return nats, symbols


def by_length(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of up to GROUPS groups of about equal size, by length; rows of one length stay together."""
    edges = np.unique(np.quantile(lengths, np.arange(1, GROUPS) / GROUPS, method="higher"))
    group = np.searchsorted(edges, lengths, side="left")
    return [np.flatnonzero(group == number) for number in np.unique(group)]
