"""Attribution of a piece of a translation: what is left out is what the engine says, and gradients are complete."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.test_translator import model_of
from export.test_translator import save
from unroll.artifact.translator import OpenTranslator, open_translator
from unroll.data.ragged import Ragged
from unroll.errors import UserError
from unroll.insight.attribution.scores import METHODS
from unroll.insight.translator import quantity
from unroll.insight.translator.attribution import attribute_translator
from unroll.tasks.classify.decisive import without
from unroll.tasks.translate.predict import translate

TEXT = "w1 w4 gnu w2 w9"
AT = 3
SHAPES: dict[str, Any] = {
    "dot": ("lstm", "dot", True),
    "additive": ("gru", "additive", False),
    "none": ("mingru", "none", False),
}


@pytest.fixture(scope="module", params=SHAPES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenTranslator:
    path = tmp_path_factory.mktemp("attribution") / request.param
    return open_translator(save(path, model_of(*SHAPES[request.param])))


def log_p(opened: OpenTranslator, hidden: Any) -> Any:
    """Return ln P of piece AT of the translation of TEXT, with some of the units unknown, by the engine."""
    reader = opened.readers.source
    reading = without(reader, reader.read([TEXT]), np.array([hidden], np.bool_))
    written = attribute_translator(opened, TEXT, at=AT)
    tokenizer = opened.readers.target.tokenizer
    ids = [opened.end if piece == "<eos>" else int(tokenizer.encode(piece.strip())[0]) for piece in written.translation]
    nats, _ = opened.network.nats(opened.network.read(reading.units), Ragged.of([ids[:AT]]), opened.end)
    return -nats[-1]


def law_complete(opened: OpenTranslator) -> None:
    """The scores of integrated gradients sum to what the engine says of the text, less that of all units unknown."""
    scores = attribute_translator(opened, TEXT, at=AT, method="integrated", steps=300)
    whole, nothing = log_p(opened, [False] * 5), log_p(opened, [True] * 5)
    assert abs(whole - nothing) > 1e-3
    assert scores.value == pytest.approx(whole, abs=1e-5) and scores.baseline == pytest.approx(nothing, abs=1e-5)
    assert scores.scores.sum() == pytest.approx(whole - nothing, abs=1e-4)


def test_integrated_gradients_are_complete(opened: OpenTranslator) -> None:
    law_complete(opened)


def test_the_law_catches_another_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = quantity.quantity_of
    monkeypatch.setattr(quantity, "quantity_of", lambda opened, ids: of(opened, ids[:-1]))
    with pytest.raises(AssertionError):
        law_complete(open_translator(save(tmp_path / "model", model_of())))


def test_leaving_out_is_what_a_text_says_with_that_piece_unknown(opened: OpenTranslator) -> None:
    scores, whole = attribute_translator(opened, TEXT, at=AT), log_p(opened, [False] * 5)
    for s, hidden in enumerate(np.eye(5, dtype=np.bool_)):
        assert scores.leave_out[s] == pytest.approx(whole - log_p(opened, hidden), abs=1e-5)


def test_figures_have_the_attention_beside_the_scores(opened: OpenTranslator) -> None:
    attends = opened.info.config.attention != "none"
    (row,) = translate(opened, [TEXT], attention=attends)
    for method in METHODS:
        figures = attribute_translator(opened, TEXT, at=AT, method=method).figures()
        assert [unit["text"] for unit in figures["units"]] == TEXT.split() and figures["at"] == AT
        if attends:
            expected = row["translations"][0]["attention"]
            assert figures["translation"] == expected["target"]
            np.testing.assert_allclose(figures["attention"], expected["weights"][AT - 1], atol=1e-6)
            assert -1 <= figures["attention_agreement"] <= 1
        else:
            assert figures["attention"] is None and figures["attention_agreement"] is None


def test_refusals(opened: OpenTranslator) -> None:
    for piece in (0, 99):
        with pytest.raises(UserError, match=f"there is no piece {piece}"):
            attribute_translator(opened, TEXT, at=piece)
    with pytest.raises(UserError, match="the text is empty"):
        attribute_translator(opened, " ")
