"""The event logs of a model directory: appended a line at a time, cut back by a resume, read without torch."""

import json
from pathlib import Path
from typing import Any, NoReturn

from unroll.artifact.directory import check_types, unreadable_part
from unroll.errors import UserError
from unroll.files import Folder, explained

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
EVENT: dict[str, Any] = {
    "kind": str | None,
    "step": int | None,
    "tokens_seen": int | None,
    "seconds": float | None,
    "tokens_per_second": float | None,
}
SAMPLE: dict[str, Any] = {"step": int, "nats": float, "prompt": str, "text": str}


class EventLog:
    """An append-only file of JSON lines that a resume can cut back to a checkpoint."""

    def __init__(self, folder: Folder, name: str, size: int = 0) -> None:
        self._path = folder.shown / name
        self._file = folder.append_to(name)
        with explained(self._path):
            self._file.truncate(min(size, self.size))

    def write(self, event: dict[str, Any]) -> None:
        """Append one event; the file stays the one that was opened, wherever its folder moves."""
        line = (json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with explained(self._path):
            while line:
                line = line[self._file.write(line) :]

    @property
    def size(self) -> int:
        """Length of the file in bytes, to be kept in a checkpoint."""
        return self._file.seek(0, 2)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_events(file: Path, types: dict[str, Any] = EVENT) -> list[dict[str, Any]]:
    """Read an event log, without a last line cut short by a kill. A missing file has no events.

    Raises UserError for a line that is not a JSON object, or whose values are not of `types`.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable_part(file, error) from None
    events = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            event = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise UserError(
                f"line {number} of {file} is damaged", allowed="one JSON object a line", fix="remove the line"
            )
        check_types(event, types, f"line {number} of {file}")
        events.append(event)
    return events


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
