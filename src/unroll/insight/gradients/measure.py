"""Whether gradients vanish or explode: norms by lag, the Jacobian of a step, norms while training, and advice."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.directory import data_path
from unroll.artifact.open import Opened, open_model
from unroll.data.corpus import open_corpus
from unroll.errors import UserError, number_of
from unroll.insight.gradients.advice import VANISHES, Floats, TrainingNorms, advise, training_norms
from unroll.insight.gradients.jacobian import MOST_VALUES, StepFigures, long_run, norms_by_lag, step_figures, step_of
from unroll.insight.trace import Ids, ids_of_file, in_float64, network_of, untrained
from unroll.lm.intervals import number
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig
from unroll.nn.encoder_config import ClassifierConfig
from unroll.nn.model import Model
from unroll.progress import Progress, Work
from unroll.state import State, map_state
from unroll.training.recipe import read_recipe

LAGS = 100
"""Default of the largest lag."""
POSITIONS, ROWS = 128, 64
"""Places of a text at which the loss is taken, evenly spread, and how many are read side by side."""
RUN_IN = 256
"""Symbols read from a fresh state before each place, if the text has them."""
LEVEL = 0.9
"""A fitted line that keeps more than this share over its lags is level: it has no half-life."""


@dataclass(frozen=True)
class LagNorms:
    """Norms of the gradient of the loss at t by values k steps before, in float64 for any precision of the network."""

    rows: dict[str, Floats]
    """Norms of every row (B, K+1) for lags 0 to K: `layer0/h`, `layer0/c` and so on, and `x` for the inputs."""

    @property
    def h(self) -> Floats | None:
        """By the hidden states (num_layers, K+1), geometric mean over rows; None for a window, which has none."""
        return self._layers("h")

    @property
    def c(self) -> Floats | None:
        """By the cells (num_layers, K+1), geometric mean over rows; None where there are none."""
        return self._layers("c")

    @property
    def x(self) -> Floats:
        """By the input vectors (K+1,), geometric mean over rows; for a window exactly 0 from lag n on."""
        return self.mean("x")

    def mean(self, name: str) -> Floats:
        """Return the geometric mean over rows (K+1,): a few rows with large gradients do not hide the others."""
        with np.errstate(divide="ignore"):  # the mean is 0 where a row is 0
            return np.asarray(np.exp(np.log(self.rows[name]).mean(axis=0)))

    def quantile(self, name: str, share: float) -> Floats:
        """Return the norm (K+1,) that this share of the rows does not exceed."""
        return np.asarray(np.quantile(self.rows[name], share, axis=0))

    @property
    def shares(self) -> Floats:
        """The norms at lags 1 to K as shares of lag 1 (K,), of whichever layer and signal carries farthest."""
        by_lag = [self.mean(name)[1:] for name in self.rows if name != "x"] or [self.x[1:]]
        return np.asarray(np.max([norm / norm[0] for norm in by_lag if norm[0]] or [0 * by_lag[0]], axis=0))

    def half_life(self) -> tuple[float | None, ...]:
        """Return the half-life of each layer in steps (see `halving`), of c where there is one, else of h."""
        by_layer = self.h if self.c is None else self.c
        return () if by_layer is None else tuple(halving(norms) for norms in by_layer)

    def _layers(self, signal: str) -> Floats | None:
        names = [name for name in self.rows if name.endswith(f"/{signal}")]
        return np.stack([self.mean(name) for name in names]) if names else None


def lag_norms(network: Model, ids: Tensor, lags: int, state: State | None = None) -> LagNorms:
    """Return the norms of ∂loss/∂h, ∂loss/∂c and ∂loss/∂x at lags 0 to `lags`, for each row of `ids` (B, T), T > lags.

    All but the last symbol are read, from `state` or a fresh one; the loss is the nats of the last. Lag k ≥ 1 of a
    state is by the value handed on k steps before the last one read, as if it were an input of the rest, and lag 0 by
    the value that the last step itself uses; lag k of `x` is by the embedding read k steps before the last, nan where
    that lies before `ids` (T = lags + 1). Computed in float64: in float32 a value that halves at every step is 0 after
    about 150 lags, and its square after 75. Raises UserError.
    """
    if lags < 1:
        raise UserError(f"the largest lag is {lags}", allowed="1 or more", fix=f"the default is {LAGS}")
    if ids.shape[1] <= lags:
        raise too_short(f"a row of {number_of(ids.shape[1], 'symbol')}", lags, lags + 1)
    inputs, targets = ids[:, :-1], ids[:, -1]
    steps = min(inputs.shape[1], lags + 1)
    state = network.fresh_state(len(ids)) if state is None else state
    if inputs.shape[1] > steps:
        with torch.no_grad():
            state = network.hidden(inputs[:, :-steps], state)[1]
    exact = in_float64(network)
    x = exact.embedding(inputs[:, -steps:].transpose(0, 1))
    loss = partial(_nats, exact, targets)
    of_state, of_inputs = norms_by_lag(step_of(exact), loss, x, map_state(lambda part: part.double(), state))
    names = [f"layer{k}/{part}" for k in range(len(state)) for part in ARCHITECTURES[exact.config.arch].state]
    rows = zip(names, of_state, strict=bool(names))  # a window's inputs have no names
    norms_of = {name: norms[:, : lags + 1].cpu().numpy() for name, norms in rows}
    norms_of["x"] = F.pad(of_inputs, (0, lags + 1 - steps), value=math.nan).cpu().numpy()
    return LagNorms(norms_of)


def halving(norms: NDArray[np.floating]) -> float | None:
    """Return the number of steps in which a norm by lag (K+1,) halves; None if it does not decay.

    It is -ln 2 / slope of the least-squares line through ln norm against lag, from the lag (1 or more) of the largest
    norm to the first below 1 % of that, or else the last; None if the line falls by less than a tenth over these lags.
    """
    peak = 1 + int(np.argmax(norms[1:]))
    below = np.flatnonzero(norms[peak:] < VANISHES * norms[peak])
    end = peak + int(below[0]) if len(below) else len(norms) - 1
    end -= norms[end] == 0  # 0 has no logarithm
    lags = np.arange(peak, end + 1)
    if len(lags) < 2 or not 0 < norms[peak] < math.inf:
        return None
    apart, logs = lags - lags.mean(), np.log(norms[peak : end + 1])
    slope = float(apart @ (logs - logs.mean()) / (apart @ apart))
    return None if slope * (end - peak) > math.log(LEVEL) else -math.log(2) / slope


@dataclass(frozen=True)
class Gradients:
    """Gradients of one model on a text."""

    model: str
    config: ModelConfig | ClassifierConfig
    level: str
    fresh: bool
    """True for untrained weights of the model's shape."""
    run_in: int
    norms: LagNorms
    step: StepFigures | None
    growth: tuple[float, float] | None
    """ln of the factor of a gradient at every step back in the long run, and half of its 95 % interval over stretches
    of the text."""
    training: TrainingNorms | None
    notes: tuple[str, ...]

    @property
    def arch(self) -> str:
        """The architecture of the model."""
        return self.config.arch

    @property
    def context(self) -> int | None:
        """Symbols that the model can see; None for no limit."""
        return self.config.window if isinstance(self.config, ModelConfig) and self.arch == "window" else None

    @property
    def advice(self) -> tuple[str, ...]:
        """Advice in plain language."""
        assert isinstance(self.config, ModelConfig)
        return advise(self.norms.shares, self.config, self.training)

    def figures(self, *, curve: bool = False) -> dict[str, Any]:
        """Return the figures as JSON; one that does not apply is None, and `notes` says why."""
        rate, half = self.growth or (0.0, 0.0)
        return {
            "model": self.model,
            "arch": self.arch,
            "level": self.level,
            "fresh": self.fresh,
            "positions": len(next(iter(self.norms.rows.values()))),
            "run_in": self.run_in,
            "signals": [self._signal(name) for name in self.norms.rows],
            "half_life": list(self.norms.half_life()),
            "spectral_radius": self.step and asdict(self.step.radius),
            "singular_value": self.step and asdict(self.step.stretch),
            "jacobians": self.step.places if self.step else 0,
            "growth": {"per_step": rate, "low": number(rate - half), "high": number(rate + half)}
            if self.growth
            else None,
            "training": self.training and self.training.figures(curve=curve),
            "advice": list(self.advice),
            "notes": list(self.notes),
        }

    def _signal(self, name: str) -> dict[str, Any]:
        layer, _, signal = name.rpartition("/")
        mean, low, high = (self.norms.mean(name), *(self.norms.quantile(name, share) for share in (0.1, 0.9)))
        return {
            "name": name,
            "layer": int(layer.lstrip(ascii_lowercase)) if layer else None,
            "signal": signal,
            "gradient": [[lag, number(norm)] for lag, norm in enumerate(mean)],
            "low": [number(norm) for norm in low],
            "high": [number(norm) for norm in high],
            "half_life": halving(mean) if layer else None,
        }


