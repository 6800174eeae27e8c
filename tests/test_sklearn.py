"""The estimator keeps scikit-learn's rules, which scikit-learn itself does not check where texts are read."""

import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from unroll.artifact.classifier import open_classifier
from unroll.artifact.classifier_info import classifier_info
from unroll.cli.app import app
from unroll.errors import UserError
from unroll.sklearn import InputError, TextClassifier
from unroll.tasks.classify.request import train_classifier

TINY = {"hidden_size": 8, "embedding_size": 8, "char_hidden_size": 4, "learning_rate": 0.02}
X = [f"{word} number {k}" for k in range(20) for word in ("apple", "bear", "carrot")]
Y = ["fruit", "animal", "vegetable"] * 20


def tiny(**parameters: Any) -> TextClassifier:
    fixed: dict[str, Any] = {"steps": 20, "settings": TINY, "random_state": 0, "device": "cpu"}
    return TextClassifier(**fixed | parameters)


@pytest.fixture(scope="module")
def fitted() -> TextClassifier:
    return tiny().fit(X, Y)


class Series:
    """A column as pandas gives it: an index of its own, iterated by its values."""

    ndim = 1

    def __init__(self, values: list[Any]) -> None:
        self.values = np.array(values, dtype=object)
        self.shape = self.values.shape

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values.astype(dtype) if dtype else self.values

    def __getitem__(self, key: int) -> Any:
        raise KeyError(key)  # a label of the index, which need not begin at 0


def test_fit_changes_nothing_it_is_given_and_learns(fitted: TextClassifier) -> None:
    texts, labels = np.array(X, dtype=object), np.array(Y)
    estimator = tiny()
    before = repr(estimator.get_params())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert estimator.fit(texts, labels) is estimator
        estimator.predict(texts)
    assert caught == [] and texts.tolist() == X and labels.tolist() == Y and repr(estimator.get_params()) == before
    assert not hasattr(estimator, "n_features_in_") and estimator.score(X, Y) > 0.5
    assert np.array_equal(estimator.predict_proba(X), fitted.predict_proba(X)), "an array is read like a list"


def test_a_fit_leaves_the_random_numbers_and_threads_of_torch(fitted: TextClassifier) -> None:
    torch.manual_seed(7)
    numbers, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(7)
    tiny(settings=TINY | {"threads": threads + 1}, steps=2).fit(X, Y)
    assert torch.equal(torch.rand(3), numbers) and torch.get_num_threads() == threads


def test_fitting_again_begins_anew_and_random_state_decides(fitted: TextClassifier) -> None:
    again = tiny().fit([text[::-1] for text in X], ["a", "b", "c"] * 20).fit(X, Y)
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X)) and list(again.classes_) == sorted({*Y})
    assert not np.array_equal(tiny(random_state=1).fit(X, Y).predict_proba(X), fitted.predict_proba(X))
    first, second = (tiny(random_state=np.random.RandomState(5)).fit(X, Y).predict_proba(X) for _ in range(2))
    assert np.array_equal(first, second)


def test_probabilities_are_of_the_classes_and_of_each_text_alone(fitted: TextClassifier) -> None:
    assert fitted.classes_.tolist() == ["animal", "fruit", "vegetable"]
    proba, order = fitted.predict_proba(X), np.random.default_rng(0).permutation(len(X))
    assert np.allclose(proba.sum(axis=1), 1, atol=1e-12) and proba.shape == (len(X), 3)
    assert (fitted.predict(X) == fitted.classes_[proba.argmax(axis=1)]).all()
    assert np.abs(fitted.predict_proba([X[k] for k in order]) - proba[order]).max() < 1e-6
    assert np.abs(np.concatenate([fitted.predict_proba([text]) for text in X[:9]]) - proba[:9]).max() < 1e-6
    assert fitted.score(X, Y) == (fitted.predict(X) == np.array(Y)).mean()
    assert np.allclose(np.exp(fitted.decision_function(X)), proba)


@pytest.mark.parametrize("labels", [[2, 10], [False, True], ["ü", "a b"], [1.0, 2.0]], ids=str)
def test_labels_of_any_type_come_back(labels: list[Any]) -> None:
    """10 is before 2 by its text, and behind it as a number."""
    targets = [labels[k % 3 > 0] for k in range(len(X))]
    estimator = tiny().fit(Series(X), Series(targets) if isinstance(labels[0], str) else targets)
    assert estimator.classes_.tolist() == sorted(labels)
    predicted = estimator.predict(Series(X))
    assert {type(label) for label in predicted.tolist()} == {type(labels[0])}
    assert estimator.score(X, targets) > 0.6, "columns of probabilities follow classes_"
    assert ((estimator.decision_function(X) > 0) == (predicted == estimator.classes_[1])).all()


def test_parameters_are_set_read_and_cloned() -> None:
    settings = {"embedding_size": 8, "hidden_size": 9}
    estimator = tiny().set_params(settings=settings, level="char")
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params() and not hasattr(copy, "classes_")
    info = copy.fit(X, Y)._model().info
    assert info.config.hidden_size == 9 and info.config.char_hidden_size == 0
    with pytest.raises(InputError, match="unknown key 'hidden'"):
        tiny(settings={"hidden": 8}).fit(X, Y)


