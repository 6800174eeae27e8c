"""What users' files hold, and what they are called: every verb reads them alike, and says what it did."""

import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import pytest

from cli.command import text
from cli.conftest import Here, Refused, Trained
from unroll.data.lines import escaped

MARK = "\ufeff".encode()


def counted(here: Here, folder: Path, *arguments: str | Path) -> dict[str, object]:
    """Count an n-gram and return what is known of it."""
    result = here("ngram", *arguments, "--order", "3", "--out", folder, "--json")
    assert result.code == 0, result.err
    description = json.loads(result.out)
    assert isinstance(description, dict)
    assert json.loads(here("info", folder, "--json").out)["notes"] == description["notes"]
    return description


def test_a_prompt_file_is_read_byte_for_byte(trained: Trained, here: Here, tmp_path: Path) -> None:
    (tmp_path / "prompt").write_bytes(MARK + b"the cat\r\nsat\ron\n")
    ask = ("sample", trained.path, "--prompt-file", tmp_path / "prompt", "--length", "1", "--replace-unknown", "--json")
    assert json.loads(here(*ask).out)["prompt"] == "the cat\r\nsat\ron\n"


def test_sampling_ends_before_the_first_of_several_texts(trained: Trained, here: Here) -> None:
    ask = ("sample", trained.path, "--length", "200", "--seed", "3", "--json")
    whole = json.loads(here(*ask).out)["samples"][0]["text"]
    first, second = whole[40:42], whole[whole.index("\n") - 1 :][:3]
    place = min(whole.index(first), whole.index(second))
    for stops in ((first, second), (second, first)):
        arguments = [part for stop in stops for part in ("--stop", escaped(stop))]
        output = json.loads(here(*ask, *arguments).out)
        assert (output["samples"][0]["text"], output["stop"]) == (whole[:place], list(stops))


def test_an_empty_text_to_stop_at_is_refused(trained: Trained, refused: Refused) -> None:
    assert "a stop text is empty" in refused("sample", trained.path, "--stop", "a", "--stop", "")


def test_documents_and_marks_are_reported(here: Here, tmp_path: Path) -> None:
    for name, data in (("a", MARK + b"red apple"), ("b", b"blue pear\n"), ("c", b"green fig")):
        (tmp_path / name).write_bytes(data)
    names = counted(here, tmp_path / "model", *(tmp_path / name for name in "abc"))
    assert (names["byte_order_marks"], names["newlines_added"], names["overlaps"]) == (1, 1, {})
    assert names["tokens_seen"] == len("red apple\nblue pear\ngreen fig")
    message = here("info", tmp_path / "model").out.splitlines()
    texts = [line for line in message if " · sha256 " in line]
    assert [("byte order mark was dropped" in line, "final newline was added" in line) for line in texts] == [
        (True, True), (False, False), (False, False)
    ]  # fmt: skip


