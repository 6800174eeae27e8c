"""Why a stream is refused or ended."""

from unroll.serve.errors import ApiError


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
