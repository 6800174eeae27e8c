"""`unroll longrange` by the real command."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from cli.command import forked, unroll
from cli.conftest import Here, Refused
from cli.test_signals import wait_for
from cli.test_start import loaded
from unroll.insight.longrange import measure
from unroll.insight.longrange.table import ARCHS, STEPS, TUNED_RATES

TINY = ("--steps", "4", "--distance", "5", "--distance", "12")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test on few sequences, in this process."""
    monkeypatch.setattr(measure, "TEST_ROWS", 100)
    monkeypatch.setattr(measure, "VALID_ROWS", 50)


def test_all_architectures_by_distance(here: Here, tmp_path: Path) -> None:
    plot = tmp_path / "a.svg"
    result = here("longrange", *TINY, "--seeds", "2", "--json", "--plot", plot)
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    assert (report["task"], report["steps"], report["mixed"], report["finished"]) == ("pronouns", 4, False, True)
    assert [(row["arch"], row["distance"]) for row in report["results"]] == [
        (arch, distance) for arch in ARCHS for distance in (5, 12)
    ]
    for row in report["results"]:
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
        assert (row["seeds"], row["decisions"]) == (2, 200)
    assert report["plot"] == str(plot) and "RNN, orthogonal" in plot.read_text(encoding="utf-8")
    repeat = json.loads(here("longrange", *TINY, "--seeds", "2", "--json", "--arch", "gru").out)
    assert repeat["results"] == [row for row in report["results"] if row["arch"] == "gru"], (
        "the seed decides everything"
    )


def test_the_table_and_what_is_told_on_the_way(here: Here) -> None:
    result = here("longrange", *TINY, "--arch", "lstm", "--arch", "window", "--task", "german", "--mixed")
    assert result.code == 0, result.err
    first, second, empty, head, *rows = result.out.splitlines()
    assert first.startswith("german: the particle") and "chance 14.3 %" in second and empty == ""
    assert "all distances at once" in second
    assert head.split() == ["distance", "5", "12"]
    assert [row.split()[0] for row in rows[::2]] == ["LSTM", "window"]
    assert all("–" in row for row in rows[1::2]) and len(rows) == 4
    assert [line.split(":")[0] for line in result.err.splitlines()] == ["LSTM, seed 0", "window of 10, seed 0"]


def test_sums_are_told_with_their_error(here: Here) -> None:
    result = here("longrange", "--task", "adding", "--steps", "3", "--distance", "8", "--arch", "rnn-uniform")
    assert result.code == 0, result.err
    assert "squared error" in result.out and "solved at step" in result.out and "never" in result.out


def test_rates_can_be_chosen(here: Here) -> None:
    result = here("longrange", "--distance", "5", "--steps", "3", "--arch", "window", "--tuned", "--json")
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)["results"]
    assert row["learning_rate"] in TUNED_RATES and row["seeds"] == 1


def test_networks_are_kept_for_the_other_verbs(here: Here, tmp_path: Path) -> None:
    out = tmp_path / "nets"
    result = here("longrange", *TINY, "--arch", "lstm", "--mixed", "--out", out, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["out"] == str(out)
    assert [path.name for path in out.iterdir()] == ["lstm"]
    text = "Alice reads the book . she laughs ."
    assert here("trace", out / "lstm", text, "--json").code == 0
    assert here("info", out / "lstm").code == 0
    assert here("sample", out / "lstm", "--prompt", "Alice", "--length", "5").code == 0
    score = json.loads(here("score", out / "lstm", text, "--json").out)["texts"][0]
    assert score["unknown"] == 0 if "unknown" in score else score["tokens"] == 8


def test_a_text_is_written_on_which_models_are_trained(tmp_path: Path) -> None:
    file = tmp_path / "pronouns.txt"
    result = unroll("longrange", "--write-text", file, "--sentences", "300", "--distance", "20", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == {"task": "pronouns", "text": str(file), "lines": 300, "distance": 20}
    written = file.read_text(encoding="utf-8").splitlines()
    assert len(written) == 300 and all(line.endswith(" .") for line in written)
    small = [f"--set={key}" for key in ("hidden_size=16", "embedding_size=8", "batch_size=4", "seq_len=20")]
    result = unroll(
        "train", file, "--level", "word", "--steps", "5", "--out", tmp_path / "run", *small, "--device", "cpu"
    )
    assert result.code == 0, result.err


def test_stopped_it_tells_what_there_is(tmp_path: Path) -> None:
    with forked("longrange", "--arch", "rnn-uniform", "--distance", "5", "--distance", "1000", "--steps", "30",
                "--plot", "a.png", cwd=tmp_path) as process:  # fmt: skip
        wait_for(process, "RNN, uniform, seed 0: ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.poll() == 130, err
    assert "stopped: these are the networks trained so far" in err
    head, row, _ = out.splitlines()[3:]
    assert head.split() == ["distance", "5", "1,000"] and row.split()[-1] == "–"
    assert (tmp_path / "a.png").exists()


def test_help_loads_nothing_heavy_and_no_plot_no_matplotlib() -> None:
    assert f"[default: {STEPS}]" in unroll("longrange", "--help").out
    assert loaded("-m", "unroll", "longrange", "--help").isdisjoint(("torch", "numpy", "matplotlib"))
    ask = ("longrange", "--arch", "window", "--steps", "1", "--distance", "5", "--json")
    assert "matplotlib" not in loaded("-m", "unroll", *ask)


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["--task", "pronoun"], "did you mean 'pronouns'"),
        (["--task", "dyck2", "--distance", "4"], "odd numbers from 3"),
        (["--distance", "2"], "3 to 1,000 in pronouns"),
        (["--steps", "0"], "steps is 0"),
        (["--seeds", "0"], "seeds is 0"),
        (["--arch", "rnn"], "no architecture 'rnn'"),
        (["--plot", "a.gif"], "is not a .png or .svg"),
        (["--task", "adding", "--out", "x"], "not language models"),
        (["--task", "adding", "--write-text", "x"], "adding has no text"),
        (["--sentences", "5"], "--sentences needs --write-text"),
        (["--write-text", "x", "--sentences", "0"], "--sentences is 0"),
        (["--out", "."], ". exists"),
    ],
)
def test_refusals(
    arguments: list[str], subject: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused("longrange", *arguments)
    assert subject in message and "allowed: " in message and "fix: " in message
    assert not list(tmp_path.iterdir())
