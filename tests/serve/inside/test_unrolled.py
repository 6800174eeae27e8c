"""Networks unrolled: gradients flow back as one by one, and losses add up."""

import numpy as np
import pytest
import torch

from serve.inside.looking import ARCHS, SHORT, Json, Studio
from serve.quoted import TOKENIZER
from unroll.artifact.open import Opened
from unroll.insight.gradients.measure import lag_norms
from unroll.insight.trace import in_float64
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.predict.protocols import stream_nats
from unroll.serve.inside import unrolled


@pytest.mark.parametrize("arch", ARCHS)
def test_gradients_flow_back_as_one_by_one(arch: str) -> None:
    torch.manual_seed(0)
    options: Json = {"window": 4} if arch == "window" else {"num_layers": 2, "skip": "sum"}
    config = ModelConfig(vocab_size=11, embedding_size=5, hidden_size=7, arch=arch, **options)  # type: ignore[arg-type]
    exact = in_float64(Model(config).eval())
    ids = torch.randint(11, (14,))
    sizes = unrolled.flow(exact, ids)
    for t in range(1, 13):
        norms = lag_norms(exact, ids[None, : t + 2], t).rows
        backwards = slice(t, None, -1)
        assert np.allclose(norms["x"][0], sizes["x"][t, backwards], atol=1e-12)
        assert not np.any(sizes["x"][t, t + 1 :]), "nothing flows forwards"
        for kind in ("h", "c"):
            rows = [rows[0] for name, rows in norms.items() if name.endswith(f"/{kind}")]
            assert bool(rows) == (kind in sizes)
            if rows:
                assert np.allclose(np.hypot.reduce(rows), sizes[kind][t, backwards], atol=1e-12)
                # The fault: the state before instead of the one handed on.
                assert not np.allclose(np.hypot.reduce(rows)[1:], sizes[kind][t, backwards][:-1], atol=1e-6)


def test_losses_of_the_unrolled_sum_to_the_scores_nats(studio: Studio, opened: dict[str, Opened]) -> None:
    answer = studio.post("unrolled", models=["latch", "rnn", "gru", "window"], text=SHORT)
    ids = TOKENIZER.encode(SHORT)
    for model in answer["models"]:
        total = stream_nats(opened[model["model"]].predictor, ids, TOKENIZER.start_id) * len(ids)
        assert model["total_nats"] == pytest.approx(total, abs=1e-4)
        assert sum(model["nats"]) == pytest.approx(model["total_nats"])
        assert "".join(model["symbols"]) == SHORT
        for guesses, symbol, nats in zip(model["guesses"], model["symbols"], model["nats"], strict=True):
            probabilities = {one["symbol"]: one["p"] for one in guesses}
            assert list(probabilities.values()) == sorted(probabilities.values(), reverse=True)
            if symbol in probabilities:
                assert probabilities[symbol] == pytest.approx(float(np.exp(-nats)))
    window = answer["models"][3]
    assert window["window"] == 4 and window["flow"]["x"][9][:6] == [0.0] * 6


def test_the_unrolled_text_is_short(studio: Studio) -> None:
    answer = studio.post("unrolled", models=["latch"], text="a" * 65)
    assert "64" in answer["models"][0]["error"]["allowed"]
