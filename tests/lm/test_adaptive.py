"""The adaptive softmax: the same probabilities by two ways, trained, resumed, read by torch, refused elsewhere."""

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laws.cases import ROWS, STEPS, config, randomised, start_state
from laws.laws import Outcome, Subject, law_engines, law_probabilities, law_split
from lm.tiny import law_resume, outcome, overrides
from unroll.data.corpus import DataConfig, prepare
from unroll.engine.network import load_network
from unroll.errors import UserError
from unroll.export.onnx import Session, as_layers, export_onnx
from unroll.lm import checkpoint
from unroll.lm.open import open_model
from unroll.lm.recipe import check_overrides
from unroll.lm.run import Budget, resume, start
from unroll.lm.torch_predictor import TorchPredictor
from unroll.lm.train import Report
from unroll.nn.config import ModelConfig, parameter_count
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.nn.state import State

SHAPES = {
    "two": {"adaptive_softmax": "3,5", "hidden_size": 16},
    "one": {"adaptive_softmax": "2", "layers_after": 1},
    "beyond": {"adaptive_softmax": "4,7", "hidden_size": 16},
}


def model_of(name: str, dtype: torch.dtype = torch.float64) -> Model:
    return randomised(Model(config("lstm", 2, **SHAPES[name])).to(dtype).eval())


def ids_of(rows: int = ROWS, steps: int = STEPS) -> torch.Tensor:
    return torch.randint(7, (rows, steps), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", SHAPES)
def test_what_it_says_are_probabilities(name: str) -> None:
    model = model_of(name, torch.float32)

    @torch.no_grad()
    def run(ids: torch.Tensor, state: State | None = None, resets: Any = None) -> tuple[torch.Tensor, State]:
        return model.forward(ids, state, resets)

    subject = Subject(run, ids_of(), start_state(model), 7, 1e-5)
    law_probabilities(subject)
    law_split(subject)
    logits, _ = run(ids_of())
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(ROWS, STEPS))


