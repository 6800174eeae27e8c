"""A classifier of texts as an estimator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.data.labelled import examples_of
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.progress import result
from unroll.sklearn.estimator import InputError, NetworkEstimator
from unroll.tasks.classify.predict import probabilities


class TextClassifier(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]
    """A recurrent network that gives each text one label: `unroll classify` as an estimator.

    `fit` takes texts as a list, an array or a Series of str, and one label for each: texts, whole numbers or booleans.
    It holds out one text in ten by its hash, by which the best weights are chosen. Fitted, it has `classes_`, sorted,
    and keeps bytes of the files of a classifier, no objects of torch.
    """

    def __init__(
        self,
        minutes: float | None = None,
        steps: int | None = None,
        level: str = "auto",
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        """Set the parameters, which `fit` checks.

        The budget is `minutes` of wall clock or a number of `steps`; with neither, three minutes. Only with steps are
        two fits with the same `random_state` equal. `level` is what a unit is (char, byte, word or bpe), by default
        chosen by the texts. `settings` are keys of the recipe and override what is named here, `{"hidden_size": 64}`.
        """
        self.minutes = minutes
        self.steps = steps
        self.level = level
        self.settings = settings
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn should know: that it takes texts in one dimension."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, True, False
        return tags

    def fit(self, X: Any, y: Any) -> "TextClassifier":
        """Train on texts (N,) and their labels (N,). Raises InputError, a ValueError."""
        texts = texts_of(X)
        classes, numbers = classes_of(y)
        if len(numbers) != len(texts):
            raise InputError(
                f"X has {len(texts):,} texts and y {len(numbers):,} labels", allowed="one label for each text",
                fix="pass the labels of these texts",
            )  # fmt: skip
        names = [name_of(label) for label in classes]
        examples = examples_of(texts, [names[number] for number in numbers], name="X")
        settings = ({} if self.level == "auto" else {"level": self.level}) | dict(self.settings or {})
        self._train(
            "classify", "train_classifier", examples, text="text", label="label", minutes=self.minutes,
            settings=settings,
        )  # fmt: skip
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each text (N,), of the type of those given to `fit`."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities (N, K) of the labels, in the order of `classes_`; a row's sum to 1."""
        opened = self._model()
        columns = [opened.info.labels.index(name_of(label)) for label in self.classes_]
        return result(probabilities(opened, texts_of(X))).probabilities[:, columns]

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithms (N, K) of the probabilities; with two labels the log odds (N,) of the second."""
        logs = np.log(np.maximum(self.predict_proba(X), np.finfo(np.float64).tiny))
        return np.asarray(logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs)

    @classmethod
    def load(cls, folder: StrPath) -> "TextClassifier":
        """Return the classifier in a directory, fitted; its labels are texts. Raises UserError."""
        info = open_classifier(folder).info
        if info.config.multi_label:
            raise UserError(
                f"{folder} is a classifier of texts with any number of labels", allowed="one with one label a text",
                fix="ask it with unroll.classify",
            )  # fmt: skip
        estimator = cls()
        estimator._keep(Path(folder))
        estimator.classes_ = np.array(info.labels)
        return estimator

    def _open(self, folder: Path) -> OpenClassifier:
        return open_classifier(folder)


def texts_of(X: Any) -> list[str]:
    """Return texts as a list of str; raises InputError for anything else."""
    if isinstance(X, str | bytes) or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__iter__"):
        shape = f" with {X.ndim} dimensions" if hasattr(X, "ndim") else ""
        raise InputError(
            f"X is of type {type(X).__name__}{shape}",
            allowed="texts in one dimension: a list, an array or a Series of str",
            fix="for one text write [text]; for a column name it by itself, frame['text'] instead of frame[['text']]",
        )
    texts = list(X)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"X[{number}] is {text!r:.60}, of type {type(text).__name__}",
                allowed="texts of type str",
                fix="decode bytes, leave out missing texts, or write numbers as texts",
            )
    if not texts:
        raise InputError("X has 0 texts", allowed="at least one", fix="pass some texts")
    return [str(text) for text in texts]


def classes_of(y: Any) -> tuple[NDArray[Any], list[int]]:
    """Return the distinct labels, sorted, and for each text the number of its own; raises ValueError."""
    if y is None:
        raise InputError("y is None: requires y to be passed", allowed="one label for each text", fix="pass labels")
    labels = np.asarray(y, dtype=object).tolist() if getattr(y, "ndim", 1) == 1 else []
    missing = next((number for number, label in enumerate(labels) if label is None or label != label), None)
    if missing is not None:
        raise InputError(
            f"y[{missing}] is {labels[missing]}",
            allowed="texts, whole numbers or booleans",
            fix="leave out what has no label",
        )
    if type_of_target(y).startswith(("multilabel", "multiclass-multioutput")):
        raise InputError(
            "y has several columns, and columns have no names to keep as labels",
            allowed="one label for each text",
            fix="wrap it in sklearn.multiclass.OneVsRestClassifier, or run `unroll classify train --multi-label`",
        )
    column = column_or_1d(y, warn=True)
    check_classification_targets(column)
    classes, numbers = np.unique(column, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"y has one class, {classes[0]!r}" if len(classes) else "y has 0 labels",
            allowed="at least two different labels",
            fix="add examples of other labels",
        )
    return classes, numbers.tolist()


def name_of(label: Any) -> str:
    """Return a label as a table has it: texts as they stand, booleans as in JSON."""
    return str(label).lower() if isinstance(label, bool | np.bool_) else str(label)
