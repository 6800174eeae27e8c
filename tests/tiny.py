"""Texts, corpora, models and runs so small that training them takes a moment."""

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact import checkpoint
from unroll.artifact.directory import STATE, WEIGHTS, read_info
from unroll.artifact.events import METRICS, SAMPLES, read_events
from unroll.data.corpus import DataConfig, write_corpus
from unroll.data.tokenizer import CharTokenizer
from unroll.engine.draw import Step
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.predict.predictor import Nats, Predictor, Window
from unroll.progress import Progress
from unroll.state import State
from unroll.training.budget import Budget
from unroll.training.recipe import Overrides
from unroll.training.report import Report
from unroll.training.request import train

Ids = NDArray[np.uint8]

ARCHS = tuple(ARCHITECTURES)

WORDS = [
    "the",
    "a",
    "John",
    "Alice",
    "is",
    "was",
    "driving",
    "car",
    "cat",
    "he",
    "she",
    "keeps",
    "forgets",
    "and",
    "state",
]

SMALL = {"embedding_size": 6, "hidden_size": 10, "num_layers": 2, "window": 4}

TOKENIZER = CharTokenizer.learn("abcdefghij")


class Stepping(Predictor):
    """A predictor of its step alone, which reads ids and says what follows: what it can do besides is the default."""

    vocab_size = 0

    def __init__(self, step: Step) -> None:
        self.step = step

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        raise NotImplementedError

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.step(inputs, state)


def text(sentences: int, seed: int = 0) -> str:
    """Return sentences of known words, one a line."""
    random = np.random.default_rng(seed)
    return "".join(" ".join(random.choice(WORDS, random.integers(3, 9))) + ".\n" for _ in range(sentences))


def make_corpus(folder: Path, texts: list[str], config: DataConfig | None = None) -> Path:
    """Prepare the texts, one file each, and return the folder of the corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"text{number}.txt" for number in range(len(texts))]
    for file, content in zip(files, texts, strict=True):
        file.write_text(content, encoding="utf-8")
    for _ in write_corpus(files, folder / "data", config or DataConfig(split="90/10")):
        pass
    return folder / "data"


def model_config(arch: str, vocab_size: int = TOKENIZER.vocab_size, **options: Any) -> ModelConfig:
    """Return the configuration of a model of a thousand weights."""
    return ModelConfig(arch=arch, vocab_size=vocab_size, **(SMALL | options))  # type: ignore[arg-type]


def random_model(config: ModelConfig, dtype: torch.dtype = torch.float64, scale: float = 0.6) -> Model:
    """Return a model in evaluation mode whose weights are all random, so that what it says depends on what it read."""
    random = torch.Generator().manual_seed(1)
    model = Model(config).to(dtype).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(scale * torch.randn(weight.shape, generator=random, dtype=torch.float64))
    return model


def random_ids(
    count: int, seed: int = 0, vocab_size: int = TOKENIZER.vocab_size
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return ids without the unknown symbol."""
    return np.random.default_rng(seed).integers(1, vocab_size, size=count).astype(np.uint8)


TRAINING: dict[str, Any] = {
    "batch_size": 3, "seq_len": 10, "threads": 1, "log_every": 4, "valid_every": 5, "valid_rows": 2,
    "valid_tokens": 200, "final_tokens": 300, "save_every": 3, "sample_length": 20, "seed": 5,
}  # fmt: skip
"""Every kind of report within a dozen steps, at steps that seldom coincide."""

STEPS = 12


def overrides(
    model: dict[str, Any] | None = None, optim: dict[str, Any] | None = None, training: dict[str, Any] | None = None
) -> Overrides:
    """Return what fixes a tiny training."""
    return {
        "data": {},
        "model": SMALL | {"dropout": 0.0} | (model or {}),
        "optim": {"learning_rate": 0.02, "warmup_steps": 3} | (optim or {}),
        "training": TRAINING | (training or {}),
    }


def start(
    files: list[Path], out: Path, budget: Budget, fixed: Overrides, **others: Any
) -> Generator[Progress | Report, None, None]:
    """Start a training of which `fixed` is settled."""
    settings = {f"{table}.{key}": value for table, values in fixed.items() for key, value in values.items()}
    return train(files, out=out, steps=budget.steps, minutes=budget.minutes, settings=settings, **others)


def begin_training(corpus: Path, out: Path, fixed: Overrides, steps: int = STEPS) -> Generator[Report, None, None]:
    """Start a training on a text or a prepared corpus; yields its reports, not its progress before them."""
    with closing(start([corpus], out, Budget(steps=steps), fixed, device="cpu")) as reports:
        for report in reports:
            if isinstance(report, Report):
                yield report


def trained(corpus: Path, out: Path, fixed: Overrides, steps: int = STEPS) -> list[Report]:
    """Train to the end and return the reports."""
    return list(begin_training(corpus, out, fixed, steps))


TIMES = ("seconds", "tokens_per_second")


def outcome(path: Path) -> dict[str, Any]:
    """Return all that a training leaves behind, apart from times."""
    info = read_info(path / STATE)
    tensors = checkpoint.load_tensors(path / STATE)
    events = read_events(path / METRICS)
    return {
        "weights": (path / WEIGHTS).read_bytes(),
        "state": {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in tensors.items()},
        "info": {name: value for name, value in info.items() if name not in ("seconds", "log_sizes")},
        "metrics": [{name: value for name, value in event.items() if name not in TIMES} for event in events],
        "samples": (path / SAMPLES).read_bytes(),
        "model": (path / "model.json").read_bytes(),
        "tokenizer": (path / "tokenizer.json").read_bytes(),
        "recipe": (path / "recipe.toml").read_bytes(),
        "leftovers": sorted(file.name for file in path.rglob(".*")),
    }


def law_resume(reference: dict[str, Any], path: Path) -> None:
    """What was interrupted and resumed leaves behind what the uninterrupted leaves behind, bit for bit."""
    results = outcome(path)
    for name, value in reference.items():
        assert results[name] == value, f"{name} differs"


def stopped_at(reports: Iterator[Report], count: int) -> bool:
    """Close a training at its report number `count`; returns whether there was one."""
    with closing(reports) as running:  # type: ignore[type-var]
        return sum(1 for _ in itertools.islice(running, count)) == count


DROPS = {"dropout": 0.3, "input_dropout": 0.2, "embedding_dropout": 0.2, "weight_drop": 0.3}


ALL = overrides(
    model={"arch": "lstm"} | DROPS,
    optim={"averaging": 0.9},
    training={"reset_probability": 0.4, "sample_prompt": "the "},
)
"""Everything that a resume can get wrong, in one."""
