"""The model directory: what was saved is loaded, and whatever else lies there is refused without running any of it."""

import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tiny import ARCHS, SMALL, TOKENIZER, begin_training, model_config, overrides, random_model, trained
from unroll.artifact import checkpoint
from unroll.artifact.checkpoint import load_tensors, save_tensors
from unroll.artifact.directory import STATE, WEIGHTS, locked, read_description, read_info, save_description
from unroll.artifact.events import EventLog, read_events
from unroll.artifact.open import Opened, load
from unroll.data.tokenizer import CharTokenizer
from unroll.errors import UserError
from unroll.files import Folder
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.settings import to_mapping
from unroll.training.start import resume

CONFIG = model_config("lstm")


def save_model(path: Path, config: ModelConfig = CONFIG, tokenizer: CharTokenizer = TOKENIZER) -> Model:
    """Write what a model directory needs to be loaded."""
    path.mkdir(exist_ok=True)
    model = random_model(config, torch.float32)
    tokenizer.save(path / "tokenizer.json")
    save_description(path, config, tokenizer)
    save_tensors(path / WEIGHTS, dict(model.named_parameters()), {"step": 7})
    return model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    save_model(tmp_path / "model")
    return tmp_path / "model"


def refused(path: Path, says: str = "") -> UserError:
    """Check that loading is refused with a word about `says`."""
    with pytest.raises(UserError) as caught:
        load(path)
    assert says in str(caught.value), str(caught.value)
    return caught.value


# ---- what was saved is loaded


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("others", [{}, {"tie_weights": True, "layers_before": 1, "layers_after": 2}], ids=len)
def test_a_model_comes_back_as_it_was(arch: str, others: dict[str, Any], tmp_path: Path) -> None:
    config = model_config(arch, dropout=0.25, skip="sum", **others)
    model = save_model(tmp_path / "model", config)
    loaded = load(tmp_path / "model")
    assert loaded.model.config == config and loaded.tokenizer == TOKENIZER and not loaded.model.training
    assert loaded.weights_info == {"step": 7} and loaded.path == tmp_path / "model"
    weights = dict(loaded.model.named_parameters())
    for name, weight in model.named_parameters():
        assert torch.equal(weight, weights[name]) and weights[name].requires_grad
    assert loaded.description["parameters"] == sum(weight.numel() for weight in model.parameters())


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_model(tmp_path / name)
    for file in (WEIGHTS, "model.json", "tokenizer.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_what_a_file_says_of_itself_is_read_without_its_tensors(directory: Path) -> None:
    info = {"step": 3, "valid_nats": 1.0625, "averaged": True, "text": "é\n\"'", "nothing": None}
    save_tensors(directory / "x.safetensors", {"x": torch.ones(2, 3)}, info)
    assert read_info(directory / "x.safetensors") == info
    assert torch.equal(load_tensors(directory / "x.safetensors")["x"], torch.ones(2, 3))


# ---- what does not belong there is refused


def test_a_missing_directory_or_file_is_named(directory: Path, tmp_path: Path) -> None:
    assert "no model directory" in refused(tmp_path / "nowhere").what
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "no model directory")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "model.json")
    for name in ("model.json", "tokenizer.json", WEIGHTS):
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        (copy / name).unlink()
        refused(copy, name)
        (copy / name).mkdir()
        refused(copy, name)
        shutil.rmtree(copy)


def change(path: Path, **values: Any) -> None:
    """Change entries of model.json; `model` entries are merged."""
    description = json.loads((path / "model.json").read_text())
    if "model" in values and isinstance(values["model"], dict):
        values["model"] = description["model"] | values["model"]
    (path / "model.json").write_text(json.dumps(description | values))


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "[]", "3", '"text"', "{}", '{"kind": "model"}', "[" * 100_000, "\x00", '{"kind": NaN}',
     '{"architectures": ["LlamaForCausalLM"], "vocab_size": 32000}'],
    ids=lambda content: content[:12],
)  # fmt: skip
def test_a_foreign_description_is_refused(content: str, directory: Path) -> None:
    (directory / "model.json").write_text(content)
    refused(directory, "model.json")