def test_an_estimator_that_is_not_fitted_says_so(tmp_path: Path) -> None:
    for ask in (tiny().predict, tiny().predict_proba, tiny().decision_function):
        with pytest.raises(NotFittedError):
            ask(X)
    with pytest.raises(NotFittedError):
        tiny().save(tmp_path / "model")


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        ("a text", "X is of type str"),
        (b"a text", "X is of type bytes"),
        (3, "X is of type int"),
        ([["a"], ["b"]], r"X\[0\] is \['a'\], of type list"),
        (np.array([["a"], ["b"]]), "with 2 dimensions"),
        (["a", b"b"], r"X\[1\] is b'b', of type bytes"),
        (["a", None], r"X\[1\] is None"),
        (["a", float("nan")], r"X\[1\] is nan, of type float"),
        (np.arange(3), r"X\[0\] is"),
        ([], "X has 0 texts"),
    ],
    ids=repr,
)
def test_texts_that_are_none_are_refused(texts: Any, what: str, fitted: TextClassifier) -> None:
    with pytest.raises(ValueError, match=what) as refusal:
        tiny().fit(texts, ["a", "b"])
    assert isinstance(refusal.value, UserError) and refusal.value.allowed and refusal.value.fix
    with pytest.raises(ValueError, match=what):
        fitted.predict(texts)


@pytest.mark.parametrize(
    ("targets", "what"),
    [
        (None, "requires y to be passed"),
        (Y[:-1], "X has 60 texts and y 59 labels"),
        (["a"] * 60, "y has one class, .*a"),
        ([*Y[:-1], None], r"y\[59\] is None"),
        (np.eye(3, dtype=int)[[0, 1, 2] * 20], "y has several columns"),
        (np.linspace(0, 1, 60), "continuous"),
        ([np.nan, 0.0] * 30, r"y\[0\] is nan"),
        ([], "0 labels|no.*sample"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_labels_that_are_none_are_refused(targets: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        tiny().fit(X, targets)


def test_weights_of_samples_and_two_budgets_are_refused() -> None:
    with pytest.raises(TypeError, match="sample_weight"):
        tiny().fit(X, Y, sample_weight=np.ones(60))  # type: ignore[call-arg]
    with pytest.raises(InputError, match="both minutes and steps"):
        tiny(minutes=1).fit(X, Y)
    with pytest.raises(ValueError, match="seed"):
        tiny(random_state="x").fit(X, Y)


def test_it_works_in_pipelines_and_searches() -> None:
    def lower(texts: list[str]) -> list[str]:
        return [text.lower() for text in texts]

    pipeline = make_pipeline(FunctionTransformer(lower), tiny(steps=4))
    assert len(cross_val_score(pipeline, X, Y, cv=2)) == 2
    texts, grid = np.array(X, dtype=object), {"level": ["char", "byte"]}
    model = tiny(steps=4, settings={"embedding_size": 8, "hidden_size": 8})
    searches = (GridSearchCV(model, grid, cv=2, n_jobs=jobs, error_score="raise", refit=False) for jobs in (2, None))
    search, alone = (search.fit(texts, Y) for search in searches)
    assert search.cv_results_["mean_test_score"].tolist() == alone.cv_results_["mean_test_score"].tolist()


WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class Refusal(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "torch":
            raise AssertionError("torch is imported")

sys.meta_path.insert(0, Refusal())
import joblib, numpy
estimator = joblib.load("model.joblib")
numpy.save("proba.npy", estimator.predict_proba(["bear number 3", "carrot"]))
"""


def test_a_pickle_holds_no_torch_and_predicts_the_same(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.predict(X)
    content = pickle.dumps(fitted)
    assert b"torch" not in content.replace(fitted._files["recipe.toml"], b"")
    assert np.array_equal(pickle.loads(content).predict_proba(X), fitted.predict_proba(X))
    joblib.dump(fitted, tmp_path / "model.joblib")
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], cwd=tmp_path, check=True, timeout=60)
    assert np.array_equal(np.load(tmp_path / "proba.npy"), fitted.predict_proba(["bear number 3", "carrot"]))


def test_it_is_saved_as_a_classifier_and_loaded(
    fitted: TextClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "words"
    fitted.save(folder)
    assert app.main(["classify", "predict", str(folder), "a bear", "--json"], standalone_mode=False) in (0, None)
    assert "animal" in capsys.readouterr().out and classifier_info(folder)["finished"]
    with pytest.raises(UserError, match="exists"):
        fitted.save(folder)
    loaded = TextClassifier.load(folder)
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert np.array_equal(loaded.predict_proba(X), fitted.predict_proba(X))


def test_it_trains_what_the_command_trains(fitted: TextClassifier, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(X, Y, strict=True)))
    out = tmp_path / "m"
    for _ in train_classifier(
        table, text="text", label="label", out=out, steps=20, settings=TINY, seed=0, device="cpu"
    ):
        pass
    assert (out / "weights.safetensors").read_bytes() == fitted._files["weights.safetensors"]
    assert open_classifier(out).info.text_columns == fitted._model().info.text_columns
