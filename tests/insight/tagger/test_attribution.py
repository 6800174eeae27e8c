"""Attribution of a tag: what is left out is what the engine says, gradients are complete, paths are all paths."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insight.tagger.test_trace import TEXT, opened_of
from unroll.artifact.tagger import OpenTagger
from unroll.data.reader import Reading
from unroll.errors import UserError
from unroll.insight.attribution.scores import METHODS
from unroll.insight.tagger import quantity
from unroll.insight.tagger.attribution import attribute_tagger
from unroll.insight.tagger.sentences import sentence_of
from unroll.tasks.classify.decisive import log_of, without

SHAPES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "paths": {"crf": True, "arch": "gru"},
    "scheme": {"crf": True, "scheme": "bio"},
}
AT = 4


@pytest.fixture(scope="module", params=SHAPES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenTagger:
    return opened_of(tmp_path_factory.mktemp("attribution") / request.param, **SHAPES[request.param])


def log_p(opened: OpenTagger, reading: Reading) -> Any:
    """Return ln P (T, K) of all tags, by the engine."""
    return log_of(opened.network.probabilities(opened.network.scores(reading), reading.units.lengths))


def law_complete(opened: OpenTagger) -> None:
    """The scores of integrated gradients sum to what the engine says of the sentence, less that of all unknown."""
    scores = attribute_tagger(opened, TEXT, "B-A", at=AT, against="O", method="integrated", steps=300)
    reading = sentence_of(opened, TEXT).reading
    unknown = without(opened.reader, reading, np.ones((1, 7), np.bool_))
    whole, nothing = log_p(opened, reading)[AT - 1], log_p(opened, unknown)[AT - 1]
    assert scores.value == pytest.approx(whole[1] - whole[0], abs=1e-5)
    assert scores.baseline == pytest.approx(nothing[1] - nothing[0], abs=1e-5)
    assert abs(scores.value - scores.baseline) > 1e-3
    assert scores.scores.sum() == pytest.approx(scores.value - scores.baseline, abs=1e-4)


def test_integrated_gradients_are_complete(opened: OpenTagger) -> None:
    law_complete(opened)


def test_the_law_catches_another_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = quantity.TagQuantity.__call__
    monkeypatch.setattr(quantity.TagQuantity, "__call__", lambda self, x: call(
        quantity.TagQuantity(self.network, 0, self.tag, self.against), x))  # fmt: skip
    with pytest.raises(AssertionError):
        law_complete(opened_of(tmp_path / "model"))


def test_leaving_out_is_what_a_sentence_says_with_that_token_unknown(opened: OpenTagger) -> None:
    scores, reading = attribute_tagger(opened, TEXT, at=AT), sentence_of(opened, TEXT).reading
    tag = opened.info.tags.index(scores.target)
    assert tag == int(opened.network.best(opened.network.scores(reading), reading.units.lengths)[AT - 1])
    for t, hidden in enumerate(np.eye(7, dtype=np.bool_)):
        left = log_p(opened, without(opened.reader, reading, hidden[None]))[AT - 1, tag]
        assert scores.leave_out[t] == pytest.approx(log_p(opened, reading)[AT - 1, tag] - left, abs=1e-5)


def test_figures(opened: OpenTagger) -> None:
    for method in METHODS:
        figures = attribute_tagger(opened, TEXT, "I-A", at=2, method=method).figures()
        assert (figures["at"], figures["token"], figures["tag"], len(figures["units"])) == (2, "woof", "I-A", 7)
        assert [TEXT[unit["start"] : unit["end"]] for unit in figures["units"]] == TEXT.split()
    assert attribute_tagger(opened, TEXT).at == 7


def test_refusals(opened: OpenTagger) -> None:
    for options, message in (
        ({"at": 8}, "there is no token 8"),
        ({"at": 0}, "there is no token 0"),
        ({"tag": "B"}, "there is no tag B"),
        ({"tag": "O", "against": "O"}, "set against itself"),
    ):
        with pytest.raises(UserError, match=message):
            attribute_tagger(opened, TEXT, **options)
