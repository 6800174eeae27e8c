"""An encoder reads rows of units, words or characters, from both ends; a classifier is an encoder with a head."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unroll.nn.dropout import drop
from unroll.nn.encoder_config import ClassifierConfig, EncoderConfig
from unroll.nn.layers import Layers, PooledLayers, Run, last_of, run_layer
from unroll.nn.recurrent import Engine, RecurrentLayer
from unroll.state import State

EMBEDDING_STD = 0.1
"""Standard deviation of the vectors of units at the start: with larger ones few examples are learnt by heart."""


class Units(NamedTuple):
    """Rows of units, padded at their ends, and the distinct words among them as characters."""

    ids: Tensor
    """(B, T); what stands behind a row's end does not matter."""
    lengths: Tensor
    """(B,), each 0 to T."""
    characters: Tensor | None = None
    """(W, L) characters of the distinct words; None without a network over characters."""
    word_lengths: Tensor | None = None
    """(W,)"""
    word_of: Tensor | None = None
    """(B, T) which of the distinct words a unit is."""
    contexts: Tensor | None = None
    """(B, T, C) what a language model says of a unit in its context; None without one."""


class Encoder(Layers):
    """Embedding, a network over the characters of words, and recurrent layers in one direction or two."""

    config: EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        if config.char_hidden_size:
            self.characters = Characters(config)
        self.add_layers()

    def depths(self) -> dict[str, int]:
        """Return the depth of each weight that a language model has too: 1 in the last layer, most in the embedding."""
        depths = {"embedding.weight": self.config.num_layers + 1}
        for name, _ in self.named_parameters():
            part, _, rest = name.partition(".")
            if part == "forwards":
                depths[name] = self.config.num_layers - int(rest.partition(".")[0])
        return depths

    def inputs(self, units: Units, engine: Engine | Run = "fused") -> Tensor:
        """Return the vectors (T, B, I) that the first layer reads."""
        config, ids = self.config, units.ids.T
        if self.training and config.embedding_dropout:
            ids = ids.masked_fill(torch.rand(ids.shape, device=ids.device) < config.embedding_dropout, 0)
        x = self.embedding(ids)
        if units.word_of is not None:
            x = torch.cat([x, self.characters(units, engine)[units.word_of.T]], dim=2)
        if units.contexts is not None:
            x = torch.cat([x, units.contexts.transpose(0, 1).to(x.dtype)], dim=2)
        return drop(x, config.input_dropout, variational=False, training=self.training)

    def encode(self, units: Units, engine: Engine | Run = "fused") -> tuple[Tensor, Tensor]:
        """Return the outputs (T, B, D·H), zero behind a row's end, and the last output of each direction (B, D·H)."""
        return self.read(self.inputs(units, engine), units.lengths, engine)


class Characters(nn.Module):
    """A word as its characters make it (Ling et al. 2015): the last outputs of two layers that read it."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.chars, config.char_embedding_size)
        for name in ("forwards", "backwards"):
            size = config.char_hidden_size
            layer = RecurrentLayer(config.arch, config.char_embedding_size, size, config.forget_bias, "torch")
            self.add_module(name, layer)

    def forward(self, units: Units, engine: Engine | Run = "fused") -> Tensor:
        """Return a vector for each of the distinct words, (W, 2 · char_hidden_size)."""
        assert units.characters is not None and units.word_lengths is not None
        x, lengths = self.embedding(units.characters.T), units.word_lengths
        y, z = (
            run_layer(self.config, self.get_submodule(name), x, lengths, engine, f"characters/{name}")
            for name in ("forwards", "backwards")
        )
        last = last_of(y, lengths), z[0].masked_fill((lengths == 0).unsqueeze(1), 0.0)
        return torch.cat(last, dim=1)


class Classifier(Encoder, PooledLayers):
    """An encoder, pooling, and a head that gives each label a logit."""

    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        self.add_head(config.labels)

    def forward(self, units: Units, engine: Engine | Run = "fused") -> Tensor:
        """Return the logits (B, K) of the labels."""
        return self.logits(*self.encode(units, engine), units.lengths)

    def loss(
        self,
        ids: Tensor,
        lengths: Tensor,
        targets: Tensor,
        weights: Tensor,
        characters: Tensor | None = None,
        word_lengths: Tensor | None = None,
        word_of: Tensor | None = None,
        perturbation: Tensor | None = None,
        state: State = (),
    ) -> tuple[Tensor, State]:
        """Return the mean cross-entropy, in nats, of rows of `Units` with targets (B, K), each times its weight (B,).

        Targets are probabilities: of one label of all, or, with several labels, of each by itself. `perturbation` is
        the length for `perturbed`.
        """
        x = self.inputs(Units(ids, lengths, characters, word_lengths, word_of))

        def loss_of(x: Tensor) -> Tensor:
            logits = self.logits(*self.read(x, lengths), lengths)
            with torch.autocast(logits.device.type, enabled=False):
                logits = logits if logits.dtype.itemsize >= 4 else logits.float()
                nats = label_nats(logits, targets.to(logits.dtype), multi_label=self.config.multi_label)
                return (nats * weights).mean()

        return self.perturbed(loss_of, x, perturbation), state

    def perturbed(self, loss_of: Callable[[Tensor], Tensor], x: Tensor, length: Tensor | None) -> Tensor:
        """Return the loss of the vectors `x` (T, B, I) that the first layer reads.

        In training with a `length` ε, a scalar, it is the mean of two losses: of x, and of x + ε g / |g|, where g is
        the gradient of the first by x, row by row (Miyato et al. 2017, equation 5).
        """
        if not (self.training and length):
            return loss_of(x)
        x = x if x.requires_grad else x.requires_grad_()  # where embeddings are frozen
        learnt = [w for w in self.parameters() if w.requires_grad]
        first = loss_of(x)
        slope, *gradients = torch.autograd.grad(first, [x, *learnt], retain_graph=True, allow_unused=True)
        norm = torch.linalg.vector_norm(slope, dim=(0, 2), keepdim=True).clamp(min=1e-12)
        second = loss_of(x + (length * slope / norm).to(x.dtype))
        # Σ ⟨w, g⟩ has the gradient g, so that the way back from the first loss is taken only once.
        pairs = zip(learnt, gradients, strict=True)
        known = torch.stack([(w * g).sum() for w, g in pairs if g is not None]).sum()
        return 0.5 * (second + known - known.detach() + first.detach())


def label_nats(logits: Tensor, targets: Tensor, *, multi_label: bool) -> Tensor:
    """Return the cross-entropy (B,) of logits (B, K) and targets (B, K), in nats; of several labels the sum of each."""
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    return -(targets * torch.log_softmax(logits, 1)).sum(1)
