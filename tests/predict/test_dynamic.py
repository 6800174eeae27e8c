"""Adaptation and mixtures: nothing of the future is seen, weights come back bit for bit, options come from fitting."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import ARCHS, TOKENIZER, model_config, random_ids, random_model
from unroll.errors import UserError
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.predict.cache import CacheOptions, CachePredictor, fit_cache
from unroll.predict.dynamic import (
    DynamicOptions,
    DynamicPredictor,
    dynamic,
    fit_dynamic,
    gradient_sizes,
)
from unroll.predict.mixture import fit_weights, mixed_nats
from unroll.predict.predictor import Nats, Predictor, log_probabilities
from unroll.predict.protocols import Ids, stream
from unroll.predict.torch import TorchPredictor
from unroll.state import State, select_rows

START = TOKENIZER.start_id


def nats_of(predictor: Predictor, ids: Ids) -> Nats:
    return np.concatenate([nats for nats, _ in stream(predictor, ids, START)])


def weights_of(model: Model) -> list[bytes]:
    return [weight.detach().numpy().tobytes() for weight in model.parameters()]


def repetitive(count: int) -> Ids:
    """Return a text in which what came comes again."""
    return np.tile(random_ids(40, seed=3), count // 40 + 1)[:count]


# ---- dynamic evaluation

OPTIONS = DynamicOptions(learning_rate=0.01, decay=0.02, seq_len=4)


def sizes_of(model: Model) -> list[torch.Tensor]:
    return gradient_sizes(model, random_ids(900), START, 4)


def by_the_book(model: Model, ids: Ids, options: DynamicOptions) -> list[float]:
    """Return the nats of dynamic evaluation as Krause et al. 2018 state it, one weight at a time."""
    sizes = [size.clone() for size in sizes_of(model)]
    mean = sum(float(size.sum()) for size in sizes) / sum(size.numel() for size in sizes)
    trained = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    state, pieces, before = None, [], START
    for first in range(0, len(ids), options.seq_len):
        window = ids[first : first + options.seq_len]
        inputs = torch.tensor([[before, *window[:-1].tolist()]])
        model.zero_grad()
        logits, state = model(inputs, state)
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        nats = cross_entropy(logits, torch.tensor([window.tolist()]), "none")
        pieces += nats[0].tolist()
        nats.mean().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for (name, weight), size in zip(model.named_parameters(), sizes, strict=True):
                assert weight.grad is not None
                updated = weight - options.learning_rate * weight.grad / (size + 0.1 * mean)
                pull = torch.minimum(torch.ones_like(size), options.decay * size / mean)
                weight.copy_(updated + pull * (trained[name] - updated))
        before = int(window[-1])
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(trained[name])
    return pieces


@pytest.mark.parametrize("arch", ARCHS)
def test_dynamic_evaluation_is_the_papers(arch: str) -> None:
    model, ids = random_model(model_config(arch)), random_ids(60)
    with dynamic(model, sizes_of(model), OPTIONS) as predictor:
        nats = nats_of(predictor, ids)
    np.testing.assert_allclose(nats, by_the_book(model, ids, OPTIONS), rtol=1e-7)


@pytest.mark.parametrize("arch", ARCHS)
def test_weights_come_back_bit_for_bit(arch: str) -> None:
    model = random_model(model_config(arch), torch.float32)
    before, sizes = weights_of(model), sizes_of(model)
    assert weights_of(model) == before, "measuring gradients moves nothing"
    with pytest.raises(RuntimeError, match="on the way"), dynamic(model, sizes, OPTIONS) as predictor:
        nats_of(predictor, random_ids(50))
        assert weights_of(model) != before
        raise RuntimeError("on the way")
    assert weights_of(model) == before


def law_nothing_of_the_future(predictor_of: Any) -> None:
    """Changing what comes later leaves the nats of what came before it."""
    ids = random_ids(64)
    ids_changed = np.concatenate([ids[:33], random_ids(31, seed=9)])
    with predictor_of() as predictor:
        nats = nats_of(predictor, ids)
    with predictor_of() as predictor:
        altered_nats = nats_of(predictor, ids_changed)
    np.testing.assert_array_equal(nats[:33], altered_nats[:33])
    assert not np.allclose(nats[33:], altered_nats[33:])


def test_a_symbol_is_scored_before_it_is_learnt() -> None:
    model = random_model(model_config("lstm"))
    sizes = sizes_of(model)
    law_nothing_of_the_future(lambda: dynamic(model, sizes, OPTIONS))


def test_learning_before_scoring_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: the weights see the symbols first."""
    model = random_model(model_config("lstm"))
    sizes = sizes_of(model)
    honest = DynamicPredictor.nats

    def peeking(self: DynamicPredictor, inputs: Any, targets: Any, state: State | None = None) -> tuple[Nats, State]:
        honest(self, inputs, targets, state)
        return honest(self, inputs, targets, state)

    monkeypatch.setattr(DynamicPredictor, "nats", peeking)
    with pytest.raises(AssertionError):
        law_nothing_of_the_future(lambda: dynamic(model, sizes, OPTIONS))


def test_a_text_that_repeats_is_learnt_and_options_are_found() -> None:
    model, ids = random_model(model_config("lstm"), torch.float32, scale=0.2), repetitive(600)
    nats_by_options = dict(fit_dynamic(model, gradient_sizes(model, ids, START, 16), ids, START, 16))
    static = nats_of(TorchPredictor(model), ids).mean()
    best = min(nats_by_options, key=nats_by_options.__getitem__)
    assert nats_by_options[best] < static - 0.02
    assert len(nats_by_options) == 7, "every rate, and every decay at the best of them"
    with pytest.raises(ValueError, match="one row"), dynamic(model, sizes_of(model), OPTIONS) as predictor:
        predictor.nats(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.int64))


