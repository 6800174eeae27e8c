"""Scores: independent of windows and of cuts, every symbol once, nanoGPT's crops as nanoGPT cuts them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tiny import ARCHS, TOKENIZER, Ids, model_config, random_ids, random_model
from unroll.data.batches import stream_windows
from unroll.nn.config import ModelConfig
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.predict import protocols
from unroll.predict.protocols import crops_nats, rows_nats, stream_nats
from unroll.predict.torch import TorchPredictor
from unroll.state import State, detach
from unroll.training.language import spread

START = TOKENIZER.start_id

Score = Callable[[Model, Ids, int], float]


def read(model: Model, before: int, ids: Ids, state: State | None = None) -> tuple[float, State]:
    """Return the nats of all ids in one pass, given the symbol before them and the state, and the state after."""
    symbols = torch.tensor([[before, *ids.tolist()]])
    with torch.no_grad():
        logits, after = model(symbols[:, :-1], state)
    return float(cross_entropy(logits, symbols[:, 1:], reduction="sum")), after


def law_windows(model: Model, ids: Ids, score_with: Callable[[int], float]) -> None:
    """The nats of a stream do not depend on the windows that it is read in."""
    mean_nats = read(model, START, ids)[0] / len(ids)
    for window in (1, 2, 7, 64, len(ids) - 1, len(ids), 10**6):
        assert abs(score_with(window) - mean_nats) < 1e-9


def law_cuts(model: Model, ids: Ids, score_of: Score) -> None:
    """score(a + b) = score(a) + score(b | the state after a)."""
    total = score_of(model, ids, START) * len(ids)
    for split in (1, 2, 50, len(ids) - 1):
        first, state = read(model, START, ids[:split])
        assert abs(score_of(model, ids[:split], START) * split - first) < 1e-8
        rest, _ = read(model, int(ids[split - 1]), ids[split:], state)
        assert abs(first + rest - total) < 1e-8


def score_stream(model: Model, ids: Ids, start_id: int) -> float:
    return stream_nats(TorchPredictor(model), ids, start_id)


MODELS = [model_config(arch, num_layers=layers) for arch in ARCHS for layers in (1, 2)]


def named(config: ModelConfig) -> str:
    return f"{config.arch}-{config.num_layers}"


@pytest.mark.parametrize("config", MODELS, ids=named)
def test_nats_do_not_depend_on_the_window(config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = random_model(config), random_ids(130)

    def score_with(window: int) -> float:
        monkeypatch.setattr(protocols, "STREAM_WINDOW", window)
        return stream_nats(TorchPredictor(model), ids, START)

    law_windows(model, ids, score_with)


@pytest.mark.parametrize("config", MODELS, ids=named)
def test_nats_do_not_depend_on_cuts(config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "STREAM_WINDOW", 33)
    law_cuts(random_model(config), random_ids(130), score_stream)


def test_the_laws_fail_when_the_state_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: every window from a fresh state."""
    model, ids = random_model(model_config("lstm")), random_ids(130)

    def forgetful(model: Model, ids: Ids, start_id: int) -> float:
        pairs = stream_windows(ids, start_id, protocols.STREAM_WINDOW)
        return sum(float(TorchPredictor(model).nats(*pair)[0].sum()) for pair in pairs) / len(ids)

    def score_with(window: int) -> float:
        monkeypatch.setattr(protocols, "STREAM_WINDOW", window)
        return forgetful(model, ids, START)

    with pytest.raises(AssertionError):
        law_windows(model, ids, score_with)
    monkeypatch.setattr(protocols, "STREAM_WINDOW", 33)
    with pytest.raises(AssertionError):
        law_cuts(model, ids, forgetful)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("num_rows", [1, 2, 3, 16, 129, 130, 200])
