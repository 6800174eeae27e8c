"""A budget of minutes becomes a number of steps that is written down, and the recipe repeats the run byte for byte."""

import json
from pathlib import Path

from cli.command import text, unroll


def test_minutes_become_steps_and_the_recipe_repeats_them(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(text(60_000))
    # One way of computing, so that a busy machine has time left for steps when it has been measured.
    way = ("--set", "threads=1", "--set", "precision=float32", "--minutes", "0.1", "--device", "cpu")
    result = unroll("train", "book.txt", *way, "--out", "first", "--json", cwd=tmp_path)
    assert result.code == 0, result.err
    first = json.loads(result.out)
    assert first["finished"] is True
    assert first["steps"] == first["planned_steps"] >= 1
    assert first["tokens_seen"] == first["steps"] * 16 * 64

    # Never the clock again: the same text, recipe and threads give the same bytes in another process.
    repeat = unroll(
        "train", "book.txt", "--recipe", "first/recipe.toml", "--device", "cpu", "--out", "again", cwd=tmp_path
    )
    assert repeat.code == 0, repeat.err
    for name in ("weights.safetensors", "model.json", "tokenizer.json", "samples.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
