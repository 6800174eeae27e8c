"""Samples arrive line by line."""

import json

from serve.studio.asking import Ask


def test_samples_arrive_line_by_line(ask: Ask) -> None:
    lines = [
        json.loads(line) for line in ask("sample", {"model": "book", "length": 50, "columns": 3}).text.splitlines()
    ]
    assert lines[-1] == {"done": True}
    assert lines[0]["notes"] == []
    pieces = [line["columns"] for line in lines if "columns" in line]
    assert len(pieces) > 1
    assert [sum(len(piece[k]["ids"]) for piece in pieces) for k in range(3)] == [50] * 3


def test_a_prompt_with_unknown_symbols_says_so(ask: Ask) -> None:
    first, *_ = ask("sample", {"model": "book", "prompt": "the €", "length": 5}).text.splitlines()
    assert json.loads(first)["notes"] == ["never seen in training, read as <unk>: '€'"]
