"""Figures of translators: sacrebleu's own, the nats of references read as targets, and groups by length."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import sacrebleu

from tasks.translate.toy import sources, trained, written
from unroll.artifact.translator import open_translator
from unroll.data.ragged import Ragged
from unroll.errors import UserError
from unroll.tasks.translate.evaluate import by_length, evaluate_translator
from unroll.tasks.translate.predict import translate


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pairs of which a translator that learnt a little gets some wrong."""
    return written(tmp_path_factory.mktemp("unseen"), sources(random.Random(9), 50, most=7))


def test_its_figures_are_those_of_sacrebleu(toy: Path, unseen: tuple[Path, Path]) -> None:
    figures = evaluate_translator(toy, *unseen, beam=3)
    texts, references = (file.read_text().splitlines() for file in unseen)
    hypotheses = [row["translations"][0]["text"] for row in translate(toy, texts, beam=3)]
    assert 0 < figures["bleu"] < 100
    assert figures["bleu"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [references], tokenize="13a").score)
    assert figures["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score)
    assert "tok:13a" in figures["signatures"]["bleu"] and sacrebleu.__version__ in figures["signatures"]["chrf"]
    assert figures["length_ratio"] == sum(map(len, hypotheses)) / sum(map(len, references))
    assert (figures["count"], figures["beam"], figures["notes"]) == (50, 3, [])


def test_nats_are_those_of_single_pairs(toy: Path, unseen: tuple[Path, Path]) -> None:
    figures, model = evaluate_translator(toy, *unseen), open_translator(toy)
    total, count = 0.0, 0
    for source, target in zip(*(file.read_text().splitlines() for file in unseen), strict=True):
        ids = [*model.readers.target.read([target]).units[0].tolist(), model.end]
        memory = model.network.read(model.readers.source.read([source]).units)
        total += float(model.network.nats(memory, Ragged.of([ids]), model.end)[0].sum())
        count += len(ids)
    assert figures["symbols"] == count and figures["nats"] == pytest.approx(total / count, rel=1e-6)


def test_groups_by_length_are_the_whole(toy: Path, unseen: tuple[Path, Path]) -> None:
    figures = evaluate_translator(toy, *unseen)
    groups = figures["by_length"]
    assert sum(group["count"] for group in groups) == figures["count"] and 2 <= len(groups) <= 4
    ends = [end for group in groups for end in group["units"]]
    assert ends == sorted(ends) and all(before < after for before, after in zip(ends[1::2], ends[2::2], strict=False))


@pytest.mark.parametrize("lengths", [[5], [3] * 9, [*range(1, 13)], [1, 1, 1, 1, 1, 1, 50], [9, 2, 9, 2, 4, 5, 5, 1]])
def test_every_row_is_in_one_group_and_equal_lengths_in_the_same(lengths: list[int]) -> None:
    groups = by_length(np.array(lengths))
    assert sorted(np.concatenate(groups).tolist()) == [*range(len(lengths))] and len(groups) <= 4
    of_groups = [{lengths[row] for row in group.tolist()} for group in groups]
    assert sum(map(len, of_groups)) == len(set(lengths))
    if lengths == [*range(1, 13)]:
        assert [len(group) for group in groups] == [4, 3, 3, 2]


def test_tokenised_references_are_counted_as_they_stand(toy: Path, tmp_path: Path) -> None:
    files = tmp_path / "a", tmp_path / "b"
    for file, line in zip(files, ("one , two .\n", "zwei , eins .\n"), strict=True):
        file.write_text(line * 3)
    assert "tok:none" in evaluate_translator(toy, *files)["signatures"]["bleu"]
    assert "tok:char" in evaluate_translator(toy, *files, tokenize="char")["signatures"]["bleu"]
    with pytest.raises(UserError, match="--tokenize is '13b'") as refusal:
        evaluate_translator(toy, *files, tokenize="13b")
    assert "13a" in refusal.value.fix


def test_what_is_odd_about_the_pairs_is_noted(toy: Path, tmp_path: Path) -> None:
    files = tmp_path / "a", tmp_path / "b"
    for file, text in zip(files, ("one\n\ntwo\n", "eins\nzwei\nunheard\n"), strict=True):
        file.write_text(text)
    figures = evaluate_translator(toy, *files)
    assert figures["count"] == 2 and len(figures["notes"]) == 2
    assert "1 pair of" in figures["notes"][0] and "1 symbol of the references unknown" in figures["notes"][1]


def test_without_sacrebleu_it_names_the_extra(
    toy: Path, unseen: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(UserError, match="need sacrebleu") as refusal:
        evaluate_translator(toy, *unseen)
    assert "unroll-lm[translate]" in refusal.value.fix


def test_a_translator_without_attention_is_measured_too(
    pairs: tuple[Path, Path], unseen: tuple[Path, Path], tmp_path: Path
) -> None:
    model = trained(pairs, tmp_path / "model", steps=5, attention="none")
    assert evaluate_translator(model, *unseen)["nats"] > 0
