"""The search for units: labels first, then findings."""

import numpy as np
import pytest

from serve.inside.looking import TEXT, Studio
from serve.quoted import TOKENIZER
from unroll.insight.cells.properties import as_read, label


def test_labels_are_seen_before_the_search_and_the_latch_is_found_first(studio: Studio) -> None:
    shown = studio.post("labels", model="latch", text=TEXT, property="quotes")
    text = as_read("text", TEXT, TOKENIZER)
    wanted = label(text, "quotes").values
    assert np.array_equal(shown["arrays"]["labels"], wanted[: len(shown["symbols"])])
    assert shown["share"] == pytest.approx(wanted.mean()) and shown["why_not"] == ""
    assert shown["runs"] == TEXT.count("“")
    job = studio.post("find", model="latch", text=TEXT, property="quotes", top=4)
    found = studio.done(job)
    assert found["state"] == "done", found["error"]
    first = found["result"]["findings"][0]
    assert (first["layer"], first["unit"], first["verdict"]) == (0, 0, "causal")
    assert first["score"] == pytest.approx(1.0, abs=1e-12)
    stretch = found["result"]["stretch"]
    assert len(stretch["values"]) == len(found["result"]["findings"])
    assert np.corrcoef(stretch["values"][0], stretch["labels"])[0, 1] > 0.999
    assert studio.post("find", model="latch", text=TEXT, property="quotes", top=4)["id"] == job["id"], "asked before"

    runs, start = list[list[float]](), 0
    for k in range(1, len(wanted) + 1):
        if k == len(wanted) or wanted[k] != wanted[start]:
            runs += [[start, k, 1]] if wanted[start] else []
            start = k
    painted = studio.done(studio.post("find", model="latch", text=TEXT, labels=runs, top=4))
    assert painted["result"]["findings"][0]["unit"] == 0 and painted["result"]["property"] == "painted"
    shifted = [[start, end, 1] for start, end, _ in ((a + 900, b + 900, 1) for a, b, _ in runs) if end <= len(TEXT)]
    wrong = studio.done(studio.post("find", model="latch", text=TEXT, labels=shifted, top=4))
    assert wrong["result"]["findings"][0]["verdict"] == "none", "labels of another place"
