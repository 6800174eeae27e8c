"""The training of a tagger: it learns, repeats itself to the byte, and resumes as if it had never stopped."""

import random
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from tasks.resuming import law_of_kills, outcome, stopped_always
from tasks.tag.toy import entities, trained, training, written
from tiny import stopped_at
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.tagger import CONTEXT, open_tagger, read_tagger
from unroll.data.tagged import read_tagged, tagged_of
from unroll.errors import UserError
from unroll.progress import Progress, result
from unroll.tasks.tag import memory
from unroll.tasks.tag.lesson import Tagging
from unroll.tasks.tag.request import resume_tagger, train_tagger
from unroll.training.memory import Memory
from unroll.training.report import Report

VARIANTS: dict[str, dict[str, Any]] = {
    "softmax": {"settings": {"label_smoothing": 0.1}},
    "crf": {"crf": True},
    "layers": {"settings": {"num_layers": 2, "skip": "sum", "arch": "gru", "averaging": 0.0}},
    "tokens": {"settings": {"char_hidden_size": 0, "lowercase": False, "min_count": 2}},
}


def right(path: Path, file: Path) -> float:
    """Return the share of tokens whose tag a tagger predicts, without torch."""
    opened, tagged = open_tagger(path), result(read_tagged(file, "-1"))
    reading = opened.read(tagged.sentences)
    ids = opened.network.best(opened.network.scores(reading), reading.units.lengths)
    true = [tag for tags in tagged.tags for tag in tags]
    hits: int = sum(opened.info.tags[id] == tag for id, tag in zip(ids.tolist(), true, strict=True))
    return hits / len(true)


def reports_of(work: Any) -> Generator[Report, None, None]:
    """Yield the reports of a training, not its progress before them."""
    with closing(work):
        yield from (report for report in work if isinstance(report, Report))


def resuming(path: Path) -> Generator[Report, None, None]:
    return reports_of(resume_tagger(path, device="cpu"))


def test_it_learns_and_what_it_learnt_holds(toy: Path, unseen: Path) -> None:
    assert right(toy, unseen) > 0.9
    found = read_tagger(toy).result
    assert found is not None and found["steps"] == 60 and found["valid_accuracy"] > 0.8


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopping_at_every_report_changes_nothing(variant: str, file: Path, tmp_path: Path) -> None:
    trained(file, tmp_path / "whole", steps=25, **VARIANTS[variant])
    assert stopped_at(reports_of(training(file, tmp_path / "parts", steps=25, **VARIANTS[variant])), 6)
    stopped_always(lambda: resuming(tmp_path / "parts"))
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_equal_commands_give_equal_bytes_and_other_seeds_do_not(file: Path, tmp_path: Path) -> None:
    first, second, third = (
        outcome(trained(file, tmp_path / str(k), steps=12, seed=seed)) for k, seed in enumerate((1, 1, 2))
    )
    assert first == second and first[WEIGHTS] != third[WEIGHTS]


def unseeded(lesson: Any, run: Any) -> Any:
    return ()


def first_batch(lesson: Any, run: Any) -> Any:
    run.step, step = 0, run.step
    try:
        return BATCH(lesson, run)
    finally:
        run.step = step


BATCH = Tagging.batch
FAULTS: list[tuple[str, Callable[..., Any]]] = [("start", unseeded), ("batch", first_batch)]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[name for name, _ in FAULTS])
def test_the_law_catches_what_a_resume_forgets(
    name: str, fault: Callable[..., Any], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(file, tmp_path / "whole", steps=25)
    assert stopped_at(reports_of(training(file, tmp_path / "parts", steps=25)), 6)
    monkeypatch.setattr(Tagging, name, fault)
    stopped_always(lambda: resuming(tmp_path / "parts"))
    assert outcome(tmp_path / "parts") != outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 10])
def test_kills_change_nothing(kills: int, file: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 40 * kills, "crf": True, "settings": {"save_every": 5, "threads": 1}}
    law_of_kills(partial(trained, file, **options), resuming, tmp_path, kills)


def test_contexts_are_read_again_where_a_training_resumes(file: Path, characters: Path, tmp_path: Path) -> None:
    model = shutil.copytree(characters, tmp_path / "model")
    trained(file, tmp_path / "whole", steps=25, pretrained=model)
    assert stopped_at(reports_of(training(file, tmp_path / "parts", steps=25, pretrained=model)), 8)
    shutil.rmtree(model)  # the tagger is whole
    stopped_always(lambda: resuming(tmp_path / "parts"))
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
    opened = open_tagger(tmp_path / "whole")
    assert opened.context is not None and opened.read([["bal", "kiro"]]).contexts is not None
    with open(tmp_path / "whole" / CONTEXT / WEIGHTS, "ab") as weights:
        weights.write(b"\0")
    with pytest.raises(UserError, match="not that which this tagger was trained with"):
        open_tagger(tmp_path / "whole")


