"""All batchers of a server: they end together."""

from pathlib import Path
from typing import Any

import openai
import pytest

from serve.batching.streaming import ENDLESS
from serve.live import serving


def test_a_stop_lets_streams_end(folder: Path) -> None:
    with serving(folder, drain_seconds=5.0) as live:
        with live.openai().completions.create(model="char", prompt="a", max_tokens=4000, stream=True) as events:
            first = next(iter(events))
            live.server.should_exit = True
            text = first.choices[0].text + "".join(chunk.choices[0].text for chunk in events)
        assert len(text) == 4000
        live.thread.join(10)
        assert not live.thread.is_alive()


def test_a_stop_tells_streams_that_do_not_end(folder: Path) -> None:
    with (
        serving(folder, max_tokens=ENDLESS, drain_seconds=0.5) as live,
        live.openai().completions.create(model="char", prompt="a", max_tokens=ENDLESS, stream=True) as events,
    ):
        next(iter(events))
        live.server.should_exit = True
        with pytest.raises(openai.APIError, match="the server is stopping"):
            for _ in events:
                pass


def test_an_abrupt_death_is_no_silence(folder: Path) -> None:
    with (
        serving(folder, max_tokens=ENDLESS) as live,
        live.openai().completions.create(model="char", prompt="a", max_tokens=ENDLESS, stream=True) as events,
    ):
        next(iter(events))
        connections: Any = live.server.server_state.connections
        (transport,) = [each for each in connections if each.cycle is not None]
        transport.loop.call_soon_threadsafe(transport.transport.abort)
        with pytest.raises(Exception, match=r"peer|reset|closed|disconnected|Connection"):
            for _ in events:
                pass
