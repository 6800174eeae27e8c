"""Streams that are refused or ended, with the reason."""

from pathlib import Path

import openai
import pytest

from serve.batching.streaming import ENDLESS, Eventually, batcher_of, open_stream
from serve.live import serving


def test_a_full_queue_is_told_at_once(folder: Path, eventually: Eventually) -> None:
    with serving(folder, max_tokens=ENDLESS, slots=2, queue=3) as live:
        batcher = batcher_of(live)
        streams = [open_stream(live) for _ in range(5)]
        eventually(lambda: batcher.load == (2, 0, 3))
        with pytest.raises(openai.RateLimitError) as error:
            live.openai().completions.create(model="char", prompt="a")
        assert error.value.response.headers["retry-after"] == "1"
        streams.pop(0).close()
        eventually(lambda: batcher.load == (2, 0, 2))
        for connection in streams:
            connection.close()
        eventually(lambda: batcher.load == (0, 0, 0))


def test_a_text_may_not_take_for_ever(folder: Path) -> None:
    with (
        serving(folder, max_tokens=ENDLESS, generation_seconds=0.3) as live,
        pytest.raises(openai.InternalServerError) as error,
    ):
        live.openai().completions.create(model="char", prompt="a", max_tokens=ENDLESS)
    assert error.value.code == "generation_timeout"
