"""OMP_NUM_THREADS is obeyed, by training and by the engine alike; by default the cores are the limit."""

import os

import pytest

from unroll.engine.pace import Pace
from unroll.threads import threads_are_set, threads_up_to


def test_threads_obey_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_up_to(4) == threads_up_to(1) == Pace(None).most == 3
    assert Pace(2).most == 2


@pytest.mark.parametrize("value", ["", "0", "many", "-2", "4,2", None])
def test_what_is_no_number_leaves_it_to_the_cores(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert [threads_up_to(most) for most in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert Pace(None).most == 3
    assert threads_are_set() == (value is not None)


def test_where_no_affinity_is_known_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for cores, threads in ((6, 6), (40, 16), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert threads_up_to(16) == threads
