"""Attribution: it is the derivative, it is complete, it is exact where the network is linear, and nothing acts back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from tiny import (
    ARCHS,
    TOKENIZER,
    model_config,
    random_ids,
    random_model,
)
from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.attribution import measure
from unroll.insight.attribution.measure import (
    Prediction,
    attribute,
    attributing,
    gradient_times_input,
    integrated_gradients,
    leave_one_out,
)
from unroll.insight.attribution.scores import LONGEST, METHODS, Attribution, Floats, Ids, rank_correlation
from unroll.nn.model import Model
from unroll.predict.torch import TorchPredictor
from unroll.progress import result
from unroll.state import State

T = TypeVar("T")
TARGET, AGAINST = 3, 5
WINDOW = 4

MODELS: dict[str, dict[str, Any]] = {
    **{arch: {} for arch in ARCHS},
    "lstm-sum": {"skip": "sum", "layers_before": 1, "layers_after": 1, "tie_weights": True},
    "window-before": {"layers_before": 1},
}
"""Those of lm.tiny, and such as have layers on the way from the embedding."""


def network(name: str, scale: float = 0.4) -> Model:
    return random_model(model_config(name.split("-")[0], **MODELS[name]), scale=scale).requires_grad_(False)


def asked(model: Model, count: int, against: int | None = AGAINST) -> tuple[Prediction, Tensor, Ids]:
    """Return a prediction, the embeddings (T, E) before it, and their ids."""
    ids = random_ids(count).astype(np.int64)
    _, state = model(torch.tensor([[TOKENIZER.start_id]]))
    return Prediction(model, state, TARGET, against), model.embedding(torch.from_numpy(ids)), ids


def in_words(ids: Ids) -> str:
    return TOKENIZER.decode(ids)


def opened(model: Model) -> Opened:
    return Opened(Path("model"), TorchPredictor(model), TOKENIZER, {})


def direct(model: Model, ids: Ids, at: int, target: int, against: int | None, scale: Tensor | None = None) -> Tensor:
    """Return F after `at` symbols, all read at once from the start, with embeddings scaled by (T,)."""
    embedded = model.embedding.weight[torch.from_numpy(ids)]
    embedded = embedded if scale is None else embedded * scale[:, None]
    x = torch.cat([model.embedding.weight[TOKENIZER.start_id][None], embedded])[:, None]
    for layer in model.before:
        x = torch.nn.functional.gelu(layer(x))
    y = model.recurrent(x)[0]
    log_p = torch.log_softmax(model.logits(y)[at, 0], dim=-1)
    return log_p[target] - (log_p[against] if against is not None else 0)


def law_derivative(model: Model, against: int | None) -> None:
    """Gradient × input is what F gains when a symbol's embedding grows, by central differences, to 1e-6."""
    prediction, x, ids = asked(model, 24, against)
    scores = gradient_times_input(prediction, x)
    step = 1e-5
    for t in range(len(ids)):
        change = torch.zeros(len(ids), dtype=torch.float64)
        change[t] = step
        above, below = (direct(model, ids, len(ids), TARGET, against, 1 + sign * change) for sign in (1, -1))
        slope = float(above - below) / (2 * step)
        assert scores[t] == pytest.approx(slope, rel=1e-6, abs=1e-9), t


@pytest.mark.parametrize("against", [None, AGAINST])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_times_input_is_the_derivative(name: str, against: int | None) -> None:
    law_derivative(network(name), against)


