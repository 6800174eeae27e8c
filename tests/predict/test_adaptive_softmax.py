"""The adaptive softmax: the same probabilities by several ways, trained, resumed, read with torch and without."""

import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.session import Session
from laws.cases import ROWS, STEPS, config, randomised, start_state
from laws.laws import Outcome, Subject, law_engines, law_probabilities, law_split
from tiny import Stepping, law_resume, outcome, overrides, start
from unroll.artifact import checkpoint
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.open import load, open_model
from unroll.data.corpus import DataConfig, write_corpus
from unroll.engine import native, reference
from unroll.engine.draw import Drawing
from unroll.engine.network import Network
from unroll.engine.weights import read_weights
from unroll.errors import UserError
from unroll.export.language import as_layers
from unroll.export.onnx import export_onnx
from unroll.lm.sample import SampleOptions, generate
from unroll.nn.config import ModelConfig, parameter_count
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.predict.torch import TorchPredictor
from unroll.state import State
from unroll.training.budget import Budget
from unroll.training.recipe import check_overrides
from unroll.training.report import Report
from unroll.training.request import resume

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
    loss, _ = model.loss(ids_of(), targets, start_state(model))
    torch.testing.assert_close(gradients(loss), gradients(cross_entropy(logits, targets)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("cuts", "hidden", "vocab"), [("3,5", 16, 7), ("2", 4, 9), ("10,20,40", 64, 1000), ("1,2", 50, 3), ("9", 16, 7)]
)
def test_the_number_of_weights_is_known_without_making_it(cuts: str, hidden: int, vocab: int) -> None:
    shape = ModelConfig(vocab_size=vocab, hidden_size=hidden, embedding_size=5, adaptive_softmax=cuts)
    assert parameter_count(shape) == sum(weight.numel() for weight in Model(shape).parameters())
    assert shape.cutoffs == tuple(cut for cut in map(int, cuts.split(",")) if cut < vocab)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adaptive_softmax": "x"}, "comma-separated numbers"),
        ({"adaptive_softmax": "5,"}, "comma-separated numbers"),
        ({"adaptive_softmax": "0,5"}, "comma-separated numbers"),
        ({"adaptive_softmax": "5" * 5000}, "comma-separated numbers"),
        ({"adaptive_softmax": "5,5"}, "an increasing list"),
        ({"adaptive_softmax": "7,5"}, "an increasing list"),
        ({"adaptive_softmax": "3,5", "hidden_size": 15}, "hidden_size"),
        ({"adaptive_softmax": ",".join(map(str, range(1, 5000)))}, "hidden_size"),
        ({"adaptive_softmax": "3", "tie_weights": True}, "exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ModelConfig(**({"vocab_size": 100, "hidden_size": 64} | options))


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
    for _ in write_corpus([folder / "text.txt"], folder / "data", DataConfig(level="word", split="90/10")):
        pass
    return folder / "data"


SETTINGS = overrides({"adaptive_softmax": "8,24", "hidden_size": 16, "dropout": 0.2}, training={"batch_size": 4})


def train_on(corpus: Path, out: Path, steps: int = 12) -> list[Report]:
    reports = start([corpus], out, Budget(steps=steps), SETTINGS, device="cpu")
    return [report for report in reports if isinstance(report, Report)]


def test_it_is_trained_resumed_and_read(corpus: Path, tmp_path: Path) -> None:
    train_on(corpus, tmp_path / "whole")
    reports = start([corpus], tmp_path / "run", Budget(steps=12), SETTINGS, device="cpu")
    assert len(list(islice(reports, 8))) == 8
    reports.close()
    list(resume(tmp_path / "run", device="cpu"))
    law_resume(outcome(tmp_path / "whole"), tmp_path / "run")

    predictor = open_model(tmp_path / "run").predictor
    assert isinstance(predictor, Network)
    logits, _ = predictor.logits(np.array([[1, 2, 3]]))
    assert np.exp(logits).sum() == pytest.approx(1, abs=1e-5)


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    train_on(corpus, out, 40)
    return out


WAYS: list[bool | str] = [False, *native.instruction_sets()]


def both(path: Path, kernel: bool | str) -> tuple[Network, TorchPredictor]:
    """Return a trained model in the engine and in torch."""
    model = load(path).model
    return Network(model.config, read_weights(path / WEIGHTS, model.config), kernel=kernel), TorchPredictor(model)


@pytest.mark.parametrize("kernel", WAYS)
def test_the_engine_says_what_torch_says(trained: Path, kernel: bool | str) -> None:
    ours, theirs = both(trained, kernel)
    random = np.random.default_rng(0)
    ids, targets = random.integers(0, 62, (5, 30)), random.integers(0, 62, (5, 30))
    (y, state), (their_y, their_state) = ours.hidden(ids), theirs.hidden(ids)
    for before, their_before in ((None, None), (state, their_state)):
        nats, after = ours.nats(ids, targets, before)
        their_nats, their_after = theirs.nats(ids, targets, their_before)
        np.testing.assert_allclose(nats, their_nats, atol=1e-5)
        for layer, expected in zip(after, their_after, strict=True):
            for part, expected_part in zip(layer, expected, strict=True):
                np.testing.assert_allclose(part, expected_part, atol=1e-5)
    logits = ours.logits_after(y)
    assert logits.dtype == np.float64 and logits.shape == (5, 30, 62)
    np.testing.assert_allclose(logits, theirs.logits_after(their_y), atol=1e-5)
    np.testing.assert_allclose(ours.logits(ids)[0], logits[:, -1], atol=1e-6)
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1, atol=1e-12)
    target_logits = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(ours.nats_after(y, targets), -target_logits, atol=1e-6)


@pytest.mark.parametrize("kernel", WAYS)
def test_it_is_sampled_alike(trained: Path, kernel: bool | str) -> None:
    """By the engine, by the reference on its steps, by torch; and the nats are those of the text."""
    ours, theirs = both(trained, kernel)
    tokenizer = open_model(trained).tokenizer
    options = SampleOptions(temperature=0.9, top_p=0.95, seed=3)
    blocks = list(generate(ours, tokenizer, [4, 5], 200, options))
    for predictor in (Stepping(ours.logits), theirs):
        steps = list(generate(predictor, tokenizer, [4, 5], 200, options))
        assert [symbol.text for symbol in steps] == [symbol.text for symbol in blocks]
        assert [symbol.nats for symbol in steps] == pytest.approx([symbol.nats for symbol in blocks], abs=1e-5)
    ids = np.array([[tokenizer.start_id, 4, 5, *(symbol.id for symbol in blocks)]])
    nats, _ = ours.nats(ids[:, :-1], ids[:, 1:])
    assert [symbol.nats for symbol in blocks] == pytest.approx(nats[0, 2:].tolist(), abs=1e-5)
    halted = ours.generate(*ours.logits(ids), Drawing(), np.full((1, 9), 0.5), np.ones(1, np.int32))
    assert halted[0].shape == (1, 1)


def test_only_the_clusters_of_targets_are_computed(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = both(trained, False)
    rows: list[tuple[int, int]] = []
    cluster = reference._cluster

    def counted(weights: Any, k: int, y: Any) -> Any:
        rows.append((k, len(y)))
        return cluster(weights, k, y)

    monkeypatch.setattr(reference, "_cluster", counted)
    ids = np.zeros((1, 6), np.int64)
    ours.nats(ids, np.array([[0, 7, 3, 1, 2, 7]]))
    assert rows == []  # the frequent ones need none
    ours.nats(ids, np.array([[0, 8, 23, 24, 1, 8]]))
    assert rows == [(0, 3), (1, 1)]


@pytest.mark.parametrize("kernel", WAYS)
def test_int8_rounds_its_weights_too(trained: Path, kernel: bool | str) -> None:
    config = load(trained).model.config
    weights = read_weights(trained / WEIGHTS, config)
    ids = np.random.default_rng(0).integers(0, 62, (8, 40))
    exact, _ = Network(config, weights, kernel=kernel).nats(ids[:, :-1], ids[:, 1:])
    eight, _ = Network(config, weights, kernel=kernel, precision="int8").nats(ids[:, :-1], ids[:, 1:])
    assert 0 < np.abs(eight - exact).mean() < 0.1 and abs((eight - exact).mean()) < 0.03
    # Of the output layer alone: the same outputs, other logits.
    y = Network(config, weights, kernel=kernel).hidden(ids)[0]
    logits = [Network(config, weights, kernel=kernel, precision=p).logits_after(y) for p in ("float32", "int8")]
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.2
    # Whole numbers of a 127th of the largest, a row: nothing is rounded.
    coarse = {n: np.asarray(w * 0 + np.rint(127 * np.tanh(9 * w)), np.float32) for n, w in weights.items()}
    for name, weight in coarse.items():
        if weight.ndim == 2:
            weight[:, 0] = 127
        coarse[name] = weight / np.float32(127)
    logits = [Network(config, coarse, kernel=kernel, precision=p).logits_after(y) for p in ("float32", "int8")]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_it_is_opened_and_used_without_torch(trained: Path, precision: str) -> None:
    script = f"""
import sys
sys.modules["torch"] = None  # to import it would fail
import numpy as np
from unroll.artifact.open import open_model
from unroll.lm.sample import SampleOptions, generate
opened = open_model(__import__("pathlib").Path({str(trained)!r}), precision={precision!r})
print(opened.predictor.nats(np.array([[1, 2]]), np.array([[2, 40]]))[0].shape)
drawn = generate(opened.predictor, opened.tokenizer, [], 5, SampleOptions())
print(len(list(drawn)), [name for name in sys.modules if name.startswith("torch.")])
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.stdout == "(1, 2)\n5 []\n", process.stderr


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
    model = randomised(load(tmp_path / "run").model)
    checkpoint.save_tensors(tmp_path / "run" / WEIGHTS, dict(model.named_parameters()), {"step": 1})
    session = Session(export_onnx(tmp_path / "run").path.read_bytes())
    ids, state = torch.randint(62, (ROWS, STEPS)), start_state(model)
    parts = (part.numpy() for layer in state for part in layer)
    names = {name: part for (name, _), part in zip(session.inputs, parts, strict=True)}
    logits, after = session.run(ids.numpy(), names)
    layers = tuple(tuple(torch.from_numpy(part) for part in layer) for layer in as_layers(after, model.config))
    with torch.inference_mode():
        law_engines(Outcome(torch.from_numpy(logits), layers, {}), Outcome(*model.forward(ids, state), {}), 1e-5)
