"""How far the gradient of a classifier's loss reaches back from the end of a text, in each direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unroll.artifact.classifier import open_classifier
from unroll.data.reader import Reading
from unroll.errors import UserError, number_of
from unroll.insight.classifier.network import network_of, units_of, untrained
from unroll.insight.classifier.texts import labelled
from unroll.insight.gradients.advice import EXPLODES, VANISHES, Floats, logged_norms
from unroll.insight.gradients.measure import LAGS, POSITIONS, GradientReport, Gradients, LagNorms
from unroll.nn.cells import STEPS, CellWeights, state_after
from unroll.nn.encoder import Classifier, label_nats
from unroll.nn.encoder_config import ClassifierConfig
from unroll.nn.recurrent import run_stepwise
from unroll.progress import Progress, Work
from unroll.settings import read_toml
from unroll.state import LayerState
from unroll.tasks.classify.evaluate import marks_of

HELD = 2**22
"""Most outputs of all layers in a graph of gradients."""


@dataclass(frozen=True)
class ClassifierGradients(Gradients):
    """Gradients of a classifier on labelled texts."""

    @property
    def advice(self) -> tuple[str, ...]:
        """What is left of the gradient far from the end, in plain language."""
        assert isinstance(self.config, ClassifierConfig)
        return tuple(advice_on(way, self.norms, self.config) for way in self.config.directions)

    def figures(self, *, curve: bool = False) -> dict[str, Any]:
        """Return the figures as JSON; those that belong to language models alone are left out."""
        foreign = ("run_in", "spectral_radius", "singular_value", "jacobians", "growth", "positions", "half_life")
        figures = super().figures(curve=curve)
        return {name: figure for name, figure in figures.items() if name not in foreign} | {
            "texts": figures["positions"]
        }


def advice_on(way: str, norms: LagNorms, config: ClassifierConfig) -> str:
    """Return what reaches the last layer's states in one direction, handed on and directly."""
    layer = f"{way}{config.num_layers - 1}"
    handed = norms.mean(f"{layer}/c" if f"{layer}/c" in norms.rows else f"{layer}/h")[1:]
    outputs = norms.mean(f"{layer}/y")
    shares, lags = handed / (handed[0] or 1.0), len(handed)
    below = np.flatnonzero(shares < VANISHES)
    largest = int(np.argmax(shares))
    if shares[largest] >= EXPLODES:
        text = f"{layer}: explodes, {shares[largest]:,.0f} times as large {largest + 1} units back as 1 unit back"
    elif len(below):
        text = f"{layer}: what is handed on vanishes {number_of(int(below[0]) + 1, 'unit')} back (below 1 % of lag 1)"
    else:
        text = f"{layer}: what is handed on {number_of(lags, 'unit')} back counts {percent(shares[-1])} of lag 1"
    if config.poolings == ("last",):
        return f"{text}; nothing reaches the head another way: it reads the last output alone"
    return (
        f"{text}; the head reads each output itself, too ({', '.join(config.poolings)}): {number_of(lags, 'unit')} "
        f"back it counts {percent(outputs[-1] / (outputs[0] or 1.0))} of the last"
    )


