"""Models of sequences over HTTP: what the library says of the same numbers, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.live import Live, error, serving
from unroll.artifact.forecaster import open_forecaster
from unroll.data.ragged import Vectors
from unroll.data.series import Series
from unroll.progress import result
from unroll.tasks.forecast.predict import forecasts_of
from unroll.tasks.sequences.predict import predict_sequences

RISES: list[list[Any]] = [[[1.0 * t, None if t == 2 else 0.1] for t in range(9)], [[0, 1.5 * t] for t in range(8)]]
WAVE = [float(np.sin(t)) if t != 5 else None for t in range(40)]


@pytest.fixture(scope="module")
def live(sequences: dict[str, Path], animals: Path) -> Iterator[Live]:
    """A server of a model of each task, and a classifier of texts."""
    with serving(*sequences.values(), animals, max_inputs=8, max_prompt_tokens=200, max_probabilities=20) as live:
        yield live


def series(sequences: list[list[Any]], channels: tuple[str, ...]) -> Series:
    """Return sequences as the library reads them."""
    steps = np.array([step for sequence in sequences for step in sequence], np.float64).reshape(-1, len(channels))
    rows = Vectors(steps, np.cumsum([len(sequence) for sequence in sequences]))
    ids = tuple(map(str, range(len(rows))))
    return Series(Path("memory"), rows, channels, ids, np.arange(len(rows)))


def same(left: Any, right: Any) -> bool:
    """Whether two values of JSON are equal, their numbers nearly so."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == (pytest.approx(right, abs=1e-5) if isinstance(right, float) else right))


@pytest.mark.parametrize(("task", "name"), [("classify", "sides"), ("regress", "slopes")])
def test_labels_and_numbers_are_the_librarys(live: Live, sequences: dict[str, Path], task: str, name: str) -> None:
    answer = live.post("/predict", {"model": name, "sequences": RISES, "more": 1})
    assert answer.status_code == 200, answer.text
    expected = predict_sequences(sequences[task], series(RISES, ("a", "b")))
    for k, row in enumerate(expected):
        del row["id"]
        assert same(answer.json()["data"][k], {"index": k, **row})
    assert answer.json()["usage"]["prompt_tokens"] == 17 and answer.headers["x-ignored-params"] == "more"
    if task == "classify":
        assert [row["labels"][0]["label"] for row in answer.json()["data"]] == ["left", "right"]


def test_a_forecast_has_quantiles(live: Live, sequences: dict[str, Path]) -> None:
    whole: list[list[Any]] = [WAVE, [[value] for value in WAVE[:20]]]
    answer = live.post("/models/waves/predict", {"sequences": whole})
    assert answer.status_code == 200, answer.text
    model = open_forecaster(sequences["forecast"])
    expected = result(forecasts_of(model, series([[[value] for value in WAVE], whole[1]], ("sold",))))
    for k, row in enumerate(expected):
        del row["id"]
        assert same(answer.json()["data"][k], {"index": k, **row})
    steps = answer.json()["data"][0]["steps"]
    assert [step["time"] for step in steps] == [41, 42, 43, 44]
    assert all(list(step["quantiles"].values()) == sorted(step["quantiles"].values()) for step in steps)


def test_the_list_says_what_they_read(live: Live) -> None:
    models = {model["id"]: model for model in live.get("/v1/models").json()["data"]}
    assert models["sides"] | {"created": 0} == {
        "id": "sides", "object": "model", "created": 0, "owned_by": "unroll", "kind": "sequence", "task": "classify",
        "channels": ["a", "b"], "labels": ["left", "none", "right"],
    }  # fmt: skip
    assert (models["waves"]["task"], models["waves"]["channels"]) == ("forecast", ["sold"])
    assert "labels" not in models["slopes"]


@pytest.mark.parametrize(
    ("name", "sent", "message"),
    [
        ("sides", None, "sequences is missing"),
        ("sides", [], "an array of 0"),
        ("sides", [[]], "[0]: an array of 0"),
        ("sides", [[[1, "x"]]], "invalid sequences[0][0]"),
        ("sides", [[[1, True]]], "invalid sequences[0][0]"),
        ("sides", [[[1, 1e200]]], "invalid sequences[0][0]"),
        ("sides", [[[1, 2]], [[1, 2], [1]]], "sequences[1][1] has 1 numbers, and the model reads 2: a, b"),
        ("sides", [[1, 2]], "sequences[0][0] has 1 numbers"),
        ("waves", [[1, [2, 3]]], "sequences[0][1] has 2 numbers, and the model reads 1: sold"),
        ("sides", [[[1, 2]]] * 9, "9 sequences, above the limit of 8"),
        ("sides", [[[1, 2]] * 201], "201 steps, above the limit of 200"),
        ("sides", [[[1, 2]]] * 7, "asks for 21 probabilities, above the limit of 20"),
        ("waves", [[1, 2, 3]], "has 3 steps from its first value on"),
        ("waves", [[None] * 50], "has 0 steps from its first value on"),
    ],
)
def test_what_is_refused(live: Live, name: str, sent: Any, message: str) -> None:
    answer = live.post("/predict", {"model": name, "sequences": sent})
    fault = error(answer)
    assert answer.status_code == 400 and message in fault["message"] and fault["param"] == "sequences"
    assert fault["allowed"] and fault["fix"]


@pytest.mark.parametrize("sent", [[[[1, "x"]]], [[[1, 2e100]]], [[]], 1])
def test_a_wrong_number_is_answered_with_what_is_allowed_in_plain_words(live: Live, sent: Any) -> None:
    fault = error(live.post("/predict", {"model": "sides", "sequences": sent}))
    assert fault["message"].startswith("invalid sequences")
    assert fault["allowed"] == (
        "sequences of at least one step, each step a number, null, or an array of them with one for each channel; "
        "numbers from -1e+100 to 1e+100"
    )


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_not_finite_is_no_json(live: Live, value: str) -> None:
    content = f'{{"model": "waves", "sequences": [[1, {value}]]}}'
    answer = live.plain.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and error(answer)["code"] == "invalid_json"


def test_each_kind_has_its_endpoint(live: Live) -> None:
    fault = error(live.post("/v1/classify", {"model": "sides", "input": "woof"}))
    assert fault["message"] == "'sides' is a model of sequences, not a classifier" and "/predict" in fault["fix"]
    fault = error(live.post("/predict", {"model": "animals", "sequences": [[1]]}))
    assert fault["message"] == "'animals' is a classifier, not a model of sequences"
    assert fault["allowed"] == "sides, slopes, waves"
