"""`unroll studio`: the page in which one watches a model learn, types to it and looks inside, served from here."""

import secrets
import webbrowser
from pathlib import Path

import click

from unroll.cli import console
from unroll.cli.options import ALLOW_HOST, HOST, PATH, PORT
from unroll.cli.serve import KEY, address, check, stopped
from unroll.errors import UserError


@click.command(
    "studio",
    epilog="""\b
Examples:
  unroll studio                          the models of runs/; trains a first one while you watch
  unroll studio runs/book --texts .      a model, and this folder's texts to train on
  unroll studio --port 8080 --no-open    only print the address""",
)
@click.argument("models", metavar="[DIR]...", type=PATH, nargs=-1)
@click.option(
    "--runs",
    metavar="DIR",
    type=PATH,
    default="runs",
    show_default=True,
    help="Folder of models; new ones are written here.",
)
@click.option("--texts", metavar="DIR", type=PATH, help="A folder whose texts the page may train on.")
@HOST
@PORT
@click.option(
    "--api-key",
    "keys",
    metavar="K",
    multiple=True,
    help=f"A key that API requests must send.  May be repeated.  Better: the variable {KEY}.",
)
@ALLOW_HOST
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
) -> int:
    """Open the studio: watch models learn, type to them, look inside, let them write; use models of tasks.

    The API is served as well. It shows the models in DIR... and in the folder of --runs. If there is none yet, it
    trains a small one on the source of Python's standard library. The address holds a key that is new each time. Ctrl-C
    pauses trainings, which save.
    """
    keys = check(port, keys)
    from unroll.serve.app import create_app
    from unroll.serve.models import Models
    from unroll.serve.server import bind, serve
    from unroll.serve.settings import Settings, is_loopback
    from unroll.serve.studio.studio import Folders

    if not is_loopback(host):  # other machines need a key, which no browser sends when it opens a page
        raise UserError(
            f"a browser cannot open the studio at {host}",
            allowed="an address that only this machine reaches, such as 127.0.0.1",
            fix="share it by a tunnel or a proxy, as docs/studio.md explains; `unroll serve --host` shares the API",
        )
    if texts is not None and not texts.is_dir():
        raise UserError(f"no folder {texts}", allowed="a folder of texts", fix="check the path")
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
        received = serve(app, settings, listener, ready)
    for name in app.state.studio.stopped:
        console.note(f"{name} was paused. To resume: unroll train --resume {runs / name}")
    return stopped(received)
