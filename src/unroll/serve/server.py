"""The server process: its socket, its connections, and how it stops."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Generator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from unroll.errors import UserError
from unroll.serve.context import Context
from unroll.serve.errors import ApiError, dump, shutting_down
from unroll.serve.guard import SECURITY_HEADERS
from unroll.serve.metrics import Metrics
from unroll.serve.settings import Settings

MAX_HEAD = 2**14
"""Maximum bytes of the head of a request."""
SEND_BUFFER = 2**14
"""Bytes that the kernel and we buffer per connection: with megabytes, a client that stops reading is noticed late."""
WATCH_SECONDS = 0.05
SWITCH_SECONDS = 0.001
"""How long the engine may keep the interpreter from the event loop."""


class Connection(H11Protocol):
    """A connection that must send the head of its request in time, and read its answer."""

    settings = Settings()
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection; refuse it where there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(SEND_BUFFER)
        kernel = transport.get_extra_info("socket")
        if kernel is not None:
            kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if len(self.connections) > self.settings.connections:
            self._refuse(
                ApiError(
                    503,
                    "too_many_connections",
                    "there are too many connections; retry shortly",
                    allowed=f"up to {self.settings.connections:,}",
                    fix="retry shortly",
                    headers={"Retry-After": "1"},
                )
            )
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Receive bytes; the head of a request must be complete in time."""
        super().data_received(data)
        if self._head_timer is None and self._between_requests():
            self._expect_head()

    def handle_events(self) -> None:
        """Handle requests."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop(self._head_timer)
            self._head_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP with a JSON error."""
        self._refuse(
            ApiError(
                400,
                "invalid_request",
                "malformed HTTP request",
                allowed=f"HTTP/1.1 with at most {MAX_HEAD:,} bytes of headers",
                fix="use an HTTP client",
            )
        )

    def pause_writing(self) -> None:
        """Wait for a client that has stopped reading, for a while."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.settings.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue: the client reads again."""
        super().resume_writing()
        self._stop(self._write_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop(self._head_timer)
        self._stop(self._write_timer)
        super().connection_lost(exc)

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.settings.read_seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self._between_requests() and not self.transport.is_closing():
            self._refuse(
                ApiError(
                    408,
                    "request_timeout",
                    "the request arrived too slowly",
                    allowed=f"up to {self.settings.read_seconds:g} seconds",
                    fix="send it faster",
                )
            )

    def _refuse(self, error: ApiError) -> None:
        """Answer without a request, and close."""
        body = dump(error.body())
        headers = [
            *SECURITY_HEADERS,
            *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(b"HTTP/1.1 %d \r\n" % error.status + lines + b"\r\n" + body)
        self.transport.close()

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


class Server(uvicorn.Server):
    """A server that lets streams end when it is stopped, for a while."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        """Serve by `config`."""
        super().__init__(config)
        self.context = context
        self.signal: int | None = None
        """The signal that stopped it, if any."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop at Ctrl-C, SIGTERM and a closed terminal; immediately the second time. Threads receive no signals."""
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signals.append(signal.SIGHUP)
        try:
            for number in signals:
                loop.add_signal_handler(number, self._on_signal, number)
        except (ValueError, RuntimeError, NotImplementedError):
            yield
            return
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        if self.should_exit:
            self.force_exit = True
        self.signal = number
        self.should_exit = True

    async def main_loop(self) -> None:
        """Run until stopped, and measure the delay of the event loop."""
        watch = asyncio.create_task(_watch_delay(self.context.metrics))
        try:
            await super().main_loop()
        finally:
            watch.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, let streams end for a while, and end the rest with an error."""
        batchers = self.context.batchers
        batchers.drain()
        cut = asyncio.get_running_loop().call_later(
            self.context.settings.drain_seconds, batchers.abort, shutting_down()
        )
        await super().shutdown(sockets)
        cut.cancel()


async def _watch_delay(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + WATCH_SECONDS
        await asyncio.sleep(WATCH_SECONDS)
        metrics.delay.observe(max(0.0, loop.time() - due))


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 takes a free one. Raises UserError."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(
            f"there is no address {host}", allowed="an address of this machine", fix="check --host"
        ) from None
    family, kind, protocol, _, address = addresses[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen at {host}:{port}: {error.strerror}",
            allowed="a port that is free, on an address of this machine",
            fix="choose another with --port, or --port 0 for any that is free",
        ) from None
    return listener


def make_server(app: Starlette, settings: Settings) -> Server:
    """Return a server of an application."""
    connection = type("ServedConnection", (Connection,), {"settings": settings})
    config = uvicorn.Config(
        app,
        http=connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_graceful_shutdown=int(settings.drain_seconds) + 2,
        backlog=2048,
    )
    return Server(config, app.state.context)


def serve(app: Starlette, settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> int | None:
    """Serve until a signal arrives, and return it; `ready` is called once requests are answered."""
    server = make_server(app, settings)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        asyncio.run(_serve(server, listener, ready))
    finally:
        sys.setswitchinterval(before)
    return server.signal


async def _serve(server: Server, listener: socket.socket, ready: Callable[[], None]) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        ready()
    await serving
