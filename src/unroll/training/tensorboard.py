"""Writes a training for TensorBoard."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def recording(folder: Path) -> Iterator[Callable[["Report"], None]]:
    """Give what writes losses, rates and samples to `folder`/tensorboard.

    While an earlier model is still in the folder, reports wait until it is replaced.
    """
    board: Any = None
    waiting: list[tuple[Report, float]] = []
    beside = False

    def record(report: "Report") -> None:
        nonlocal board, beside
        from torch.utils.tensorboard import SummaryWriter

        beside = (beside or "beside" in report.detail) and "published" not in report.detail
        waiting.append((report, time.time()))
        if not beside:
            board = board or SummaryWriter(str(folder / "tensorboard"), purge_step=waiting[0][0].step)
            for pending, when in waiting:
                write(board, pending, when)
            waiting.clear()

    try:
        yield record
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
