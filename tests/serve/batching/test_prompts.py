"""Prompts: each is read once, whatever its length; the states after them are kept within bounds."""

import numpy as np

from serve.live import Live, serving
from unroll.serve.batching.prompts import Prefixes
from unroll.serve.batching.streams import Start


def test_prompts_of_any_length_are_read_once(live: Live) -> None:
    client = live.openai()
    metrics = live.context.metrics
    prompt = "the cat sat on the mat. " * 200
    texts = set()
    for expected in (0.0, 1.0, 2.0):
        texts.add(client.completions.create(model="char", prompt=prompt, max_tokens=20, seed=1).choices[0].text)
        assert metrics.prefix_hits._value.get() == expected
    longer = client.completions.create(model="char", prompt=prompt + "a", max_tokens=20, seed=1).choices[0].text
    assert metrics.prefix_hits._value.get() == 3.0  # up to the last boundary
    with serving(live.context.models.latest("char").opened.path, prefix_bytes=0) as fresh:
        repeat = fresh.openai().completions.create(model="char", prompt=[prompt, prompt + "a"], max_tokens=20, seed=1)
        assert fresh.context.metrics.prefix_hits._value.get() == 0.0
        again_longer = fresh.openai().completions.create(model="char", prompt=prompt + "a", max_tokens=20, seed=1)
    assert texts == {repeat.choices[0].text} and longer == again_longer.choices[0].text


def test_prefixes_are_bounded() -> None:
    prefixes = Prefixes(1000)
    start = Start(((np.zeros((1, 10)),),), np.zeros((1, 10)), ())
    for number in range(50):
        prefixes.put(str(number).encode(), start)
        assert prefixes.get(b"0") is start  # what is used stays
    assert prefixes._size <= 1000 and len(prefixes._kept) == 1000 // start.nbytes
    assert prefixes.get(b"49") is start and prefixes.get(b"30") is None
    prefixes.put(b"huge", Start(((np.zeros((1, 1000)),),), np.zeros((1, 10)), ()))
    assert prefixes.get(b"huge") is None and prefixes.get(b"49") is start
