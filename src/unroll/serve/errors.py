"""What goes wrong over HTTP, in the shape that the field's standard client reads: always an object, always JSON."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from unroll.errors import MachineError, UserError


class ApiError(Exception):
    """An answer that says what is wrong: `status` is HTTP's, `code` a short name, `param` the field it is about."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
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

    def body(self) -> dict[str, Any]:
        """Return the object that is sent."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """Return the error for a request that its sender can mend."""
    return ApiError(400, code, message, param=param)


def not_found(path: str) -> ApiError:
    """Return the error for a path that leads nowhere."""
    return ApiError(404, "not_found", f"there is nothing at {path}")


def internal() -> ApiError:
    """Return the error for what went wrong here; it tells nothing of the inside, and asks not to be tried again."""
    return ApiError(
        500, "internal_error", "the server made a mistake; its log has more", headers={"x-should-retry": "false"}
    )


def of_user_error(error: UserError, param: str | None = None) -> ApiError:
    """Return an error of the library as an answer: what is wrong, what is allowed, how to fix it.

    What the machine refuses (a full disk) is no mistake of whoever asks.
    """
    if isinstance(error, MachineError):
        return ApiError(503, "machine_error", str(error), param=param)
    return invalid(str(error), param)


def dump(value: object) -> bytes:
    """Return JSON in ASCII: old clients break at U+2028 and its like, browsers at NaN."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as an answer."""
    return Response(dump(value), status, headers=headers, media_type="application/json")


def error_response(error: ApiError) -> Response:
    """Return an error as an answer."""
    return json_response(error.body(), error.status, error.headers)
