"""What a translator is taught: batches without repeats, each target from its start to its end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tasks.translate.toy import training
from unroll.artifact.translator import read_readers, read_translator
from unroll.data.ragged import Ragged
from unroll.nn.encoder import Units
from unroll.nn.translator import Translator
from unroll.nn.translator_config import TranslatorConfig
from unroll.tasks.translate import store
from unroll.tasks.translate.lesson import PairBatch, Translation, greedy
from unroll.tasks.translate.recipe import TranslateTraining
from unroll.tasks.translate.store import Read


@pytest.fixture(scope="module")
def lesson(toy: Path) -> Translation:
    info, stored = read_translator(toy), store.load(toy)
    config = TranslateTraining(batch_size=16, steps=60, label_smoothing=0.25)
    return Translation(info, read_readers(toy, info), stored.train, stored.valid, config)


def test_an_epoch_has_each_pair_once(lesson: Translation) -> None:
    for number in range(3):
        rows = np.concatenate(lesson.epochs.of(number))
        assert sorted(rows.tolist()) == list(range(len(lesson.train)))


def test_a_batch_depends_on_the_step_alone(lesson: Translation) -> None:
    last = 2 * lesson.epochs.size + 1
    run: Any = SimpleNamespace(step=last)
    first = lesson.batch(run).arrays()
    for run.step in range(last + 1):
        again = lesson.batch(run).arrays()
    for name, array in first.items():
        assert np.array_equal(array, again[name]), name  # type: ignore[arg-type]
    assert first["smoothing"] == 0.25


def test_a_target_is_read_from_its_start_and_written_to_its_end() -> None:
    batch = PairBatch(Read(Ragged.of([[5], [6, 7, 8]]), Ragged.of([[3, 4], [2]])), end=1)
    arrays: dict[str, Any] = batch.arrays()
    lengths = arrays["target_lengths"].tolist()
    assert lengths == [3, 2] and batch.tokens == 5
    assert [row[:length].tolist() for row, length in zip(arrays["inputs"], lengths, strict=True)] == [[1, 3, 4], [1, 2]]
    assert [row[:length].tolist() for row, length in zip(arrays["targets"], lengths, strict=True)] == [
        [3, 4, 1],
        [2, 1],
    ]
    assert arrays["ids"].tolist() == [[5, 0, 0], [6, 7, 8]] and arrays["lengths"].tolist() == [1, 3]


def test_the_figure_of_validation_is_the_mean_over_symbols(lesson: Translation) -> None:
    model = Translator(lesson.info.config).eval()
    run: Any = SimpleNamespace(device=torch.device("cpu"), config=lesson.config)
    expected = []
    for k in range(len(lesson.valid)):
        source, target = (torch.from_numpy(rows[k].copy()) for rows in (lesson.valid.sources, lesson.valid.targets))
        inputs, targets = (
            torch.cat([torch.tensor([lesson.end]), target]),
            torch.cat([target, torch.tensor([lesson.end])]),
        )
        logits = model(Units(source.unsqueeze(0), torch.tensor([len(source)])), inputs.unsqueeze(0))[0]
        expected += (-torch.log_softmax(logits, 1)[torch.arange(len(targets)), targets]).tolist()
    assert lesson.nats(model, run) == pytest.approx(np.mean(expected), rel=1e-5)


def test_greedy_ends_where_the_model_ends_or_at_the_limit() -> None:
    model = Translator(TranslatorConfig(7, embedding_size=4, encoder_size=4, hidden_size=4)).eval()
    source = torch.tensor([3, 4])
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([0.0, 0, 0, 99, 0, 0, 0]))
        assert greedy(model, source, end=1) == [3] * 14
        model.head.bias.copy_(torch.tensor([0.0, 99, 0, 0, 0, 0, 0]))
        assert greedy(model, source, end=1) == []


def test_a_sample_is_of_one_held_out_pair(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    reports = [
        report for report in training(pairs, tmp_path / "run", steps=3) if getattr(report, "kind", "") == "sample"
    ]
    sources = pairs[0].read_text().split("\n")
    assert len(reports) == 2 and len({report.text.split(" → ")[0] for report in reports}) == 1
    assert reports[0].text.split(" → ")[0] in sources
