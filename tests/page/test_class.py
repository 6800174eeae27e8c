"""One studio for a class, as docs/studio.md describes it: behind a proxy, through a tunnel, and on no other address."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.command import unroll
from page.conftest import Running, start_studio, stop_studio

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "studio.md").read_text()
NAME = "class.example"


@pytest.fixture(scope="module")
def shared(runs: Path) -> Iterator[Running]:
    """A studio with the options of the docs, on a free port."""
    (command,) = re.findall(rf"unroll studio (.*--allow-host {NAME}.*)", DOCS)
    options = shlex.split(command)
    running = start_studio(*options[: options.index("--port")], "--allow-host", NAME, runs=runs, texts=runs.parent)
    yield running
    stop_studio(running)


def test_a_proxy_reaches_the_page_and_its_interface(shared: Running) -> None:
    browser = {"Host": NAME, "Sec-Fetch-Site": "same-origin", "Origin": f"https://{NAME}"}
    with httpx.Client(base_url=shared.url) as proxy:
        opened = {"Host": NAME, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert proxy.get("/", headers=opened).status_code == 200
        assert proxy.get("/app.js", headers=browser).status_code == 200
        assert proxy.get("/api/info", headers=browser).status_code == 401
        answer = proxy.get("/api/info", headers=browser | {"Authorization": f"Bearer {shared.token}"})
        assert answer.status_code == 200 and answer.json()["models"]
        assert proxy.get("/", headers=opened | {"Host": "other.example"}).status_code == 403


def test_a_tunnel_has_the_same_port_at_both_ends(shared: Running) -> None:
    for here, there in re.findall(r"ssh -N -L (\d+):localhost:(\d+)", DOCS):
        assert here == there
    port = shared.url.rpartition(":")[2]
    assert httpx.get(f"{shared.url}/", headers={"Host": f"localhost:{port}"}).status_code == 200
    assert httpx.get(f"{shared.url}/", headers={"Host": f"localhost:{int(port) - 1}"}).status_code == 403


def test_an_address_at_which_no_browser_could_open_the_page_is_refused(tmp_path: Path) -> None:
    for keys in ((), ("--api-key", "secret")):
        done = unroll("studio", "--host", "0.0.0.0", *keys, "--no-open", "--port", "0", cwd=tmp_path)
        assert done.code == 2
        assert "cannot open the studio at 0.0.0.0" in done.err and "docs/studio.md" in done.err
