"""The field's client for JavaScript in a page of another origin, in a real browser: `serve --allow-origin` lets it ask.

The package is fetched with npm for the test and lies nowhere in this repository.
"""

import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serve.live import Live, make_model, serving
from unroll.serve import guard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VERSIONS = ("5.23.2", "7.59.0")
KEY = "a-key"

PAGE = """<!doctype html><title>elsewhere</title><link rel="icon" href="data:,">
<script type="importmap">{imports}</script>
<script type="module">
  import {{ OpenAI }} from "/package/index.mjs";
  window.OpenAI = OpenAI;
</script>"""
ASK = """async ([url, key, headers]) => {
  const client = new window.OpenAI({
    baseURL: `${url}/v1`, apiKey: key, dangerouslyAllowBrowser: true, maxRetries: 0, defaultHeaders: headers,
    organization: "org", project: "proj",
  });
  const asked = { model: "char", prompt: "the cat", max_tokens: 40, seed: 1 };
  try {
    const { data, request_id } = await client.completions.create(asked).withResponse();
    let streamed = "", events = 0;
    for await (const event of await client.completions.create({ ...asked, stream: true })) {
      streamed += event.choices[0].text;
      events += 1;
    }
    return { text: data.choices[0].text, request: request_id, streamed, events };
  } catch (error) {
    return { error: error.constructor.name, message: error.message, status: error.status, request: error.requestID };
  }
}"""


@pytest.fixture(scope="module", params=VERSIONS)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client, as npm has it."""
    if (npm := shutil.which("npm")) is None:
        pytest.skip("no npm here to fetch the client with")
    folder = tmp_path_factory.mktemp("npm")
    command = [npm, "pack", f"openai@{request.param}", "--json", "--loglevel=error"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    if result.returncode != 0:
        pytest.skip(f"npm has no openai {request.param} for us: {result.stderr.strip()[:200]}")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tarball:
        tarball.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def elsewhere(package: Path) -> Iterator[str]:
    """The origin of a site that holds the client and a page that loads it."""
    # What the package itself says of names that are no paths, as a bundler would read it.
    own_imports = json.loads((package / "package" / "package.json").read_text()).get("imports", {})
    imports = {
        name: f"/package/{target['browser']['import'].removeprefix('./')}"
        for name, target in own_imports.items()
        if isinstance(target, dict) and isinstance(target.get("browser"), dict)
    }
    (package / "index.html").write_text(PAGE.format(imports=json.dumps({"imports": imports})))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.extensions_map = {".mjs": "text/javascript", ".html": "text/html"}
            super().__init__(*arguments, directory=str(package), **options)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def allowing(elsewhere: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server whose pages of that origin may ask, with a key."""
    model = make_model(tmp_path_factory.mktemp("allowing") / "char")
    with serving(model, allow_origins=(elsewhere,), api_keys=(KEY,)) as live:
        yield live


@pytest.fixture
def page(browser: "Browser", elsewhere: str) -> "Iterator[Page]":
    """The page of the other site, with the client loaded."""
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(f"{elsewhere}/index.html")
    opened.wait_for_function("() => window.OpenAI !== undefined")
    yield opened
    context.close()


def asked(page: "Page", live: Live, key: str = KEY, **headers: str) -> dict[str, Any]:
    answer: dict[str, Any] = page.evaluate(ASK, [live.url, key, headers])
    return answer


def test_a_page_of_an_allowed_origin_completes_and_streams(page: "Page", allowing: Live) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    answer = asked(page, allowing)
    body = {"model": "char", "prompt": "the cat", "max_tokens": 40, "seed": 1}
    ours = allowing.post("/v1/completions", body, headers={"authorization": f"Bearer {KEY}"}).json()
    assert answer["text"] == answer["streamed"] == ours["choices"][0]["text"] and answer["events"] >= 1
    assert answer["request"].startswith("req_")
    assert errors == []


def test_what_is_wrong_reaches_the_page(page: "Page", allowing: Live) -> None:
    answer = asked(page, allowing, "another")
    assert answer["error"] == "AuthenticationError" and answer["status"] == 401
    assert "invalid API key" in answer["message"] and answer["request"].startswith("req_")


def test_headers_that_clients_may_add_pass_and_others_are_refused(page: "Page", allowing: Live) -> None:
    headers = {
        "X-Stainless-Helper-Method": "stream",
        "OpenAI-Beta": "x",
        "Idempotency-Key": "1",
        "X-Client-Request-Id": "2",
    }
    assert "error" not in asked(page, allowing, **headers)
    for name in ("X-Not-On-The-List", "X-Stainless", "X-Api-Key"):
        assert asked(page, allowing, **{name: "1"})["message"] == "Connection error.", name


def test_with_the_two_headers_of_before_the_client_is_shut_out(
    page: "Page", allowing: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault as it was, planted."""
    monkeypatch.setattr(guard, "_may_be_sent", lambda name: name in (b"authorization", b"content-type"))
    assert asked(page, allowing, **{"X-Stainless-Helper-Method": "once"})["message"] == "Connection error."


def test_a_page_of_another_origin_is_shut_out(browser: "Browser", elsewhere: str, allowing: Live) -> None:
    """The same site under its other name is another origin."""
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(f"{elsewhere.replace('localhost', '127.0.0.1')}/index.html")
    opened.wait_for_function("() => window.OpenAI !== undefined")
    assert asked(opened, allowing)["message"] == "Connection error."
    context.close()