@dataclass(frozen=True)
class GradientReport:
    """Gradients of several models on a text."""

    file: Path | None
    """None: each model's own validation part."""
    lags: int
    models: tuple[Gradients, ...]
    notes: tuple[str, ...]
    plot: Path | None = None
    """Where the picture was written."""

    def figures(self, *, curve: bool = False) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "file": None if self.file is None else str(self.file),
            "lags": self.lags,
            "plot": None if self.plot is None else str(self.plot),
            "models": [model.figures(curve=curve) for model in self.models],
            "notes": list(self.notes),
        }


def measure(paths: Sequence[Path], file: Path | None, *, lags: int = LAGS, fresh: bool = False) -> Work[GradientReport]:
    """Measure the gradients of models on a text, by default each model's validation part, yielding progress.

    With `fresh`, untrained weights of each model's shape are measured beside it. Returns the report, without a picture.
    """
    if not paths:
        raise UserError("no model is given", allowed="one or more", fix="for example: unroll gradients runs/book")
    gradients: list[Gradients] = []
    vocabularies: set[str] = set()
    for path in paths:
        opened = open_model(path, needs="network")
        network = network_of(opened)
        vocabularies.add(opened.tokenizer.digest)
        ids = ids_of_file(opened, file) if file else validation_part(opened)
        for weights in (network, before_training(network, path)) if fresh else (network,):
            name, is_fresh = str(file or f"the validation part of {path}"), weights is not network
            gradients.append((yield from gradients_of(opened, weights, ids, lags, name=name, fresh=is_fresh)))
    notes = []
    if len(paths) > 1 and file is None:
        notes.append("each model read its own validation part: name one text for all with --file")
    if len(vocabularies) > 1:
        notes.append("the models have different vocabularies: a lag is a symbol of each model's own")
    return GradientReport(file, lags, tuple(gradients), tuple(notes))


