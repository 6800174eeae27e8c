"""What a request of the page asks for, checked: kinds, sizes, choices; anything else is an ApiError that says so."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from starlette.requests import Request

from unroll.errors import UserError
from unroll.lm.sample import SampleOptions
from unroll.serve.errors import ApiError, invalid, of_user_error
from unroll.serve.json_body import parse_object

T = TypeVar("T")


def body(request: Request) -> dict[str, Any]:
    """Return the JSON object that was sent."""
    return parse_object(request.scope["body"])


def text(asked: dict[str, Any], name: str, default: str | None = None, *, most: int = 2**20) -> str:
    """Return a text of at most so many characters."""
    value = asked.get(name, default)
    if not isinstance(value, str):
        raise invalid(f"{name} is a text", name)
    if len(value) > most:
        raise invalid(f"{name} has {len(value):,} characters; at most {most:,} are taken", name)
    return value


def whole(asked: dict[str, Any], name: str, default: int | None, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    value = asked.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise invalid(f"{name} is a whole number from {low:,} to {high:,}", name)
    return value


def real(asked: dict[str, Any], name: str, default: float | None, low: float, high: float) -> float:
    """Return a number from `low` to `high`."""
    value = asked.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise invalid(f"{name} is a number from {low:g} to {high:g}", name)
    return float(value)


def choice(asked: dict[str, Any], name: str, default: str, among: Sequence[str]) -> str:
    """Return one of a few words."""
    value = asked.get(name, default)
    if value not in among:
        raise invalid(f"{name} is one of {', '.join(among)}", name)
    return str(value)


def listed(asked: dict[str, Any], name: str, kind: type[T], most: int) -> list[T]:
    """Return a list of things of a kind; empty where there is none."""
    value = asked.get(name, [])
    if not isinstance(value, list) or len(value) > most:
        raise invalid(f"{name} is a list of at most {most:,}", name)
    if any(not isinstance(one, kind) or isinstance(one, bool) for one in value):
        raise invalid(f"{name} is a list of {kind.__name__}", name)
    return value


def options(asked: dict[str, Any]) -> SampleOptions:
    """Return how the next symbol is drawn."""
    try:
        return SampleOptions(
            temperature=real(asked, "temperature", 1.0, 0.0, 10.0),
            top_k=whole(asked, "top_k", 0, 0, 2**31),
            top_p=real(asked, "top_p", 1.0, 0.0, 1.0),
            min_p=real(asked, "min_p", 0.0, 0.0, 1.0),
            seed=whole(asked, "seed", 0, 0, 2**53),
        )
    except UserError as error:
        raise of_user_error(error) from None


def finite(value: float | None) -> float | None:
    """Return a number that JSON has; None for what is none."""
    return None if value is None or not math.isfinite(value) else value


__all__ = ["ApiError", "body", "choice", "finite", "listed", "options", "real", "text", "whole"]
