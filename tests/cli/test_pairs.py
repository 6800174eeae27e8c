"""`unroll pairs` by the real command: what it prints, what it writes, what it refuses."""

import json
import shutil
from pathlib import Path

import pytest

import unroll as library
from cli.command import unroll
from cli.conftest import Here, Refused, Trained
from lm.test_pair_files import agreement, write

PAIRS = "good\tbad\tset\nthe cat sat.\teht tac tas.\torder\nthe mat.\tthe taaaam.\torder\na cat\ta cät\tumlaut\n"
BLIMP = (
    '{"sentence_good": "the cat sat.", "sentence_bad": "eht tac tas.", "UID": "u1", "linguistics_term": "t"}\n'
    '{"sentence_good": "a mat.", "sentence_bad": "a mat.", "UID": "u2", "linguistics_term": "t"}\n'
)


def test_pairs_tells_how_often_the_good_text_is_likelier(trained: Trained, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.tsv", PAIRS)
    outcome = unroll("pairs", trained.path, file, "--items", tmp_path / "items.tsv", "--json")
    assert outcome.code == 0, outcome.err
    output = json.loads(outcome.out)
    assert (output["pairs"], output["given"], output["excluded"], output["model"]) == (2, 3, 1, str(trained.path))
    assert output["by_set"] == {"order": 1.0, "umlaut": None}
    assert output["accuracy"] == 1.0
    assert output["interval"][0] < 1.0
    assert output["unknown_rate"] == pytest.approx(
        1 / sum(len(text) + 1 for row in PAIRS.splitlines()[1:] for text in row.split("\t")[:2])
    )
    assert "'ä'" in output["notes"][0]
    rows = [line.split("\t") for line in (tmp_path / "items.tsv").read_text().splitlines()]
    assert [row[-1] for row in rows] == ["result", "right", "right", "excluded"]
    result = library.pairs(trained.path, file)
    assert result.figures() | {"files": [str(file)]} == output | {
        "interval": tuple(output["interval"]),
        "sets": result.figures()["sets"],
    }


def test_several_files_and_formats_in_one_table(trained: Trained, here: Here, tmp_path: Path) -> None:
    files = [write(tmp_path / "mine.tsv", PAIRS), write(tmp_path / "b.jsonl", BLIMP)]
    plain = here("pairs", trained.path, *files)
    assert plain.code == 0
    lines = [line.split() for line in plain.out.splitlines()]
    assert lines[0] == ["pairs", "right", "95", "%"]
    assert lines[3][:4] == ["u1", "1", "100.0", "%"]
    assert lines[4][:4] == ["u2", "1", "0.0", "%"]  # a tie is not right
    assert lines[6][:4] == ["t", "2", "50.0", "%"]
    assert lines[-1][:4] == ["all", "4", "75.0", "%"]
    assert "count as not right: 1" in plain.err
    included = json.loads(here("pairs", trained.path, *files, "--unknown", "include", "--json").out)
    assert (included["pairs"], included["excluded"]) == (5, 0)


def test_the_end_of_a_sentence_counts_unless_it_is_left_out(trained: Trained, here: Here, tmp_path: Path) -> None:
    """After `.` the text that it learned from has a newline, after `ca` never."""
    file = write(tmp_path / "mine.tsv", "the cat.\tthe ca\n")
    assert json.loads(here("pairs", trained.path, file, "--json").out)["accuracy"] == 1.0
    output = json.loads(here("pairs", trained.path, file, "--no-eos", "--json").out)
    assert (output["accuracy"], output["eos"]) == (0.0, False)


def test_models_are_compared(trained: Trained, here: Here, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "copy")
    file = write(
        tmp_path / "a.tab", agreement(("1", "original", "sat", "tas", -1, -2), ("2", "generated", "a", "on", -1, -2))
    )
    file.write_text(file.read_text().replace('the ""cat"" 1', "the cat").replace('the ""cat"" 2', "the cat"))
    output = json.loads(here("pairs", trained.path, tmp_path / "copy", file, "--scored", "--json").out)
    assert [model["model"] for model in output["models"]] == [str(trained.path), str(tmp_path / "copy"), "model"]
    assert [list(model["by_set"]) for model in output["models"]] == [["original", "nonsense"]] * 3
    assert len(output["comparisons"]) == 3
    same = output["comparisons"][0]
    assert (same["only_first"], same["only_second"], same["p"]) == (0, 0, 1.0)
    plain = here("pairs", trained.path, tmp_path / "copy", file).out
    assert f"{trained.path} against {tmp_path / 'copy'}: 0 pairs only the first gets right" in plain


def test_scores_in_a_file_need_no_model_and_no_torch(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.tab", agreement(("1", "original", "is", "are", -1, -2), ("2", "original", "a", "b", -3, -2))
    )
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    result = unroll("pairs", "--scored", file, "--json", PYTHONPATH=str(tmp_path))
    assert result.code == 0, result.err
    output = json.loads(result.out)
    assert (output["model"], output["by_set"], output["unknown_rate"]) == ("model", {"original": 0.5}, None)


def test_what_pairs_refuses(refused: Refused, trained: Trained, tmp_path: Path) -> None:
    file, items = write(tmp_path / "bad.tsv", "a\tb\nc\n"), tmp_path / "items.tsv"
    assert f"{file}, line 2 is not good<TAB>bad" in refused("pairs", trained.path, file, "--items", items)
    assert not items.exists()
    assert "cannot read" in refused("pairs", trained.path, tmp_path / "nowhere")
    assert "is a folder without a model" in refused("pairs", tmp_path, file)
    assert "no model is given" in refused("pairs", file)
    assert "no files of pairs are given" in refused("pairs", trained.path)
    assert "carries no scores" in refused("pairs", "--scored", write(tmp_path / "p.tsv", PAIRS))
    assert "'exclude', 'include'" in refused("pairs", trained.path, file, "--unknown", "refuse")
    assert "No such file" in refused("pairs", trained.path, tmp_path / "p.tsv", "--items", tmp_path / "no" / "items")
