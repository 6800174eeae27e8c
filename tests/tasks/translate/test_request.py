"""The training of a translator: it learns, repeats itself to the byte, and resumes as if it had never stopped."""

import random
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.resuming import law_of_kills, outcome, stopped_always
from tasks.translate.toy import sources, trained, training, translated, written
from tiny import stopped_at
from unroll.artifact.checkpoint import load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.events import SAMPLES, read_events
from unroll.artifact.translator import open_translator, read_translator
from unroll.data.ragged import Ragged
from unroll.errors import UserError
from unroll.nn.translator import Translator
from unroll.progress import Progress
from unroll.tasks.translate import store
from unroll.tasks.translate.lesson import Translation, greedy
from unroll.tasks.translate.request import resume_translator, train_translator
from unroll.training import memory
from unroll.training.report import Report

Pairs = tuple[Path, Path]

VARIANTS: dict[str, dict[str, Any]] = {
    "words": {},
    "pieces": {"level": "bpe", "attention": "additive", "settings": {"input_feeding": True, "pieces": 300}},
    "characters": {"level": "char", "attention": "none", "settings": {"shared": False, "tie_weights": False}},
    "layers": {"settings": {"num_layers": 2, "arch": "gru", "weight_drop": 0.1, "averaging": 0.0, "dropout": 0.2}},
}


def test_it_learns_to_translate_what_it_never_saw(toy: Path) -> None:
    opened = open_translator(toy)
    model = Translator(opened.info.config)
    model.load_state_dict(load_tensors(toy / WEIGHTS))
    unseen, hits = sources(random.Random(1), 40), 0
    for text in unseen:
        ids = opened.readers.source.tokenizer.encode(text)
        written = greedy(model.eval(), torch.from_numpy(ids), opened.end)
        hits += opened.readers.target.tokenizer.decode(np.array(written)) == translated(text)
    assert hits >= 36
    result = read_translator(toy).result
    assert result is not None and result["steps"] == 300 and result["valid_nats"] < 0.4


def test_the_engine_reads_what_torch_wrote(toy: Path) -> None:
    """The nats that training gave for what it held out are those of the directory as it is opened without torch."""
    opened, result = open_translator(toy), read_translator(toy).result
    assert result is not None
    stored = store.load(toy)
    source, target = stored.valid.sources, stored.valid.targets
    ended = Ragged.of([[*row, opened.end] for row in (target[k] for k in range(len(target)))])
    nats, _ = opened.network.nats(opened.network.read(source), ended, opened.end)
    assert nats.mean() == pytest.approx(result["valid_nats"], abs=1e-4)
    assert len(nats) == result["valid_symbols"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopping_at_every_report_changes_nothing(variant: str, pairs: Pairs, tmp_path: Path) -> None:
    trained(pairs, tmp_path / "whole", steps=25, **VARIANTS[variant])
    assert stopped_at(training(pairs, tmp_path / "parts", steps=25, **VARIANTS[variant]), 6)
    stopped_always(partial(resume_translator, tmp_path / "parts", device="cpu"))
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
    assert [event["step"] for event in read_events(tmp_path / "whole" / SAMPLES)] == [0, 25]


def test_equal_commands_give_equal_bytes_and_other_seeds_do_not(pairs: Pairs, tmp_path: Path) -> None:
    first, second, third = (
        outcome(trained(pairs, tmp_path / str(k), steps=12, seed=seed)) for k, seed in enumerate((1, 1, 2))
    )
    assert first == second and first[WEIGHTS] != third[WEIGHTS]


def first_batch(lesson: Any, run: Any) -> Any:
    run.step, step = 0, run.step
    try:
        return BATCH(lesson, run)
    finally:
        run.step = step


BATCH = Translation.batch
FAULTS: list[tuple[str, Callable[..., Any]]] = [("start", lambda lesson, run: ()), ("batch", first_batch)]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[name for name, _ in FAULTS])
def test_the_law_catches_what_a_resume_forgets(
    name: str, fault: Callable[..., Any], pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"steps": 25, "settings": {"dropout": 0.2}}
    trained(pairs, tmp_path / "whole", **options)
    assert stopped_at(training(pairs, tmp_path / "parts", **options), 6)
    monkeypatch.setattr(Translation, name, fault)
    stopped_always(partial(resume_translator, tmp_path / "parts", device="cpu"))
    assert outcome(tmp_path / "parts") != outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 10])
def test_kills_change_nothing(kills: int, pairs: Pairs, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 40 * kills, "settings": {"save_every": 5, "threads": 1}}
    begin, resume = partial(trained, pairs, **options), partial(resume_translator, device="cpu")
    law_of_kills(begin, resume, tmp_path, kills)


def test_a_finished_training_has_nothing_to_resume(toy: Path) -> None:
    assert list(resume_translator(toy)) == []


def test_a_resume_refuses_pairs_that_are_not_its_own(pairs: Pairs, tmp_path: Path) -> None:
    assert stopped_at(training(pairs, tmp_path / "run", steps=25), 6)
    trained(written(tmp_path, ["one", "two", "three"]), tmp_path / "other", steps=2)
    others = (tmp_path / "other" / "resume" / "examples.safetensors").read_bytes()
    (tmp_path / "run" / "resume" / "examples.safetensors").write_bytes(others)
    with pytest.raises(UserError, match="not those that it was trained on"):
        list(resume_translator(tmp_path / "run"))


