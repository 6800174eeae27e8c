"""The whole way, by the real command: a text, a model, its samples, its description, more training."""

import json
import math
import re
import shutil
from pathlib import Path
from statistics import median

import pytest

from cli.command import QUICK, text, unroll
from cli.conftest import Here, Trained


def test_train_ends_with_one_object_that_says_it_all(trained: Trained) -> None:
    result = trained.result
    assert result["out"] == "runs/book"
    assert (result["steps"], result["planned_steps"], result["finished"]) == (40, 40, True)
    assert (
        result["tokens_seen"]
        == 40 * result["recipe"]["training"]["batch_size"] * result["recipe"]["training"]["seq_len"]
    )
    assert result["train_seconds"] > 0
    events = [json.loads(line) for line in (trained.path / "metrics.jsonl").read_text().splitlines()]
    rates = [event["tokens_per_second"] for event in events if event["kind"] == "train"]
    assert result["tokens_per_second"] == round(median(rates))
    assert result["parameters"] > 5000
    assert result["valid_nats_per_token"] < 2.5
    assert result["valid_bits_per_char"] == pytest.approx(result["valid_nats_per_token"] / math.log(2))
    assert result["valid_bits_per_byte"] == result["valid_bits_per_char"]  # the text is ASCII
    assert result["valid_tokens"] == result["valid_part_tokens"] == result["parts"]["valid"]["tokens"]
    assert (result["split"], result["protocol"]) == ("90/5/5", "stream")
    assert 0 < result["best_step"] <= 40
    assert result["recipe"]["model"]["hidden_size"] == 32
    assert result["notes"] == []


def test_without_a_terminal_train_prints_plain_lines(trained: Trained) -> None:
    assert "\x1b" not in trained.done.err
    assert "\r" not in trained.done.err
    assert re.search(
        r"^step 40/40 · training \d\.\d+ bits/char · validation \d\.\d+ bits/char · [\d,]+/s · 0:00 left$",
        trained.done.err,
        re.M,
    )
    assert re.search(r"^── step 0 · \d\.\d+ bits/char ─+$", trained.done.err, re.M)
    assert re.search(r"^validation  \d\.\d\d bits/char · the weights of step", trained.done.err, re.M)
    assert not re.search(r"\bnats\b|\bloss \d", trained.done.err), "one unit"
    assert " · valid and test: the end of the text" in trained.done.err
    assert "sha256" in trained.done.err
    assert "unroll sample runs/book" in trained.done.err


def test_info_tells_what_it_is(trained: Trained, here: Here) -> None:
    description = json.loads(unroll("info", trained.path, "--json").out)
    assert {name: value for name, value in trained.result.items() if name not in ("out", "path")} == {
        name: value for name, value in description.items() if name != "path"
    }
    assert (description["arch"], description["level"], description["layers"], description["hidden_size"]) == (
        "lstm",
        "char",
        1,
        32,
    )
    assert description["vocab_size"] == 1 + len({*trained.text.read_text()[:18_000], "\n"})
    (source,) = description["trained_on"]
    assert (source["name"], source["bytes"]) == ("book.txt", 20_000)
    assert len(source["sha256"]) == 64
    plain = here("info", trained.path).out
    assert re.search(r"^model +lstm, 1 layer of 32, embedding 16$", plain, re.M)
    assert re.search(r"^validation +\d\.\d{4} bits/char · protocol stream$", plain, re.M)


def test_evolution_shows_the_samples_in_order(trained: Trained, here: Here) -> None:
    samples = json.loads(unroll("evolution", trained.path, "--json").out)["samples"]
    assert [sample["step"] for sample in samples] == [0, 40]
    assert samples[0]["nats"] > samples[1]["nats"]
    plain = here("evolution", trained.path).out
    for sample in samples:
        assert f"── step {sample['step']} · {sample['nats'] / math.log(2):.2f} bits/char " in plain
        assert sample["text"] in plain


