"""The trace of a tagger: the cell's equations hold in each direction's order, and it is what the engine says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.test_tagger import save
from insight.classifier.test_trace import law_of_cells
from nn.test_tagger import config
from unroll.artifact.tagger import OpenTagger, open_tagger
from unroll.engine.crf import Scheme
from unroll.errors import UserError
from unroll.insight.recorded import chosen_names
from unroll.insight.tagger.network import network_of
from unroll.insight.tagger.sentences import sentence_of
from unroll.insight.tagger.trace import OUTSIDE, trace_tagger, traced

TEXT = " the woof  says meow the gnu says\n"
SHAPES: dict[str, dict[str, Any]] = {
    "words": {},
    "paths": {"crf": True, "arch": "gru"},
    "forwards": {"bidirectional": False, "arch": "mingru", "skip": "residual"},
}


def opened_of(path: Path, scheme: Scheme = "none", **options: Any) -> OpenTagger:
    save(path, config(vocab_size=6, chars=11, **options), scheme)
    return open_tagger(path)


@pytest.fixture(scope="module", params=SHAPES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenTagger:
    return opened_of(tmp_path_factory.mktemp("trace") / request.param, **SHAPES[request.param])


def test_the_equations_hold_in_both_directions(opened: OpenTagger) -> None:
    reading = sentence_of(opened, TEXT).reading
    ends = {"units": reading.units.ends, "characters": reading.words.select(reading.word_of.values).ends}
    arrays = traced(network_of(opened).double(), reading)
    assert {*arrays, "probabilities"} == set(chosen_names(opened.info.config, OUTSIDE))
    law_of_cells(arrays, opened.info.config.arch, ends)


def test_it_is_what_the_engine_says(opened: OpenTagger, tmp_path: Path) -> None:
    trace, sentence = trace_tagger(opened, TEXT, out=tmp_path / "t.npz"), sentence_of(opened, TEXT)
    scores, lengths = opened.network.scores(sentence.reading), sentence.reading.units.lengths
    np.testing.assert_allclose(trace.arrays["logits"], scores, rtol=1e-5, atol=1e-5)
    expected = opened.network.probabilities(scores, lengths)
    np.testing.assert_allclose(trace.arrays["probabilities"], expected, atol=1e-5)
    assert "".join(trace.pieces) == TEXT and len(trace.pieces) == len(sentence.spans) == 7
    with np.load(tmp_path / "t.npz") as arrays:
        assert set(arrays) == set(trace.names) and arrays["probabilities"].shape == (7, 4)


def test_texts_without_tokens_or_with_too_many_are_refused(opened: OpenTagger) -> None:
    for text in (" ", "a " * 1001):
        with pytest.raises(UserError, match="tokens\n  allowed: 1 to 1,000"):
            trace_tagger(opened, text)
