"""Pages that mean harm, in a real browser: what they try is refused, and what they would have done is not done.

Each attack is made once more with the rule taken out that stops it, and must then get through.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from cli.command import text
from page.conftest import CHROMIUM, FLAGS, Running, Visit, probed, start_studio, stop_studio
from serve.live import Live, make_model, serving
from unroll.serve.guard import Guard
from unroll.serve.studio.studio import Folders
from unroll.training.request import train

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKEN = "the-token-of-this-launch"
MODEL = "of-the-victim"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A studio in this process, so that its rules can be taken out and what it did can be counted."""
    folder = tmp_path_factory.mktemp("victim")
    model = make_model(folder / "runs" / MODEL)
    (folder / "secret.txt").write_text("the text of the victim")
    with serving(model, studio=Folders(folder / "runs", folder), page_token=TOKEN) as live:
        yield live


@dataclass
class Done:
    """What a server answered, by status, and what it did."""

    statuses: "Counter[int]"
    written: float
    trainings: int


class Watch:
    """Counts what a server answers and does from now on."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.before = self.state()

    def state(self) -> Done:
        studio: Any = self.live.server.config.app.state.studio  # type: ignore[union-attr]
        metrics = self.live.context.metrics
        statuses: Counter[int] = Counter()
        for sample in next(iter(metrics.requests.collect())).samples:
            if sample.name.endswith("_total"):
                statuses[int(sample.labels["code"])] += int(sample.value)
        tokens_written = next(iter(metrics.generated_tokens.collect())).samples[0].value
        return Done(statuses, tokens_written, len(studio.trainings.names()))

    @property
    def done(self) -> Done:
        """What was done since."""
        state, before = self.state(), self.before
        return Done(
            state.statuses - before.statuses, state.written - before.written, state.trainings - before.trainings
        )


@dataclass
class Elsewhere:
    """A site of the attacker's."""

    port: int
    pages: dict[str, str]

    def url(self, name: str = "", host: str = "localhost") -> str:
        return f"http://{host}:{self.port}/{name}"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """A server on another port, whose pages a test writes."""
    pages = {"": "<!doctype html><title>elsewhere</title>"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            exists = self.path[1:] in pages
            self.send_response(200 if exists else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(pages.get(self.path[1:], "").encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Elsewhere(server.server_address[1], pages)
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A page in a browser that has seen nothing."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def let_all_in(monkeypatch: pytest.MonkeyPatch, *rules: str) -> None:
    """Take rules out of the guard."""
    for rule in rules:
        monkeypatch.setattr(Guard, rule, lambda self, scope: b"")


# ---- A name that is made to lead here


@pytest.fixture(scope="module")
def rebound(browser: "Browser") -> "Iterator[Browser]":
    """A browser for which the attacker's name has the address of this machine.

    It is one that does not ask before a page reaches into the local network, as older and other ones do not.
    """
    rules = ["--host-resolver-rules=MAP evil.example 127.0.0.1", "--disable-features=LocalNetworkAccessChecks"]
    opened = browser.browser_type.launch(executable_path=CHROMIUM, args=[*FLAGS, *rules])
    yield opened
    opened.close()


def rebinding(browser: "Browser", live: Live) -> tuple[int, list[Any]]:
    """Go to the studio under the attacker's name; then ask it from a page that came from there.

    Returns the status of the first, and of the latter statuses and texts.
    """
    url = f"http://evil.example:{live.settings.port}/"
    page = browser.new_page()
    try:
        answer = page.goto(url)
        assert answer is not None
        # The page itself came from the attacker's address, before the name was given ours.
        page.route(url, lambda route: route.fulfill(body="<title>evil</title>", content_type="text/html"))
        page.goto(url)
        page.unroute(url)
        assert page.title() == "evil"
        answers = page.evaluate(
            """async () => {
              const completion = { method: "POST", headers: { "Content-Type": "application/json" },
                                   body: '{"model": "of-the-victim", "max_tokens": 3}' };
              const asked = [["/"], ["/v1/models"], ["/metrics"], ["/v1/completions", completion]];
              return Promise.all(asked.map(async (one) => {
                const answer = await fetch(...one);
                return [answer.status, await answer.text()];
              }));
            }"""
        )
        return answer.status, answers
    finally:
        page.close()


def test_a_rebound_name_leads_nowhere(rebound: "Browser", victim: Live) -> None:
    watch = Watch(victim)
    status, answers = rebinding(rebound, victim)
    assert status == 403
    assert [status for status, _ in answers] == [403] * 4
    assert not any(MODEL in text for _, text in answers)
    assert watch.done.statuses.keys() == {403}
    assert watch.done.written == 0


def test_without_the_list_of_hosts_a_rebound_name_reads_all(
    rebound: "Browser", victim: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_all_in(monkeypatch, "_check_source")
    watch = Watch(victim)
    status, answers = rebinding(rebound, victim)
    assert status == 200
    assert [status for status, _ in answers] == [200] * 4
    assert MODEL in answers[1][1]
    assert watch.done.written == 3


# ---- A page on another port of this machine

ATTACKS = """async ([url, model]) => {
  const completion = JSON.stringify({ model, max_tokens: 3 });
  const read = (answer) => answer.then(async (answer) => [answer.type, answer.status, await answer.text()],
                                       (error) => error.name);
  const post = (path, type, body, mode) =>
    read(fetch(url + path, { method: "POST", headers: { "Content-Type": type }, body, mode }));
  const loaded = (tag, path) => new Promise((resolve) => {
    const made = document.createElement(tag);
    made.onload = () => resolve("load");
    made.onerror = () => resolve("error");
    made.src = url + path;
    document.body.append(made);
  });
  const form = () => new Promise((resolve) => {
    const frame = document.createElement("iframe");
    frame.name = "into";
    document.body.append(frame);
    const made = document.createElement("form");
    Object.assign(made, { method: "POST", enctype: "text/plain", action: `${url}/v1/completions`, target: "into" });
    const input = document.createElement("input");
    // What is sent is the name, "=" and the value: together JSON.
    [input.name, input.value] = [completion.slice(0, -1) + ', "user": "', '"}'];
    made.append(input);
    document.body.append(made);
    frame.onload = () => resolve(frame.contentDocument?.body?.textContent ?? "unreadable");
    made.submit();
  });
  const events = () => new Promise((resolve) => {
    const source = new EventSource(`${url}/metrics`);
    source.onopen = () => resolve("open");
    source.onmessage = () => resolve("message");
    source.onerror = () => resolve("error");
  });
  const socket = () => new Promise((resolve) => {
    const made = new WebSocket(`${url.replace("http", "ws")}/v1/completions`);
    made.onopen = () => resolve("open");
    made.onmessage = () => resolve("message");
    made.onclose = ({ code }) => resolve(code);
  });
  const told = {
    "text POST": await post("/v1/completions", "text/plain", completion, "no-cors"),
    "text POST to train": await post("/api/train", "text/plain", '{"source": "demo", "steps": 1}', "no-cors"),
    "form POST": await form(),
    "JSON POST": await post("/v1/completions", "application/json", completion, "cors"),
    "GET": await read(fetch(`${url}/v1/models`)),
    "no-cors GET": await read(fetch(`${url}/v1/models`, { mode: "no-cors" })),
    "img": await loaded("img", "/favicon.svg"),
    "script": await loaded("script", "/vendor/uPlot.iife.min.js"),
    "EventSource": await events(),
    "WebSocket": await socket(),
  };
  return [told, "uPlot" in window];
}"""
UNREADABLE = {
    "text POST": "TypeError",
    "text POST to train": "TypeError",
    "form POST": "unreadable",
    "JSON POST": "TypeError",
    "GET": "TypeError",
    "no-cors GET": "TypeError",
    "img": "error",
    "script": "error",
    "EventSource": "error",
    "WebSocket": 1006,
}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_another_port_reads_nothing_and_does_nothing(
    page: "Page", victim: Live, elsewhere: Elsewhere, host: str
) -> None:
    """For the browser 127.0.0.1 is the same site, whatever the port, and localhost another."""
    watch = Watch(victim)
    page.goto(elsewhere.url(host=host))
    answers, ran = page.evaluate(ATTACKS, [victim.url, MODEL])
    assert answers == UNREADABLE
    assert not ran
    assert watch.done == Done(Counter({403: len(answers)}), 0, 0)


def test_without_the_rules_such_a_page_makes_models_write(
    page: "Page", victim: Live, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still reads nothing, and trains nothing, which needs the token."""
    let_all_in(monkeypatch, "_check_source", "_check_body_kind")
    watch = Watch(victim)
    page.goto(elsewhere.url())
    answers, ran = page.evaluate(ATTACKS, [victim.url, MODEL])
    assert answers == UNREADABLE
    assert not ran
    assert watch.done.statuses.keys() == {200, 401, 404, 405}  # 404 for the socket, 405 for what asks before JSON
    assert watch.done.written == 6
    assert watch.done.trainings == 0


# ---- A frame without an origin

SANDBOXED = """async ([url, model]) => {
  const body = JSON.stringify({ model, max_tokens: 3 });
  const asked = [
    fetch(`${url}/v1/models`),
    fetch(`${url}/v1/models`, { mode: "no-cors" }),
    fetch(`${url}/v1/completions`, { method: "POST", mode: "no-cors", body }),
    fetch(`${url}/v1/completions`, { method: "POST", headers: { "Content-Type": "application/json" }, body }),
  ];
  return [origin, await Promise.all(asked.map((one) => one.then((answer) => answer.text(), (error) => error.name)))];
}"""


def test_a_sandboxed_frame_is_refused(page: "Page", victim: Live, elsewhere: Elsewhere) -> None:
    elsewhere.pages["sandbox"] = '<iframe sandbox="allow-scripts" srcdoc="<p>nobody</p>"></iframe>'
    page.goto(elsewhere.url("sandbox"))
    watch = Watch(victim)
    assert page.frames[1].evaluate(SANDBOXED, [victim.url, MODEL]) == ["null", ["TypeError"] * 4]
    assert watch.done == Done(Counter({403: 4}), 0, 0)


# ---- Links and frames


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_link_from_elsewhere_opens_the_page_and_nothing_else(
    page: "Page", victim: Live, elsewhere: Elsewhere, host: str
) -> None:
    places = {"page": f"/#token={TOKEN}", "metrics": "/metrics", "script": "/app.js"}  # the last is known by then
    elsewhere.pages["links"] = "".join(f'<a href="{victim.url}{path}">{name}</a> ' for name, path in places.items())
    for name, status in (("page", 200), ("metrics", 403), ("script", 403)):
        page.goto(elsewhere.url("links", host))
        with page.expect_response(f"{victim.url}/**") as answer:
            page.get_by_text(name).click()
        assert answer.value.status == status
        if name == "page":
            page.wait_for_selector("h1:text('Train')")


def test_who_opens_the_page_has_no_hold_of_it(page: "Page", victim: Live, elsewhere: Elsewhere) -> None:
    page.goto(elsewhere.url())
    with page.expect_popup() as opened:
        page.evaluate("url => { window.held = window.open(url); }", f"{victim.url}/#token={TOKEN}")
    opened.value.wait_for_selector("h1:text('Train')")
    assert opened.value.evaluate("window.opener") is None
    assert page.evaluate("window.held.closed"), "for the page elsewhere there is no such window"


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("tag", ["iframe src", "object data", "embed src"])
def test_the_page_is_framed_nowhere(
    page: "Page", victim: Live, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, tag: str, guarded: bool
) -> None:
    """The guard sees that it is for a frame; where it did not, the policy has the browser show nothing."""
    if not guarded:
        let_all_in(monkeypatch, "_check_source")
    elsewhere.pages["frame"] = f'<{tag}="{victim.url}/#token={TOKEN}"></{tag.split()[0]}>'
    with page.expect_response(f"{victim.url}/") as answer:
        page.goto(elsewhere.url("frame"))
    assert answer.value.status == (403 if guarded else 200)
    page.wait_for_timeout(300)
    assert [frame.url for frame in page.frames if frame.url.startswith(victim.url)] == []
    assert not any("unroll" in frame.content() for frame in page.frames[1:])


# ---- The policy

SCREENS = ("train", "type", "cells", "find", "memory", "similar", "compare", "sample", "serve", "unrolled")
REPORTING = """window.reports = [];
document.addEventListener("securitypolicyviolation", (event) => window.reports.push(event.violatedDirective));"""


def test_the_page_asks_for_nothing_that_its_policy_forbids(page: "Page", studio: Running) -> None:
    page.add_init_script(REPORTING)
    answer = page.goto(studio.page)
    assert answer is not None and "default-src 'none'" in answer.headers["content-security-policy"]
    page.wait_for_selector("main h1")
    for screen in SCREENS:
        page.evaluate("place => { location.hash = place; }", f"#/{screen}?model=book&text=the%20cat%20sat")
        page.wait_for_selector(f"h1:text-is('{screen.capitalize()}')")
        page.wait_for_function("() => document.querySelectorAll('main .panel').length > 0")
        page.wait_for_load_state("networkidle")
    assert page.evaluate("window.reports") == []
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\" onclick=\"x()\">')")
    page.wait_for_function("() => window.reports.length === 2")
    assert set(page.evaluate("window.reports")) == {"style-src-attr", "script-src-attr"}


# ---- Texts that would be markup

WORDS = (
    "<script>alert(1)</script>", "<img/src=x/onerror=alert(1)>", "</textarea><b>bold</b>", "<svg/onload=alert(2)>",
    "&lt;i&gt;", "\u202egnp.exe", "{{7*7}}", "javascript:alert(3)",
)  # fmt: skip
CALLED = "<img src=x onerror=alert(4)>"
MADE = ", ".join(f"body {tag}" for tag in ("script", "img", "iframe", "object", "embed", "textarea b", "svg[onload]"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio whose model has words, a text, a line, samples and neighbours that would be markup."""
    folder = tmp_path_factory.mktemp("hostile")
    line = WORDS[0] + " x" * 2**19
    corpus = folder / f"{CALLED}.txt"
    words = text(6000).split()
    corpus.write_text(
        "".join(" ".join((WORDS[k % len(WORDS)], *words[3 * k : 3 * k + 3])) + "\n" for k in range(400)) + line,
        encoding="utf-8",
    )
    out = folder / "runs" / "words"
    settings = ("hidden_size=16", "embedding_size=16", "sample_length=20")
    for _ in train(
        corpus, out=out, steps=10, level="word", words="space", arch="lstm", settings=settings, device="cpu"
    ):
        pass
    sample = {"step": 10, "nats": 1.0, "prompt": WORDS[0], "temperature": 1.0, "seed": 0, "text": " ".join(WORDS)}
    (out / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    with open(out / "metrics.jsonl", "a") as log:
        log.write(json.dumps({"kind": "warn", "step": 10, "seconds": 1.0, "text": f"{WORDS[1]} is wrong"}) + "\n")
    (folder / "runs" / CALLED).symlink_to(out)
    make_model(folder / CALLED)
    running = start_studio(folder / CALLED, runs=folder / "runs", texts=folder)
    yield running
    stop_studio(running)


SHOWN = {
    "train": (*(word.replace("\u202e", "⟨202E⟩") for word in WORDS), CALLED),  # the sample, and the name of the text
    "similar": WORDS[:1],  # sentences, of which some are near
    "serve": WORDS[-1:],  # the end of the text
}
"""What a screen has in view, where it is not all of the text that it is given."""


@pytest.mark.parametrize("screen", SCREENS)
def test_texts_are_shown_and_never_markup(visit: Visit, hostile: Running, screen: str) -> None:
    """`visit` sees to it that no dialog opens and no policy is violated."""
    page = visit("#/serve?model=words", hostile)
    page.evaluate(
        "asked => { location.hash = `#/${asked.screen}?${new URLSearchParams(asked)}`; }",
        {"screen": screen, "model": "words", "run": "words", "text": " ".join(WORDS)},
    )
    page.wait_for_selector(f"h1:text-is('{screen.capitalize()}')")
    page.wait_for_function(
        "words => words.every((word) => document.querySelector('main').textContent.includes(word))",
        arg=SHOWN.get(screen, WORDS),
    )
    page.wait_for_load_state("networkidle")
    assert page.locator(MADE).count() == 0


def test_names_of_files_are_shown_and_never_markup(visit: Visit, hostile: Running) -> None:
    page = visit("#/train?new=1", hostile)
    page.get_by_label("Name").wait_for()
    assert set(page.locator("header option").all_text_contents()) == {"-img-src-x-onerror-alert-4--", "words"}
    page.get_by_label("The folder").check(force=True)
    page.get_by_role("option", name=CALLED).wait_for(state="attached")
    assert page.locator(MADE).count() == 0


def test_writing_after_a_right_to_left_mark_goes_on_to_the_right(visit: Visit) -> None:
    page = visit("#/compare?model=book&against=small&text=ab%E2%80%AEcdefg%20hij")
    probed(page, "compare", "it.pieces.length === 12")
    spans = page.locator(".passage > span")
    lefts = spans.evaluate_all("all => all.map((one) => one.getBoundingClientRect().left)")
    assert lefts == sorted(lefts)


def test_a_line_of_a_megabyte_is_a_text_like_another(visit: Visit) -> None:
    page = visit("#/train?new=1")
    line = "<img src=x onerror=alert(1)>" * (2**20 // 28)
    box = page.get_by_label("The text")
    box.fill(line)
    assert box.input_value() == line
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator(MADE).count() == 0
