"""Texts to ids and back, and to vectors: the last hidden state of each."""

from pathlib import Path

import numpy as np
import openai
import pytest

from serve.live import CHARS, LEVELS, TOKENIZERS, Live, near, told
from unroll.artifact.open import open_model


@pytest.mark.parametrize("level", LEVELS)
def test_symbols_and_texts(live: Live, level: str) -> None:
    tokenizer = TOKENIZERS[level]
    text = "the cat sat\non the log."
    answer = live.post("/tokenize", {"model": level, "prompt": text, "return_token_strs": True}).json()
    assert answer["tokens"] == tokenizer.encode(text).tolist() and answer["count"] == len(answer["tokens"])
    assert len(answer["token_strs"]) == answer["count"]
    text_back = live.post("/detokenize", {"model": level, "tokens": answer["tokens"]}).json()
    assert text_back == {"prompt": tokenizer.decode(answer["tokens"])}
    with live.http() as client:
        info = client.get("/tokenizer_info", params={"model": level}).json()
    assert info["vocab_size"] == tokenizer.vocab_size and "eos_token" in info
    start = live.post("/tokenize", {"model": level, "prompt": info["bos_token"], "add_special_tokens": False}).json()
    assert start["tokens"] == [tokenizer.start_id] == [info["bos_token_id"]]
    begun = live.post("/tokenize", {"model": level, "prompt": "a", "add_special_tokens": True}).json()["tokens"]
    assert begun == [tokenizer.start_id, *tokenizer.encode("a").tolist()]
    assert live.post("/detokenize", {"model": level, "tokens": [10**6]}).status_code == 400
    foreign = live.post("/tokenize", {"model": level, "prompt": "the ж"}).json()
    assert answer["unknown"] == 0 and foreign["unknown"] == (tokenizer.unknown_id is not None)


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
