"""`unroll score` and `unroll next` by the real command: what they print, where it goes, and what they refuse."""

import gzip
import json
import math
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.command import UNROLL, environment, text, unroll
from cli.conftest import Here, Refused, Trained

CAT, DOG = "the cat sat on a mat", "the cat sat on a tam"


def scored(result: Any) -> dict[str, Any]:
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


# ---- texts


def test_two_texts_are_compared(trained: Trained, here: Here) -> None:
    report = scored(unroll("score", trained.path, CAT, DOG, "--json"))
    cat, dog = report["texts"]
    assert (report["model"], report["unknown"], report["unknown_rate"], report["notes"]) == (
        str(trained.path),
        "as-unk",
        0,
        [],
    )
    assert (cat["text"], cat["tokens"], cat["unknown"]) == (CAT, 20, 0)
    assert cat["per_token"][4] == {"token": "c", "start": 4, "end": 5, "nats": cat["per_token"][4]["nats"]}
    assert math.fsum(token["nats"] for token in cat["per_token"]) == pytest.approx(cat["nats"])
    assert cat["nats_per_token"] == pytest.approx(cat["nats"] / 20)
    same = ([token["nats"] for token in text["per_token"][:17]] for text in (cat, dog))
    assert next(same) == pytest.approx(next(same), abs=1e-5)
    by = dog["nats"] - cat["nats"]
    assert by > 0
    assert report["likeliest"] == {"text": 0, "by_nats": pytest.approx(by), "factor": pytest.approx(math.exp(by))}
    plain = here("score", trained.path, CAT, DOG)
    assert re.search(rf"^── 1 · {cat['nats']:.2f} nats · 20 symbols · {cat['nats'] / 20:.3f} each ─+$", plain.out, re.M)
    assert re.search(r"^t +h +e +␣ +c +a +t", plain.out, re.M)
    assert "── the likeliest is 1 ─" in plain.out
    assert f"2 costs {by:.3f} nats more: it is " in plain.out
    assert plain.err == ""


def test_texts_of_different_lengths_are_compared_with_care(trained: Trained, here: Here) -> None:
    result = here("score", trained.path, CAT, CAT + "€", "", "--json")
    report = scored(result)
    assert report["texts"][2] == {
        "text": "", "tokens": 0, "nats": 0, "nats_per_token": None, "unknown": 0, "per_token": []
    }  # fmt: skip
    assert report["likeliest"]["text"] == 2
    assert report["unknown_rate"] == pytest.approx(1 / 41)
    assert "20, 21, 0 symbols" in report["notes"][0]
    assert "0 of 20, 1 of 21, 0 of 0" in report["notes"][1]
    plain = here("score", trained.path, CAT, CAT + "€")
    assert plain.err.count("note: ") == 2
    assert "1 unknown (as-unk)" in plain.out


def test_a_single_text_is_compared_with_nothing(trained: Trained, here: Here) -> None:
    report = scored(here("score", trained.path, "é€漢", "--json"))
    assert report["likeliest"] is None
    spans = [(token["token"], token["start"], token["end"]) for token in report["texts"][0]["per_token"]]
    assert spans == [("<unk>", 0, 2), ("<unk>", 2, 5), ("<unk>", 5, 8)]
    assert (report["unknown_rate"], report["notes"]) == (1, [])
    assert "likeliest" not in here("score", trained.path, CAT).out


def test_the_end_and_unknown_symbols_by_rule(trained: Trained, here: Here) -> None:
    def nats(*arguments: str) -> float:
        (only,) = scored(here("score", trained.path, *arguments, "--json"))["texts"]
        return float(only["nats"])

    assert nats(CAT, "--eos") == pytest.approx(nats(CAT + "\n"))
    assert nats("a€", "--unknown", "penalise") - nats("a€") == pytest.approx(3 * math.log(256))
    assert nats("a€", "--unknown", "exclude") == pytest.approx(nats("a"), abs=1e-5)
    excluded = scored(here("score", trained.path, "a€", "--unknown", "exclude", "--json"))
    assert (excluded["texts"][0]["tokens"], excluded["unknown_rate"]) == (1, 0.5)
    assert excluded["texts"][0]["per_token"][1]["nats"] is None
    assert re.search(r"<unk>\n.* -$", here("score", trained.path, "a€", "--unknown", "exclude").out, re.M)


