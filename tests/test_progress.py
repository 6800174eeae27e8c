"""Long work yields its progress and returns its result, however it is driven."""

from collections.abc import Generator

import pytest

from unroll.progress import Progress, Work, mapped, renamed, result


def counting(steps: int) -> Work[str]:
    for step in range(steps):
        yield Progress("counting", step + 1, steps, "steps")
    return "done"


def test_the_result_is_what_work_returns_and_its_progress_is_shown_in_order() -> None:
    events: list[Progress] = []
    assert result(counting(3), events.append) == "done"
    assert events == list(counting(3)) and [progress.done for progress in events] == [1, 2, 3]
    assert result(counting(0)) == "done"


def test_work_under_another_name_is_the_same_work() -> None:
    events: list[Progress] = []
    assert result(renamed(counting(2), "book"), events.append) == "done"
    assert events == [Progress("book", 1, 2, "steps"), Progress("book", 2, 2, "steps")]


def test_reports_become_progress() -> None:
    def halves() -> Generator[float, None, int]:
        yield 0.5
        yield 1.0
        return 7

    events: list[Progress] = []
    assert result(mapped(halves(), lambda share: Progress("reading", int(share * 8), 8)), events.append) == 7
    assert [progress.done for progress in events] == [4, 8]


def test_what_stops_the_work_ends_it() -> None:
    endings = []

    def work() -> Work[None]:
        try:
            yield from counting(9)
        finally:
            endings.append(True)

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    for wrapped in (work(), renamed(work(), "book")):
        with pytest.raises(KeyboardInterrupt):
            result(wrapped, stop)
        del wrapped
    assert endings