def test_a_mark_is_no_text_to_any_verb(trained: Trained, here: Here, tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    plain.write_text(text(3000, seed=3))
    marked.write_bytes(MARK + plain.read_bytes())

    def told(verb: str, *arguments: str | Path) -> str:
        result = here(verb, *arguments, "--json")
        assert result.code == 0, result.err
        return result.out

    for file in (plain, marked):
        assert json.loads(told("eval", trained.path, file))["unknown_rate"] == 0
        assert json.loads(told("compare", trained.path, trained.path, file))["models"][0]["unknown_rate"] == 0
        assert json.loads(told("score", trained.path, "--file", file))["unknown_rate"] == 0
        assert (
            json.loads(told("embed", trained.path, file, "--out", tmp_path / f"{file.name}.npy"))["unknown_rate"] == 0
        )
    assert np.array_equal(np.load(tmp_path / "plain.npy"), np.load(tmp_path / "marked.npy"))
    notes = json.loads(told("eval", trained.path, marked))["notes"]
    assert notes == ["a byte order mark, which is not part of the text, was left out"]
    whole = json.loads(told("score", trained.path, "--file", marked))
    assert (whole["units"][0]["start"], whole["units"][-1]["end"]) == (0, marked.stat().st_size)


def test_a_validation_text_that_was_learnt_is_told(here: Here, tmp_path: Path) -> None:
    book, other = tmp_path / "book.txt", tmp_path / "other.txt"
    lines = [f"line {number * number} of {number}\n" for number in range(400)]
    book.write_text("".join(lines))
    same = counted(here, tmp_path / "same", book, "--valid", book)
    message = "book.txt is the training file book.txt itself: the validation figures are of text that was learnt"
    assert message in same["notes"]  # type: ignore[operator]
    assert message in " ".join(here("info", tmp_path / "same").out.split())
    other.write_text("".join(lines[::3]))
    near = counted(here, tmp_path / "near", book, "--valid", other, "--test", book)
    assert [note[:60] for note in near["notes"][:2]] == [  # type: ignore[index]
        "100 % of the lines of other.txt occur in the training text (",
        "book.txt is the training file book.txt itself: the test figu",
    ]
    other.write_text("".join(f"line {number} of another kind\n" for number in range(400)))
    fine = counted(here, tmp_path / "fine", book, "--valid", other)
    assert not any("learnt" in note for note in fine["notes"])  # type: ignore[attr-defined]
    assert fine["overlaps"] == {"valid": {"name": "other.txt", "same_as": None, "share": 0.0, "usual": 0.0}}


def test_discounts_that_could_not_be_estimated_are_told(here: Here, book: Path, tmp_path: Path) -> None:
    names = counted(here, tmp_path / "model", book)
    orders = names["fallback_discounts"]
    assert isinstance(orders, list) and orders  # of 15 characters, with few that come once or twice after others
    result = here("info", tmp_path / "model")
    assert "the discounts of" in result.out and "could not be estimated" in result.out
    description = json.loads((tmp_path / "model" / "model.json").read_text())
    del description["result"]["fallback_discounts"]
    (tmp_path / "model" / "model.json").write_text(json.dumps(description))
    assert json.loads(here("info", tmp_path / "model", "--json").out)["fallback_discounts"] is None
    description["result"]["fallback_discounts"] = ["all"]
    (tmp_path / "model" / "model.json").write_text(json.dumps(description))
    assert here("info", tmp_path / "model").code == 2


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS refuse such names")
def test_files_whose_names_are_no_text(
    trained: Trained, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an old archive: read and written like others, and shown by escapes."""
    for stream in (sys.stdout, sys.stderr):  # pytest's, which the command leaves alone; its own it prepares like this
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(errors="backslashreplace")
    folder = tmp_path / os.fsdecode(b"d\xe9")
    folder.mkdir()
    book = folder / os.fsdecode(b"caf\xe9.txt")
    book.write_text(text(4000))
    model = folder / os.fsdecode(b"mod\xe8le")
    names = counted(here, model, book, "--valid", book)
    assert names["trained_on"][0]["name"] == "caf\\xe9.txt"  # type: ignore[index]
    assert names["valid_file"] == "caf\\xe9.txt"
    pairs, nbest = folder / os.fsdecode(b"p\xe9.tsv"), folder / os.fsdecode(b"n\xe9")
    pairs.write_text("the cat\tthe tac\n")
    nbest.write_text("0 ||| the cat ||| -1\n")
    out = folder / os.fsdecode(b"o\xe9")
    prompt = folder / os.fsdecode(b"q\xe9")
    prompt.write_text("the ")
    network = tmp_path / os.fsdecode(b"r\xe9seau")
    network.symlink_to(trained.path)
    monkeypatch.chdir(folder)
    for item in (model, network):
        for ask in (
            ("info", item), ("eval", item, book, book), ("compare", item, item, book), ("score", item, "--file", book),
            ("score", item, "--file", book, "--tsv"), ("sample", item, "--prompt-file", prompt, "--length", "5"),
            ("pairs", item, pairs, "--items", out), ("rescore", item, nbest, "--out", out),
            ("rescore", item, nbest, "--best"), ("next", item, "the "),
        ):  # fmt: skip
            for json_too in ((), ("--json",)):
                if json_too and "--tsv" in ask:
                    continue
                result = here(*ask, *json_too)
                assert result.code == 0, (ask, result.err)
                (result.out + result.err).encode("utf-8", "surrogatepass" if json_too else "strict")
    for other in (
        ("embed", network, book), ("similar", network, book, "--query", "the cat"),
        ("cells", trained.path, "--file", book, "--property", "word", "--top", "1"),
        ("export", network, "--to", "onnx", "--out", folder / os.fsdecode(b"m\xe9.onnx")),
    ):  # fmt: skip
        result = here(*other)
        assert result.code == 0, (other, result.err)
    assert (folder / os.fsdecode(b"caf\xe9.txt.npy")).exists()
