"""The sentences beside a tagger: they come back as they were; equal ones are in one part, and damaged ones refused."""

import json
import random
import shutil
from pathlib import Path

import pytest

from tasks.tag.toy import sentences
from unroll.data.tagged import Tagged, tagged_of
from unroll.errors import UserError
from unroll.tasks.tag import store
from unroll.tasks.tag.store import TRAIN, VALID, parts_of


def tagged(*rows: list[tuple[str, str]]) -> Tagged:
    return tagged_of([[token for token, _ in row] for row in rows], [[tag for _, tag in row] for row in rows])


def test_they_come_back_as_they_were(toy: Path) -> None:
    stored = store.load(toy)
    assert stored.digest in (toy / "recipe.toml").read_text()
    rows = [tuple(token for token, _ in row) for row in sentences(random.Random(0), 120)]
    assert sorted([*stored.train.sentences, *stored.valid.sentences]) == sorted(rows)
    assert 0 < len(stored.valid) < 30 and stored.tags == ("ADJ", "ADV", "NOUN", "VERB")


def test_equal_sentences_are_in_one_part_and_no_tag_is_held_out_of_training() -> None:
    rows = sentences(random.Random(3), 60)
    stored, remarks = parts_of(tagged(*rows, *rows, [("rara", "X")]))
    assert not set(stored.train.sentences) & set(stored.valid.sentences) and not remarks
    assert len(stored.train) + len(stored.valid) == 121
    for seed in range(40):  # whichever sentence the hash would hold out
        stored, _ = parts_of(tagged(*rows, [(f"rara{seed}", "X")]))
        assert "X" in stored.tags


def test_few_held_out_are_remarked() -> None:
    rows = sentences(random.Random(4), 400)
    rest, _ = parts_of(tagged(*rows))
    again = tagged_of(rest.train.sentences, rest.train.tags)  # split by the same hash before
    _, (remark,) = parts_of(again)
    assert "1 sentence held out" in remark and "--valid" in remark


def test_sentences_for_validation_with_other_tags_are_left_out() -> None:
    rows = sentences(random.Random(5), 20)
    valid = tagged(rows[0], [("a", "NEW"), *rows[1]])
    stored, (remark, shared) = parts_of(tagged(*rows), valid)
    assert len(stored.valid) == 1 and "1 sentence of X" in remark and "NEW" in remark
    assert shared.startswith("1 sentence of X also in X")
    assert parts_of(tagged(*rows), tagged([("a", "NOUN")]))[1] == ()
    with pytest.raises(UserError, match="no sentence of X has the tags") as refusal:
        parts_of(tagged(*rows), tagged([("a", "NEW")]))
    assert "NEW" in refusal.value.what and "NOUN" in refusal.value.allowed


def test_damaged_ones_are_refused(toy: Path, tmp_path: Path) -> None:
    path = shutil.copytree(toy, tmp_path / "model")
    for content in ("{\n", '{"tokens": ["a"]}\n', json.dumps({"tokens": ["a"], "tags": []}), "[1]\n"):
        (path / VALID).write_text(content)
        with pytest.raises(UserError, match="is damaged"):
            store.load(path)
    (path / TRAIN).unlink()
    with pytest.raises(UserError, match="cannot read"):
        store.load(path)
