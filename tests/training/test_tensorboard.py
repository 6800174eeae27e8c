"""What TensorBoard is given, without TensorBoard."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from unroll.training.report import Report
from unroll.training.tensorboard import recording

written: list[tuple[Any, ...]] = []


class SummaryWriter:
    """A writer that remembers."""

    def __init__(self, folder: str, purge_step: int) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        written.append(("open", Path(folder).name, purge_step))

    def add_scalar(self, name: str, value: float, step: int, walltime: float) -> None:
        written.append((name, value, step))

    def add_text(self, name: str, text: str, step: int, walltime: float) -> None:
        written.append((name, text, step))

    def close(self) -> None:
        written.append(("close",))


@pytest.fixture(autouse=True)
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    written.clear()
    module = ModuleType("torch.utils.tensorboard")
    module.__dict__["SummaryWriter"] = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)


def test_nothing_is_written_before_the_folder_is_the_training_s(tmp_path: Path) -> None:
    """An earlier model that is to be replaced gets nothing; then all comes, with the times at which it happened."""
    reports = [
        Report("start", 0, 0, 0.0, detail={"beside": str(tmp_path / ".run.partial")}),
        Report("valid", 0, 0, 0.0, nats=3.0),
        Report("save", 4, 40, 0.0, detail={"published": True}),
        Report("valid", 5, 50, 0.0, nats=2.0),
    ]
    run = tmp_path / "run"
    with recording(run) as record:
        for report in reports:
            record(report)
            assert (run / "tensorboard").exists() == (report.step >= 4) and bool(written) == (report.step >= 4)
    assert written == [("open", "tensorboard", 0), ("valid/nats", 3.0, 0), ("valid/nats", 2.0, 5), ("close",)]


def test_losses_rates_and_samples_are_written_until_an_interrupt(tmp_path: Path) -> None:
    reports = [
        Report("start", 7, 70, 0.0),
        Report("train", 8, 80, 1.0, nats=2.5, grad_norm=0.5, learning_rate=0.1, tokens_per_second=100),
        Report("valid", 8, 80, 1.0, nats=2.25),
        Report("sample", 8, 80, 1.0, nats=2.25, text="the cat"),
        Report("save", 8, 80, 1.0),
    ]
    with pytest.raises(KeyboardInterrupt), recording(tmp_path) as record:
        for report in reports:
            record(report)
        raise KeyboardInterrupt
    assert written == [
        ("open", "tensorboard", 7),
        ("train/nats", 2.5, 8),
        ("train/learning_rate", 0.1, 8),
        ("train/grad_norm", 0.5, 8),
        ("train/tokens_per_second", 100, 8),
        ("valid/nats", 2.25, 8),
        ("sample", "```\nthe cat\n```", 8),
        ("close",),
    ]
