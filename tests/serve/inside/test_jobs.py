"""Long analyses: they wait their turn, can be cancelled, and say why they failed."""

import time

import pytest

from serve.inside.looking import SHORT, TEXT, Json, Studio
from unroll.errors import UserError
from unroll.progress import Progress, Work
from unroll.serve.inside.jobs import WAITING, Jobs


def test_a_search_can_be_cancelled_and_says_why_it_failed(studio: Studio) -> None:
    job = studio.post("find", model="latch", text=TEXT + "a", property="word", top=3)
    ending = studio.done(studio.post(f"jobs/{job['id']}/cancel"))
    assert ending["state"] in ("cancelled", "done") and (ending["state"] == "done") == (ending["result"] is not None)
    failure = studio.done(studio.post("find", model="latch", text="a" * 2000, property="quotes", top=3))
    assert failure["state"] == "failed" and "does not vary" in failure["error"]["message"] and failure["error"]["fix"]
    short = studio.post("labels", model="latch", text=SHORT, property="quotes")
    assert "1,000" in short["why_not"]


def test_jobs_wait_their_turn_and_are_not_without_end() -> None:
    jobs, go, deadline = Jobs(), list[bool](), time.monotonic() + 20

    def work() -> Work[Json]:
        while not go:
            time.sleep(0.005)
            yield Progress("working", 0, 1)
        return {"answer": 42}

    first = jobs.submit("first", work)
    while first.state == "waiting":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    waiting = [jobs.submit(number, work) for number in range(WAITING)]
    with pytest.raises(UserError, match=f"{WAITING} analyses are already waiting"):
        jobs.submit("one more", work)
    jobs.cancel(waiting[0].id)
    assert waiting[0].state == "cancelled", "at once, as it had not begun"
    go.append(True)
    while waiting[-1].state in ("waiting", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert first.result == waiting[-1].result == {"answer": 42} and waiting[0].result is None
