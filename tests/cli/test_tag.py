"""`unroll tag predict` and `eval`: what they print and write, and what they refuse with nothing half-written."""

import io
import json
import random
import re
import sys
from pathlib import Path

import pytest

from cli.conftest import Here, Refused
from cli.test_terminal import screen
from tasks.tag.toy import entities, trained, written
from toys import Toys

CONLLU = "# text = a\n1-2\tbalkiro\t_\t_\t_\t_\t_\t_\t_\t_\n" + "".join(
    f"{number}\t{token}\t_\t{tag}\t_\t_\t_\t_\t_\tSpace\n"
    for number, (token, tag) in enumerate((("balkiro", "VERB"), ("montase", "_"), ("fengora", "_")), 1)
)


@pytest.fixture(scope="module")
def tagger(toys: Toys) -> Path:
    return toys.tagger


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tag")
    file = written(folder / "names.tsv", entities(random.Random(0), 120))
    return trained(file, folder / "names", steps=60, scheme="bio", crf=True)


def test_texts(here: Here, tagger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["balkiro  montase", "", "vertasas"]
    rows = json.loads(here("tag", "predict", tagger, *texts, "--json").out)["predictions"]
    assert [row["text"] for row in rows] == texts and rows[1]["tokens"] == []
    assert [(item["token"], item["start"], item["end"]) for item in rows[0]["tokens"]] == [
        ("balkiro", 0, 7),
        ("montase", 9, 16),
    ]
    assert [item["tag"] for row in rows for item in row["tokens"]] == ["NOUN", "ADV", "VERB"]
    lines = "balkiro/NOUN montase/ADV\n\nvertasas/VERB\n"
    assert here("tag", "predict", tagger, *texts).out == lines
    (tmp_path / "lines.txt").write_text("".join(f"{text}\r\n" for text in texts))
    assert here("tag", "predict", tagger, "--file", tmp_path / "lines.txt").out == lines
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(texts).encode())))
    assert here("tag", "predict", tagger, "--file", "-", "--precision", "int8").out == lines


def test_tokens_are_cut_as_training_or_as_asked(here: Here, tagger: Path) -> None:
    def tokens(*options: str) -> list[str]:
        row = json.loads(here("tag", "predict", tagger, "kiro, kiro.", "--json", *options).out)["predictions"][0]
        return [item["token"] for item in row["tokens"]]

    assert tokens() == tokens("--tokens", "spaces") == ["kiro,", "kiro."], "training has no marks"
    assert tokens("--tokens", "unicode") == ["kiro", ",", "kiro", "."]


def test_a_file_is_written_back_with_every_other_byte(here: Here, tagger: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "new.conllu", tmp_path / "out.conllu"
    file.write_bytes(CONLLU.replace("\n", "\r\n").encode())
    done = here("tag", "predict", tagger, "--file", file, "--column", "upos", "--out", out)
    assert (done.code, done.out) == (0, "")
    changed = CONLLU.replace("\tVERB\t", "\tNOUN\t").replace("montase\t_\t_", "montase\t_\tADV")
    assert out.read_bytes() == changed.replace("fengora\t_\t_", "fengora\t_\tADJ").replace("\n", "\r\n").encode()
    rows = json.loads(here("tag", "predict", tagger, "--file", file, "--column", "upos", "--json").out)["predictions"]
    assert [item["tag"] for item in rows[0]["tokens"]] == ["NOUN", "ADV", "ADJ"]
    assert rows[0]["text"] == "balkiro montase fengora" and rows[0]["tokens"][1]["start"] == 8
    (tmp_path / "tokens.conll").write_text("balkiro\nmontase\n\nvertasas")
    shown = here("tag", "predict", tagger, "--file", tmp_path / "tokens.conll").out
    assert shown == "balkiro NOUN\nmontase ADV\n\nvertasas VERB"


def test_eval(here: Here, names: Path, tmp_path: Path) -> None:
    unseen = written(tmp_path / "unseen.tsv", entities(random.Random(1), 30))
    done = here("tag", "eval", names, unseen, "--json", "--plot", tmp_path / "confusion.svg")
    figures = json.loads(done.out)
    assert figures["accuracy"] > 0.9 and figures["known"]["count"] + figures["unknown"]["count"] == figures["tokens"]
    assert figures["entities"]["micro"]["f1"] > 0.8 and figures["entities"]["invalid_predicted"] == 0
    assert "B-PER" in (tmp_path / "confusion.svg").read_text()
    shown = here("tag", "eval", names, unseen, "--precision", "int8").out
    for part in ("accuracy", "in the vocabulary", "sentences", "strict: an entity is right", "B-LOC", "entity"):
        assert part in shown
    content = unseen.read_text().replace("\tB-PER", "\tI-PER").replace("\tO\n", "\tB-NEW\n", 1)
    unseen.write_text(content)
    shown = here("tag", "eval", names, unseen).out
    assert re.search(r"invalid +\d+ tags in the file that break the scheme", shown)
    assert "note" in shown and "training never had: B-NEW" in shown and "nats" not in shown


def test_a_screen_has_tags_below_tokens_in_colours(names: Path) -> None:
    lines = screen("tag", "predict", names, "balo Sinjoro Kir 漢字o " + "kiro " * 30).split("\x1b[?25h")[-1]
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", lines).splitlines()
    above = next(number for number, line in enumerate(plain) if line.startswith("balo"))
    assert plain[above].index("Sinjoro") == plain[above + 1].index("B-PER")
    assert plain[above].index("Kir") == plain[above + 1].index("I-PER") and "O" not in plain[above + 1].split()
    assert plain[above + 2].startswith("kiro") and max(map(len, plain)) < 80
    assert "38;5;" in lines
    bare = screen("tag", "predict", names, "balo Sinjoro Kir", NO_COLOR="1")
    assert "38;5;34" not in bare and "B-PER" in bare


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ([], "nothing to tag"),
        (["a", "--file", "lines.txt"], "both texts and --file"),
        (["a", "--out", "out.tsv"], "--out is given, and there is no file with tokens"),
        (["--file", "lines.txt", "--token-column", "2"], "--token-column is given"),
        (["--file", "new.tsv", "--tokens", "spaces"], "new.tsv has tokens"),
        (["--file", "new.tsv", "--out", "new.tsv"], "new.tsv is the input"),
        (["--file", "new.tsv", "--column", "4"], "line 1 of new.tsv has 2 columns"),
        (["--file", "new.tsv", "--column", "upos"], "line 1 of new.tsv has 2 columns, and CoNLL-U ten"),
        (["--file", "new.conllu"], "new.conllu is CoNLL-U, and 2 is a number"),
        (["--file", "lines.tsv"], "cannot read lines.tsv"),
    ],
    ids=" ".join,
)
def test_wrong_calls_are_refused(
    options: list[str], what: str, refused: Refused, tagger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"new.tsv": "a\tNOUN\n", "lines.txt": "a\n", "new.conllu": CONLLU}
    for name, content in files.items():
        Path(name).write_text(content)
    message = refused("tag", "predict", tagger, *options)
    assert what in message and "allowed:" in message and "fix:" in message
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a\tNOUN\nb\n", "line 2 of bad.tsv has 1 column"),
        ("a\tNOUN\n\nb\t_\n", "line 3 of bad.tsv has no tag"),
        ("a\tL-X\n", "the tag 'L-X' in bad.tsv is none of --scheme bio"),
    ],
)
def test_bad_sentences_are_refused(
    content: str, what: str, refused: Refused, names: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.tsv").write_text(content)
    assert what in refused("tag", "eval", names, "bad.tsv", "--plot", "c.png") and not Path("c.png").exists()
