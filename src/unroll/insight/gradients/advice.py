"""Advice on gradients in plain language, from their norms by lag and from those that a training logged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.events import METRICS, read_events
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig
from unroll.training.recipe import read_recipe

Floats = NDArray[np.float64]

EXPLODES = 10.0
"""Gradients explode if at some lag they are at least this many times as large as at lag 1; a training explodes if its
largest norm is this many times the median."""
VANISHES = 0.01
"""Gradients vanish where they are below this share of lag 1."""
KEEPS = 0.5
"""Gradients are kept where they are above this share of lag 1."""

EVENT = {"kind": str, "step": int, "grad_norm": float | None}


@dataclass(frozen=True)
class TrainingNorms:
    """The norm of all gradients together at the logged training steps."""

    steps: NDArray[np.int64]
    norms: Floats
    grad_clip: float | None
    """The norm that gradients were clipped to; 0 if they were not clipped, None if unknown."""

    def figures(self, *, curve: bool) -> dict[str, Any]:
        """Return the figures as JSON; `curve` adds the norm at every step."""
        clip, largest = self.grad_clip, int(np.argmax(self.norms))
        return {
            "logged_steps": len(self.steps),
            "median": float(np.median(self.norms)),
            "max": float(self.norms[largest]),
            "max_step": int(self.steps[largest]),
            "grad_clip": clip,
            "clipped": None if clip is None else self.clipped(clip),
            "curve": [[int(k), float(n)] for k, n in zip(self.steps, self.norms, strict=True)] if curve else None,
        }

    def clipped(self, clip: float) -> float:
        """Return the share of the logged steps that clipping at this norm shortens; 0 clips nothing."""
        return float(np.mean(self.norms > clip)) if clip else 0.0


def training_norms(path: Path) -> TrainingNorms | None:
    """Return the gradient norms that the training of a model directory logged; None where there are none."""
    recipe = path / "recipe.toml"
    return logged_norms(path, read_recipe(recipe).optim.grad_clip if recipe.exists() else None)


def logged_norms(path: Path, grad_clip: float | None) -> TrainingNorms | None:
    """Return them of a training that clipped gradients to this norm; None where it is not known."""
    logged = [
        (event["step"], event["grad_norm"])
        for event in read_events(path / METRICS, EVENT)
        if event["kind"] == "train" and event.get("grad_norm") is not None
    ]
    if not logged:
        return None
    steps, norms = zip(*logged, strict=True)
    return TrainingNorms(np.array(steps, np.int64), np.array(norms, np.float64), grad_clip)


def advise(shares: NDArray[np.floating], config: ModelConfig, training: TrainingNorms | None = None) -> tuple[str, ...]:
    """Return whether gradients explode, vanish or neither, and what to do about it.

    `shares` are the norms at lags 1 to K as shares of lag 1 (K,), of what carries farthest; ignored for a window.
    """
    if config.arch == "window":
        return (
            f"sees {config.window} symbols: no gradient comes from further back, whatever it learns: use an LSTM "
            "(--arch lstm)",
        )
    advice: list[str] = []
    largest = int(np.argmax(shares))
    if shares[largest] >= EXPLODES:
        clip = training is not None and training.grad_clip
        growth = f"{_times(shares[largest])} as large {largest + 1} steps back as 1 step back"
        advice.append(f"explodes ({growth}): " + (f"keep clipping at {clip:g}" if clip else CLIP))
    if training is not None and training.grad_clip == 0:
        spike = float(training.norms.max() / max(np.median(training.norms), np.finfo(np.float64).tiny))
        if spike >= EXPLODES:
            advice.append(f"explodes while training (the norm rose to {_times(spike)} its median, unclipped): {CLIP}")
    vanished, halved = np.flatnonzero(shares < VANISHES), np.flatnonzero(shares < KEEPS)
    if len(vanished):
        advice.append(f"vanishes after {vanished[0] + 1} steps (below 1 % of lag 1): {_remedy(config)}")
    elif len(halved):
        steps = "1 step" if halved[0] == 1 else f"{halved[0]} steps"
        rest = f"{100 * shares[-1]:.2g} % after {len(shares)}"
        advice.append(f"fades, but does not vanish: more than half of lag 1 is left after {steps}, {rest}")
    elif not advice:
        advice.append(f"neither explodes nor vanishes: keeps more than half of lag 1 after {len(shares)} steps")
    return tuple(advice)


CLIP = "clip at 1 (--set grad_clip=1)"
"""Pascanu et al. 2013."""


def _remedy(config: ModelConfig) -> str:
    """Return a remedy for vanishing gradients (Gers et al. 2000; Jozefowicz et al. 2015)."""
    if ARCHITECTURES[config.arch].forget is None:
        return "use an LSTM (--arch lstm), and start its forget bias at 2 (--set forget_bias=2)"
    if config.forget_bias < 2:
        return "start the forget bias at 2 (--set forget_bias=2)"
    return "the forget bias already starts high: train on longer windows (--set seq_len=256)"


def _times(factor: float) -> str:
    return f"{factor:,.0f} times" if factor < 1e6 else f"{factor:.0e} times"