def gradients_of(
    opened: Opened, network: Model, ids: Ids, lags: int = LAGS, *, name: str = "the text", fresh: bool = False
) -> Work[Gradients]:
    """Measure one network, that of an opened model or another of its shape, on the ids (N,) of a text called `name`.

    `fresh`: its weights are not those of the model but newly drawn.
    """
    rows, run_in = stretches(ids, opened.tokenizer.start_id, lags, POSITIONS, name)
    inputs = torch.from_numpy(rows).to(network.embedding.weight.device)
    pieces: list[LagNorms] = []
    for first in range(0, len(rows), ROWS):
        yield Progress(f"gradients of {opened.path.name}", first, len(rows), "places")
        pieces.append(lag_norms(network, inputs[first : first + ROWS], lags))
    norms = LagNorms({name: np.concatenate([piece.rows[name] for piece in pieces]) for name in pieces[0].rows})
    notes: list[str] = []
    step = growth = None
    if network.config.arch == "window":
        notes.append(
            "a window has no recurrence: gradients are by its inputs alone, without half-life or spectral radius"
        )
    else:
        exact = in_float64(network)
        step = yield from step_figures(exact, inputs[:, :-1], opened.path.name)
        if step is None:
            notes.append(
                f"the state has more than {MOST_VALUES:,} values: eigenvalues of its Jacobian would take minutes"
            )
        growth = long_run(network, inputs[:, :-1])
        if growth is None:
            notes.append("the gradient becomes 0 on its way back: it has no rate of growth")
    training = None if fresh else training_norms(opened.path)
    if training is None and not fresh:
        notes.append("the model directory has no log of its training")
    return Gradients(
        str(opened.path),
        network.config,
        opened.description["level"],
        fresh,
        run_in,
        norms,
        step,
        growth,
        training,
        tuple(notes),
    )


def stretches(ids: Ids, start_id: int, lags: int, count: int, name: str) -> tuple[NDArray[np.int64], int]:
    """Return stretches of a text's ids (N,) as rows (B, T), evenly spaced, and the number of symbols of their run-in.

    The start symbol precedes the text. After the run-in come lags + 1 symbols and the predicted one. Raises UserError
    for a text that is too short.
    """
    if lags < 1:
        raise UserError(f"the largest lag is {lags}", allowed="1 or more", fix=f"the default is {LAGS}")
    spare = len(ids) - (lags + 1)
    if spare < 0:
        raise too_short(f"{name} has {number_of(len(ids), 'symbol')}", lags, lags + 1)
    run_in = min(RUN_IN, spare // 2)  # half of a short text is left for several places
    starts = np.unique(np.linspace(0, spare - run_in, count).round().astype(np.int64))
    symbols = np.concatenate([[start_id], ids]).astype(np.int64)
    return symbols[starts[:, None] + np.arange(run_in + lags + 2)], run_in


def too_short(text: str, lags: int, need: int) -> UserError:
    """Return the error for a text in which no position has `need` symbols before it."""
    return UserError(
        f"{text}, too few to look {lags:,} steps back",
        allowed=f"{need:,} symbols or more",
        fix="give more text, or a smaller --lags",
    )


def validation_part(opened: Opened) -> Ids:
    """Return the ids that a model was validated on; raises UserError if its directory has none."""
    folder = data_path(opened.path)
    ids = open_corpus(folder).valid if folder.is_dir() else np.zeros(0, np.uint8)
    if not len(ids):
        raise UserError(
            f"{opened.path} has no validation part",
            allowed="a model that still has its training text",
            fix="name a text: --file F",
        )
    return ids


def before_training(network: Model, path: Path) -> Model:
    """Return the network with the weights that its training started from, by the seed of its recipe, or else seed 0."""
    recipe = path / "recipe.toml"
    return untrained(network, read_recipe(recipe).training.seed if recipe.exists() else 0)


def _nats(network: Model, targets: Tensor, y: Tensor) -> Tensor:
    """Return the nats (B,) of targets (B,) after the outputs (B, H)."""
    return F.cross_entropy(network.logits(y), targets, reduction="none")
