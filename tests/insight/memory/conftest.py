"""Fixtures of the tests of memory."""

from dataclasses import replace

import pytest

from insight.memory.cases import found_of, memory_of, small_plan
from unroll.insight.memory.measure import Memory

HOSTILE = '<script>alert("1")</script>&amp; \' ]]> <!--\x07\u202e'


@pytest.fixture(scope="module")
def several() -> Memory:
    plan = small_plan(count=400, targets=40)
    memories = [found_of(arch, plan)[1] for arch in ("lstm", "rnn", "window")]
    memories[0] = replace(memories[0], model=f"runs/{HOSTILE.replace('/', '')}")
    return replace(memory_of(*memories, name=HOSTILE), notes=(f"a note on {HOSTILE}",))