def test_a_text_goes_on_in_another_process(trained: Trained, here: Here, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = scored(unroll("score", trained.path, CAT, "--save-state", state, "--json"))["texts"][0]["nats"]
    rest = scored(unroll("score", trained.path, ".\nthe cat", "--state", state, "--json"))["texts"][0]["nats"]
    whole = scored(here("score", trained.path, CAT + ".\nthe cat", "--json"))["texts"][0]["nats"]
    assert first + rest == pytest.approx(whole, abs=1e-4)


def test_score_gives_the_nats_of_sample(trained: Trained, here: Here) -> None:
    sample = scored(here("sample", trained.path, "--length", "80", "--json"))["samples"][0]
    (report,) = scored(here("score", trained.path, sample["text"], "--json"))["texts"]
    assert report["nats_per_token"] == pytest.approx(sample["nats_per_token"], abs=1e-5)


# ---- files

LINES = text(1199, seed=5) + "\n"
ODD = LINES + "zzz qqq ###\n" + text(300, seed=6)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    (tmp_path / "odd.txt").write_text(ODD)
    return tmp_path / "odd.txt"


def rows_of(out: str) -> list[dict[str, str]]:
    head, *rows = (line.split("\t") for line in out.splitlines())
    assert head == ["line", "start", "end", "tokens", "nats", "nats_per_token", "text"]
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.mark.parametrize("unit", ["token", "word", "char", "line"])
def test_units_of_a_file(unit: str, trained: Trained, odd: Path, here: Here) -> None:
    report = scored(here("score", trained.path, "--file", odd, "--unit", unit, "--json"))
    assert (report["file"], report["unit"], report["fresh"], report["sort"]) == (str(odd), unit, False, None)
    assert "".join(row["text"] for row in report["units"]) == ODD
    assert math.fsum(row["nats"] for row in report["units"]) == pytest.approx(report["nats"])
    assert report["tokens"] == sum(row["tokens"] for row in report["units"]) == len(ODD)
    assert report["unknown_rate"] == pytest.approx(sum(c not in LINES for c in ODD) / len(ODD))
    (whole,) = scored(here("score", trained.path, ODD, "--json"))["texts"]
    assert report["nats"] == pytest.approx(whole["nats"], abs=1e-2)
    result = here("score", trained.path, "--file", odd, "--unit", unit, "--tsv")
    rows = rows_of(result.out)
    assert [row["text"] for row in rows] == [row["text"].replace("\n", "\\n") for row in report["units"]]
    assert [float(row["nats"]) for row in rows] == pytest.approx([row["nats"] for row in report["units"]], abs=1e-5)
    assert [int(row["line"]) for row in rows] == [1 + ODD[: int(row["start"])].count("\n") for row in rows]
    assert [row["line"] for row in report["units"]] == [int(row["line"]) for row in rows]
    assert [0, *(int(row["end"]) for row in rows)] == [*(int(row["start"]) for row in rows), len(ODD)]
    assert re.search(
        r"^[\d,.]+ nats · 1,512 symbols · \d\.\d{3} each · \d\.\d\d % unknown \(as-unk\)$", result.err, re.M
    )


def test_lines_that_do_not_belong(trained: Trained, odd: Path, here: Here) -> None:
    for fresh in ([], ["--fresh"]):
        ask = ("score", trained.path, "--file", odd, "--sort", "nats", *fresh)
        report = scored(here(*ask, "--top", "3", "--json"))
        assert report["units"][0]["text"] == "zzz qqq ###\n" == ODD.splitlines(True)[report["units"][0]["line"] - 1]
        rates = [row["nats_per_token"] for row in report["units"]]
        assert len(rates) == 3 and rates == sorted(rates, reverse=True)
        assert report["tokens"] == len(ODD)
        plain = here(*ask)
        rows = plain.out.splitlines()
        assert len(rows) == 21
        assert re.fullmatch(rf" +[\d.]+ +[\d.]+ +1200 +{report['units'][0]['line']}  zzz qqq ###", rows[1])
    total = scored(here("score", trained.path, "--file", odd, "--sort", "total", "--top", "99999", "--json"))["units"]
    assert [row["nats"] for row in total] == sorted((row["nats"] for row in total), reverse=True)
    assert sorted(row["start"] for row in total) == [0, *sorted(row["end"] for row in total)[:-1]]


def test_a_packed_file_and_hostile_text(trained: Trained, here: Here, tmp_path: Path) -> None:
    hostile = "\ufeffthe cat\r\n\n\\n\tsat\x1b[2J\u2028on שלום e\u0301 👩\u200d🚀\x85"
    (tmp_path / "text.gz").write_bytes(gzip.compress(hostile.encode()))
    ask = ("score", trained.path, "--file", tmp_path / "text.gz", "--unit", "word")
    rows = rows_of(here(*ask, "--tsv").out)
    assert [row["text"] for row in rows] == [
        "the ", "cat\\r\\n\\n", "\\\\n\\t", "sat\\x1b[2J\\u2028", "on ", "שלום ", "e\u0301 ", "👩\u200d🚀\\u0085"
    ]  # fmt: skip
    assert "".join(row["text"] for row in scored(here(*ask, "--json"))["units"]) == hostile[1:]
    assert (rows[0]["start"], rows[-1]["end"]) == ("0", str(len(hostile.encode())))
    assert "\x1b" not in here(*ask).out


def test_standard_input_is_scored_like_a_file(trained: Trained, odd: Path, here: Here) -> None:
    whole = scored(unroll("score", trained.path, "--file", odd, "--json"))
    result = subprocess.run(
        [*UNROLL, "score", str(trained.path), "--file", "-", "--json"],
        input=odd.read_bytes(),
        capture_output=True,
        env=environment(),
        check=True,
    )
    piped = json.loads(result.stdout)
    assert piped.pop("file") == "standard input" and whole.pop("file") == str(odd)
    assert piped == whole


def test_an_empty_standard_input_is_named_as_such(trained: Trained) -> None:
    ask = [*UNROLL, "score", str(trained.path), "--file", "-"]
    result = subprocess.run(ask, input=b"", capture_output=True, env=environment(), check=False)
    assert result.returncode == 2 and b"standard input is empty" in result.stderr


def test_rows_go_to_stdout_though_a_bar_is_drawn(trained: Trained, odd: Path, tmp_path: Path) -> None:
    """A terminal on stderr alone: what draws the bar there must not take the rows."""
    for flags in (["--tsv"], ["--sort", "nats"]):
        master, slave = pty.openpty()
        with open(tmp_path / "out", "wb") as out:
            process = subprocess.Popen(
                [*UNROLL, "score", trained.path, "--file", odd, *flags], stdin=slave, stdout=out, stderr=slave,
                env=environment(TERM="xterm-256color"),
            )  # fmt: skip
            os.close(slave)
            message = b""
            try:
                while chunk := os.read(master, 65536):
                    message += chunk
            except OSError:  # what Linux says when the other side has closed
                pass
        os.close(master)
        assert process.wait(timeout=60) == 0, message
        assert b"scoring" in message
        assert b"zzz qqq" not in message
        assert "zzz qqq" in (tmp_path / "out").read_text()
        assert "\x1b" not in (tmp_path / "out").read_text()


def test_what_reads_our_rows_may_go_away(trained: Trained, book: Path) -> None:
    command = " ".join(
        [*UNROLL, "score", str(trained.path), "--file", str(book), "--unit", "token", "--tsv", "| head -2"]
    )
    result = subprocess.run(command, shell=True, env=environment(), capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("line\tstart\tend\t")
    assert "Traceback" not in result.stderr


def test_a_file_goes_on_from_a_state(trained: Trained, odd: Path, here: Here, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = scored(here("score", trained.path, "--file", odd, "--save-state", state, "--json"))["nats"]
    second = scored(here("score", trained.path, "--file", odd, "--state", state, "--json"))["nats"]
    (tmp_path / "twice").write_text(ODD * 2)
    whole = scored(here("score", trained.path, "--file", tmp_path / "twice", "--json"))["nats"]
    assert first + second == pytest.approx(whole, abs=1e-2)


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to score"),
        ((CAT, "--file", "F"), "both"),
        ((CAT, "--unit", "line"), "--unit"),
        ((CAT, "--tsv"), "--tsv"),
        ((CAT, "--fresh"), "--fresh"),
        ((CAT, "--top", "3"), "--top"),
        ((CAT, DOG, "--save-state", "S"), "works with one TEXT"),
        (("--file", "F", "--eos"), "--eos"),
        (("--file", "F", "--tsv", "--json"), "--tsv"),
        (("--file", "F", "--top", "3"), "--sort"),
        (("--file", "F", "--sort", "nats", "--top", "0"), "--top 0"),
        (("--file", "F", "--fresh", "--unit", "word"), "--fresh"),
        (("--file", "F", "--fresh", "--save-state", "S"), "--fresh"),
        (("--file", "nowhere.txt"), "nowhere.txt"),
        (("--file", "nowhere.txt", "--json"), "nowhere.txt"),
        (("--file", "nowhere.txt", "--sort", "nats", "--tsv"), "nowhere.txt"),
        ((CAT, "--state", "nowhere"), "nowhere"),
        (("a€", "--unknown", "refuse"), "'€' at byte 1"),
        (("--file", "F", "--unknown", "refuse", "--json"), "'q' at byte 1,204"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], says: str, trained: Trained, odd: Path, refused: Refused, tmp_path: Path
) -> None:
    message = refused("score", trained.path, *(odd if argument == "F" else argument for argument in arguments))
    assert says in message
    assert "\n  fix: " in message
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"the cat\n\0", "NUL at byte offset 8"),
        (b"the \xff", "not UTF-8"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
    ids=["empty", "nul", "latin1", "gzip"],
)
def test_files_that_are_no_text_are_refused(
    content: bytes, says: str, trained: Trained, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "text").write_bytes(content)
    for flags in ([], ["--json"], ["--sort", "nats"], ["--fresh"]):
        assert says in refused("score", trained.path, "--file", tmp_path / "text", *flags)


# ---- next


def test_next_is_a_distribution(trained: Trained, here: Here) -> None:
    report = scored(unroll("next", trained.path, "the cat", "--json"))
    assert (report["text"], report["whole_words"], len(report["next"])) == ("the cat", False, 10)
    ps = [item["probability"] for item in report["next"]]
    assert ps == sorted(ps, reverse=True)
    assert sum(ps) + report["rest"] == pytest.approx(1, abs=1e-9)
    everything = scored(here("next", trained.path, "the cat", "--top", "1000", "--json"))
    assert len(everything["next"]) == trained.result["vocab_size"]
    assert sum(item["probability"] for item in everything["next"]) == pytest.approx(1, abs=1e-9)
    assert everything["rest"] == pytest.approx(0, abs=1e-12)
    assert {item["token"] for item in everything["next"]} >= {"<unk>", "\n", " ", "t"}
    (score,) = scored(here("score", trained.path, "the cat ", "--json"))["texts"]
    space = next(item["probability"] for item in everything["next"] if item["token"] == " ")
    assert -math.log(space) == pytest.approx(score["per_token"][-1]["nats"], abs=1e-5)
    plain = here("next", trained.path, "the cat", "--top", "3")
    rows = plain.out.splitlines()
    assert len(rows) == 4
    assert re.fullmatch(r"(␣|\\n|\.|[a-z]) +0\.\d{4}", rows[0])
    assert rows[-1].startswith("(all others)  0.")
    assert plain.err == ""


def test_next_whole_words(trained: Trained, here: Here) -> None:
    result = here("next", trained.path, "the cat sat ", "--whole-words", "--json")
    report = scored(result)
    assert (report["whole_words"], report["begun"], report["certain"], len(report["next"])) == (True, "", True, 10)
    assert sum(item["probability"] for item in report["next"]) + report["rest"] == pytest.approx(1, abs=1e-9)
    assert result.err == ""
    inside = here("next", trained.path, "the c", "--whole-words", "--json")
    completed = scored(inside)
    assert completed["begun"] == "c"
    assert all(item["token"].startswith("c") for item in completed["next"])
    assert "ends inside a word" in inside.err
    assert "(white space)" in here("next", trained.path, "the ", "--whole-words", "--top", "3000").out


def test_next_refuses_what_it_does_not_know(trained: Trained, refused: Refused, here: Here) -> None:
    assert "'€' at 4" in refused("next", trained.path, "the €at")
    assert scored(here("next", trained.path, "the €at", "--replace-unknown", "--json"))["next"]
    assert "top is 0" in refused("next", trained.path, "the", "--top", "0")
    assert "no model directory" in refused("next", trained.path / "nowhere", "the")


def test_bars_are_drawn_on_a_terminal(trained: Trained) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*UNROLL, "next", trained.path, "the ca"], stdin=slave, stdout=slave, stderr=slave,
        env=environment(TERM="xterm-256color", COLUMNS="80"),
    )  # fmt: skip
    os.close(slave)
    lines = b""
    try:
        while chunk := os.read(master, 65536):
            lines += chunk
    except OSError:
        pass
    os.close(master)
    assert process.wait(timeout=60) == 0
    first = lines.decode().splitlines()[0]
    assert re.fullmatch(r"\S+ +0\.\d{4}  █{40}", first)
    assert all(len(line) <= 90 for line in lines.decode().splitlines())