def test_rows_score_every_symbol_once(arch: str, num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row, and what is left over, is a stream of its own after the symbol before it."""
    model, ids = random_model(model_config(arch)), random_ids(130)
    length = len(ids) // num_rows
    starts = [row * length for row in range(num_rows)] if length else []
    ends = [start + length for start in starts] + [len(ids)]
    starts.append(num_rows * length)
    total = sum(
        read(model, int(ids[start - 1]) if start else START, ids[start:end])[0]
        for start, end in zip(starts, ends, strict=True)
        if end > start
    )
    for window in (4 * 5, 4 * 1000):
        monkeypatch.setattr(protocols, "STREAM_WINDOW", window)
        assert abs(rows_nats(TorchPredictor(model), ids, START, num_rows) - total / len(ids)) < 1e-9


def test_one_row_is_the_stream() -> None:
    model, ids = random_model(model_config("gru")), random_ids(3000)
    assert abs(rows_nats(TorchPredictor(model), ids, START, 1) - stream_nats(TorchPredictor(model), ids, START)) < 1e-9


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("count", "size"), [(1000, 8), (1001, 8), (257, 256), (1500, 256)])
def test_crops_are_nanogpts(arch: str, count: int, size: int) -> None:
    """x = data[i : i + size], y = data[i + 1 : i + 1 + size], each from a fresh state, all that fit."""
    model, ids = random_model(model_config(arch)), random_ids(count)
    losses = []
    for i in range(0, len(ids) - size, size):
        x, y = (torch.from_numpy(ids[begin : begin + size].astype(np.int64))[None] for begin in (i, i + 1))
        with torch.no_grad():
            logits, _ = model(x)
        losses.append(float(torch.nn.functional.cross_entropy(logits[0], y[0])))
    nats = crops_nats(TorchPredictor(model), ids, size)
    assert nats is not None
    assert abs(nats - float(np.mean(losses))) < 1e-9
    assert crops_nats(TorchPredictor(model), ids[:size], size) is None, (
        "the last symbol of a crop needs one more as its target"
    )


def test_scoring_drops_nothing_and_leaves_the_model_as_it_was() -> None:
    model = random_model(model_config("lstm", dropout=0.5, input_dropout=0.5, embedding_dropout=0.5, weight_drop=0.5))
    undropped, ids = random_model(model_config("lstm")), random_ids(600)
    for training in (True, False):
        model.train(training)
        assert stream_nats(TorchPredictor(model), ids, START) == stream_nats(TorchPredictor(undropped), ids, START)
        assert rows_nats(TorchPredictor(model), ids, START, 3) == rows_nats(TorchPredictor(undropped), ids, START, 3)
        assert crops_nats(TorchPredictor(model), ids) == crops_nats(TorchPredictor(undropped), ids)
        assert model.training is training


def test_a_uniform_model_gives_the_logarithm_of_its_vocabulary() -> None:
    model, ids = random_model(model_config("rnn"), scale=0.0), random_ids(300)
    for nats in (
        stream_nats(TorchPredictor(model), ids, START),
        rows_nats(TorchPredictor(model), ids, START, 4),
        crops_nats(TorchPredictor(model), ids),
    ):
        assert abs(nats - np.log(TOKENIZER.vocab_size)) < 1e-12


def test_loss_of_each_step_is_what_the_sum_adds_up() -> None:
    model, ids = random_model(model_config("lstm")), random_ids(40)
    symbols = torch.tensor([[START, *ids.tolist()], [START, *ids[::-1].tolist()]])
    with torch.no_grad():
        logits, _ = model(symbols[:, :-1], detach(model.fresh_state(2)))
    nats = cross_entropy(logits, symbols[:, 1:], reduction="none")
    assert nats.shape == (2, 40)
    assert abs(float(nats[0].sum()) - read(model, START, ids)[0]) < 1e-9
    assert abs(float(nats[1].sum()) - read(model, START, ids[::-1])[0]) < 1e-9


def test_quick_validation_reads_the_whole_part_in_pieces() -> None:
    ids = np.arange(1000, dtype=np.uint16)
    assert np.array_equal(spread(ids, 1000, 16), ids)
    pieces = spread(ids, 100, 4)
    assert pieces.tolist() == [*range(25), *range(250, 275), *range(500, 525), *range(750, 775)]