@pytest.mark.parametrize("version", [2, 99, 0, -1, "1", 1.5, None, [1]], ids=str)
def test_another_version_is_refused(version: object, directory: Path) -> None:
    change(directory, format_version=version)
    assert str(version) in refused(directory, "version").what


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"hidden_size": 11}, WEIGHTS),
        ({"hidden_size": 9}, "weight"),
        ({"num_layers": 3}, WEIGHTS),
        ({"num_layers": 1, "hidden_size": 10, "arch": "gru"}, "weight"),
        ({"arch": "transformer"}, "arch"),
        ({"arch": ["lstm"]}, "arch"),
        ({"skip": "concat"}, "skip"),
        ({"hidden_size": "10"}, "hidden_size"),
        ({"hidden_size": 10.0}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": -10}, "hidden_size"),
        ({"hiden_size": 10}, "hidden_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"vocab_size": 13}, "13"),
        ({"tie_weights": True}, "weight"),
        ({"layers_before": 1}, ""),
        ({"forget_bias": 10**400}, "forget_bias"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_configuration_that_does_not_fit_is_refused(model: dict[str, Any], says: str, directory: Path) -> None:
    change(directory, model=model)
    refused(directory, says)


@pytest.mark.parametrize("value", [None, [], "lstm", 3], ids=str)
def test_no_configuration_is_refused(value: object, directory: Path) -> None:
    change(directory, model=value)
    refused(directory, "model.json")


HUGE: list[dict[str, Any]] = [
    {"hidden_size": 2**40},
    {"hidden_size": 2**15},
    {"num_layers": 10**12},
    {"num_layers": 10**7},
    {"embedding_size": 2**33},
    {"vocab_size": 10**15},
    {"layers_before": 10**12},
    {"layers_after": 10**12},
    {"window": 10**12, "arch": "window"},
    {"vocab_size": 10**4000, "embedding_size": 10**4000},
    {"hidden_size": 10**4000},
    {"num_layers": 2**63},
]


@pytest.mark.parametrize("model", HUGE, ids=lambda model: "-".join(model))
def test_huge_sizes_are_refused_before_anything_is_allocated(
    model: dict[str, Any], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(directory, model=model)
    monkeypatch.setattr(checkpoint, "Model", None)
    refused(directory)


def test_a_file_that_only_claims_to_be_large_is_refused_before_anything_is_allocated(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file of eight gigabytes takes no room on the disk."""
    change(directory, model={"hidden_size": 10_000})
    os.truncate(directory / WEIGHTS, 2**33)
    monkeypatch.setattr(checkpoint, "Model", None)
    refused(directory, WEIGHTS)


def test_another_tokenizer_is_refused(directory: Path) -> None:
    CharTokenizer.learn("abcdefghik").save(directory / "tokenizer.json")
    refused(directory, "tokenizer")
    # Also where the description was made to agree, but the sizes do not.
    other = CharTokenizer.learn("abc")
    other.save(directory / "tokenizer.json")
    change(directory, tokenizer_digest=other.digest)
    refused(directory, "symbols")
    change(directory, tokenizer_digest=None)
    refused(directory, "tokenizer")


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


INFO = {"__metadata__": {"info": "{}"}}

FORGERIES: dict[str, bytes] = {
    "empty": b"",
    "seven bytes": b"\x01" * 7,
    "no header": struct.pack("<Q", 0),
    "hostile length": struct.pack("<Q", 2**63) + b"{}",
    "long header": struct.pack("<Q", 2**40) + b"{}",
    "length beyond the end": safetensors(INFO, length=10**6),
    "not json": safetensors(b"\xff\xfe{}"),
    "deep": safetensors(b"[" * 100_000),
    "a list": safetensors([1]),
    "no metadata": safetensors({}),
    "null metadata": safetensors({"__metadata__": None}),
    "no info": safetensors({"__metadata__": {}}),
    "info is no text": safetensors({"__metadata__": {"info": 3}}),
    "info is no json": safetensors({"__metadata__": {"info": "{"}}),
    "info is a list": safetensors({"__metadata__": {"info": "[]"}}),
    "no tensors": safetensors(INFO),
    "beyond the data": safetensors(INFO | {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "negative": safetensors(INFO | {"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
    "overflow": safetensors(INFO | {"x": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, b"1234"),
    "unknown type": safetensors(INFO | {"x": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "pickle": pickle.dumps({"weights": [1.0, 2.0]}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_weights_file_is_refused(name: str, directory: Path) -> None:
    # Padded to the size of the true weights, so that it is read at all, and as it is.
    for padding in (0, 4 * 10**5):
        (directory / WEIGHTS).write_bytes(FORGERIES[name] + b"\0" * padding)
        refused(directory, WEIGHTS)


def test_a_torch_file_is_refused(directory: Path) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(directory / WEIGHTS).items()}
    torch.save(tensors, directory / WEIGHTS)
    assert zipfile.is_zipfile(directory / WEIGHTS)
    refused(directory, WEIGHTS)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_weights_are_refused(share: float, directory: Path) -> None:
    file = directory / WEIGHTS
    os.truncate(file, int(share * file.stat().st_size))
    refused(directory, WEIGHTS)


def rewrite(directory: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    file = directory / WEIGHTS
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    edit(tensors)
    save_file(tensors, file, metadata={"info": "{}"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, directory: Path) -> None:
    for name in dict(Model(CONFIG).named_parameters()):
        save_model(directory)
        rewrite(directory, lambda tensors, name=name: tensors[name].view(-1)[-1:].fill_(value))  # type: ignore[misc]
        refused(directory, name)


@pytest.mark.parametrize(
    "edit",
    [
        lambda tensors: tensors.pop("head.weight"),
        lambda tensors: tensors.update({"head.weight": tensors["head.weight"].T.contiguous()}),
        lambda tensors: tensors.update({"head.weight": tensors["head.weight"].flatten()}),
        lambda tensors: tensors.update({"head.weight": tensors["head.weight"].double()}),
        lambda tensors: tensors.update({"head.weight": tensors["head.weight"].to(torch.int32)}),
        lambda tensors: tensors.update({"head.weight": torch.zeros(0)}),
    ],
    ids=["missing", "transposed", "flat", "double", "integers", "empty"],
)
def test_weights_of_another_shape_or_type_are_refused(
    edit: Callable[[dict[str, torch.Tensor]], None], directory: Path
) -> None:
    rewrite(directory, edit)
    rewrite(directory, lambda tensors: tensors.update({"padding": torch.zeros(10_000)}))
    refused(directory, "head.weight")


# ---- nothing in a directory is run


class Exploit:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.mark), "w")


WATCH = """
import pickle
import sys
from pathlib import Path

directory = Path(sys.argv[1])
import unroll.artifact.checkpoint, unroll.predict.torch  # before the hook: torch loads libraries
from unroll.artifact.open import load
from unroll.errors import UserError

seen = []

def watch(event, arguments):
    if event in ("pickle.find_class", "exec", "compile", "import", "os.system", "os.exec", "os.posix_spawn",
                 "subprocess.Popen", "ctypes.dlopen", "socket.connect"):
        seen.append((event, arguments))

sys.addaudithook(watch)
for path in sorted(directory.iterdir()):
    try:
        load(path)
    except UserError:
        pass
bad = [(event, arguments) for event, arguments in seen
       if event not in ("import", "exec", "compile") or any(str(directory) in str(part) for part in arguments)]
print(bad, Path(sys.argv[2]).exists())
try:  # Planted fault: the hook sees a pickle when there is one.
    pickle.loads((directory / "good" / "pytorch_model.bin").read_bytes())
finally:
    print(seen[-1][0])
"""


def test_loading_runs_nothing_of_a_directory(tmp_path: Path) -> None:
    """Pickles and Python in place of, and beside, every file: under an audit hook no class is found and no code run."""
    models = tmp_path / "models"
    models.mkdir()
    mark = tmp_path / "mark"
    exploit = pickle.dumps(Exploit(mark))
    save_model(models / "good")
    for name in ("__init__.py", "model.py", "sitecustomize.py", "tokenizers.py"):
        (models / "good" / name).write_text(f"open({str(mark)!r}, 'w')")
    (models / "good" / "pytorch_model.bin").write_bytes(exploit)
    for number, file in enumerate(("model.json", "tokenizer.json", WEIGHTS)):
        save_model(models / f"pickle{number}")
        (models / f"pickle{number}" / file).write_bytes(exploit)
        save_model(models / f"torch{number}")
        torch.save(Exploit(mark), models / f"torch{number}" / file)
    save_model(models / "info")
    save_tensors(models / "info" / WEIGHTS, {}, {"step": exploit.hex()})
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WATCH, str(models), str(mark)]
    done = subprocess.run(command, cwd=models / "good", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[] False", "pickle.find_class"]


# ---- whatever else may have happened to the files


def damage(content: bytes, chance: random.Random) -> bytes:
    """Flip a few bits or bytes, cut, double, or blank a stretch."""
    kind = chance.randrange(5)
    if kind == 0 or not content:
        return content[: chance.randrange(len(content) + 1)]
    changed = bytearray(content)
    # Headers are small and weights are large: half of the damage goes to the first bytes.
    reach = len(content) if chance.random() < 0.5 else min(len(content), 400)
    if kind == 1:
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    elif kind == 2:
        changed[chance.randrange(reach)] = chance.randrange(256)
    elif kind == 3:
        start = chance.randrange(reach)
        changed[start : start + chance.randint(1, 64)] = b""
    else:
        start = chance.randrange(reach)
        changed[start : start + 32] = chance.choice([b"\0", b"9", b"\xff", b'"', b"{"]) * 32
    return bytes(changed)


def test_a_damaged_model_loads_or_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    chance, fine = random.Random(0), 0
    contents = {file: file.read_bytes() for file in sorted((tmp_path / "model").iterdir())}
    for file, content in contents.items():
        for _ in range(100):
            file.write_bytes(damage(content, chance))
            try:
                loaded = load(tmp_path / "model")
            except UserError as error:
                assert error.what
            else:
                check_usable(loaded)
                fine += 1
        file.write_bytes(content)
    check_usable(load(tmp_path / "model"))
    assert 10 < fine < 200


def check_usable(loaded: Opened) -> None:
    """Check that what was loaded is numbers, in the shape that it says."""
    assert all(bool(torch.isfinite(weight).all()) for weight in loaded.model.parameters())
    with torch.no_grad():
        logits, _ = loaded.model(torch.ones(1, 3, dtype=torch.int64))
    assert logits.shape == (1, 3, loaded.tokenizer.vocab_size)


@pytest.mark.parametrize("inside", [False, True], ids=["prepared", "text"])
def test_a_damaged_training_goes_on_or_is_refused(inside: bool, corpus: Path, tmp_path: Path) -> None:
    """Every file that resuming reads, one at a time; the encoded text lies elsewhere or in the directory."""
    path, chance = tmp_path / "run", random.Random(1)
    if inside:
        corpus = corpus.with_name("text0.txt")
    reports = begin_training(corpus, path, overrides(optim={"averaging": 0.5}), 4)
    for report in reports:
        if report.kind == "save":
            break
    reports.close()
    contents = {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    assert len(contents) >= 7
    went_on = 0
    for file in contents:
        for _ in range(16):
            for other, content in contents.items():
                other.write_bytes(content)
            file.write_bytes(damage(contents[file], chance))
            try:
                list(resume(path, device="cpu"))
            except UserError as error:
                assert error.what
            else:
                went_on += 1
    assert went_on > 20


@pytest.mark.parametrize(
    "name", ["last/head.bias", "average/head.bias", "exp_avg/head.bias", "step/head.bias", "state/1/0"]
)
@pytest.mark.parametrize("how", ["missing", "shape", "type"])
def test_a_checkpoint_that_lacks_something_is_refused(name: str, how: str, corpus: Path, tmp_path: Path) -> None:
    reports = begin_training(corpus, tmp_path / "run", overrides(optim={"averaging": 0.5}), 4)
    next(report for report in reports if report.kind == "save")
    reports.close()
    file = tmp_path / "run" / STATE
    tensors, info = load_tensors(file), read_info(file)
    if how == "missing":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(3, 3) if how == "shape" else tensors[name].to(torch.int64)
    save_tensors(file, tensors, info)
    with pytest.raises(UserError) as caught:
        list(resume(tmp_path / "run", device="cpu"))
    assert name in caught.value.what and caught.value.fix


@pytest.mark.parametrize("lacking", ["step", "best_nats", "best_step", "seconds", "log_sizes", "cuts", "losses"])
@pytest.mark.parametrize("value", [None, "x", [], {}], ids=str)
def test_a_checkpoint_whose_notes_are_damaged_is_refused(
    lacking: str, value: object, corpus: Path, tmp_path: Path
) -> None:
    reports = begin_training(corpus, tmp_path / "run", overrides(), 4)
    next(reports)
    reports.close()
    file = tmp_path / "run" / STATE
    save_tensors(file, load_tensors(file), read_info(file) | {lacking: value})
    with pytest.raises(UserError, match="damaged"):
        list(resume(tmp_path / "run", device="cpu"))


def test_a_recipe_that_is_not_the_models_is_refused(corpus: Path, tmp_path: Path) -> None:
    reports = begin_training(corpus, tmp_path / "run", overrides(), 4)
    next(reports)
    reports.close()
    recipe = tmp_path / "run" / "recipe.toml"
    for old, new in (
        ("hidden_size = 10", "hidden_size = 11"),
        ('arch = "lstm"', 'arch = "gru"'),
        ("batch_size = 3", "batch_size = 4"),
        ("steps = 4", "stepps = 4"),
        ("[optim]", "[optim"),
    ):
        text = recipe.read_text()
        assert old in text
        recipe.write_text(text.replace(old, new))
        with pytest.raises(UserError):
            list(resume(tmp_path / "run", device="cpu"))
        recipe.write_text(text)
    assert list(resume(tmp_path / "run", device="cpu"))[-1].kind == "end"


# ---- the log


def test_a_log_is_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    file, folder = tmp_path / "log.jsonl", Folder(tmp_path)
    log = EventLog(folder, "log.jsonl")
    log.write({"step": 1, "text": "é\n"})
    size = log.size
    log.write({"step": 2})
    log.close()
    assert read_events(file) == [{"step": 1, "text": "é\n"}, {"step": 2}]
    again = EventLog(folder, "log.jsonl", size)
    again.write({"step": 3})
    again.close()
    assert read_events(file) == [{"step": 1, "text": "é\n"}, {"step": 3}]


def test_a_log_that_was_lost_starts_anew(tmp_path: Path) -> None:
    log = EventLog(Folder(tmp_path), "log.jsonl", 1000)
    log.write({"step": 3})
    log.close()
    assert read_events(tmp_path / "log.jsonl") == [{"step": 3}]


def test_a_last_line_cut_short_is_passed_over_and_a_damaged_one_named(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    assert read_events(file) == []
    file.write_bytes(b'{"a": 1}\n{"b": "\xc3')
    assert read_events(file) == [{"a": 1}]
    for damaged in (b'{"a": 1}\n{"b":\n', b'{"a": 1}\n\xff\n', b'{"a": 1}\n' + b"[" * 100_000 + b"\n"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="line 2"):
            read_events(file)


def test_a_directory_is_locked_for_one(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(UserError, match="another process"), locked(tmp_path):
            pass
        (tmp_path / ".model.json.1.tmp").write_text("of another file system, perhaps")
    with locked(tmp_path):
        assert [file.name for file in tmp_path.iterdir()] == ["resume"]


def test_the_description_names_what_was_trained(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "run", overrides(), 4)
    description = read_description(tmp_path / "run")
    assert description["model"] == to_mapping(load(tmp_path / "run").model.config) and description["level"] == "char"
    assert description["model"] | SMALL == description["model"]
    result = description["result"]
    assert result["protocol"] == "stream" and result["steps"] == 4 and result["tokens_seen"] == 4 * 30
    assert np.isfinite(result["valid_nats_per_token"]) and result["valid_tokens"] == 300
