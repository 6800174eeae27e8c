"""A tagger of tokens as an estimator."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.tagger import OpenTagger, open_tagger
from unroll.data.tagged import tagged_of
from unroll.engine.crf import Scheme
from unroll.files import StrPath
from unroll.progress import result
from unroll.sklearn.estimator import InputError, NetworkEstimator
from unroll.tasks.tag.predict import Ids, predicted_tags, tagging

Rows = list[list[str]]


class TokenTagger(NetworkEstimator):
    """A recurrent network that gives each token of a sentence its tag: `unroll tag` as an estimator.

    `fit` takes sentences, each a sequence of tokens, and as many tags for each, all of type str. It holds out one
    sentence in ten by its hash, by which the best weights are chosen. Fitted, it has `classes_`, the tags, sorted, and
    keeps bytes of the files of a tagger, no objects of torch.
    """

    def __init__(
        self,
        minutes: float | None = None,
        steps: int | None = None,
        crf: bool = False,
        scheme: Scheme = "none",
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        """Set the parameters, which `fit` checks.

        The budget is `minutes` of wall clock or a number of `steps`; with neither, three minutes. Only with steps are
        two fits with the same `random_state` equal. With `crf` the tags of a sentence are one path. `scheme` is how
        tags mark entities (none, bio or bioes): no predicted sentence breaks it. `settings` are keys of the recipe and
        override what is named here, `{"hidden_size": 64}`.
        """
        self.minutes = minutes
        self.steps = steps
        self.crf = crf
        self.scheme = scheme
        self.settings = settings
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn should know: that it takes no arrays of two dimensions."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.target_tags.required = False, True
        return tags

    def fit(self, X: Any, y: Any) -> "TokenTagger":
        """Train on sentences and their tags. Raises InputError, a ValueError."""
        sentences, tags = rows_of("X", X, "tokens"), rows_of("y", y, "tags")
        check_lengths(sentences, tags)
        if not any(sentences):
            raise InputError("X has no tokens", allowed="at least two sentences", fix="pass some sentences")
        self._train(
            "tag", "train_tagger", tagged_of(sentences, tags), minutes=self.minutes, crf=self.crf, scheme=self.scheme,
            settings=dict(self.settings or {}),
        )  # fmt: skip
        self.classes_ = np.array(self._opened.info.tags, dtype=object)
        return self

    def predict(self, X: Any) -> list[list[str]]:
        """Return the tags of each sentence, as many as it has tokens."""
        opened, sentences = self._model(), rows_of("X", X, "tokens")
        names = iter([opened.info.tags[id] for id in result(predicted_tags(opened, sentences)).ids.tolist()])
        return [list(islice(names, len(sentence))) for sentence in sentences]

    def predict_proba(self, X: Any) -> list[NDArray[np.float64]]:
        """Return for each sentence the probabilities (T, K) of the tags of its tokens, in the order of `classes_`."""
        opened, sentences = self._model(), rows_of("X", X, "tokens")
        lengths = [len(sentence) for sentence in sentences]
        shares = np.zeros((sum(lengths), len(opened.info.tags)))

        def take(here: Ids, best: Ids, of_tags: NDArray[np.float64]) -> None:
            shares[here] = of_tags

        result(tagging(opened, sentences, take))
        return np.split(shares, np.cumsum(lengths)[:-1]) if lengths else []

    def score(self, X: Any, y: Any) -> float:
        """Return the share of tokens whose tag is right."""
        sentences, tags = rows_of("X", X, "tokens"), rows_of("y", y, "tags")
        check_lengths(sentences, tags)
        pairs = zip(self.predict(sentences), tags, strict=True)
        right = [said == true for own, named in pairs for said, true in zip(own, named, strict=True)]
        if not right:
            raise InputError("X has no tokens", allowed="at least one", fix="pass some sentences")
        return float(np.mean(right))

    @classmethod
    def load(cls, folder: StrPath) -> "TokenTagger":
        """Return the tagger in a directory, fitted. Raises UserError."""
        opened = open_tagger(folder)
        estimator = cls(crf=opened.info.crf, scheme=opened.info.scheme)
        estimator._keep(Path(folder))
        estimator.classes_ = np.array(opened.info.tags, dtype=object)
        return estimator

    def _open(self, folder: Path) -> OpenTagger:
        return open_tagger(folder)


def rows_of(name: str, rows: Any, of: str) -> Rows:
    """Return sequences of str as lists; raises InputError for anything else."""
    allowed = f"a list of lists of {of}, each of type str"
    if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__iter__"):
        raise InputError(
            f"{name} is of type {type(rows).__name__}", allowed=allowed, fix=f"pass {of} sentence by sentence"
        )
    made = []
    for number, row in enumerate(rows):
        if isinstance(row, str | bytes) or not isinstance(row, Sequence | np.ndarray):
            raise InputError(
                f"{name}[{number}] is {row!r:.60}, of type {type(row).__name__}",
                allowed=allowed,
                fix=f"cut it into {of}: one sentence is a list in a list" if isinstance(row, str) else "pass lists",
            )
        for place, value in enumerate(row):
            if not isinstance(value, str) or not value:
                raise InputError(
                    f"{name}[{number}][{place}] is {value!r:.60}, of type {type(value).__name__}",
                    allowed=f"{of} of type str that are not empty",
                    fix="write numbers as texts, and leave out what is missing",
                )
        made.append([str(value) for value in row])
    return made


def check_lengths(sentences: Rows, tags: Rows) -> None:
    """Raise InputError unless there are as many tags as tokens."""
    if len(sentences) != len(tags):
        raise InputError(
            f"X has {len(sentences):,} sentences and y {len(tags):,}",
            allowed="tags for each sentence",
            fix="pass the tags of these sentences",
        )
    for number, (sentence, own) in enumerate(zip(sentences, tags, strict=True)):
        if len(sentence) != len(own):
            raise InputError(
                f"X[{number}] has {len(sentence):,} tokens and y[{number}] {len(own):,} tags",
                allowed="one tag for each token",
                fix="pass the tags of this sentence",
            )
