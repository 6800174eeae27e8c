"""Tiny models with random weights, and a server of them in a thread of the test."""

import asyncio
import inspect
import socket
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pytest
from openai import OpenAI

import tiny
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, save_description
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.engine.native import default_instructions
from unroll.serve.app import create_app
from unroll.serve.context import Context
from unroll.serve.models import Models
from unroll.serve.served import Served
from unroll.serve.server import Server, bind, make_server
from unroll.serve.settings import Settings

if TYPE_CHECKING:
    from unroll.serve.studio.studio import Folders

T = TypeVar("T")

TEXT = "the cat sat on the mat. the dog sat on the log. a cat and a dog, who was it?\n"
CHARS = CharTokenizer.learn(TEXT + "\x00\x0b\x0c\r\x85\u2028\u2029é€😀")
TOKENIZERS: dict[str, Tokenizer] = {
    "char": CHARS,
    "byte": ByteTokenizer(),
    "word": WordTokenizer.learn({word: 9 for word in TEXT.split()}),
    "bpe": BpeTokenizer.learn([TEXT * 20 + "é€😀 é€"], vocab_size=290),
}
LEVELS = tuple(TOKENIZERS)


def make_model(
    folder: Path, tokenizer: Tokenizer = CHARS, *, seed: int = 0, arch: str = "lstm", **options: Any
) -> Path:
    """Write a model directory of random weights."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    config = tiny.model_config(arch, tokenizer.vocab_size, **options)
    model = tiny.random_model(config, torch.float32)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=random))
    save_tensors(folder / WEIGHTS, dict(model.named_parameters()), {"step": 7, "tokens_seen": 70, "valid_nats": 1.0})
    tokenizer.save(folder / "tokenizer.json")
    save_description(folder, config, tokenizer)
    return folder


def latest(models: Models, name: str) -> Served:
    """Return a language model as it was last opened."""
    served = models.latest(name)
    assert isinstance(served, Served)
    return served


def taking_all(client: Any) -> Any:
    """Return a client that takes every field of the API; the oldest ones know some of them only as `extra_body`."""
    create = client.completions.create
    parameters = inspect.signature(create).parameters
    if "seed" in parameters and "stream_options" in parameters:
        return client

    def with_all(*, extra_body: dict[str, Any] | None = None, **fields: Any) -> Any:
        extra = {name: fields.pop(name) for name in set(fields) - set(parameters)}
        answer = create(extra_body=extra | (extra_body or {}), **fields)
        return _Entered(answer) if fields.get("stream") else answer

    client.completions.create = with_all
    return client


class _Entered:
    """A stream of a client so old that it cannot be entered."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __await__(self) -> Any:
        self.stream = yield from self.stream.__await__()
        return self

    def __iter__(self) -> Any:
        return iter(self.stream)

    def __aiter__(self) -> Any:
        return self.stream.__aiter__()

    def __enter__(self) -> "_Entered":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.response.close()

    async def __aenter__(self) -> "_Entered":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stream.response.aclose()


def told(error: Any) -> dict[str, Any]:
    """Return what an error of the client says; all but the oldest know its parts by name."""
    error_body: dict[str, Any] = error.response.json()["error"]
    if hasattr(error, "body"):
        assert (error.code, error.param, error.type) == (error_body["code"], error_body["param"], error_body["type"])
        assert error_body["message"] in error.message
    return error_body


def run_apart(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: beside a browser's tests this one has an event loop that runs already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, main).result()


@dataclass
class Live:
    """A server that runs."""

    url: str
    settings: Settings
    context: Context
    server: Server
    thread: threading.Thread
    clients: dict[str, OpenAI] = field(default_factory=dict)

    def openai(self, key: str = "any", **options: Any) -> OpenAI:
        """Return the official client, which is closed with the server."""
        key_of_client = f"{key} {options}"
        if key_of_client not in self.clients:
            settings = {"base_url": f"{self.url}/v1", "max_retries": 0, "timeout": 30, **options}
            self.clients[key_of_client] = taking_all(OpenAI(api_key=key, **settings))
        return self.clients[key_of_client]

    def http(self, **options: Any) -> httpx.Client:
        """Return a plain client."""
        return httpx.Client(base_url=self.url, **{"timeout": 30, **options})

    @cached_property
    def plain(self) -> httpx.Client:
        """One plain client, which is closed with the server."""
        return self.http()

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Get a path."""
        return self.plain.get(path, **options)

    def post(self, path: str, value: Any, **options: Any) -> httpx.Response:
        """Post JSON."""
        return self.plain.post(path, json=value, **options)


@contextmanager
def serving(*models: Path, studio: "bool | Folders" = False, **settings: Any) -> Iterator[Live]:
    """Serve model directories in a thread, with the studio where it is wanted."""
    listener = bind("127.0.0.1", 0)
    server_settings = Settings(port=listener.getsockname()[1], **settings)
    app = create_app(Models(models), server_settings, studio=studio)
    server = make_server(app, server_settings)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    while not server.started:
        threading.Event().wait(0.005)
        assert thread.is_alive()
    live = Live(f"http://127.0.0.1:{server_settings.port}", server_settings, app.state.context, server, thread)
    try:
        yield live
    finally:
        for client in live.clients.values():
            client.close()
        live.plain.close()
        server.should_exit = server.force_exit = True
        thread.join(20)
        assert not thread.is_alive()


def raw(live: Live, data: bytes, seconds: float = 5) -> bytes:
    """Send bytes as they are, and return what comes until the end."""
    with socket.create_connection(("127.0.0.1", live.settings.port), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return received


def resident() -> int:
    """Return the memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def near(value: Any) -> Any:
    """Return what equals a value: the kernels compute a row alike, whoever is beside it; numpy's products do not."""
    return value if value is None or default_instructions() is not None else pytest.approx(value, abs=1e-5)


def error(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()["error"]
    return body