def test_minutes_are_kept_and_too_few_are_refused(pairs: Pairs, tmp_path: Path) -> None:
    began = time.monotonic()
    reports = list(training(pairs, tmp_path / "run", minutes=0.05))
    assert time.monotonic() - began < 0.05 * 60 + 3
    assert isinstance(reports[-1], Report) and reports[-1].kind == "end"
    with pytest.raises(UserError, match="not enough for a single step"):
        list(training(pairs, tmp_path / "none", minutes=1e-5))
    assert not (tmp_path / "none").exists() and not [*tmp_path.glob(".*")]
    with pytest.raises(UserError, match="both minutes and steps"):
        training(pairs, tmp_path / "none", minutes=1, steps=1)


def started(pairs: Pairs, out: Path, **options: Any) -> dict[str, Any]:
    """Return the first report's detail, with all remarks."""
    reports = [report for report in training(pairs, out, steps=1, **options) if isinstance(report, Report)]
    detail: dict[str, Any] = reports[0].detail
    return detail | {"remarks": [report.text for report in reports if report.kind == "warn"]}


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    files = written(tmp_path, [*sources(random.Random(0), 40), "one two three red blue", "one"])
    files[1].write_text(files[1].read_text().removesuffix("eins\n") + "\n")
    detail = started(files, tmp_path / "run", settings={"max_units": 3})
    assert "1 pair of" in detail["remarks"][0] and "left out" in detail["remarks"][0]
    assert any("behind the first 3 of their text" in remark for remark in detail["remarks"])
    assert detail["train_pairs"] + detail["valid_pairs"] == 41
    ids = store.load(tmp_path / "run").train
    assert max(ids.sources.lengths.max(), ids.targets.lengths.max()) == 3


def test_pairs_for_validation_may_be_given(pairs: Pairs, tmp_path: Path) -> None:
    detail = started(pairs, tmp_path / "run", valid=written(tmp_path, ["one two", "two one", "blue cat"]))
    assert (detail["train_pairs"], detail["valid_pairs"]) == (240, 3)


@pytest.mark.parametrize("level", ["word", "bpe", "char"])
def test_languages_share_their_units_or_do_not(level: str, pairs: Pairs, tmp_path: Path) -> None:
    for shared in (True, False):
        out = tmp_path / f"{level}-{shared}"
        detail = started(pairs, out, level=level, settings={"shared": shared, "pieces": 300})
        opened = open_translator(out)
        sizes = opened.readers.source.tokenizer.vocab_size, opened.readers.target.tokenizer.vocab_size
        assert opened.readers.shared == shared == (detail["source_size"] == 0) == (not (out / "source.json").exists())
        assert (detail["source_size"] or sizes[1], detail["vocab_size"]) == sizes
        text = opened.readers.source.tokenizer.encode("red cat")
        assert opened.readers.source.tokenizer.decode(text) == "red cat"


def test_nothing_half_written_stays_after_an_error(pairs: Pairs, tmp_path: Path) -> None:
    (tmp_path / "short.de").write_text("eins\n")
    with pytest.raises(UserError, match=r"240 lines, and .*short\.de 1"):
        list(training((pairs[0], tmp_path / "short.de"), tmp_path / "run", steps=1))
    with pytest.raises(UserError, match="input_feeding without attention"):
        training(pairs, tmp_path / "run", steps=1, attention="none", settings={"input_feeding": True})
    with pytest.raises(UserError, match="is 'byte'"):
        train_translator(*pairs, out=tmp_path / "run", level="byte", steps=1)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["short.de"]


def test_an_earlier_model_stays_until_the_new_one_has_weights(pairs: Pairs, toy: Path, tmp_path: Path) -> None:
    out = trained(pairs, tmp_path / "run", steps=2)
    before = (out / WEIGHTS).read_bytes()
    with pytest.raises(UserError, match="unroll translate train --resume"):
        list(training(pairs, out, steps=2))
    assert stopped_at(training(pairs, out, steps=12, force=True, seed=1), 2)
    assert (out / WEIGHTS).read_bytes() == before
    trained(pairs, out, steps=2, force=True, seed=1)
    assert (out / WEIGHTS).read_bytes() != before


def test_a_model_too_large_for_the_machine_is_refused(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: memory.Memory(10_000, 10_000))
    with pytest.raises(UserError, match="this machine has"):
        list(training(pairs, tmp_path / "run", steps=1))
    monkeypatch.setattr(memory, "memory_of", lambda device: None)
    monkeypatch.setattr(memory, "LARGE", 1)
    assert "takes about" in started(pairs, tmp_path / "run")["remarks"][0]


def test_progress_is_reported_before_the_first_step(pairs: Pairs, tmp_path: Path) -> None:
    with closing(training(pairs, tmp_path / "run", minutes=0.05)) as reports:
        phases = [report.phase for report in takewhile(lambda report: isinstance(report, Progress), reports)]
    assert list(dict.fromkeys(phases)) == ["reading", "encoding", "measuring this machine"]
