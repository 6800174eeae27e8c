"""Prompts: each is read once, whatever its length."""

from serve.live import Live, serving


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
    with serving(live.context.models.path("char"), prefix_bytes=0) as fresh:
        repeat = fresh.openai().completions.create(model="char", prompt=[prompt, prompt + "a"], max_tokens=20, seed=1)
        assert fresh.context.metrics.prefix_hits._value.get() == 0.0
        again_longer = fresh.openai().completions.create(model="char", prompt=prompt + "a", max_tokens=20, seed=1)
    assert texts == {repeat.choices[0].text} and longer == again_longer.choices[0].text
