"""The network of a classifier in torch, with its gates and gradients, and texts as it reads them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.classifier import OpenClassifier
from unroll.artifact.directory import WEIGHTS
from unroll.data.reader import Reading
from unroll.nn.arch import Cell
from unroll.nn.cells import CellWeights
from unroll.nn.encoder import Classifier, Units
from unroll.nn.encoder_config import ClassifierConfig
from unroll.nn.layers import Run, backwards
from unroll.nn.recurrent import run_stepwise
from unroll.state import LayerState


def network_of(opened: OpenClassifier) -> Classifier:
    """Return the network of a classifier, in evaluation mode: the engine keeps no gates and has no gradients."""
    network = Classifier(opened.info.config)
    copy_weights(network, load_tensors(opened.path / WEIGHTS), opened.path / WEIGHTS)
    return network.eval()


def in_float64(opened: OpenClassifier) -> Classifier:
    """Return it in float64, with weights that need no gradients."""
    return network_of(opened).double().requires_grad_(False)


def untrained(config: ClassifierConfig, seed: int = 0) -> Classifier:
    """Return a network of this shape with the weights that training starts from, by this seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(config).eval()


def units_of(reading: Reading) -> Units:
    """Return texts as the arguments of the network."""
    arrays = {name: torch.from_numpy(array) for name, array in reading.arrays().items() if array is not None}
    return Units(**arrays)


def recorder(arch: Cell, units: Units, signals: Sequence[str], inside: dict[str, Tensor]) -> Run:
    """Return what runs layers by the equation of the cell, and puts their signals (T, B, H), each at its unit, by names
    such as `backwards0/c` into `inside`."""

    def run(name: str, x: Tensor, state: LayerState, w: CellWeights) -> Tensor:
        y, _, steps = run_stepwise(arch, x, state, w)
        lengths = units.word_lengths if name.startswith("characters/") else units.lengths
        assert lengths is not None
        for signal in signals:
            values = torch.stack([getattr(step, signal) for step in steps])
            inside[f"{name}/{signal}"] = backwards(values, lengths) if "backwards" in name else values
        return y

    return run
