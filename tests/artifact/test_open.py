"""A directory is opened as it was saved, read once, and nothing in it is run."""

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from artifact.saved import CONFIG, damage, save_model
from tiny import ARCHS, TOKENIZER, model_config
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.open import Needs, Opened, load, open_model
from unroll.engine.network import Network
from unroll.errors import UserError
from unroll.files import read_json
from unroll.insight.trace import network_of
from unroll.predict.torch import TorchPredictor


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("options", [{}, {"tie_weights": True, "layers_before": 1, "layers_after": 2}], ids=len)
def test_a_model_comes_back_as_it_was(arch: str, options: dict[str, Any], tmp_path: Path) -> None:
    config = model_config(arch, dropout=0.25, skip="sum", **options)
    model = save_model(tmp_path / "model", config)
    restored = load(tmp_path / "model")
    assert restored.model.config == config and restored.tokenizer == TOKENIZER and not restored.model.training
    assert restored.weights_info == {"step": 7} and restored.path == tmp_path / "model"
    weights = dict(restored.model.named_parameters())
    for name, weight in model.named_parameters():
        assert torch.equal(weight, weights[name]) and weights[name].requires_grad
    assert restored.description["parameters"] == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("needs", ["predictor", "network"])
def test_the_description_is_read_once(needs: Needs, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the network is asked for later: of the directory only the weights are read then."""
    files: list[str] = []

    def recorded(path: Path, *arguments: Any) -> Any:
        files.append(path.name)
        return read_json(path, *arguments)

    monkeypatch.setattr("unroll.artifact.directory.read_json", recorded)
    opened = open_model(directory, needs=needs)
    assert files == ["model.json"]
    assert network_of(opened).config == opened.config == CONFIG
    assert files == ["model.json"]


def test_a_model_is_opened_for_what_it_is_needed_for(directory: Path) -> None:
    quick, network = open_model(directory), open_model(directory, needs="network")
    assert isinstance(quick.predictor, Network) and isinstance(network.predictor, TorchPredictor)
    assert network.model is network.predictor.model and quick.weights_info == network.weights_info == {"step": 7}
    with pytest.raises(UserError, match="opened without torch") as refusal:
        _ = quick.model
    assert "unroll.load" in refusal.value.fix


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
    process = subprocess.run(command, cwd=models / "good", env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == ["[] False", "pickle.find_class"]


def test_a_damaged_model_loads_or_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    chance, fine = random.Random(0), 0
    contents = {file: file.read_bytes() for file in sorted((tmp_path / "model").iterdir())}
    for file, content in contents.items():
        for _ in range(100):
            file.write_bytes(damage(content, chance))
            try:
                opened = load(tmp_path / "model")
            except UserError as error:
                assert error.what
            else:
                check_usable(opened)
                fine += 1
        file.write_bytes(content)
    check_usable(load(tmp_path / "model"))
    assert 10 < fine < 200


def check_usable(opened: Opened) -> None:
    """Check that what was loaded is numbers, in the shape that it says."""
    assert all(bool(torch.isfinite(weight).all()) for weight in opened.model.parameters())
    with torch.no_grad():
        logits, _ = opened.model(torch.ones(1, 3, dtype=torch.int64))
    assert logits.shape == (1, 3, opened.tokenizer.vocab_size)