def percent(share: float) -> str:
    """Return a share as 0.25 %, 2.5 % or 250 %."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def measure_classifiers(
    paths: Sequence[Path], file: Path | None, *, lags: int | None = None, fresh: bool = False
) -> Work[GradientReport]:
    """Measure the gradients of classifiers on the examples of a table, by default those that each held out.

    The texts are those with more than `lags` units, by default the median length less one, so that all lags are
    means over the same texts. With `fresh`, untrained weights of each shape are measured beside them. Yields progress.
    """
    gradients: list[Gradients] = []
    for path in paths:
        opened = open_classifier(path)
        texts, labels = yield from labelled(opened, file)
        reading, targets = opened.reader.read(texts), marks_of(opened, labels)
        lengths = reading.units.lengths
        lags = max(1, min(LAGS, int(np.median(lengths)) - 1)) if lags is None else lags
        if lags < 1:
            raise UserError(f"the largest lag is {lags}", allowed="1 or more", fix="leave out --lags")
        long = np.flatnonzero(lengths > lags)
        if not len(long):
            raise UserError(
                f"no text of {file or path} has more than {number_of(lags, 'unit')}",
                allowed=f"texts of {lags + 1:,} units or more",
                fix="give longer texts" if max(lengths) == 1 else f"--lags {max(lengths) - 1}, or longer texts",
            )
        rows = long[np.unique(np.linspace(0, len(long) - 1, POSITIONS).round().astype(np.int64))]
        trained = network_of(opened)
        for network in (trained, untrained(opened.info.config)) if fresh else (trained,):
            norms = yield from norms_of(network.double(), reading.select(rows), targets[rows], lags, path.name)
            notes = (f"read are {len(rows):,} texts with more than {number_of(lags, 'unit')}, of {len(texts):,}",)
            training = None
            if network is trained and (path / "recipe.toml").exists():
                training = logged_norms(path, read_toml(path / "recipe.toml")["optim"]["grad_clip"])
            gradients.append(
                ClassifierGradients(
                    str(path), opened.info.config, opened.reader.tokenizer.level, network is not trained, 0, norms,
                    None, None, training, notes,
                )
            )  # fmt: skip
    assert lags is not None
    own = "each model read its own held-out texts: name one table with --file"
    return GradientReport(file, lags, tuple(gradients), (own,) if file is None and len(paths) > 1 else ())


def norms_of(network: Classifier, reading: Reading, targets: Any, lags: int, name: str) -> Work[LagNorms]:
    """Return the norms of ∂loss/∂h, ∂loss/∂c and ∂loss/∂y at lags 0 to `lags`, of texts that all have more units.

    The loss is the nats of a text's labels, `targets` (N, K). Lag k of h and c is by the value that a layer handed on
    to its next step k units before the last that it reads, nan at lag 0, where nothing is handed on; lag k of y by the
    output there, for all that follows from it: handed on, pooled, and read by the layers above. Yields progress.
    """
    config = network.config
    longest = int(reading.units.lengths.max())
    together = max(1, HELD // (longest * config.output_size * config.num_layers))
    pieces: list[dict[str, Floats]] = []
    for first in range(0, len(reading), together):
        rows = np.arange(first, min(first + together, len(reading)))
        yield Progress(f"gradients of {name}", first, len(reading), "texts")
        pieces.append(_norms(network, reading.select(rows), torch.from_numpy(targets[rows]), lags))
    return LagNorms({name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]})


def _norms(network: Classifier, reading: Reading, targets: Tensor, lags: int) -> dict[str, Floats]:
    units, arch = units_of(reading), network.config.arch
    leaves: dict[str, Tensor] = {}

    def run(name: str, x: Tensor, state: LayerState, w: CellWeights) -> Tensor:
        """Run a layer with zeros added to what its outputs are, and to what it hands on: the gradients are by those."""
        if name.startswith("characters/"):
            return run_stepwise(arch, x, state, w)[0]
        shape = (len(x), *state[0].shape)
        handed = [x.new_zeros(shape, requires_grad=True) for _ in state]
        whole = x.new_zeros(shape, requires_grad=True)
        leaves.update({f"{name}/{part}": leaf for part, leaf in zip(("h", "c"), handed, strict=False)})
        leaves[f"{name}/y"] = whole
        outputs = []
        for t, x_t in enumerate(x):
            h, *c = state_after(STEPS[arch](x_t, state, w))
            outputs.append(h + whole[t])
            state = tuple(part + leaf[t] for part, leaf in zip((outputs[-1], *c), handed, strict=True))
        return torch.stack(outputs)

    logits = network(units, run)
    loss = label_nats(logits, targets.to(logits.dtype), multi_label=network.config.multi_label).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))  # rows do not depend on each other
    places = (units.lengths - 1)[:, None] - torch.arange(lags + 1)  # (B, K+1), in the order of reading
    rows = torch.arange(len(places))[:, None]
    norms = {}
    for name, gradient in zip(leaves, gradients, strict=True):
        norms[name] = torch.linalg.vector_norm(gradient, dim=2)[places, rows].numpy()
        if not name.endswith("/y"):
            norms[name][:, 0] = np.nan
    return norms
