"""One thread or several: the faster way is found again and again, and trials of the other are few and short."""

import sys
from collections import Counter

import numpy as np
import pytest

from engine.networks import SETS, weights_of
from unroll.engine import pace as module
from unroll.engine.network import Network
from unroll.engine.pace import Pace
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model

Kind = tuple[str, int]


class Clock:
    """A clock that a test sets, in the place of the module `time`."""

    now = 1.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def run(
    pace: Pace, clock: Clock, kinds: list[Kind], blocks: int, size: int, seconds: dict[int, float], first: float = 1.0
) -> dict[Kind, Counter[int]]:
    """Run blocks of the kinds in turn; of each, count the steps by their number of threads.

    A step takes what `seconds` says of its threads, and `first` times as long in the first block of several.
    """
    counts: dict[Kind, Counter[int]] = {kind: Counter() for kind in kinds}
    for number in range(blocks):
        kind, rest = kinds[number % len(kinds)], size
        while rest:
            threads, most = pace.choose(*kind)
            steps = min(rest, most)
            slow = first if threads > 1 and not counts[kind][threads] else 1.0
            clock.now += steps * slow * seconds[threads]
            counts[kind][threads] += steps
            pace.note(*kind, threads, slow * seconds[threads])
            rest -= steps
    return counts


@pytest.mark.parametrize("size", [1, 16, 5000])
@pytest.mark.parametrize("period", [1, 2, 3, 8])
def test_the_faster_way_is_found_though_the_first_trial_was_slow(period: int, size: int, clock: Clock) -> None:
    kinds = [("generate" if k % 2 else "read", 1 + k // 2) for k in range(period)]
    steps, seconds = (20_000, 1e-4) if size == 1 else (200_000, 1e-5)  # two seconds of each kind
    for counts in run(Pace(8), clock, kinds, steps // size * period, size, {1: 2 * seconds, 8: seconds}, 5.0).values():
        assert counts[8] > 0.9 * counts.total()


def test_what_loses_is_tried_less_and_less_and_what_changes_is_noticed(clock: Clock) -> None:
    pace, kind = Pace(2), ("read", 1)
    counts = run(pace, clock, [kind], 40_000, 25, {1: 1e-5, 2: 3e-5})[kind]
    assert counts[2] < 0.005 * counts.total()
    counts = run(pace, clock, [kind], 40_000, 25, {1: 9e-5, 2: 3e-5})[kind]  # what was chosen has become slow: at once
    assert counts[1] < 0.01 * counts.total()
    begun = clock.now
    counts = run(pace, clock, [kind], 40_000, 25, {1: 1e-5, 2: 3e-5})[kind]  # the other has become fast: at a trial
    assert counts[2] * 3e-5 < Pace.LATEST + 0.5 < clock.now - begun


def test_a_slow_block_says_nothing_and_a_trial_is_short(clock: Clock) -> None:
    pace = Pace(2)
    run(pace, clock, [("read", 1)], 50, 100, {1: 4e-5, 2: 1e-5})
    pace.note("read", 1, 2, 2.5e-5)
    clock.now += 100
    threads, most = pace.choose("read", 1)
    assert threads == 1 and 64 <= most <= 104
    pace.note("read", 1, 1, 4e-5)
    threads, most = pace.choose("read", 1)
    assert threads == 2 and most > 1000
    assert pace.choose("read", 4) == (2, sys.maxsize)  # each thread has rows of its own


@pytest.mark.skipif(not SETS, reason="no kernels: there was no compiler when unroll was installed")
def test_a_block_that_fails_is_not_a_fast_one() -> None:
    model = Model(ModelConfig(vocab_size=7, hidden_size=16, embedding_size=8))
    network = Network(model.config, weights_of(model), threads=2, kernel=SETS[0])
    with pytest.raises(IndexError):
        network.hidden(np.full((1, 500), 7))
    assert not network._pace._timings
