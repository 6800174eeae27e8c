"""The search for units: labels first, then findings."""

import numpy as np
import pytest

from serve.inside.looking import TEXT, Studio
from serve.quoted import TOKENIZER
from unroll.insight.cells.properties import as_read, label


def test_labels_are_seen_before_the_search_and_the_latch_is_found_first(studio: Studio) -> None:
    preview = studio.post("labels", model="latch", text=TEXT, property="quotes")
    text = as_read("text", TEXT, TOKENIZER)
    expected = label(text, "quotes").values
    assert np.array_equal(preview["arrays"]["labels"], expected[: len(preview["symbols"])])
    assert preview["share"] == pytest.approx(expected.mean()) and preview["why_not"] == ""
    assert preview["runs"] == TEXT.count("“")
    job = studio.post("find", model="latch", text=TEXT, property="quotes", top=4)
    search = studio.done(job)
    assert search["state"] == "done", search["error"]
    first = search["result"]["findings"][0]
    assert (first["layer"], first["unit"], first["verdict"]) == (0, 0, "causal")
    assert first["score"] == pytest.approx(1.0, abs=1e-12)
    stretch = search["result"]["stretch"]
    assert len(stretch["values"]) == len(search["result"]["findings"])
    assert np.corrcoef(stretch["values"][0], stretch["labels"])[0, 1] > 0.999
    assert studio.post("find", model="latch", text=TEXT, property="quotes", top=4)["id"] == job["id"], "asked before"

    runs, start = list[list[float]](), 0
    for k in range(1, len(expected) + 1):
        if k == len(expected) or expected[k] != expected[start]:
            runs += [[start, k, 1]] if expected[start] else []
            start = k
    painted = studio.done(studio.post("find", model="latch", text=TEXT, labels=runs, top=4))
    assert painted["result"]["findings"][0]["unit"] == 0 and painted["result"]["property"] == "painted"
    shifted = [[start, end, 1] for start, end, _ in ((a + 900, b + 900, 1) for a, b, _ in runs) if end <= len(TEXT)]
    misplaced = studio.done(studio.post("find", model="latch", text=TEXT, labels=shifted, top=4))
    assert misplaced["result"]["findings"][0]["verdict"] == "none", "labels of another place"
