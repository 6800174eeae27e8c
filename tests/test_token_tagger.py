"""The estimator of tagged tokens keeps scikit-learn's rules, and trains what the command trains."""

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from tasks.tag.toy import SMALL, entities, sentences, written
from unroll.artifact.tagger_info import tagger_info
from unroll.errors import UserError
from unroll.sklearn import InputError, TokenTagger
from unroll.tasks.tag.evaluate import evaluate_tagger
from unroll.tasks.tag.request import train_tagger

ROWS = sentences(random.Random(0), 80)
X = [[token for token, _ in row] for row in ROWS]
Y = [[tag for _, tag in row] for row in ROWS]


def tiny(**parameters: Any) -> TokenTagger:
    fixed: dict[str, Any] = {"steps": 40, "settings": SMALL, "random_state": 0, "device": "cpu"}
    return TokenTagger(**fixed | parameters)


@pytest.fixture(scope="module")
def fitted() -> TokenTagger:
    return tiny().fit(X, Y)


def test_it_learns_and_its_score_is_the_accuracy_of_tokens(fitted: TokenTagger, tmp_path: Path) -> None:
    unseen = sentences(random.Random(1), 30)
    tokens, tags = ([[pair[k] for pair in row] for row in unseen] for k in (0, 1))
    score = fitted.score(tokens, tags)
    fitted.save(tmp_path / "model")
    assert score > 0.8
    assert score == pytest.approx(evaluate_tagger(tmp_path / "model", written(tmp_path / "u.tsv", unseen))["accuracy"])


def test_probabilities_are_of_the_classes_and_of_each_sentence_alone(fitted: TokenTagger) -> None:
    assert fitted.classes_.tolist() == sorted({tag for row in Y for tag in row})
    together, predicted = fitted.predict_proba([[], *X]), fitted.predict([[], *X])
    assert together[0].shape == (0, 4) and predicted[0] == []
    for shares, own, sentence in zip(together[1:6], predicted[1:6], X, strict=False):
        assert shares.shape == (len(sentence), 4) and np.allclose(shares.sum(axis=1), 1)
        assert fitted.classes_[shares.argmax(axis=1)].tolist() == own
        assert np.abs(fitted.predict_proba([sentence])[0] - shares).max() < 1e-5
    assert fitted.predict([]) == [] and fitted.predict_proba([]) == []


def test_parameters_are_set_read_and_cloned(fitted: TokenTagger) -> None:
    copy = clone(tiny().set_params(crf=True, scheme="bio"))
    assert copy.get_params() == tiny(crf=True, scheme="bio").get_params() and not hasattr(copy, "classes_")
    with pytest.raises(NotFittedError):
        copy.predict(X)
    with pytest.raises(InputError, match="unknown key 'hidden'"):
        tiny(settings={"hidden": 8}).fit(X, Y)
    with pytest.raises(InputError, match="both minutes and steps"):
        tiny(minutes=1).fit(X, Y)
    again = tiny().fit(tuple(X), [np.array(row) for row in Y])
    assert again.predict(X) == fitted.predict(X), "arrays of str are read like lists"


def test_entities_keep_their_scheme() -> None:
    rows = entities(random.Random(0), 60)
    tokens, tags = ([[pair[k] for pair in row] for row in rows] for k in (0, 1))
    tagger = tiny(steps=10, crf=True, scheme="bio").fit(tokens, tags)
    for row in tagger.predict(tokens):
        assert all(a[2:] == b[2:] and a != "O" for a, b in zip(["O", *row], row, strict=False) if b.startswith("I-"))


def test_a_pickle_holds_no_torch_and_predicts_the_same(fitted: TokenTagger) -> None:
    content = pickle.dumps(fitted)
    assert b"torch" not in content.replace(fitted._files["recipe.toml"], b"")
    assert pickle.loads(content).predict(X) == fitted.predict(X)


def test_it_trains_what_the_command_trains_and_is_loaded(fitted: TokenTagger, tmp_path: Path) -> None:
    for _ in train_tagger(
        written(tmp_path / "t.tsv", ROWS), out=tmp_path / "m", steps=40, settings=SMALL, seed=0, device="cpu"
    ):
        pass
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() == fitted._files["weights.safetensors"]
    loaded = TokenTagger.load(tmp_path / "m")
    assert loaded.predict(X) == fitted.predict(X) and loaded.classes_.tolist() == fitted.classes_.tolist()
    loaded.save(tmp_path / "again")
    assert tagger_info(tmp_path / "again")["finished"]
    with pytest.raises(UserError, match="exists"):
        loaded.save(tmp_path / "again")


def test_it_works_in_searches() -> None:
    assert len(cross_val_score(tiny(steps=4), X, Y, cv=2, error_score="raise")) == 2
    search = GridSearchCV(tiny(steps=4), {"crf": [False, True]}, cv=2, error_score="raise", refit=False).fit(X, Y)
    assert len(search.cv_results_["params"]) == 2


@pytest.mark.parametrize(
    ("tokens", "what"),
    [
        ("a text", "X is of type str"),
        (3, "X is of type int"),
        (["a", "b"], r"X\[0\] is 'a', of type str"),
        ([["a"], 3], r"X\[1\] is 3, of type int"),
        ([["a", None]], r"X\[0\]\[1\] is None, of type NoneType"),
        ([["a", ""]], r"X\[0\]\[1\] is ''"),
        ([["a"]], "X has 1 sentences and y 2"),
        ([["a"], ["b"]], r"X\[1\] has 1 tokens and y\[1\] 2 tags"),
        ([], "X has 0 sentences"),
    ],
    ids=repr,
)
def test_sentences_that_are_none_are_refused(tokens: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what) as refusal:
        tiny().fit(tokens, [["A"], ["A", "B"]])
    assert isinstance(refusal.value, UserError) and refusal.value.allowed and refusal.value.fix


def test_nothing_is_learnt_and_scored_of_nothing(fitted: TokenTagger) -> None:
    for call in (fitted.fit, fitted.score):
        with pytest.raises(InputError, match="X has no tokens"):
            call([[], []], [[], []])
