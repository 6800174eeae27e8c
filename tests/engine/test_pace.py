"""One thread or several: the faster way is found again and again, and trials of the other are few and short."""

import sys
from collections import Counter

import numpy as np
import pytest

from engine.networks import SETS, weights_of
from unroll.engine.network import Network, Pace
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model


def run(
    pace: Pace, kinds: list[tuple[str, int]], blocks: int, seconds: dict[int, float], first: float = 1.0
) -> Counter[object]:
    """Ask for blocks of the kinds in turn, each as fast as `seconds` says of its threads; count what they got."""
    got: Counter[object] = Counter()
    for number in range(blocks):
        kind, rows = kinds[number % len(kinds)]
        threads, _ = pace.choose(kind, rows)
        slow = first if threads > 1 and not got[kind, rows, threads] else 1.0
        got[kind, rows, threads] += 1
        pace.note(kind, rows, threads, slow * seconds[threads])
    return got


@pytest.mark.parametrize("period", [1, 2, 3, 8])
def test_the_faster_way_is_found_though_the_first_trial_was_slow(period: int) -> None:
    kinds = [("generate" if k % 2 else "read", 1 + k // 2) for k in range(period)]
    got = run(Pace(8), kinds, 400 * period, {1: 2e-5, 8: 1e-5}, first=5.0)
    for kind, rows in kinds:
        assert got[kind, rows, 8] > 370


def test_what_loses_is_tried_less_and_less_and_what_changes_is_noticed() -> None:
    pace = Pace(2)
    got = run(pace, [("read", 1)], 3000, {1: 1e-5, 2: 3e-5})
    assert got["read", 1, 2] < 12
    got = run(pace, [("read", 1)], 3000, {1: 9e-5, 2: 3e-5})  # what was chosen has become slow: at once
    assert got["read", 1, 1] < 30
    got = run(pace, [("read", 1)], 4000, {1: 1e-5, 2: 3e-5})  # the other has become fast: at the next trial
    assert got["read", 1, 2] < 1100


def test_a_slow_block_says_nothing_and_a_trial_is_short() -> None:
    pace = Pace(2)
    run(pace, [("read", 1)], 50, {1: 4e-5, 2: 1e-5})
    better = [pace.choose("read", 1) for _ in range(3)]
    assert (2, sys.maxsize) in better
    pace.note("read", 1, 2, 2.5e-5)
    assert {threads for threads, _ in (pace.choose("read", 1) for _ in range(5))} == {2}
    trials = [most for threads, most in (pace.choose("read", 1) for _ in range(200)) if threads == 1]
    assert trials and all(80 <= most <= 120 for most in trials)
    assert pace.choose("read", 4) == (2, sys.maxsize)  # each thread has rows of its own


@pytest.mark.skipif(not SETS, reason="no kernels: there was no compiler when unroll was installed")
def test_a_block_that_fails_is_not_a_fast_one() -> None:
    model = Model(ModelConfig(vocab_size=7, hidden_size=16, embedding_size=8))
    network = Network(model.config, weights_of(model), threads=2)
    with pytest.raises(IndexError):
        network.hidden(np.full((1, 500), 7))
    assert not network._pace._known
