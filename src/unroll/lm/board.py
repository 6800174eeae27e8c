"""A training as TensorBoard shows it."""

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll.errors import UserError
from unroll.lm.directory import place_of_training

if TYPE_CHECKING:
    from unroll.lm.train import Report


def require_tensorboard() -> None:
    """Raise UserError where the package is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "the package tensorboard is not installed",
            allowed="TensorBoard on request, beside metrics.jsonl and samples.jsonl",
            fix="pip install unroll-lm[tensorboard]",
        )


def recorded(reports: Iterable["Report"], folder: Path) -> Iterator["Report"]:
    """Write losses, rates and samples to `folder`/tensorboard, and pass the reports on."""
    from torch.utils.tensorboard import SummaryWriter

    board: Any = None
    try:
        for report in reports:
            if board is None:  # it moves with the directory, whose files it holds open
                board = SummaryWriter(str(place_of_training(folder) / "tensorboard"), purge_step=report.step)
            if report.kind == "sample":
                board.add_text("sample", f"```\n{report.text}\n```", report.step)
            elif report.kind in ("train", "valid"):
                board.add_scalar(f"{report.kind}/nats", report.nats, report.step)
            if report.kind == "train":
                for name in ("learning_rate", "grad_norm", "tokens_per_second"):
                    board.add_scalar(f"train/{name}", getattr(report, name), report.step)
            yield report
    finally:
        if board:
            board.close()
