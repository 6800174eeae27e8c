"""A classifier and a regressor of sequences of vectors as estimators."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_array, column_or_1d, validate_data

from unroll.artifact.series import OpenSeries, open_series
from unroll.data.ragged import Vectors
from unroll.data.series import Series
from unroll.data.series_reading import LARGEST
from unroll.files import StrPath
from unroll.nn.series_config import Answer
from unroll.progress import result
from unroll.sklearn.classifier import classes_of, name_of
from unroll.sklearn.estimator import InputError, NetworkEstimator
from unroll.tasks.sequences.predict import answers

NUMBERS: dict[str, Any] = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
"""How scikit-learn reads arrays: a NaN is a value that is missing."""


class SequenceEstimator(NetworkEstimator):
    """A recurrent network that reads sequences: an array (N, T) or (N, T, C), or a list of arrays (T, C)."""

    def __init__(
        self,
        minutes: float | None = None,
        steps: int | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        """Set the parameters, which `fit` checks.

        The budget is `minutes` of wall clock or a number of `steps`; with neither, three minutes. Only with steps are
        two fits with the same `random_state` equal. `settings` are keys of the recipe, `{"hidden_size": 32}`.
        """
        self.minutes = minutes
        self.steps = steps
        self.settings = settings
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn should know: that arrays may have three dimensions, and missing values."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array, tags.input_tags.allow_nan = True, True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there is a model: of sequences of any length nothing else is known."""
        return hasattr(self, "_files")

    def _fit(self, task: Answer, rows: Vectors, targets: Sequence[Any]) -> None:
        """Train on rows (N, C) and a label or number for each."""
        channels = rows.values.shape[1]
        names = ("value",) if channels == 1 else tuple(f"channel {k}" for k in range(1, channels + 1))
        ids = tuple(map(str, range(len(rows))))
        series = Series(Path("X"), rows, names, ids, np.arange(1, len(rows) + 1)).with_targets(task, targets)
        self._train(
            "sequences", "train_sequences", series, task=task, minutes=self.minutes, settings=dict(self.settings or {})
        )

    def _answers(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities (N, K) of the labels by their ids, or the numbers (N, 1)."""
        opened = self._model()
        rows = sequences_of(self, X)
        expected, channels = opened.info.config.channels, rows.values.shape[1]
        if channels != expected:
            raise InputError(
                f"X has {channels} channels, and {expected} in training", allowed="the channels of training",
                fix="pass the same channels in the same order",
            )  # fmt: skip
        return result(answers(opened, rows))

    def _open(self, folder: Path) -> OpenSeries:
        return open_series(folder)


class SequenceClassifier(ClassifierMixin, SequenceEstimator):  # type: ignore[misc]
    """A recurrent network that gives each sequence one label: `unroll sequences --task classify` as an estimator.

    `fit` takes sequences and one label for each: texts, whole numbers or booleans. A row of an array (N, T) is a
    sequence of T steps of one channel. It holds out one sequence in ten by its hash, by which the best weights are
    chosen. Fitted, it has `classes_`, sorted, and keeps bytes of the files of a model, no objects of torch.
    """

    def fit(self, X: Any, y: Any) -> "SequenceClassifier":
        """Train on sequences and their labels (N,). Raises InputError, a ValueError."""
        rows, targets = training_pairs(self, X, y)
        classes, numbers = classes_of(targets)
        names = [name_of(label) for label in classes]
        self._fit("classify", rows, [names[number] for number in numbers])
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each sequence (N,), of the type of those given to `fit`."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities (N, K) of the labels, in the order of `classes_`; a row's sum to 1."""
        probabilities = self._answers(X)
        labels = self._model().info.labels
        return probabilities[:, [labels.index(name_of(label)) for label in self.classes_]]

    @classmethod
    def load(cls, folder: StrPath) -> "SequenceClassifier":
        """Return the model in a directory, fitted; its labels are texts. Raises UserError."""
        estimator = cls()
        estimator._keep(Path(folder))
        check_task(estimator._opened, "classify")
        estimator.classes_ = np.array(estimator._opened.info.labels)
        return estimator


class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]
    """A recurrent network that gives each sequence a number: `unroll sequences --task regress` as an estimator.

    `fit` takes sequences and one number for each. A row of an array (N, T) is a sequence of T steps of one channel. It
    holds out one sequence in ten by its hash, by which the best weights are chosen. Fitted, it keeps bytes of the files
    of a model, no objects of torch.
    """

    def fit(self, X: Any, y: Any) -> "SequenceRegressor":
        """Train on sequences and their numbers (N,). Raises InputError, a ValueError."""
        rows, targets = training_pairs(self, X, y)
        numbers = check_array(targets, dtype=np.float64, ensure_2d=False, input_name="y")
        self._fit("regress", rows, numbers)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the number of each sequence (N,)."""
        return np.asarray(self._answers(X)[:, 0])

    @classmethod
    def load(cls, folder: StrPath) -> "SequenceRegressor":
        """Return the model in a directory, fitted. Raises UserError."""
        estimator = cls()
        estimator._keep(Path(folder))
        check_task(estimator._opened, "regress")
        return estimator


def training_pairs(estimator: SequenceEstimator, X: Any, y: Any) -> tuple[Vectors, NDArray[Any]]:
    """Return sequences and their targets (N,) as they are given; raises ValueError where they do not fit."""
    if not is_ragged(X) and dimensions_of(X) != 3:
        values, targets = validate_data(estimator, X, y, ensure_min_samples=2, **NUMBERS)
        return wide(values), targets
    rows, targets = sequences_of(estimator, X), column_or_1d(y, warn=True)
    if len(rows) != len(targets):
        raise InputError(
            f"X has {len(rows):,} sequences and y {len(targets):,} targets", allowed="one target for each sequence",
            fix="pass the targets of these sequences",
        )  # fmt: skip
    return rows, targets


def sequences_of(estimator: SequenceEstimator, X: Any) -> Vectors:
    """Return sequences as vectors (N, C) in rows; raises ValueError for anything else."""
    if is_ragged(X):
        return ragged(X)
    if dimensions_of(X) == 3:
        values = check_array(X, allow_nd=True, **NUMBERS)
        count, steps, channels = values.shape
        if not steps or not channels:
            raise InputError(f"X has the shape {values.shape}", allowed="at least one step and one channel")
        return rows_of(values.reshape(-1, channels), np.full(count, steps))
    return wide(validate_data(estimator, X, reset=False, **NUMBERS))


def is_ragged(X: Any) -> bool:
    """Return whether sequences are a list, of arrays with two dimensions."""
    return isinstance(X, list | tuple) and len(X) > 0 and all(getattr(row, "ndim", 0) == 2 for row in X)


def dimensions_of(X: Any) -> int:
    """Return how many dimensions sequences have; 2 where that is not known before they are an array."""
    return np.ndim(X) if isinstance(X, list | tuple) else getattr(X, "ndim", 2)


def wide(values: NDArray[np.float64]) -> Vectors:
    """Return sequences of one channel, each a row of values (N, T)."""
    return rows_of(values.reshape(-1, 1), np.full(len(values), values.shape[1]))


def ragged(X: Sequence[Any]) -> Vectors:
    """Return sequences of arrays (T, C); raises ValueError where one is empty or has other channels than the first."""
    arrays = [check_array(row, input_name=f"X[{k}]", **NUMBERS) for k, row in enumerate(X)]
    for k, array in enumerate(arrays):
        if array.shape[1] != arrays[0].shape[1]:
            raise InputError(
                f"X[{k}] has {array.shape[1]} channels and X[0] {arrays[0].shape[1]}",
                allowed="as many channels in each sequence", fix="leave it out, or add those that are missing",
            )  # fmt: skip
    return rows_of(np.concatenate(arrays), np.array([len(array) for array in arrays]))


def rows_of(values: NDArray[np.float64], lengths: NDArray[np.integer]) -> Vectors:
    """Return vectors (N, C) in rows of these lengths; raises InputError for a value that is too large."""
    if (np.abs(values) > LARGEST).any():
        raise InputError(f"X has values above {LARGEST:g}", allowed=f"at most {LARGEST:g}", fix="scale them")
    return Vectors(values, np.cumsum(lengths, dtype=np.int64))


def check_task(model: OpenSeries, task: Answer) -> None:
    """Raise InputError for a model of another task."""
    if model.info.config.task != task:
        raise InputError(
            f"{model.path} was trained to {model.info.config.task}", allowed=f"a model trained to {task}",
            fix="load it with the other estimator of sequences",
        )  # fmt: skip