def law_complete(model: Model) -> None:
    """Integrated gradients sum to F(text) - F(baseline), to 1e-6."""
    prediction, x, ids = asked(model, 24)
    scores = result(integrated_gradients(prediction, x, 128))
    zeros = torch.zeros(len(ids), dtype=torch.float64)
    change = direct(model, ids, len(ids), TARGET, AGAINST) - direct(model, ids, len(ids), TARGET, AGAINST, zeros)
    assert scores.sum() == pytest.approx(float(change), abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_integrated_gradients_are_complete(name: str) -> None:
    law_complete(network(name))


@pytest.mark.parametrize("name", ["lstm", "window"])
def test_integrated_gradients_are_the_integral(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "HELD", 1000)  # a few rows at a time
    prediction, x, _ = asked(network(name), 5)
    scores, points = result(integrated_gradients(prediction, x, 64)), 200
    slow = np.mean([gradient_of_path(prediction, x, (k + 0.5) / points) for k in range(points)], axis=0)
    np.testing.assert_allclose(scores, slow, rtol=0, atol=1e-5)


def gradient_of_path(prediction: Prediction, x: Tensor, alpha: float) -> Floats:
    """Return x · ∂F/∂x at αx, by the chain rule from gradient × input there."""
    return gradient_times_input(prediction, alpha * x) / alpha


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few texts be read side by side."""
    monkeypatch.setattr(measure, "ROWS", 9)


def law_left_out(model: Model) -> None:
    """Leave-one-out is F less F with that embedding zero, each run by itself, at the seams between rows too."""
    prediction, x, ids = asked(model, 23)
    scores = result(leave_one_out(prediction, x))
    total = direct(model, ids, len(ids), TARGET, AGAINST)
    for t in range(len(ids)):
        scale = torch.ones(len(ids), dtype=torch.float64)
        scale[t] = 0
        assert scores[t] == pytest.approx(float(total - direct(model, ids, len(ids), TARGET, AGAINST, scale)), abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_leave_one_out_is_what_a_slow_loop_finds(name: str, few_rows: None) -> None:
    law_left_out(network(name))


def test_where_all_is_linear_every_method_says_weight_times_input() -> None:
    """A window whose tanh is never left its straight part: F = Σ head · W_k x, so W_k x is each symbol's score."""
    model = random_model(model_config("window", num_layers=1)).requires_grad_(False)
    layer = model.recurrent.layers[0]
    assert isinstance(layer, torch.nn.Linear)
    layer.weight.mul_(1e-6)
    layer.bias.zero_()
    prediction, x, ids = asked(model, WINDOW + 3)
    blocks = layer.weight.view(len(layer.weight), WINDOW, -1)  # (H, n, E)
    head = model.head.weight[TARGET] - model.head.weight[AGAINST]
    exact = np.zeros(len(ids))
    exact[-WINDOW:] = torch.einsum("h,hne,ne->n", head, blocks, x[-WINDOW:]).numpy()
    for scores in (
        gradient_times_input(prediction, x),
        result(integrated_gradients(prediction, x, 2)),
        result(leave_one_out(prediction, x)),
    ):
        # What is left out is the difference of two logits near 1: its rounding depends on the processor's sums.
        np.testing.assert_allclose(scores, exact, rtol=1e-6, atol=1e-14)


def every_score(model: Model, text: str, **options: Any) -> list[Attribution]:
    return [result(attributing(opened(model), text, method=method, **options)) for method in METHODS]


@pytest.mark.parametrize("arch", ARCHS)
def test_nothing_acts_back_and_the_gradient_is_that_of_the_whole_text(arch: str) -> None:
    ids, at = random_ids(30).astype(np.int64), 21
    model = network(arch)
    reversed_end = np.concatenate([ids[:at], ids[at:][::-1]])
    for score, altered in zip(
        every_score(model, in_words(ids), at=at, target="d"),
        every_score(model, in_words(reversed_end), at=at, target="d"),
        strict=True,
    ):
        np.testing.assert_array_equal(score.scores, altered.scores)
        assert score.value == altered.value and not score.scores[at:].any() and len(score.scores) == len(ids)
        if arch == "window":
            np.testing.assert_allclose(score.scores[: at - WINDOW], 0, atol=1e-12 * (score.method == "leave-out"))
            assert (np.abs(score.scores[at - WINDOW : at]) > 1e-6).all()
        else:
            assert score.scores[:at].all()
    scale = torch.ones(len(ids), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(direct(model, ids, at, TOKENIZER.encode("d")[0], None, scale), scale)
    (gradient,) = (
        score for score in every_score(model, in_words(ids), at=at, target="d") if score.method == "gradient"
    )
    np.testing.assert_allclose(gradient.scores, slope.numpy(), rtol=1e-9, atol=1e-12)


def test_what_is_predicted() -> None:
    model = network("lstm")
    likeliest, chosen_target = every_score(model, "abcdef")[0], every_score(model, "abcde", target="f")[0]
    assert (likeliest.target, likeliest.at, chosen_target.target, chosen_target.at) == ("f", 5, "f", 5)
    np.testing.assert_array_equal(likeliest.scores, [*chosen_target.scores, 0])
    ids = TOKENIZER.encode("abcde")
    assert likeliest.value == pytest.approx(float(direct(model, ids, 5, TOKENIZER.encode("f")[0], None)))
    zeros = torch.zeros(5, dtype=torch.float64)
    assert likeliest.baseline == pytest.approx(float(direct(model, ids, 5, TOKENIZER.encode("f")[0], None, zeros)))
    assert every_score(model, "abcdef", at=2)[0].target == "c"
    assert every_score(model, "abc", target="\\n")[0].target == "\n", "as tables show it"
    forward, backward = (
        every_score(model, "abcde", target="f", against="g"),
        every_score(model, "abcde", target="g", against="f"),
    )
    np.testing.assert_allclose(forward[1].scores, -backward[1].scores, atol=1e-12)


def test_figures_say_how_far_to_trust_them() -> None:
    gradient, integrated, left_out = every_score(network("lstm"), "abcdefghij", target="a")
    assert gradient.residual is None and left_out.residual is None and left_out.agreement is None
    assert integrated.residual is not None and abs(integrated.residual) < 1e-9 and not integrated.notes
    assert integrated.agreement == rank_correlation(integrated.scores, left_out.scores)
    figures = json.loads(json.dumps(integrated.figures(), allow_nan=False))
    assert figures["residual"] == integrated.residual and figures["steps"] == 64
    assert [each["leave_out"] for each in figures["symbols"]] == left_out.scores.tolist()
    rough = every_score(network("rnn", scale=0.8), in_words(random_ids(30).astype(np.int64)), target="a", steps=2)[1]
    assert any("take more steps" in note for note in rough.notes), rough.residual


def test_the_opened_model_stays_as_it_was() -> None:
    model = Model(model_config("lstm"))
    every_score(model, "abc")
    assert model.embedding.weight.dtype == torch.float32 and model.embedding.weight.requires_grad


def test_unknown_symbols_are_noted() -> None:
    (note,) = every_score(network("lstm"), "abcXdY", at=5)[1].notes
    assert "'X', 'Y'" in note and "<unk>" in note


def slow_ranks(values: Floats) -> Floats:
    return np.array([sum(other < one for other in values) + (sum(values == one) + 1) / 2 for one in values])


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation(ties: bool) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        first, second = random.normal(size=(2, 15)).round(0 if ties else 9)
        slow = np.corrcoef(slow_ranks(first), slow_ranks(second))[0, 1]
        assert rank_correlation(first, second) == pytest.approx(slow)
    assert rank_correlation(np.arange(5.0), np.arange(5.0) ** 3) == pytest.approx(1)
    assert rank_correlation(np.arange(5.0), -np.exp(np.arange(5.0))) == pytest.approx(-1)
    assert rank_correlation(np.arange(5.0), np.ones(5)) is None and rank_correlation(np.ones(1), np.ones(1)) is None


# ---- planted faults


def stale(self: Prediction, x: Tensor, state: State) -> tuple[Tensor, State]:
    return self.network.recurrent(x, state)[0], state


def a_symbol_late(prediction: Prediction, x: Tensor) -> Tensor:
    return TRUE_GRADIENTS(prediction, x).roll(1, dims=0)


TRUE_GRADIENTS = measure.gradients


@pytest.mark.parametrize(
    ("law", "name", "fault"),
    [
        (law_left_out, "Prediction.read", stale),
        (lambda model: law_derivative(model, AGAINST), "gradients", a_symbol_late),
        (law_complete, "gradients", a_symbol_late),
    ],
)
def test_faults_are_caught(
    law: Callable[[Model], None],
    name: str,
    fault: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    few_rows: None,
) -> None:
    law(network("lstm"))
    monkeypatch.setattr(f"unroll.insight.attribution.measure.{name}", fault)
    with pytest.raises(AssertionError):
        law(network("lstm"))


def test_a_models_directory(folder: Path) -> None:
    attribution = attribute(folder / "model", "Alice is driving a car", method="gradient")
    assert attribution.target == "r" and attribution.at == 21 and attribution.symbols[:5] == tuple("Alice")
    assert -1 <= (attribution.agreement or 0) <= 1 and attribution.steps is None


@pytest.mark.parametrize(
    ("asked", "expected", "fix"),
    [
        ({"text": ""}, "no symbol comes before", "longer text"),
        ({"text": "a"}, "no symbol comes before", "longer text"),
        ({"target": "she"}, "'she' (target) is not a symbol", "its first symbol, 's'"),
        ({"target": "%"}, "'%' (target) is not a symbol", "name a symbol"),
        ({"against": "%"}, "'%' (against) is not a symbol", "name a symbol"),
        ({"target": "a", "against": "a"}, "against itself", "another"),
        ({"at": 7}, "a prediction after 7 symbols", "longer text"),
        ({"at": 0, "target": "a"}, "a prediction after 0 symbols", "longer text"),
        ({"text": "a" * (LONGEST + 1)}, "1,001 symbols", "the part that matters"),
        ({"method": "guess"}, "the method is 'guess'", "choose"),
        ({"steps": 0}, "0 steps", "64"),
        ({"model": "ngram"}, "n-gram", "unroll train"),
    ],
)
def test_what_cannot_be_attributed_is_refused(asked: dict[str, Any], expected: str, fix: str, folder: Path) -> None:
    embedded = {"model": "model", "text": "the car"} | asked
    with pytest.raises(UserError) as refusal:
        attribute(folder / embedded.pop("model"), embedded.pop("text"), **embedded)
    assert expected in refusal.value.what and fix in refusal.value.fix and refusal.value.allowed


def test_progress_is_reported_before_the_result() -> None:
    reports = list(attributing(opened(network("lstm")), "abcdef", target="a"))
    assert [progress.phase for progress in reports] == ["leaving out", "integrating"]
