"""Raw requests, as an attacker would send them, and their answers."""

import json

from serve.live import Live, raw
from unroll.serve.guard import CONTENT_SECURITY_POLICY


def ask(live: Live, *headers: str, host: str | None = "127.0.0.1:PORT", path: str = "/v1/models") -> tuple[int, str]:
    """Send a GET with headers as they are; return the status, and the code of the error if it is one."""
    lines = [f"GET {path} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *headers, "Connection: close"]
    data = "\r\n".join([*lines, "", ""]).replace("PORT", str(live.settings.port))
    return parsed(raw(live, data.encode("latin-1")))


def parsed(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert b"content-security-policy: " + CONTENT_SECURITY_POLICY.encode() in head.lower()
    error = json.loads(body).get("error") if b"application/json" in head else None
    if status >= 400:
        assert error is not None and error.keys() == {"message", "allowed", "fix", "type", "param", "code"}
    return status, error["code"] if error else ""
