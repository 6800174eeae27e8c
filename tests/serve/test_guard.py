"""Who may ask: the server's rules on raw requests, as an attacker would send them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.live import Live, make_model, raw, resident, serving
from serve.wire import ask, parsed
from unroll.serve.completions.routes import ROUTES

KEY, OTHER = "a-key", "another-key"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("guarded") / "char")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Live]:
    with serving(folder, read_seconds=1.0) as live:
        yield live


@pytest.fixture(scope="module")
def keyed(folder: Path) -> Iterator[Live]:
    with serving(folder, api_keys=(KEY, OTHER)) as live:
        yield live


FRIEND = {"origin": "https://friend.example", "sec-fetch-site": "cross-site"}


@pytest.fixture(scope="module")
def befriended(folder: Path) -> Iterator[Live]:
    with serving(folder, allow_origins=(FRIEND["origin"],)) as live:
        yield live


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:PORT", 200),
        ("localhost:PORT", 200),
        ("LOCALHOST:PORT", 200),
        ("[::1]:PORT", 200),
        (None, 400),
        ("", 403),
        (":PORT", 403),
        ("localhost:1", 403),
        ("localhost", 403),
        ("localhost.:PORT", 403),
        ("0.0.0.0:PORT", 403),
        ("a@127.0.0.1:PORT", 403),
        ("evil.example:PORT", 403),
        ("127.0.0.1:PORT, evil.example", 403),
        ("127.0.0.1:PORT\r\nHost: evil.example", 400),
    ],
)
def test_only_our_own_names_are_answered(served: Live, host: str | None, status: int) -> None:
    assert ask(served, host=host)[0] == status


def test_a_rebound_name_is_refused_though_its_origin_equals_its_host(served: Live) -> None:
    evil = "evil.example:PORT"
    assert ask(served, f"Origin: http://{evil}", host=evil) == (403, "host_not_allowed")


def test_old_http_without_a_host_is_refused(served: Live) -> None:
    assert parsed(raw(served, b"GET /v1/models HTTP/1.0\r\n\r\n")) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Origin: http://127.0.0.1:PORT"], 200),
        (["Origin: http://localhost:PORT"], 200),
        (["Origin: null"], 403),
        (["Origin: http://localhost:1"], 403),
        (["Origin: http://evil.example"], 403),
        (["Origin: http://127.0.0.1:PORT", "Origin: http://evil.example"], 403),
        (["Sec-Fetch-Site: same-origin"], 200),
        (["Sec-Fetch-Site: none"], 200),
        (["Sec-Fetch-Site: same-site"], 403),
        (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], 403),
        (["Upgrade: websocket", "Sec-Fetch-Site: cross-site"], 403),
    ],
)
def test_pages_from_elsewhere_are_refused(served: Live, headers: list[str], status: int) -> None:
    assert ask(served, *headers)[0] == status


def test_a_link_from_elsewhere_leads_to_the_page(served: Live) -> None:
    headers = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    assert ask(served, *headers, path="/") == (404, "not_found")  # this server has no page; it was let through
    assert ask(served, *headers[:2], path="/") == (403, "cross_site")


def test_an_origin_may_be_allowed_and_no_other_is_reflected(folder: Path) -> None:
    with serving(folder, allow_origins=("https://friend.example",)) as live, live.http() as client:
        friend = {"origin": "https://friend.example", "sec-fetch-site": "cross-site"}
        answer = client.get("/v1/models", headers=friend)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
        assert "access-control-allow-credentials" not in answer.headers
        preflight = client.options("/v1/completions", headers=friend | {"access-control-request-method": "POST"})
        assert preflight.status_code == 204 and preflight.headers["access-control-allow-methods"] == "GET, POST"
        assert "access-control-allow-headers" not in preflight.headers
        assert client.get("/v1/models", headers=friend | {"origin": "https://friend.example.evil"}).status_code == 403
        assert "access-control-allow-origin" not in client.get("/v1/models").headers


# What the npm client (7.59.0) sends from a page, with its options; older ones send user-agent too, where they may.
NPM = (
    "accept,authorization,content-type,openai-organization,openai-project,user-agent,x-stainless-arch,"
    "x-stainless-helper-method,x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count,"
    "x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout"
)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (NPM, NPM),
        (NPM.replace(",", ", ").upper(), NPM),
        ("authorization,content-type", "authorization,content-type"),
        ("idempotency-key,openai-beta,x-client-request-id,x-request-id", None),
        ("x-stainless-something-new", None),
        ("x-api-key", ""),
        ("authorization,x-api-key,content-type", "authorization,content-type"),
        ("x-stainless-", ""),
        ("x-stainless", ""),
        ("x-stainless-a\tb,x-stainless-é,x-stainless-*", ""),
        ("x-stainless-" + "a" * 100, ""),
        ("*", ""),
        ("cookie,host,origin,sec-fetch-site,x-forwarded-for,x-not-on-the-list", ""),
        ("," * 100 + "authorization", ""),  # so many are not read
        ("", ""),
    ],
)
def test_a_preflight_is_granted_what_it_asks_for_of_a_list(befriended: Live, asked: str, granted: str | None) -> None:
    headers = FRIEND | {"access-control-request-method": "POST", "access-control-request-headers": asked}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = befriended.plain.options("/v1/completions", headers=raw)
    assert answer.status_code == 204
    allowed_headers = answer.headers.get("access-control-allow-headers", "")
    assert allowed_headers.replace(", ", ",") == (asked if granted is None else granted)
    assert {part.strip() for part in answer.headers["vary"].split(",")} == {
        "origin", "access-control-request-headers"
    }  # fmt: skip


def test_who_is_no_friend_is_granted_nothing(befriended: Live, served: Live) -> None:
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for live, origin in ((befriended, "https://other.example"), (served, FRIEND["origin"])):
        answer = live.plain.options("/v1/completions", headers=preflight | {"origin": origin})
        assert answer.status_code == 403
        assert not any(name.startswith("access-control-") for name in answer.headers)


def test_answers_that_depend_on_the_origin_say_so(befriended: Live, served: Live) -> None:
    """Also those without one: else a cache would give them to a page of a friend, who could not read them."""
    for headers in ({}, FRIEND):
        for path, status in (("/v1/models", 200), ("/nothing", 404)):
            answer = befriended.get(path, headers=headers)
            assert answer.status_code == status and answer.headers["vary"] == "origin"
            assert ("access-control-allow-origin" in answer.headers) == bool(headers)
    exposed = befriended.get("/v1/models", headers=FRIEND).headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "x-ignored-params", "x-should-retry", "retry-after"} <= set(exposed)
    assert "vary" not in served.get("/v1/models").headers


def test_names_may_be_allowed(folder: Path) -> None:
    with serving(folder, allow_hosts=("Models.example", "other.example:99")) as live:
        assert ask(live, host="models.example")[0] == 200
        assert ask(live, host="models.example:PORT")[0] == 200
        assert ask(live, host="other.example:99")[0] == 200
        assert ask(live, host="other.example:PORT")[0] == 403


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/plain; application/json", 415),
        ("", 415),
    ],
)
def test_bodies_are_json_by_name(served: Live, kind: str, status: int) -> None:
    """A page elsewhere can send text/plain without asking first."""
    body = {"model": "char", "max_tokens": 1}
    answer = served.post("/v1/completions", body, headers={"content-type": kind})
    assert answer.status_code == status


def every_route(live: Live) -> list[tuple[str, str]]:
    from starlette.routing import Route

    app = live.server.config.app
    routes = [route for route in app.routes if isinstance(route, Route)]  # type: ignore[union-attr]
    pairs = [(route.path, method) for route in routes for method in route.methods or ()]
    assert {path for path, _ in pairs} == {*ROUTES, "/openapi.json"}
    return pairs


def test_with_a_key_every_route_but_health_needs_it(keyed: Live) -> None:
    bad_headers: list[Any] = [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": b"Bearer \xff\xfe"},
        {"authorization": "Bearer " + "a" * 10_000},
        {"x-api-key": KEY},
    ]
    with keyed.http() as client:
        for path, method in [*every_route(keyed), ("/", "GET"), ("/nothing", "GET"), ("//v1/models", "GET")]:
            for headers in bad_headers if path in ("/v1/models", "/metrics") else bad_headers[:2]:
                all_headers: Any = {"content-type": "application/json"} | headers
                answer = client.request(method, path, headers=all_headers, params={"api_key": KEY})
                assert answer.status_code == (200 if path == "/healthz" else 401), (path, headers)
            if path != "/healthz" and method != "HEAD":
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"
        for key in (KEY, OTHER):
            for scheme in ("Bearer", "bearer", "BEARER"):
                assert client.get("/v1/models", headers={"authorization": f"{scheme} {key}"}).status_code == 200
    assert ask(keyed, f"Authorization: Bearer {KEY}", f"Authorization: Bearer {OTHER}")[0] == 401
    assert raw(keyed, b"GET / HTTP/1.1\r\nAuthorization: Bearer " + b"a" * 10**6 + b"\r\n\r\n")[9:12] == b"400"


def test_sizes_are_checked_before_bodies_are_read(served: Live) -> None:
    head = f"POST /tokenize HTTP/1.1\r\nHost: 127.0.0.1:{served.settings.port}\r\nContent-Type: application/json\r\n"
    assert parsed(raw(served, f"{head}Content-Length: 100000000\r\n\r\n".encode())) == (413, "request_too_large")
    assert raw(served, f"{head}Content-Length: -1\r\n\r\n".encode())[9:12] == b"400"
    assert raw(served, f"{head}Content-Length: 1x\r\n\r\n".encode())[9:12] == b"400"
    assert raw(served, f"{head}Content-Length: 99999999999999999999999\r\n\r\n".encode())[9:12] in (b"400", b"413")
    gzip = f"{head}Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\na".encode()
    assert parsed(raw(served, gzip)) == (415, "unsupported_media_type")


def test_a_body_without_a_size_is_cut_off(served: Live) -> None:
    head = f"POST /tokenize HTTP/1.1\r\nHost: 127.0.0.1:{served.settings.port}\r\nContent-Type: application/json\r\n"
    chunk = b"%x\r\n" % 65536 + b" " * 65536 + b"\r\n"
    before = resident()
    answer = raw(served, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 48)
    assert answer == b"" or parsed(answer) == (413, "request_too_large")  # or the connection was reset meanwhile
    assert resident() - before < 20e6
    with served.http() as client:
        answer_ = client.post(
            "/tokenize", content=iter([b" " * 65536] * 48), headers={"content-type": "application/json"}
        )
        assert answer_.status_code == 413 and answer_.json()["error"]["code"] == "request_too_large"
