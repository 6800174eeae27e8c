"""States in files: score(a + b) = score(a) + score(b | state) also in another process, and nothing else is loaded."""

import json
import pickle
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import unroll
from lm.test_surprisal import Trigram
from tiny import ARCHS, TOKENIZER, model_config, random_ids, random_model
from unroll.artifact import saved_state
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, read_info, save_description
from unroll.artifact.open import Opened, open_model
from unroll.artifact.saved_state import Reading, load_reading, read_on, save_reading, weights_digest
from unroll.errors import UserError
from unroll.lm.surprisal import beginning
from unroll.predict.predictor import Predictor
from unroll.predict.torch import TorchPredictor

A, B = "abcabcjihgabcab", "cjihgfedcbaabc"


def directory(path: Path, arch: str, seed: float = 0.6) -> Path:
    """Write what a model directory needs to be loaded."""
    path.mkdir()
    config = model_config(arch)
    TOKENIZER.save(path / "tokenizer.json")
    save_description(path, config, TOKENIZER)
    model = random_model(config, torch.float32, scale=seed)
    save_tensors(path / WEIGHTS, dict(model.named_parameters()), {"step": 7})
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {arch: directory(folder / arch, arch) for arch in ARCHS}


def opened_as(arch: str, path: Path, dtype: torch.dtype = torch.float64) -> Opened:
    return Opened(path, TorchPredictor(random_model(model_config(arch), dtype)), TOKENIZER, {})


Through = Callable[[Reading], Reading]


