"""Errors over HTTP: on every route one JSON object, in the shape that the field's standard client reads."""

import json
import logging
from collections.abc import Mapping

from starlette.responses import Response

from unroll.errors import MachineError, UserError

log = logging.getLogger("unroll.serve")
"""The log of the server: what its clients are not told."""


class ApiError(Exception):
    """An error answer: what is wrong, what is allowed, how to fix it.

    `status` is HTTP's, `code` a short name, `param` the field it is about. `message` makes sense by itself.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        allowed: str = "",
        fix: str = "",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.allowed = allowed
        self.fix = fix
        self.param = param
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """The kind of error, by its status."""
        if self.status == 401:
            return "authentication_error"
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    def figures(self) -> dict[str, str | None]:
        """Return the error object."""
        return {
            "message": self.message,
            "allowed": self.allowed,
            "fix": self.fix,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the body of the answer: the error object as `error`."""
        return {"error": self.figures()}


def invalid(message: str, allowed: str, fix: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """Return the error for a request that its sender can fix."""
    return ApiError(400, code, message, allowed=allowed, fix=fix, param=param)


def internal() -> ApiError:
    """Return the error for a fault of the server: it reveals nothing of the inside, and asks for no retry."""
    return ApiError(
        500, "internal_error", "internal server error; see the server log", headers={"x-should-retry": "false"}
    )


def shutting_down() -> ApiError:
    """Return the error for requests while the server stops."""
    return ApiError(
        503, "shutting_down", "the server is stopping", fix="retry when it runs again", headers={"Retry-After": "5"}
    )


def timed_out(seconds: float) -> ApiError:
    """Return the error for a text that takes too long."""
    return ApiError(
        503,
        "generation_timeout",
        f"the text took longer than {seconds:g} seconds",
        allowed=f"up to {seconds:g} seconds for a text",
        fix="ask for shorter texts",
    )


def slow_reader(seconds: float) -> ApiError:
    """Return the error for a client that does not read its stream."""
    return ApiError(
        503,
        "slow_reader",
        f"the client stopped reading for {seconds:g} seconds",
        allowed=f"pauses of up to {seconds:g} seconds",
        fix="read the stream as it arrives",
    )


def queue_full(most: int) -> ApiError:
    """Return the error for requests where all slots and places of the queue are taken."""
    return ApiError(
        429,
        "queue_full",
        "the queue is full; retry shortly",
        allowed=f"up to {most:,} streams of a model at a time",
        fix="retry shortly",
        headers={"Retry-After": "1"},
    )


def of_user_error(error: UserError, param: str | None = None) -> ApiError:
    """Return an error of the library as an answer; what the machine refuses (a full disk) is a server error."""
    status, code = (503, "machine_error") if isinstance(error, MachineError) else (400, "invalid_value")
    return ApiError(status, code, error.what, allowed=error.allowed, fix=error.fix, param=param)


def dump(value: object) -> bytes:
    """Return JSON in ASCII: old clients break at U+2028 and similar symbols, browsers at NaN."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as an answer."""
    return Response(dump(value), status, headers=headers, media_type="application/json")


def error_response(error: ApiError) -> Response:
    """Return an error as an answer."""
    return json_response(error.body(), error.status, error.headers)
