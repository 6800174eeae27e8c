"""Results that are kept, and computed again where they were dropped."""

import pytest

from serve.inside.looking import SHORT, Studio


def test_a_trace_that_was_dropped_is_made_anew(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from unroll.serve.inside import store

    monkeypatch.setattr(store, "MOST_TRACES", 1)
    document = studio.post("open", model="latch", text=SHORT)
    studio.post("open", model="rnn", text=SHORT)
    unit = studio.get("unit", model="latch", id=document["id"], layer=0, unit=0)
    assert unit["arrays"]["values"].shape == (6, len(SHORT))
