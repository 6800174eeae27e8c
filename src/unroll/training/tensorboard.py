"""Writes a training for TensorBoard."""

import importlib.util
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll.errors import UserError, install

if TYPE_CHECKING:
    from unroll.training.report import Report


def require_tensorboard() -> None:
    """Raise UserError where the package is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "the package tensorboard is not installed",
            allowed="metrics.jsonl and samples.jsonl, which are always written",
            fix=install("tensorboard"),
        )


def recorded(reports: Iterable["Report"], folder: Path) -> Iterator["Report"]:
    """Write losses, rates and samples to `folder`/tensorboard, and pass the reports on.

    While an earlier model is still in the folder, reports wait until it is replaced.
    """
    from torch.utils.tensorboard import SummaryWriter

    board: Any = None
    waiting: list[tuple[Report, float]] = []
    beside = False
    try:
        for report in reports:
            beside = (beside or "beside" in report.detail) and "published" not in report.detail
            waiting.append((report, time.time()))
            if not beside:
                board = board or SummaryWriter(str(folder / "tensorboard"), purge_step=waiting[0][0].step)
                for pending, when in waiting:
                    write(board, pending, when)
                waiting = []
            yield report
    finally:
        if board:
            board.close()


def write(board: Any, report: "Report", when: float) -> None:
    """Write a report that came at time `when`, in seconds since 1970."""
    if report.kind == "sample":
        board.add_text("sample", f"```\n{report.text}\n```", report.step, walltime=when)
    elif report.kind in ("train", "valid"):
        board.add_scalar(f"{report.kind}/nats", report.nats, report.step, walltime=when)
    if report.kind == "train":
        for name in ("learning_rate", "grad_norm", "tokens_per_second"):
            board.add_scalar(f"train/{name}", getattr(report, name), report.step, walltime=when)