def law_cut(opened: Opened, transport: Through) -> None:
    """score(a + b) = score(a) + score(b | the state after a), wherever it is cut, whatever the state went through."""
    ids = random_ids(60)
    expected, _ = read_on(opened.predictor, ids, beginning(opened))
    for split in (0, 1, 2, 30, 59, 60):
        first, reading = read_on(opened.predictor, ids[:split], beginning(opened))
        rest, _ = read_on(opened.predictor, ids[split:], transport(reading))
        assert np.concatenate([first, rest]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("arch", [*ARCHS, "trigram"])
def test_what_is_saved_goes_on_as_what_was_never_interrupted(
    arch: str, models: dict[str, Path], tmp_path: Path
) -> None:
    opened = opened_as(arch, models[arch]) if arch in ARCHS else counting(models["rnn"])

    def through_a_file(reading: Reading) -> Reading:
        save_reading(tmp_path / "state", reading, opened.path)
        return load_reading(tmp_path / "state", opened)

    law_cut(opened, lambda reading: reading)
    law_cut(opened, through_a_file)


def counting(path: Path) -> Opened:
    """A model without torch, with whole numbers in its state."""
    return Opened(path, Trigram(TOKENIZER.vocab_size), TOKENIZER, {})


def test_the_law_fails_when_something_is_lost(models: dict[str, Path]) -> None:
    """Planted faults: the state is fresh; the last symbol is forgotten; a layer is; layers are swapped."""
    opened = opened_as("lstm", models["lstm"])
    start = TOKENIZER.start_id
    faults: list[Through] = [
        lambda reading: Reading(None, reading.before),
        lambda reading: Reading(reading.state, start),
        lambda reading: Reading(reading.state and (reading.state[0], (0 * reading.state[1][0],) * 2), reading.before),
        lambda reading: Reading(reading.state and reading.state[::-1], reading.before),
    ]
    for fault in faults:
        with pytest.raises(AssertionError):
            law_cut(opened, fault)


SAVE = """
import sys
import unroll
for model in sys.argv[2:]:
    (score,) = unroll.score(model, sys.argv[1], save_state=model + ".state")
    print(repr(score.nats))
"""
GO_ON = SAVE.replace("save_state", "state")


def run(code: str, text: str, models: dict[str, Path]) -> list[float]:
    process = subprocess.run(
        [sys.executable, "-c", code, text, *map(str, models.values())], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return [float(line) for line in process.stdout.split()]


def test_a_text_goes_on_in_another_process(models: dict[str, Path]) -> None:
    first, second = run(SAVE, A, models), run(GO_ON, B, models)
    for model, a, b in zip(models.values(), first, second, strict=True):
        total, fresh = unroll.score(model, [A + B, B])
        assert a + b == pytest.approx(total.nats, abs=1e-4)
        assert abs(a + fresh.nats - total.nats) > 1e-2


def test_a_model_may_be_loaded_once(models: dict[str, Path]) -> None:
    path = models["lstm"]
    for model in (str(path), open_model(path)):
        assert unroll.score(model, A) == unroll.score(path, [A])
        assert unroll.next_symbols(model, A, 3) == unroll.next_symbols(path, A, 3)
        assert unroll.next_words(model, A, 3) == unroll.next_words(path, A, 3)
    with_torch, engine = unroll.score(unroll.load(path), A)[0], unroll.score(path, A)[0]
    assert with_torch.nats == pytest.approx(engine.nats, abs=1e-5)


def test_a_state_is_the_same_file_each_time(models: dict[str, Path], tmp_path: Path) -> None:
    for name in ("one", "other"):
        unroll.score(models["lstm"], A, save_state=tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_several_texts_go_on_from_one_state_and_leave_none(models: dict[str, Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    unroll.score(models["gru"], A, save_state=state)
    first_score, second_score = unroll.score(models["gru"], [B, A], state=state)
    assert [first_score, second_score] == [unroll.score(models["gru"], text, state=state)[0] for text in (B, A)]
    with pytest.raises(UserError, match="no one state"):
        unroll.score(models["gru"], [A, B], save_state=state)


def test_a_file_goes_on_from_a_text(models: dict[str, Path], tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "text"
    file.write_text(B)
    (first,) = unroll.score(models["lstm"], A, save_state=state)
    rest = sum(
        unit.nats for unit in unroll.score_file(models["lstm"], file, unit="char", state=state, save_state=state)
    )
    (last,) = unroll.score(models["lstm"], A, state=state)
    (total,) = unroll.score(models["lstm"], A + B + A)
    assert first.nats + rest + last.nats == pytest.approx(total.nats, abs=1e-4)
    with pytest.raises(UserError, match="fresh"):
        unroll.score_file(models["lstm"], file, fresh=True, state=state)


# ---- what is refused


@pytest.fixture
def state(models: dict[str, Path], tmp_path: Path) -> Path:
    unroll.score(models["lstm"], A, save_state=tmp_path / "state")
    return tmp_path / "state"


def refused(file: Path, opened: Opened, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        load_reading(file, opened)
    assert message in str(refusal.value), str(refusal.value)
    assert refusal.value.fix


def info_of(file: Path) -> dict[str, Any]:
    return read_info(file)


def rewrite(file: Path, edit: Callable[[dict[str, Any], dict[str, Any]], Any]) -> None:
    """Save a state again with other arrays or another description."""
    tensors, info = load_file(file), info_of(file)
    edit(tensors, info)
    save_file(tensors, file, metadata={"info": json.dumps(info)})


def test_a_state_of_another_model_is_refused(models: dict[str, Path], state: Path, tmp_path: Path) -> None:
    for arch in (arch for arch in ARCHS if arch != "lstm"):
        refused(state, opened_as(arch, models[arch], torch.float32), "")
    foreign = directory(tmp_path / "other", "lstm", seed=0.5)
    assert weights_digest(foreign) != weights_digest(models["lstm"])
    refused(state, opened_as("lstm", foreign, torch.float32), "another model")
    twin = directory(tmp_path / "again", "lstm")  # the same weights in another place
    assert load_reading(state, opened_as("lstm", twin, torch.float32)).before == TOKENIZER.encode(A)[-1]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors, info: tensors.update({"state/0/0": tensors["state/0/0"] * np.nan}), "NaN or infinite"),
        (lambda tensors, info: tensors.update({"state/1/1": tensors["state/1/1"] * np.inf}), "NaN or infinite"),
        (lambda tensors, info: tensors.update({"state/0/0": tensors["state/0/0"].astype(np.float64)}), "float64"),
        (lambda tensors, info: tensors.update({"state/0/0": tensors["state/0/0"].astype(np.float16)}), "float16"),
        (lambda tensors, info: tensors.update({"state/0/0": tensors["state/0/0"][:, :-1].copy()}), "(1, 9)"),
        (lambda tensors, info: tensors.update({"state/0/0": np.repeat(tensors["state/0/0"], 2, 0)}), "(2, 10)"),
        (lambda tensors, info: tensors.pop("state/1/0"), "it holds"),
        (lambda tensors, info: tensors.update({"state/2/0": tensors["state/0/0"]}), "it holds"),
        (lambda tensors, info: info.update(before=TOKENIZER.vocab_size), "last symbol"),
        (lambda tensors, info: info.update(before=-1), "last symbol"),
        (lambda tensors, info: info.update(before=True), "last symbol"),
        (lambda tensors, info: info.update(before="a"), "last symbol"),
        (lambda tensors, info: info.pop("before"), "last symbol"),
        (lambda tensors, info: info.update(kind="something"), "not a saved state"),
        (lambda tensors, info: info.update(format_version=2), "not a saved state"),
        (lambda tensors, info: info.update(weights_sha256="0" * 64), "another model"),
    ],
)
def test_a_state_that_was_changed_is_refused(
    edit: Callable[[dict[str, Any], dict[str, Any]], Any], message: str, models: dict[str, Path], state: Path
) -> None:
    rewrite(state, edit)
    refused(state, opened_as("lstm", models["lstm"], torch.float32), message)


def test_symbols_that_there_are_not_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    opened = counting(models["rnn"])
    for value in (-2, opened.predictor.vocab_size + 1, 2**60):
        save_reading(tmp_path / "state", Reading(((np.array([[value]]),),), 1), opened.path)
        refused(tmp_path / "state", opened, "symbols outside the vocabulary")


def header(content: object, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode() if not isinstance(content, bytes) else content
    return struct.pack("<Q", len(text)) + text + data


def holding(dtype: str, shape: list[int]) -> bytes:
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": [0, 4]}
    return header({"__metadata__": {"info": "{}"}, "state/0/0": tensor}, b"1234")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 8, b"\xff" * 64, pickle.dumps({"state": 1}), header({}), header({"__metadata__": {"info": "[]"}}),
     header({"__metadata__": {"info": "[" * 5000}}), header({"__metadata__": {"other": "{}"}}), header(b"{" * 40),
     holding("F32", [10**12]), holding("BF16", [2]), holding("F32", [1])],
    ids=range(12),
)  # fmt: skip
def test_a_file_that_is_no_state_is_refused(content: bytes, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(content)
    refused(tmp_path / "state", opened_as("rnn", models["rnn"]), "stat")


def test_files_that_cannot_be_read_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    opened = opened_as("rnn", models["rnn"])
    refused(tmp_path / "nowhere", opened, "nowhere")
    refused(tmp_path, opened, str(tmp_path))
    (tmp_path / "large").write_bytes(bytes(saved_state.MAX_HEADER_BYTES + 10**5))
    refused(tmp_path / "large", opened, "bytes")
    with pytest.raises(UserError, match="nowhere"):
        save_reading(tmp_path / "nowhere" / "state", beginning(opened), models["rnn"])


def test_a_damaged_state_is_refused_or_is_a_state(models: dict[str, Path], state: Path) -> None:
    opened = opened_as("lstm", models["lstm"], torch.float32)
    chance, content = random.Random(0), state.read_bytes()
    accepted = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        state.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        try:
            reading = load_reading(state, opened)
        except UserError:
            continue
        accepted += 1
        nats, _ = read_on(opened.predictor, TOKENIZER.encode(B), reading)
        assert nats.shape == (len(B),)
    assert accepted < 200


def test_a_predictor_is_all_that_is_needed() -> None:
    predictor: Predictor = Trigram(7)
    assert predictor.vocab_size == 7
