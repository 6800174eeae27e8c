"""Access control: a wrapper of the whole application, so that no route can be forgotten.

It checks Host, Origin, Sec-Fetch-Site, Content-Type, the declared size, the key and the body, in this order. The list
of hosts alone stops DNS rebinding: such a page has an Origin that equals its Host, and sends no Sec-Fetch-Site.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unroll.serve.errors import ApiError, dump, internal, invalid, log
from unroll.serve.settings import Settings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
OPEN_PATH = "/healthz"
"""The only path that never needs a key."""
MAX_AUTHORIZATION = 4096

ASKED_HEADERS = frozenset({
    b"accept", b"authorization", b"content-type", b"idempotency-key", b"openai-beta", b"openai-organization",
    b"openai-project", b"user-agent", b"x-client-request-id", b"x-request-id",
})  # fmt: skip
"""Headers that pages of an allowed origin may send: those of the standard's clients. Only the key and the content type
change an answer."""
ASKED_PREFIX = b"x-stainless-"
"""The clients describe themselves under such names, which change from version to version."""
MAX_ASKED = 64
EXPOSED_HEADERS = b"retry-after, www-authenticate, x-ignored-params, x-request-id, x-should-retry"
"""Headers of an answer that such pages may read: those that the clients look for."""

Headers = list[tuple[bytes, bytes]]
Seen = Callable[[Scope, int], None]
"""Called for every answer, with its request and status."""


class Guard:
    """Refuses what must not reach the application, reads the bodies of the rest, and adds its headers to all answers.

    It adds to the scope: `body` (bytes), `owner` (a digest of the key that was sent, or ""), `request_id`.
    """

    def __init__(self, app: ASGIApp, settings: Settings, public: Iterable[str] = (), seen: Seen | None = None) -> None:
        """Guard `app`; the paths `public` are files of the page, which hold no secrets."""
        self.app = app
        self.settings = settings
        self._public = frozenset(public)
        self._seen = seen or (lambda scope, status: None)
        self._hosts = frozenset(host.encode() for host in settings.hosts)
        self._origins = frozenset(origin.encode() for origin in settings.origins)
        self._foreign = frozenset(origin.lower().rstrip("/").encode() for origin in settings.allow_origins)
        self._keys = [key.encode() for key in settings.api_keys]
        self._page = [settings.page_token.encode()] if settings.page_token else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope["request_id"] = f"req_{secrets.token_hex(12)}"
        extra = [*SECURITY_HEADERS, (b"x-request-id", scope["request_id"].encode())]
        if self._foreign:  # on all answers: a cache would send a page one that was kept without an origin
            extra.append((b"vary", b"origin"))
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
                self._seen(scope, status)
            await send(message)

        try:
            origin = self._check_source(scope)
            if origin in self._foreign:
                extra += [
                    (b"access-control-allow-origin", origin),
                    (b"access-control-expose-headers", EXPOSED_HEADERS),
                ]
                if scope["method"] == "OPTIONS":
                    await answer(_preflight(_values(scope, b"access-control-request-headers")))
                    await answer({"type": "http.response.body"})
                    return
            self._check_body_kind(scope)
            scope["owner"] = self._check_key(scope)
            scope["body"] = await self._read(scope, receive)
            await self.app(scope, receive, answer)
        except ApiError as error:
            await self._refuse(scope, answer, error, started=status > 0)
        except Exception:
            log.exception("%s %s", scope["method"], ascii(scope["path"])[:200])
            await self._refuse(scope, answer, internal(), started=status > 0)

    @staticmethod
    async def _refuse(scope: Scope, answer: Send, error: ApiError, *, started: bool) -> None:
        if started:
            raise error  # the connection is then cut, which every client notices
        body = dump(error.body())
        headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if "body" not in scope and _has_body(scope):
            headers.append((b"connection", b"close"))  # the rest of the body is not waited for
        await answer({"type": "http.response.start", "status": error.status, "headers": headers})
        await answer({"type": "http.response.body", "body": body})

    def _check_source(self, scope: Scope) -> bytes:
        """Return the Origin, if any; raises ApiError for requests of pages from elsewhere."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise ApiError(
                403,
                "host_not_allowed",
                "this server does not answer to that host name",
                allowed="its address, and names given with --allow-host",
                fix="start it with --allow-host NAME",
            )
        origins = _values(scope, b"origin")
        if len(origins) > 1 or (origins and origins[0].lower() not in self._origins):
            raise ApiError(
                403,
                "origin_not_allowed",
                "pages of that origin may not send requests",
                allowed="pages of this server, and of origins given with --allow-origin",
                fix="start the server with --allow-origin URL",
            )
        origin = origins[0].lower() if origins else b""
        sites = _values(scope, b"sec-fetch-site")
        if any(site not in (b"same-origin", b"none") for site in sites) and origin not in self._foreign:
            to_page = scope["method"] == "GET" and scope["path"] == "/"
            if not (to_page and _values(scope, b"sec-fetch-mode") == [b"navigate"]
                    and _values(scope, b"sec-fetch-dest") == [b"document"]):  # fmt: skip
                raise ApiError(
                    403,
                    "cross_site",
                    "pages of other sites may not send requests",
                    allowed="pages of this server, and of origins given with --allow-origin",
                    fix="start the server with --allow-origin URL",
                )
        return origin

    def _check_body_kind(self, scope: Scope) -> None:
        """Raise ApiError for a body that is not plain JSON, or is declared too large."""
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            kinds = _values(scope, b"content-type")
            if len(kinds) != 1 or kinds[0].partition(b";")[0].strip().lower() != b"application/json":
                raise _unsupported(
                    "the body is not declared as JSON", "JSON", "send the header Content-Type: application/json"
                )
        encodings = _values(scope, b"content-encoding")
        if encodings and encodings != [b"identity"]:
            raise _unsupported("the body has a Content-Encoding", "plain JSON", "send the body uncompressed")
        for value in _values(scope, b"content-length"):
            if not value.isdigit() or len(value) > 18:
                raise invalid("invalid Content-Length", "the number of bytes of the body", "use an HTTP client")
            if int(value) > self._limit(scope):
                raise self._too_large(scope)

    def _check_key(self, scope: Scope) -> str:
        """Return a digest of the key that was sent, "" for none; raises ApiError where a valid one is missing."""
        path = scope["path"]
        if path == OPEN_PATH:
            return ""
        if path == "/api" or path.startswith("/api/"):
            valid = [*self._page, *self._keys]
            needed = True
        else:
            valid = [*self._keys, *self._page]
            needed = bool(self._keys) and not (self.settings.loopback and path in self._public)
        sent = _values(scope, b"authorization")
        scheme, _, key = sent[0].partition(b" ") if len(sent) == 1 else (b"", b"", b"")
        key = key.strip() if scheme.lower() == b"bearer" and len(key) <= MAX_AUTHORIZATION else b""
        matches = [hmac.compare_digest(key, other) for other in valid]  # all, so that the time reveals nothing
        if any(matches) or not needed:  # where none is needed, it still identifies clients
            return hashlib.sha256(key).hexdigest() if key else ""
        raise ApiError(
            401,
            "invalid_api_key",
            "missing or invalid API key",
            allowed="a key of this server",
            fix="send the header Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _limit(self, scope: Scope) -> int:
        return self.settings.max_upload if scope["path"] == "/api/uploads" else self.settings.max_body

    def _too_large(self, scope: Scope) -> ApiError:
        limit = f"{self._limit(scope):,} bytes"
        return ApiError(
            413, "request_too_large", f"the body is larger than {limit}", allowed=f"up to {limit}", fix="send less"
        )

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body; raises ApiError where it is too large or arrives too slowly."""
        if not _has_body(scope):
            return b""
        limit, body = self._limit(scope), bytearray()
        try:
            async with asyncio.timeout(self.settings.read_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise invalid("the connection closed before the body ended", "a whole body", "send it again")
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise self._too_large(scope)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise ApiError(
                408,
                "request_timeout",
                "the body arrived too slowly",
                allowed=f"up to {self.settings.read_seconds:g} seconds",
                fix="send it faster",
            ) from None


def _unsupported(message: str, allowed: str, fix: str) -> ApiError:
    return ApiError(415, "unsupported_media_type", message, allowed=allowed, fix=fix)


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for header, value in scope["headers"] if header == name]


def _has_body(scope: Scope) -> bool:
    return bool(_values(scope, b"content-length") or _values(scope, b"transfer-encoding"))


def _preflight(asked: list[bytes]) -> Message:
    """Return the answer to a browser that asks which headers a page may send: the known ones of those it names."""
    names = [name.strip().lower() for name in b",".join(asked).split(b",", MAX_ASKED)[:MAX_ASKED]]
    granted = sorted({name for name in names if _may_be_sent(name)})
    return {
        "type": "http.response.start",
        "status": 204,
        "headers": [
            (b"access-control-allow-methods", b"GET, POST"),
            *([(b"access-control-allow-headers", b", ".join(granted))] if granted else []),
            (b"access-control-max-age", b"600"),
            (b"vary", b"access-control-request-headers"),
        ],
    }


def _may_be_sent(name: bytes) -> bool:
    rest = name.removeprefix(ASKED_PREFIX)
    return name in ASKED_HEADERS or (rest != name and rest.replace(b"-", b"").isalnum() and len(name) <= 64)
