"""Event logs: cut back, lost, cut short, damaged."""

from pathlib import Path

import pytest

from unroll.artifact.events import EventLog, read_events
from unroll.errors import UserError
from unroll.files import Folder


def test_a_log_is_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    file, folder = tmp_path / "log.jsonl", Folder(tmp_path)
    log = EventLog(folder, "log.jsonl")
    log.write({"step": 1, "text": "é\n"})
    size = log.size
    log.write({"step": 2})
    log.close()
    assert read_events(file) == [{"step": 1, "text": "é\n"}, {"step": 2}]
    again = EventLog(folder, "log.jsonl", size)
    again.write({"step": 3})
    again.close()
    assert read_events(file) == [{"step": 1, "text": "é\n"}, {"step": 3}]


def test_a_log_that_was_lost_starts_anew(tmp_path: Path) -> None:
    log = EventLog(Folder(tmp_path), "log.jsonl", 1000)
    log.write({"step": 3})
    log.close()
    assert read_events(tmp_path / "log.jsonl") == [{"step": 3}]


def test_a_last_line_cut_short_is_passed_over_and_a_damaged_one_named(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    assert read_events(file) == []
    file.write_bytes(b'{"a": 1}\n{"b": "\xc3')
    assert read_events(file) == [{"a": 1}]
    for damaged in (b'{"a": 1}\n{"b":\n', b'{"a": 1}\n\xff\n', b'{"a": 1}\n' + b"[" * 100_000 + b"\n"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="line 2"):
            read_events(file)
