"""The network of a tagger in torch, with its gates and gradients."""

import torch

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.tagger import OpenTagger
from unroll.nn.tagger import Tagger


def network_of(opened: OpenTagger) -> Tagger:
    """Return the network of a tagger, in evaluation mode: the engine keeps no gates and has no gradients."""
    network = Tagger(opened.info.config)
    copy_weights(network, load_tensors(opened.path / WEIGHTS), opened.path / WEIGHTS)
    return network.eval()


def in_float64(opened: OpenTagger) -> Tagger:
    """Return it in float64, with weights that need no gradients; its CRF has no move that the scheme rules out."""
    network, chain = network_of(opened).double().requires_grad_(False), opened.network.chain
    if network.config.crf:
        for name in ("start", "transitions", "end"):
            getattr(network.crf, name).copy_(torch.from_numpy(getattr(chain, name)))
    return network
