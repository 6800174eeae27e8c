"""Samples arrive line by line."""

import json

from serve.studio.asking import Ask


def test_samples_arrive_line_by_line(ask: Ask) -> None:
    lines = [
        json.loads(line) for line in ask("sample", {"model": "book", "length": 50, "columns": 3}).text.splitlines()
    ]
    assert lines[-1] == {"done": True}
    pieces = [line["columns"] for line in lines if "columns" in line]
    assert len(pieces) > 1
    assert [sum(len(piece[k]["ids"]) for piece in pieces) for k in range(3)] == [50] * 3
