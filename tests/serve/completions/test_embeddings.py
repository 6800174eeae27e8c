"""Embeddings: the last hidden state of each text."""

from pathlib import Path

import numpy as np
import openai
import pytest

from serve.live import CHARS, Live, near, told
from unroll.artifact.open import open_model


def test_embeddings_are_the_last_hidden_state(live: Live, folders: dict[str, Path]) -> None:
    client = live.openai()
    opened = open_model(folders["char"])
    texts = ["the cat", "a dog sat on", ""]
    floats = client.embeddings.create(model="char", input=texts, encoding_format="float")
    base64 = client.embeddings.create(model="char", input=texts)  # the client asks for base64 by itself
    for index, text in enumerate(texts):
        ids = np.array([[CHARS.start_id, *CHARS.encode(text)]])
        hidden = opened.predictor.hidden(ids)[0][0, -1]  # type: ignore[attr-defined]
        assert floats.data[index].embedding == pytest.approx(hidden.tolist(), abs=1e-6)
        assert base64.data[index].embedding == pytest.approx(hidden.tolist(), abs=1e-6)
    assert floats.usage.prompt_tokens == 19
    by_number = client.embeddings.create(model="char", input=CHARS.encode("the cat").tolist(), encoding_format="float")
    assert by_number.data[0].embedding == near(floats.data[0].embedding)
    with pytest.raises(openai.BadRequestError) as error:
        client.embeddings.create(model="char", input="a", extra_body={"dimensions": 3})
    assert told(error.value)["code"] == "unsupported_parameter"


def test_so_many_vectors_at_a_time(live: Live) -> None:
    """Empty texts have no symbols that could be counted; each has a vector all the same."""
    assert len(live.post("/v1/embeddings", {"model": "char", "input": [""] * 2048}).json()["data"]) == 2048
    answer = live.post("/v1/embeddings", {"model": "char", "input": [""] * 2049})
    assert answer.status_code == 400 and "2,049 texts, above the limit of 2,048" in answer.json()["error"]["message"]