def test_evolution_measures_the_samples(trained: Trained, here: Here, tmp_path: Path) -> None:
    figures = json.loads(here("evolution", trained.path, "--json", "--plot", tmp_path / "growth.svg").out)
    first, last = (sample["measures"] for sample in figures["samples"])
    assert (figures["kind"], first.keys()) == ("plain", figures["ceiling"].keys())
    assert figures["ceiling"]["words"] == 1 > (first["words"] or 0)
    assert (tmp_path / "growth.svg").read_text().count("capitals") >= 1
    *_, header, _, last_row, text_row = here("evolution", trained.path).out.splitlines()
    assert header.split() == ["step", *figures["ceiling"]]
    assert last_row.split()[1] == ("–" if last["words"] is None else f"{100 * last['words']:.0f}")
    assert text_row.split()[:2] == ["text", "100"]
    # Moved without its text, it needs the name of that.
    copy = tmp_path / "copy"
    shutil.copytree(trained.path, copy, ignore=shutil.ignore_patterns("data"))
    gone = here("evolution", copy)
    assert "not beside the model" in gone.err and "–" in gone.out.splitlines()[-1]
    assert json.loads(here("evolution", copy, "--file", trained.text, "--json").out)["ceiling"] == figures["ceiling"]


def test_sample_is_reproducible_and_its_texts_are_independent(trained: Trained, here: Here) -> None:
    ask = ("sample", trained.path, "--prompt", "the cat", "--length", "60", "--seed", "3", "--copied")
    first = json.loads(here(*ask, "--count", "2", "--json").out)
    sample, second_sample = first["samples"]
    assert sample["text"] != second_sample["text"]
    assert (sample["symbols"], len(sample["text"])) == (60, 60)
    assert 0 < sample["nats_per_token"] < 5
    assert sample["copied"]["length"] == len(sample["copied"]["text"]) > 2
    assert sample["copied"]["text"] in sample["text"]
    assert sample["copied"]["text"] in trained.text.read_text()[:18_000]
    repeat = unroll(*ask)
    assert repeat.out == "the cat" + sample["text"] + "\n"
    assert f"Longest run copied from the training text, {sample['copied']['length']} symbols" in repeat.err


def test_a_search_prints_the_most_probable_text_and_takes_no_options_of_drawing(trained: Trained, here: Here) -> None:
    ask = ("sample", trained.path, "--prompt", "the cat", "--length", "20", "--beam")
    (item,), (eight,) = (json.loads(here(*ask, beam, "--json").out)["samples"] for beam in ("1", "8"))
    (greedy,) = json.loads(here(*ask[:-1], "--temperature", "0", "--json").out)["samples"]
    assert item == greedy | {"nats_per_token": pytest.approx(greedy["nats_per_token"])}
    assert eight["nats_per_token"] <= item["nats_per_token"]
    assert here(*ask, "8").out == "the cat" + eight["text"] + "\n"
    for option in (("--temperature", "1"), ("--count", "2"), ("--seed", "0")):
        refusal = here(*ask, "8", *option)
        assert (refusal.code, refusal.out) == (2, "")
        assert option[0] in refusal.err and "--beam" in refusal.err


def test_a_prompt_comes_from_a_file_and_unknown_symbols_are_replaced_on_request(
    trained: Trained, here: Here, tmp_path: Path
) -> None:
    (tmp_path / "prompt").write_text("the €at", encoding="utf-8")
    ask = ("sample", trained.path, "--prompt-file", tmp_path / "prompt", "--length", "5", "--json")
    refusal = here(*ask)
    assert (refusal.code, refusal.out) == (2, "")
    assert "'€' at 4" in refusal.err
    assert "--replace-unknown" in refusal.err
    replaced = json.loads(here(*ask, "--replace-unknown").out)
    assert replaced["prompt"] == "the €at"
    assert replaced["samples"][0]["symbols"] == 5


def test_copied_is_null_without_the_training_text(trained: Trained, here: Here, tmp_path: Path) -> None:
    """A model that was passed on is its weights, vocabulary and description; all of it that applies still works."""
    arguments = tmp_path / "given"
    arguments.mkdir()
    for name in ("model.json", "weights.safetensors", "tokenizer.json"):
        (arguments / name).write_bytes((trained.path / name).read_bytes())
    sampled = json.loads(here("sample", arguments, "--length", "5", "--copied", "--json").out)
    assert sampled["samples"][0]["copied"] is None
    description = json.loads(here("info", arguments, "--json").out)
    assert (description["recipe"], description["trained_on"], description["train_seconds"]) == (None, None, None)
    assert description["valid_nats_per_token"] == trained.result["valid_nats_per_token"]
    assert len(description["notes"]) == 2
    assert here("info", arguments).code == 0