def test_options_out_of_range_are_refused() -> None:
    for values in ({"learning_rate": -1.0}, {"decay": 2.0}, {"seq_len": 3}, {"seq_len": 0}):
        with pytest.raises(UserError):
            DynamicOptions(**values)
    for values in ({"size": 0}, {"weight": 1.0}, {"flatness": float("nan")}):
        with pytest.raises(UserError):
            CacheOptions(**values)


# ---- the cache

CACHE = CacheOptions(size=7, weight=0.3, flatness=0.5)


def cached_by_hand(model: Model, ids: Ids, options: CacheOptions) -> list[float]:
    """Return the nats of Grave et al. 2017, one symbol after another."""
    symbols = [START, *ids.tolist()]
    with torch.no_grad():
        y, _ = model.hidden(torch.tensor([symbols[:-1]]))
        p = torch.softmax(model.logits(y)[0], -1).numpy()
    h, expected = y[0].numpy(), []
    for t, target in enumerate(symbols[1:]):
        past = range(max(0, t - options.size), t)
        similarity = np.array([np.exp(options.flatness * h[t] @ h[i]) for i in past])
        hits = np.array([symbols[i + 1] == target for i in past])
        cache = (similarity * hits).sum() / similarity.sum() if len(past) else None
        probability = p[t, target] if cache is None else (1 - options.weight) * p[t, target] + options.weight * cache
        expected.append(float(-np.log(probability)))
    return expected


@pytest.mark.parametrize("arch", ARCHS)
def test_the_cache_is_the_papers_however_it_is_read(arch: str) -> None:
    model, ids = random_model(model_config(arch)), random_ids(60)
    expected = cached_by_hand(model, ids, CACHE)
    predictor = CachePredictor(TorchPredictor(model), CACHE)
    symbols = np.array([[START, *ids.tolist()]])
    for window in (1, 3, 10, 60):
        pieces, state = [], None
        for first in range(0, 60, window):
            inputs, targets = (symbols[:, first + k : first + k + window] for k in (0, 1))
            nats, state = predictor.nats(inputs[:, : targets.shape[1]], targets, state)
            pieces += nats[0].tolist()
        np.testing.assert_allclose(pieces, expected, rtol=1e-9)


def test_the_cache_gives_a_distribution_and_rows_do_not_mix() -> None:
    predictor = CachePredictor(TorchPredictor(random_model(model_config("gru"))), CACHE)
    rows = np.stack([random_ids(20, seed=k).astype(np.int64) for k in range(3)])
    logits, state = predictor.logits(rows)
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1.0, rtol=1e-12)
    symbols = np.arange(TOKENIZER.vocab_size)[:, None]
    for row in range(3):
        # A row alone, and every next symbol in turn.
        single, single_state = predictor.logits(rows[row : row + 1])
        np.testing.assert_allclose(single[0], logits[row], rtol=1e-9)
        inputs = np.repeat(rows[row : row + 1, -1:], len(symbols), 0)
        before = select_rows(predictor.logits(rows[row : row + 1, :-1])[1], [0] * len(symbols))
        np.testing.assert_allclose(predictor.nats(inputs, symbols, before)[0][:, 0], -logits[row], rtol=1e-9)
        next_logits, _ = predictor.logits(rows[row : row + 1, :1], select_rows(state, [row]))
        np.testing.assert_allclose(next_logits, predictor.logits(rows[row : row + 1, :1], single_state)[0], rtol=1e-9)
    first, _ = predictor.logits(rows[:, :1])
    uncached, _ = predictor.predictor.logits(rows[:, :1])
    np.testing.assert_allclose(first, log_probabilities(uncached), rtol=1e-12)


def test_fitting_finds_what_a_repeating_text_gains() -> None:
    model, ids = random_model(model_config("lstm"), scale=0.5), repetitive(400)
    nats_by_options = dict(fit_cache(TorchPredictor(model), ids, START))
    best = min(nats_by_options, key=nats_by_options.__getitem__)
    assert nats_by_options[best] < nats_of(TorchPredictor(model), ids).mean() - 0.2
    mean = nats_of(CachePredictor(TorchPredictor(model), best), ids).mean()
    assert abs(mean - nats_by_options[best]) < 1e-9, "what was promised is what the predictor gives"


# ---- mixtures


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_weights_are_those_of_least_nats(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    nats = rng.exponential(2.0, (count, 400))
    weights = fit_weights(nats)
    assert abs(weights.sum() - 1) < 1e-9 and (weights >= 0).all()
    best = mixed_nats(nats, weights).mean()
    for _ in range(20):
        assert best <= mixed_nats(nats, rng.dirichlet(np.ones(count))).mean() + 1e-5
    assert best <= nats.mean(1).min() + 1e-5


def test_a_model_that_rules_a_symbol_out_is_no_harm_to_a_mixture() -> None:
    nats = np.array([[np.inf, 1.0, 2.0], [3.0, 4.0, 0.5]])
    np.testing.assert_allclose(mixed_nats(nats, np.array([0.0, 1.0])), nats[1])
    weights = fit_weights(nats)
    assert np.isfinite(mixed_nats(nats, weights)).all()