@pytest.mark.parametrize("name", SHAPES)
def test_the_loss_is_the_cross_entropy_of_all_symbols(name: str) -> None:
    """By either way, and every gradient."""
    model, targets = model_of(name, torch.float32), ids_of().flip(1)

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    logits, _ = model.forward(ids_of(), start_state(model))
    y, _ = model.hidden(ids_of(), start_state(model))
    torch.testing.assert_close(
        gradients(model.adaptive_loss(y, targets)), gradients(cross_entropy(logits, targets)), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("cuts", "hidden", "vocab"), [("3,5", 16, 7), ("2", 4, 9), ("10,20,40", 64, 1000), ("1,2", 50, 3), ("9", 16, 7)]
)
def test_the_number_of_weights_is_known_without_making_it(cuts: str, hidden: int, vocab: int) -> None:
    shape = ModelConfig(vocab_size=vocab, hidden_size=hidden, embedding_size=5, adaptive_softmax=cuts)
    assert parameter_count(shape) == sum(weight.numel() for weight in Model(shape).parameters())
    assert shape.cutoffs == tuple(cut for cut in map(int, cuts.split(",")) if cut < vocab)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({"adaptive_softmax": "x"}, "numbers with commas"),
        ({"adaptive_softmax": "5,"}, "numbers with commas"),
        ({"adaptive_softmax": "0,5"}, "numbers with commas"),
        ({"adaptive_softmax": "5" * 5000}, "numbers with commas"),
        ({"adaptive_softmax": "5,5"}, "that rise"),
        ({"adaptive_softmax": "7,5"}, "that rise"),
        ({"adaptive_softmax": "3,5", "hidden_size": 15}, "hidden_size"),
        ({"adaptive_softmax": ",".join(map(str, range(1, 5000)))}, "hidden_size"),
        ({"adaptive_softmax": "3", "tie_weights": True}, "exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused(others: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        ModelConfig(**({"vocab_size": 100, "hidden_size": 64} | others))


# ---- as a model that is trained

WORDS = [f"w{number}" for number in range(60)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of words, some frequent and some rare."""
    folder = tmp_path_factory.mktemp("words")
    random = np.random.default_rng(0)
    weights = 1 / np.arange(1, 61)
    lines = [" ".join(random.choice(WORDS, 8, p=weights / weights.sum())) for _ in range(400)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    for _ in prepare([folder / "text.txt"], folder / "data", DataConfig(level="word", split="90/10")):
        pass
    return folder / "data"


SETTINGS = overrides({"adaptive_softmax": "8,24", "hidden_size": 16, "dropout": 0.2}, training={"batch_size": 4})


def train_on(corpus: Path, out: Path, steps: int = 12) -> list[Report]:
    reports = start([corpus], out, Budget(steps=steps), SETTINGS, device="cpu")
    return [report for report in reports if isinstance(report, Report)]


def test_it_is_trained_resumed_and_read(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_on(corpus, tmp_path / "whole")
    reports = start([corpus], tmp_path / "run", Budget(steps=12), SETTINGS, device="cpu")
    assert len(list(islice(reports, 8))) == 8
    reports.close()  # type: ignore[attr-defined]
    list(resume(tmp_path / "run", device="cpu"))
    law_resume(outcome(tmp_path / "whole"), tmp_path / "run")

    opened = open_model(tmp_path / "run")
    assert isinstance(opened.predictor, TorchPredictor)
    logits, _ = opened.predictor.logits(np.array([[1, 2, 3]]))
    assert np.exp(logits).sum() == pytest.approx(1, abs=1e-5)
    shape = checkpoint.load(tmp_path / "run").model.config
    with pytest.raises(UserError, match="no adaptive softmax"):
        load_network(tmp_path / "run" / checkpoint.WEIGHTS, shape)
    with pytest.raises(UserError, match="no adaptive softmax"):
        open_model(tmp_path / "run", precision="int8")
    # Where there is no torch, it says so and does not guess.
    monkeypatch.delitem(sys.modules, "unroll.lm.checkpoint")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        open_model(tmp_path / "run")


def test_it_learns(corpus: Path, tmp_path: Path) -> None:
    reports = [report for report in train_on(corpus, tmp_path / "run", 200) if report.kind == "valid"]
    assert reports[0].nats is not None and reports[-1].nats is not None
    assert reports[-1].nats < reports[0].nats - 0.2


def test_it_trains_in_bfloat16(corpus: Path, tmp_path: Path) -> None:
    fixed = SETTINGS | {"training": SETTINGS["training"] | {"precision": "bfloat16"}}
    last = list(start([corpus], tmp_path / "run", Budget(steps=5), fixed, device="cpu"))[-1]
    assert isinstance(last, Report) and last.kind == "end"


def test_a_vocabulary_that_it_does_not_fit_is_refused(corpus: Path, tmp_path: Path) -> None:
    too_far = overrides({"adaptive_softmax": "8,5000", "hidden_size": 16}, training={"batch_size": 4})
    check_overrides(too_far)  # nothing is known of the vocabulary yet
    with pytest.raises(UserError, match="the vocabulary has 62 symbols"):
        list(start([corpus], tmp_path / "run", Budget(steps=5), too_far, device="cpu"))
    (tmp_path / "text.txt").write_text("abc def ghi\n" * 200)
    chars = overrides({"adaptive_softmax": "3", "hidden_size": 16}, training={"batch_size": 4})
    with pytest.raises(UserError, match="level char"):
        list(start([tmp_path / "text.txt"], tmp_path / "run", Budget(steps=5), chars, device="cpu"))
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_it_goes_along_into_onnx(corpus: Path, tmp_path: Path) -> None:
    train_on(corpus, tmp_path / "run", 4)
    session = Session(export_onnx(tmp_path / "run").path.read_bytes())
    model = randomised(checkpoint.load(tmp_path / "run").model)
    checkpoint.save_tensors(tmp_path / "run" / checkpoint.WEIGHTS, dict(model.named_parameters()), {"step": 1})
    session = Session(export_onnx(tmp_path / "run").path.read_bytes())
    ids, state = torch.randint(62, (ROWS, STEPS)), start_state(model)
    names = dict(zip(session.fresh_state(1), (part.numpy() for layer in state for part in layer), strict=True))
    logits, after = session.run(ids.numpy(), names)
    layers = tuple(tuple(torch.from_numpy(part) for part in layer) for layer in as_layers(after, model.config))
    with torch.inference_mode():
        law_engines(Outcome(torch.from_numpy(logits), layers, {}), Outcome(*model.forward(ids, state), {}), 1e-5)
