"""`unroll embed` and `unroll similar` by the real command."""

import json
from pathlib import Path

import numpy as np
import pytest

import unroll as library
from artifact.test_classifier import save
from cli.command import unroll
from cli.conftest import Here, Refused, Trained
from lm.test_pair_files import write

LINES = "the cat sat.\r\n\r\na mat and a cät\nthe cat sat on\nnothing new\n"


def test_vectors_are_written_and_read_again(trained: Trained, here: Here, tmp_path: Path) -> None:
    write(tmp_path / "lines.txt", LINES)
    result = unroll("embed", trained.path, "lines.txt", "--pool", "mean", "--json", cwd=tmp_path)
    assert result.code == 0, result.err
    output = json.loads(result.out)
    assert (output["out"], output["lines"], output["size"], output["pool"]) == ("lines.txt.npy", 5, 32, "mean")
    assert output["unknown_rate"] == 1 / (12 + 15 + 14 + 11)
    assert len(output["notes"]) == 2
    vectors = np.load(tmp_path / "lines.txt.npy")
    assert np.array_equal(vectors, library.embed(trained.path, tmp_path / "lines.txt", pool="mean").vectors)
    repeat = unroll("embed", trained.path, "lines.txt", cwd=tmp_path)
    assert (repeat.code, "lines.txt.npy exists" in repeat.err) == (2, True)
    plain = here("embed", trained.path, tmp_path / "lines.txt", "--out", tmp_path / "lines.txt.npy")
    assert plain.out == f"{tmp_path / 'lines.txt.npy'}: 5 vectors of 32 numbers\n"
    assert not np.array_equal(vectors, np.load(tmp_path / "lines.txt.npy"))


def test_similar_finds_the_nearest_lines(trained: Trained, here: Here, tmp_path: Path) -> None:
    file, stored = write(tmp_path / "lines.txt", LINES), tmp_path / "v.npy"
    ask = ("similar", trained.path, file, "--query", "the cat sat on", "--top", "2", "--pool", "mean")
    output = json.loads(here(*ask, "--json").out)["similar"]
    assert here("embed", trained.path, file, "--out", stored, "--pool", "mean").code == 0
    vectors = np.load(stored).astype(np.float64)
    item = vectors @ vectors[3] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[3])
    order = np.argsort(-item).tolist()
    assert (order[0], [near["line"] - 1 for near in output]) == (3, order[:2])
    assert [near["cosine"] for near in output] == pytest.approx(item[order[:2]].tolist())
    assert [near["text"] for near in output] == [LINES.replace("\r", "").splitlines()[k] for k in order[:2]]
    assert json.loads(here(*ask, "--vectors", stored, "--json").out)["similar"] == output
    assert [line.split(maxsplit=2)[1] for line in here(*ask).out.splitlines()] == [str(k + 1) for k in order[:2]]
    report = library.similar(trained.path, file, "the cat sat on", top=2, pool="mean")
    assert [near.line for near in report] == [k + 1 for k in order[:2]]


def test_a_classifier_writes_vectors_and_finds_lines(here: Here, refused: Refused, tmp_path: Path) -> None:
    save(tmp_path / "model")
    file, stored = write(tmp_path / "lines.txt", "the woof\nmeow\nthe cät says meow\n"), tmp_path / "v.npy"
    output = json.loads(here("embed", tmp_path / "model", file, "--out", stored, "--json").out)
    assert (output["lines"], output["size"], output["pool"]) == (3, 30, "last,max,attention")
    assert np.load(stored).shape == (3, 30)
    ask = ("similar", tmp_path / "model", file, "--query", "meow hiss", "--json")
    near = json.loads(here(*ask).out)
    assert near["pool"] == output["pool"] and sorted(row["line"] for row in near["similar"]) == [1, 2, 3]
    assert json.loads(here(*ask, "--vectors", stored).out) == near and "'hiss'" in near["notes"][0]
    assert "not pooled by 'mean'" in refused("embed", tmp_path / "model", file, "--out", stored, "--pool", "mean")


def test_similar_finds_the_nearest_symbols(trained: Trained, here: Here) -> None:
    output = json.loads(here("similar", trained.path, "--symbol", "\\n", "--top", "3", "--json").out)
    assert output["symbol"] == "\\n"
    assert len(output["similar"]) == 3
    assert all(near["symbol"] != "\\n" for near in output["similar"])
    assert [near.text for near in library.similar_symbols(trained.path, "\n", top=3)] == [
        near["symbol"] for near in output["similar"]
    ]
    assert len(here("similar", trained.path, "--symbol", "t", "--top", "999").out.splitlines()) < 30


def test_what_embed_and_similar_refuse(refused: Refused, here: Here, trained: Trained, tmp_path: Path) -> None:
    file = write(tmp_path / "lines.txt", LINES)
    assert "does not end in .npy" in refused("embed", trained.path, file, "--out", file)
    assert file.read_bytes() == LINES.encode()
    assert "cannot read" in refused("embed", trained.path, tmp_path / "nowhere", "--out", tmp_path / "v.npy")
    for invalid in ((), (file,), ("--query", "a"), (file, "--symbol", "a"), (file, "--query", "a", "--symbol", "b")):
        assert "it is not clear what to compare" in refused("similar", trained.path, *invalid)
    result = here("similar", trained.path, file, "--query", "Ä cat")
    assert "note: symbols of the query that the model does not know were read as <unk>: 'Ä'" in result.err
    assert "'cat' is not a symbol" in refused("similar", trained.path, "--symbol", "cat")
    assert "top is 0" in refused("similar", trained.path, file, "--query", "a", "--top", "0")
    assert "is not a file of vectors" in refused("similar", trained.path, file, "--query", "a", "--vectors", file)
    assert "'last', 'mean', 'max'" in refused("embed", trained.path, file, "--pool", "sum")
