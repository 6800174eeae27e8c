"""`unroll studio`: the page in which one watches a model learn, types to it and looks inside, served from here."""

import os
import secrets
import signal
import webbrowser
from pathlib import Path

import click

from unroll.cli import console
from unroll.cli.serve import KEY, address, needs
from unroll.errors import UserError

PATH = click.Path(path_type=Path)


@click.command(
    "studio",
    epilog="""\b
Examples:
  unroll studio                          models of runs/; the first one is trained while you look
  unroll studio runs/book --texts .      a model, and texts of this folder to train on
  unroll studio --port 8080 --no-open    print the address only""",
)
@click.argument("models", metavar="[DIR]...", type=PATH, nargs=-1)
@click.option("--runs", metavar="DIR", type=PATH, default="runs", show_default=True, help="Where models are and come.")
@click.option("--texts", metavar="DIR", type=PATH, help="A folder whose texts the page may train on.")
@click.option("--host", metavar="H", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", metavar="N", type=int, default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--api-key",
    "keys",
    metavar="K",
    multiple=True,
    help=f"A key that API requests must send. Better: the variable {KEY}.",
)
@click.option("--allow-host", "allow_hosts", metavar="NAME", multiple=True, help="Another name of this server.")
@click.option("--open/--no-open", "show", default=True, help="Open the page in a browser.  [default: --open]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the address when it is ready.")
def verb(
    models: tuple[Path, ...],
    runs: Path,
    texts: Path | None,
    host: str,
    port: int,
    keys: tuple[str, ...],
    allow_hosts: tuple[str, ...],
    show: bool,
    as_json: bool,
) -> None:
    """Open the studio: watch models learn, type to them, look inside, let them write. The API is served as well.

    It shows the models in DIR... and in the folder of --runs. Where there is none yet, it trains a small one on the
    source of Python's standard library. The address holds a key that is new each time. Ctrl-C lets trainings save.
    """
    needs()
    from unroll.serve.app import create_app
    from unroll.serve.models import Models
    from unroll.serve.server import bind, serve
    from unroll.serve.settings import Settings
    from unroll.serve.studio.studio import Folders

    if not 0 <= port < 2**16:
        raise UserError(f"the port is {port}", allowed="0 to 65535", fix="choose another with --port")
    if texts is not None and not texts.is_dir():
        raise UserError(f"no folder {texts}", allowed="a folder of texts", fix="check the path")
    if not keys and os.environ.get(KEY):
        keys = (os.environ[KEY],)
    token = secrets.token_urlsafe(32)
    chosen = click.get_current_context().get_parameter_source("port") is not click.core.ParameterSource.DEFAULT
    Settings(host=host, api_keys=keys, allow_hosts=allow_hosts)  # refuses before anything is loaded
    served = Models(models)
    try:
        listener = bind(host, port)
    except UserError:
        if chosen:
            raise
        listener = bind(host, 0)
    with listener:
        port = listener.getsockname()[1]
        settings = Settings(host=host, port=port, api_keys=keys, allow_hosts=allow_hosts, page_token=token)
        page = f"{address(host, port)}/#token={token}"

        def ready() -> None:
            if as_json:
                console.put_json({"page": page, "url": address(host, port), "port": port, "models": served.names()})
            else:
                console.put(f"The studio is at {page}")
                console.note(f"The API is at {address(host, port)}/v1. Ctrl-C stops.")
            if show and not as_json:
                webbrowser.open(page)

        app = create_app(served, settings, studio=Folders(runs, texts, first=not models))
        told = serve(app, settings, listener, ready)
    for name in app.state.studio.stopped:
        console.note(f"{name} was paused. To go on: unroll train --resume {runs / name}")
    if told == signal.SIGINT:
        raise KeyboardInterrupt
