"""What a language model says of a token: its state at the token's last symbol, whatever else is read beside it."""

from typing import Any

import numpy as np
import pytest

from unroll.data.tokenizer import ByteTokenizer, CharTokenizer
from unroll.engine.network import Network
from unroll.engine.weights import shapes
from unroll.nn.config import ModelConfig
from unroll.predict import contexts
from unroll.predict.contexts import ContextReader
from unroll.progress import result

SENTENCES = [("the", "cat"), ("né", "a b", "xyz"), (), ("cat",)]
TOKENIZERS = {"char": CharTokenizer.learn("abcehtnéxy \n"), "byte": ByteTokenizer()}


@pytest.fixture(params=TOKENIZERS)
def reader(request: pytest.FixtureRequest) -> ContextReader:
    tokenizer: Any = TOKENIZERS[request.param]
    config = ModelConfig(tokenizer.vocab_size, embedding_size=4, hidden_size=6, num_layers=2)
    random = np.random.default_rng(0)
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes(config).items()}
    return ContextReader(Network(config, weights), tokenizer, 6)


def test_a_context_is_the_state_at_the_last_symbol(reader: ContextReader) -> None:
    found = result(reader.read(SENTENCES))
    assert found.dtype == np.float16 and found.shape == (6, 6)
    expected = []
    for sentence in SENTENCES:
        for k in range(len(sentence)):
            ids = reader.tokenizer.encode(" ".join(sentence[: k + 1]))
            outputs, _ = reader.network.hidden(np.concatenate([[reader.tokenizer.start_id], ids])[None])
            expected.append(outputs[0, -1])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_sentence_has_its_own_contexts(reader: ContextReader, monkeypatch: pytest.MonkeyPatch) -> None:
    together = result(reader.read(SENTENCES))
    alone = np.concatenate([result(reader.read([sentence])) for sentence in SENTENCES])
    assert np.array_equal(together, alone)
    monkeypatch.setattr(contexts, "UNITS", 8)
    assert np.array_equal(result(reader.read(SENTENCES)), together)


def test_nothing_has_no_contexts(reader: ContextReader) -> None:
    assert result(reader.read([])).shape == (0, 6)
