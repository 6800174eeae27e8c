"""What the laws are tried on: arch x depth x skip x engine x precision, with random weights, biases and start state."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from laws.laws import Subject
from unroll.nn.arch import RECURRENT
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.nn.recurrent import Engine
from unroll.state import State

ROWS, STEPS, VOCAB, WINDOW = 4, 26, 7, 5
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass(frozen=True)
class Case:
    """A model, how it is run, and in what precision."""

    name: str
    config: ModelConfig
    engine: Engine = "fused"
    dtype: torch.dtype = field(default=torch.float64)

    def __str__(self) -> str:
        return f"{self.name}-{self.engine}-{str(self.dtype).removeprefix('torch.')}"

    def model(self) -> Model:
        return randomised(Model(self.config).to(self.dtype).eval())

    def ids(self) -> Tensor:
        return torch.randint(VOCAB, (ROWS, STEPS), generator=torch.Generator().manual_seed(2))

    def subject(self) -> Subject:
        model = self.model()

        @torch.no_grad()
        def run(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
            return model.forward(ids, state, resets, self.engine)

        return Subject(run, self.ids(), start_state(model), VOCAB, TOLERANCE[self.dtype])


def randomised(model: Model) -> Model:
    """Give every weight and every bias a random value, so that none of them can hide at zero."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.35 * torch.randn(weight.shape, generator=random, dtype=torch.float64))
    return model


def start_state(model: Model, rows: int = ROWS) -> State:
    random = torch.Generator().manual_seed(3)
    return tuple(
        tuple(0.5 * torch.randn(part.shape, generator=random, dtype=torch.float64).to(part.dtype) for part in layer)
        for layer in model.fresh_state(rows)
    )


def config(arch: str, num_layers: int, /, **options: object) -> ModelConfig:
    sizes = {"vocab_size": VOCAB, "embedding_size": 6, "hidden_size": 8, "window": WINDOW}
    return ModelConfig(arch=arch, num_layers=num_layers, **{**sizes, **options})  # type: ignore[arg-type]


def _cases() -> list[Case]:
    cases = []
    for arch in RECURRENT:
        shapes = {
            "1": config(arch, 1),
            "2": config(arch, 2),
            "3-residual": config(arch, 3, skip="residual"),
            "2-sum": config(arch, 2, skip="sum"),
            "2-tied": config(arch, 2, skip="residual", tie_weights=True, layers_before=1, layers_after=1),
        }
        engines: tuple[Engine, ...] = ("fused", "stepwise")
        for engine in engines:
            cases += [Case(f"{arch}-{name}", shape, engine) for name, shape in shapes.items()]
            cases.append(Case(f"{arch}-2", shapes["2"], engine, torch.float32))
    shapes = {
        "1": config("window", 1),
        "2": config("window", 2),
        "of-2": config("window", 2, window=2),
        "of-40": config("window", 1, window=40),
        "tied": config("window", 2, tie_weights=True, layers_before=1, layers_after=1),
    }
    cases += [Case(f"window-{name}", shape) for name, shape in shapes.items()]
    cases.append(Case("window-2", shapes["2"], dtype=torch.float32))
    return cases


CASES = _cases()