def test_prepared_once_trained_often(here: Here, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(text(9000), encoding="utf-8")
    prepared = unroll("data", "prepare", "words.txt", "--level", "word", "--set", "vocab_size=8", "--out", "data/words",
                      "--split", "80/20", "--json", cwd=tmp_path)  # fmt: skip
    assert prepared.code == 0, prepared.err
    about = json.loads(prepared.out)
    assert (about["out"], about["level"], about["vocab_size"]) == ("data/words", "word", 8)
    assert about["parts"]["train"]["unknown"] > 0
    outcome = unroll("train", "data/words", "--steps", "12", *QUICK, "--set", "seq_len=8", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert (result["out"], result["level"], result["split"]) == ("runs/words", "word", "80/20")
    assert result["valid_bits_per_char"] is None
    assert result["valid_perplexity"] > 1
    assert any("bits per character" in note for note in result["notes"])
    assert "perplexity" in outcome.err
    assert "perplexity" in here("evolution", tmp_path / "runs" / "words").out


def test_fine_tuning_keeps_the_vocabulary_and_says_what_is_new(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(text(9000, seed=7).replace("mat", "ma\u00df"), encoding="utf-8")
    outcome = unroll(
        "train", "other.txt", "--from", trained.path, "--steps", "10", "--device", "cpu", "--json", cwd=tmp_path
    )
    assert outcome.code == 0, outcome.err
    assert "'\u00df'" in outcome.err
    result = json.loads(outcome.out)
    assert result["fine_tuned_from"] == trained.path.name
    assert (result["hidden_size"], result["vocab_size"]) == (32, trained.result["vocab_size"])
    assert any("<unk>" in note for note in result["notes"])


def test_resuming_what_is_finished_says_so(trained: Trained, here: Here) -> None:
    result = here("train", "--resume", trained.path, "--json")
    assert result.code == 0
    assert "is finished" in result.err
    assert json.loads(result.out)["steps"] == 40


def test_with_no_file_it_learns_the_standard_library(tmp_path: Path) -> None:
    outcome = unroll("train", "--steps", "3", *QUICK, "--set", "final_tokens=2000", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["out"] == "runs/python-stdlib"
    (source,) = result["trained_on"]
    assert re.fullmatch(r"python-3\.\d+\.\d+-stdlib\.txt", source["name"])
    assert f"{source['name']} · 4.0 MB · sha256 {source['sha256'][:16]}" in outcome.err
    assert any("the first 2,000 of" in note for note in result["notes"])
    assert re.search(r"^validation .* of the first 2,000 of [\d,]+ validation symbols", outcome.err, re.M)
    assert result["valid_bits_per_char"] == pytest.approx(result["valid_nats_per_token"] / math.log(2))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["python-stdlib"]


def test_a_finished_training_is_extended(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    outcome = unroll("train", "--resume", tmp_path / "run", "--more-steps", "20", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert (result["steps"], result["planned_steps"], result["finished"]) == (60, 60, True)
    assert result["recipe"]["training"]["extended_at"] == "40"
    assert result["valid_nats_per_token"] < trained.result["valid_nats_per_token"]
    assert "60 steps of" in outcome.err


def test_force_replaces(trained: Trained, book: Path, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    result = unroll("train", book, "--out", tmp_path / "run", *QUICK, "--steps", "3", "--force", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["steps"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.txt", "run"]


def test_a_recipe_is_enough_to_repeat_a_run(trained: Trained, tmp_path: Path) -> None:
    recipe = trained.path / "recipe.toml"
    result = unroll("train", trained.text, "--recipe", recipe, "--out", tmp_path / "again", "--device", "cpu", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["recipe"] == trained.result["recipe"]
    for name in ("model.json", "weights.safetensors", "samples.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (trained.path / name).read_bytes()