def test_entities_never_break_their_scheme(tmp_path: Path) -> None:
    file = written(tmp_path / "entities.tsv", entities(random.Random(0), 80))
    out = trained(file, tmp_path / "run", steps=60, crf=True, scheme="bio")
    assert right(out, file) > 0.95 and open_tagger(out).info.scheme == "bio"


def test_tags_that_break_their_scheme_are_counted(tmp_path: Path) -> None:
    rows = entities(random.Random(0), 20)
    file = written(tmp_path / "broken.tsv", [*rows, [("Urbo", "O"), ("Bal", "I-LOC")], [("Bal", "I-PER")]])
    remarks = [report.text for report in training(file, tmp_path / "run", scheme="bio", steps=1)
               if isinstance(report, Report) and report.kind == "warn"]  # fmt: skip
    assert any("2 tags" in (remark or "") and "break bio" in (remark or "") for remark in remarks)
    for scheme, subject in (("bioes", "the scheme is bioes"), ("bio", "none of --scheme bio")):
        other = file if scheme == "bioes" else written(tmp_path / "bioes.tsv", [*rows, [("Bal", "S-PER")]])
        with pytest.raises(UserError, match=subject):
            trained(other, tmp_path / "other", scheme=scheme)
    for scheme, tag in (("bio", "I-LOC"), ("bioes", "E-LOC")):
        never = written(tmp_path / "never.tsv", [[("Bal", "B-PER" if scheme == "bioes" else "I-PER"), ("Kir", tag)]])
        with pytest.raises(UserError, match=rf"no tag of .* is O or .-TYPE, so {scheme} has none .*\n.*allowed"):
            trained(never, tmp_path / "other", scheme=scheme)
    assert not (tmp_path / "other").exists()


def test_a_validation_file_and_sentences_in_memory(file: Path, unseen: Path, tmp_path: Path) -> None:
    tagged, valid = (result(read_tagged(path, "2")) for path in (file, unseen))
    other = written(tmp_path / "valid.tsv", [[("bal", "NOUN"), ("kir", "NEW")], [("balo", "NOUN")]])
    reports = list(training(file, tmp_path / "run", valid=other, steps=5))
    remarks = [report.text for report in reports if isinstance(report, Report) and report.kind == "warn"]
    assert len(remarks) == 1 and "1 sentence" in str(remarks[0]) and "NEW" in str(remarks[0])
    start = next(report for report in reports if isinstance(report, Report))
    assert start.detail["train_sentences"] == 120 and start.detail["valid_sentences"] == 1
    memory = tagged_of(tagged.sentences, tagged.tags)
    reports = list(train_tagger(memory, out=tmp_path / "memory", steps=2, device="cpu"))
    assert reports[-1].kind == "end" and valid.sentences


def test_a_finished_training_has_nothing_to_resume(toy: Path) -> None:
    assert list(resume_tagger(toy)) == []


def test_minutes_are_kept(file: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    reports = list(training(file, tmp_path / "run", minutes=0.05))
    assert time.monotonic() - began < 0.05 * 60 + 3
    assert {report.phase for report in reports if isinstance(report, Progress)} >= {"reading", "encoding"}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"minutes": 1, "steps": 5}, "both minutes and steps"),
    ({"settings": {"no_key": 1}}, "no_key"),
    ({"settings": {"unknown": -1}}, "unknown"),
    ({"settings": {"min_count": 0}}, "min_count"),
    ({"crf": True, "settings": {"label_smoothing": 0.1}}, "label_smoothing"),
    ({"settings": {"context_size": 3}}, "context_size"),
    ({"column": "7"}, "column"),
    ({"pretrained": "missing"}, "missing"),
]


@pytest.mark.parametrize(("options", "subject"), REFUSED)
def test_impossible_requests_leave_nothing_behind(
    options: dict[str, Any], subject: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refusal:
        trained(file, tmp_path / "run", **options)
    assert subject in refusal.value.what and refusal.value.allowed and not list(tmp_path.iterdir())


def test_sentences_with_one_tag_or_too_few_are_refused(tmp_path: Path) -> None:
    for rows, subject in (([[("a", "X")], [("b", "X")]], "same tag"), ([[("a", "X"), ("b", "Y")]], "too few")):
        with pytest.raises(UserError, match=subject):
            trained(written(tmp_path / "rows.tsv", rows), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_model_of_words_says_no_contexts(file: Path, toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a tagger"):
        trained(file, tmp_path / "run", pretrained=toy)
    (copytree(toy, tmp_path / "numbers") / "tokenizer.json").unlink()  # as a model of sequences, which has none
    with pytest.raises(UserError, match="is a tagger"):
        trained(file, tmp_path / "run", pretrained=tmp_path / "numbers")


def test_contexts_that_do_not_fit_are_refused(
    file: Path, characters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: Memory(10**3, 10**9))
    with pytest.raises(UserError, match="contexts of"):
        trained(file, tmp_path / "run", pretrained=characters)
    assert not (tmp_path / "run").exists()
