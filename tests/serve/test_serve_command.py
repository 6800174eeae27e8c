"""The command itself, in a process of its own: ready, refusing, stopping, and without torch."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from serve.live import make_model
from unroll.cli.app import app
from unroll.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("commanded") / "char")


COMMAND = [sys.executable, "-m", "unroll", "serve"]


@contextmanager
def running(*arguments: str | Path, **environment: str) -> Iterator[tuple[dict[str, Any], "subprocess.Popen[str]"]]:
    """Run the command until it is ready; give what it printed."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    try:
        output = ""
        while not output.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            output += line
        yield json.loads(output), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def refusal(*arguments: str | Path) -> str:
    with pytest.raises((UserError, click.UsageError)) as error:
        app.main(["serve", *map(str, arguments)], standalone_mode=False)
    return str(error.value)


def test_it_says_where_it_is_and_answers(folder: Path) -> None:
    with running(folder) as (hello, process):
        assert hello["url"] == f"http://127.0.0.1:{hello['port']}" and hello["models"] == ["char"] and not hello["key"]
        answer = httpx.post(hello["url"] + "/v1/completions", json={"model": "char", "prompt": "the"}, timeout=30)
        assert len(answer.json()["choices"][0]["text"]) == 100
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None and process.stderr.read().strip() == "Stopped."


def test_a_term_signal_ends_it_in_order(folder: Path) -> None:
    with running(folder, "--max-tokens", "1000000") as (hello, process):
        request = {"model": "char", "prompt": "the", "max_tokens": 5000, "stream": True}
        with httpx.stream("POST", hello["url"] + "/v1/completions", json=request, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
            assert rest[-1] == "data: [DONE]" and '"finish_reason":"length"' in rest[-2]
        assert process.wait(20) == 0


def test_a_server_of_cpu_models_never_loads_torch(
    folder: Path, animals: Path, tagger: Path, translator: Path, sequences: dict[str, Path]
) -> None:
    """Whatever is asked of it: a planted torch that must not be found proves it."""
    paths = [str(path) for path in (folder, animals, tagger, translator, *sequences.values())]
    program = f"""
import sys, threading, json, urllib.request
class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise AssertionError("torch is loaded")
sys.meta_path.insert(0, Barred())
from pathlib import Path
from unroll.serve.app import create_app
from unroll.serve.models import Models
from unroll.serve.server import bind, make_server
from unroll.serve.settings import Settings
import asyncio
listener = bind("127.0.0.1", 0)
settings = Settings(port=listener.getsockname()[1])
server = make_server(create_app(Models(map(Path, {paths!r})), settings), settings)
thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
thread.start()
while not server.started: pass
def ask(path, **body):
    data = json.dumps(body).encode() if body else None
    address = f"http://127.0.0.1:{{settings.port}}" + path
    request = urllib.request.Request(address, data, {{"Content-Type": "application/json"}})
    return urllib.request.urlopen(request).read()
ask("/v1/completions", model="char", prompt="the", n=3, logprobs=2, echo=True, return_state=True, stop="x")
ask("/v1/completions", model="char", prompt="the", stream=True, presence_penalty=1)
ask("/v1/embeddings", model="char", input=["the"])
ask("/tokenize", model="char", prompt="the")
ask("/classify", model="animals", input="woof")
ask("/tag", model="tagger", text="balkiro")
ask("/v1/completions", model="translator", prompt="one red cat")
ask("/v1/completions", model="translator", prompt="one red cat", stream=True)
ask("/translate", model="translator", text="one red cat", attention=True)
ask("/predict", model="sides", sequences=[[[1, 2], [3, None]]])
ask("/predict", model="waves", sequences=[list(range(20))])
for path in ("/tokenizer_info?model=char", "/metrics", "/openapi.json", "/readyz", "/v1/models"): ask(path)
server.should_exit = True
thread.join()
assert "torch" not in sys.modules
print("served")
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout == "served\n", process.stderr


def test_mistakes_are_told(folder: Path, tmp_path: Path) -> None:
    result = subprocess.run([*COMMAND, str(folder), "--host", "0.0.0.0"], capture_output=True, text=True)
    assert result.returncode == 2 and not result.stdout
    assert "there is no key" in result.stderr and "--api-key" in result.stderr and "Traceback" not in result.stderr
    assert "no model directory" in refusal(tmp_path / "nothing")
    assert "the port is 70000" in refusal(folder, "--port", "70000")
    assert "cache is -1" in refusal(folder, "--cache", "-1")
    assert "slots is 0" in refusal(folder, "--slots", "0")
    assert "invalid API key" in refusal(folder, "--api-key", "a b")
    assert "models" in refusal().lower()
    assert "there is no address" in refusal(folder, "--host", "no.such.name.invalid", "--api-key", "k")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        assert f"cannot listen at 127.0.0.1:{port}" in (told := refusal(folder, "--port", port)) and "--port 0" in told


def test_keys_come_from_the_environment_too(folder: Path) -> None:
    with running(folder, "--host", "0.0.0.0", UNROLL_API_KEY="secret") as (hello, _):
        assert hello["key"] and hello["url"].startswith("http://127.0.0.1:")
        assert httpx.get(hello["url"] + "/v1/models").status_code == 401
        authorised = httpx.get(hello["url"] + "/v1/models", headers={"authorization": "Bearer secret"})
        assert authorised.status_code == 200
        assert httpx.get(hello["url"] + "/healthz").status_code == 200


def test_a_model_is_no_pickle(tmp_path: Path) -> None:
    """A pickle under the name of weights is refused, and what it would do is not done."""
    import pickle

    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> Any:
            return (canary.touch, ())

    folder = make_model(tmp_path / "char")
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    assert "damaged" in refusal(folder)
    assert not canary.exists()
