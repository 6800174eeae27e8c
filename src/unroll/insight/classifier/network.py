"""The network of a classifier in torch, with its gates and gradients, and texts as it reads them."""

import torch

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.classifier import OpenClassifier
from unroll.artifact.directory import WEIGHTS
from unroll.data.reader import Reading
from unroll.nn.encoder import Classifier, Units
from unroll.nn.encoder_config import ClassifierConfig


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
