"""Streams of a test's own, and the batcher behind them."""

import json
import socket
from collections.abc import Callable
from typing import Any

from serve.live import Live, latest
from unroll.serve.batching.batcher import Batcher

Eventually = Callable[..., None]

ENDLESS = 10**7


def batcher_of(live: Live) -> Batcher:
    return live.context.batchers.of(latest(live.context.models, "char"))


def open_stream(live: Live, **fields: Any) -> socket.socket:
    """Ask for a stream on a connection of its own, with a small buffer, and read nothing of it."""
    body = json.dumps({"model": "char", "stream": True, "max_tokens": ENDLESS, **fields}).encode()
    connection = socket.socket()
    # Not smaller: with a window below the size of a segment the kernel sends the rest after timers of half a minute.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**15)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", live.settings.port))
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{live.settings.port}\r\nContent-Type: application/json\r\n"
    )
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection
