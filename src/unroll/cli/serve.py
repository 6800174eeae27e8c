"""`unroll serve`: models behind a standard HTTP API."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console
from unroll.cli.options import ALLOW_HOST, HOST, PATH, PORT, PRECISION
from unroll.errors import UserError, install

if TYPE_CHECKING:
    from unroll.engine.network import Precision

KEY = "UNROLL_API_KEY"
INTERRUPTED = 130


@click.command(
    "serve",
    epilog="""\b
Examples:
  unroll serve runs/book
  unroll serve runs/book runs/genesis --port 8080
  UNROLL_API_KEY=... unroll serve runs/book --host 0.0.0.0 --allow-host models.example
\b
Any client of OpenAI's completions API can then ask:
  curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\
    -d '{"model": "book", "prompt": "It was", "max_tokens": 100}'""",
)
@click.argument("models", metavar="DIR...", type=PATH, nargs=-1, required=True)
@HOST
@PORT
@click.option(
    "--api-key",
    "keys",
    metavar="K",
    multiple=True,
    help=f"A key that requests must send.  May be repeated.  Better: the variable {KEY}.",
)
@ALLOW_HOST
@click.option(
    "--allow-origin",
    "allow_origins",
    metavar="URL",
    multiple=True,
    help="A site whose pages may send requests.  May be repeated.",
)
@click.option(
    "--slots", metavar="N", type=int, default=1024, show_default=True, help="Maximum number of streams written at once."
)
@click.option(
    "--queue", metavar="N", type=int, default=1024, show_default=True, help="Maximum number of waiting streams."
)
@click.option(
    "--connections", metavar="N", type=int, default=1024, show_default=True, help="Maximum number of connections."
)
@click.option(
    "--max-tokens", metavar="N", type=int, default=4096, show_default=True, help="Maximum length of a text, in symbols."
)
@click.option(
    "--cache",
    metavar="MB",
    type=int,
    default=64,
    show_default=True,
    help="Memory for states of prompts, and for handles.",
)
@PRECISION
@click.option("--device", metavar="D", default="cpu", show_default=True, help="cpu, or cuda for a GPU with PyTorch.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the address when it is ready.")
def verb(models: tuple[Path, ...], host: str, port: int, keys: tuple[str, ...], device: str, as_json: bool,
         cache: int, precision: "Precision", **limits: Any) -> int:  # fmt: skip
    """Serve the models in DIR... over HTTP: completions that stream, embeddings, probabilities of texts,
    labels, tags, translations, forecasts.

    A model that is being trained is served with its best weights so far. With several models each request names one;
    each also has its own address, /models/NAME/v1. Ctrl-C lets running requests finish.

    A seed gives the text of `unroll sample --temperature 1`: over HTTP the default temperature is 1.
    """
    keys = check(port, keys)
    from unroll.serve.app import create_app
    from unroll.serve.models import Models
    from unroll.serve.server import bind, serve
    from unroll.serve.settings import Settings

    if not 0 <= cache < 2**20:
        raise UserError(f"cache is {cache}", allowed="0 (off) or more megabytes", fix="choose another number")
    limits |= {"prefix_bytes": cache * 2**20, "state_bytes": cache * 2**20}
    Settings(host=host, api_keys=keys, **limits)  # refuses before anything is loaded
    served = Models(models, device, precision)
    with bind(host, port) as listener:
        port = listener.getsockname()[1]
        settings = Settings(host=host, port=port, api_keys=keys, **limits)
        url = address(host, port)

        def ready() -> None:
            if as_json:
                console.put_json({"url": url, "host": host, "port": port, "models": served.names(), "key": bool(keys)})
            else:
                console.put(f"Serving {', '.join(served.names())} at {url}/v1  (Ctrl-C stops)")
                if len(served.names()) > 1:
                    console.note(f"Requests name their model. Clients that cannot: {url}/models/NAME/v1")

        received = serve(create_app(served, settings), settings, listener, ready)
    return stopped(received)


def stopped(received: int | None) -> int:
    """Say that the server has stopped; returns the exit code for the signal that stopped it."""
    console.note("Stopped.")
    return INTERRUPTED if received == signal.SIGINT else 0


def address(host: str, port: int) -> str:
    """Return the URL of a server on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def check(port: int, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys, by default that of the environment.

    Raises UserError unless what serving needs is installed and there is such a port.
    """
    try:
        import prometheus_client
        import starlette
        import uvicorn
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}", allowed="an install with it", fix=install("serve")) from None
    del prometheus_client, starlette, uvicorn
    if not 0 <= port < 2**16:
        raise UserError(f"the port is {port}", allowed="0 to 65535", fix="choose another with --port")
    key = os.environ.get(KEY)
    return keys or ((key,) if key else ())
