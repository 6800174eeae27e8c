"""Texts to ids and back."""

import pytest

from serve.live import LEVELS, TOKENIZERS, Live


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
