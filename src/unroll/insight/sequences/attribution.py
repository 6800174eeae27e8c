"""Which values of a sequence of numbers decided its label: each read as its mean, or by gradients from all means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.classifier import label_ids
from unroll.artifact.series import AnySeries, OpenSeries, as_series
from unroll.data.ragged import Vectors
from unroll.data.series_files import read_series
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.insight.attribution.scores import STEPS, Attribution, Floats, Method, check_method
from unroll.insight.classifier.attribution import Answers, effects
from unroll.progress import Progress, Work, result
from unroll.tasks.classify.predict import of_logits
from unroll.tasks.sequences.predict import columns_of

Numbers = NDArray[np.floating]

MOST = 2**12
"""Values of a sequence: the network reads it once for each of them."""
ROWS = 64


@dataclass(frozen=True)
class SequenceAttribution(Attribution):
    """A score in nats for each value of a sequence, step by step: its effect on the probability of the `target`."""

    id: str
    """The sequence."""
    channels: tuple[str, ...]
    probability: float
    """Of the label."""
    origin: ClassVar[str] = "all values at their means"

    @property
    def table(self) -> Floats:
        """The scores (T, C)."""
        return self.scores.reshape(-1, len(self.channels))

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON; `scores` and `leave_out` have a list of channels for each step."""
        of_symbols = ("target", "at", "symbols")
        figures = {name: figure for name, figure in super().figures().items() if name not in of_symbols}
        return {
            "id": self.id, "label": self.target, "probability": self.probability, **figures,
            "channels": list(self.channels), "scores": self.table.tolist(),
            "leave_out": self.leave_out.reshape(self.table.shape).tolist(),
        }  # fmt: skip


def attribute_sequence(
    model: AnySeries,
    file: StrPath,
    label: str | None = None,
    *,
    at: int | None = None,
    against: str | None = None,
    method: Method = "leave-out",
    steps: int = STEPS,
) -> SequenceAttribution:
    """Score the values of sequence `at` of a file by their effect on a label, by default the predicted one.

    Sequences are counted from 1, and the first is the default. The scored quantity is log p(label), with `against` the
    difference to log p(against), in nats. To leave a value out is to read the mean of its channel in its place;
    `integrated` and `gradient` start from all values at their means, and need torch. Raises UserError.
    """
    return result(attributing_sequence(as_series(model), Path(file), label, at, against, method, steps))


def attributing_sequence(
    opened: OpenSeries, file: Path, label: str | None, at: int | None, against: str | None, method: Method, steps: int
) -> Work[SequenceAttribution]:
    """Do what `attribute_sequence` does, yielding progress; returns the result."""
    check_method(method, steps)
    info, at = opened.info, 1 if at is None else at
    if info.config.task != "classify":
        raise UserError(
            f"{opened.path} predicts numbers, and values are scored by their effect on a label",
            allowed="a model of labels",
            fix="train one: `unroll sequences train FILE --target COL --task classify`",
        )
    names = [name for name in (label, against) if name is not None]
    ids = dict(zip(names, label_ids(info, names), strict=True))
    series = yield from read_series(file, columns_of(opened, required=False))
    if not 1 <= at <= len(series):
        raise UserError(
            f"there is no sequence {at} in {file}", allowed=f"1 to {len(series):,}", fix="they are counted from 1"
        )
    rows = series.rows.select(np.array([at - 1]))
    if (size := rows.values.size) > MOST:
        raise UserError(
            f"sequence {at} of {file} has {size:,} values", allowed=f"at most {MOST:,}", fix="name a shorter one"
        )
    channels = info.config.channels
    x: Numbers = info.scaling.read(rows, marks=info.config.marks).values  # (T, I), of which the first are the channels
    origin = np.concatenate([np.zeros_like(x[:, :channels]), x[:, channels:]], axis=1)
    whole, means = (of_logits(opened.network.outputs(_rows(part[None])), multi_label=False)[0] for part in (x, origin))
    hidden = yield from _hidden(opened, x)
    label_id = int(whole.argmax()) if label is None else ids[label]
    against_id = None if against is None else ids[against]

    def by_gradients() -> Work[Floats]:
        from unroll.insight.sequences.quantity import scored

        scores = yield from scored(opened, label_id, against_id, (x, origin), method, steps)
        return scores[:, :channels].reshape(-1)

    answers = Answers(whole, means, hidden)
    figures = yield from effects(answers, (label_id, against_id), method, by_gradients)
    several = len(series.channels) > 1
    symbols = [f"{step}{f' {name}' if several else ''}" for step in range(1, len(x) + 1) for name in series.channels]
    return SequenceAttribution(
        method=method,
        ids=np.arange(len(symbols)),
        symbols=tuple(symbols),
        at=len(symbols),
        target=info.labels[label_id],
        against=against,
        steps=steps if method == "integrated" else None,
        notes=figures.notes(method),
        id=series.ids[at - 1],
        channels=series.channels,
        probability=float(whole[label_id]),
        **figures._asdict(),
    )


def _hidden(opened: OpenSeries, x: Numbers) -> Work[Floats]:
    """Return the probabilities (T·C, K) of a sequence (T, I), each value read as its mean in turn."""
    places = [(step, channel) for step in range(len(x)) for channel in range(opened.info.config.channels)]
    answers = []
    for first in range(0, len(places), ROWS):
        some = places[first : first + ROWS]
        copies = np.repeat(x[None], len(some), axis=0)
        for copy, place in zip(copies, some, strict=True):
            copy[place] = 0.0
        answers.append(of_logits(opened.network.outputs(_rows(copies)), multi_label=False))
        yield Progress("leaving out", first + len(some), len(places), "values")
    return np.concatenate(answers)


def _rows(sequences: Numbers) -> Vectors:
    """Return sequences (B, T, I) as rows of vectors."""
    count, steps, width = sequences.shape
    return Vectors(sequences.reshape(-1, width), steps * np.arange(1, count + 1))
