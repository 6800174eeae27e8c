"""What a classifier may begin with: the layers of a language model, or vectors of words of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.open import Opened, load
from unroll.data.reader import Reader
from unroll.data.tokenizer import Tokenizer, grown
from unroll.data.word_vectors import read_word_vectors
from unroll.errors import UserError, number_of
from unroll.nn.config import ModelConfig
from unroll.nn.encoder import EMBEDDING_STD, Classifier
from unroll.progress import Work

Overrides = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Beginning:
    """Weights that a classifier begins with, in place of random ones."""

    source: str
    """For people: where they are from."""
    remark: str
    vectors: Tensor
    """(V, E) of the units."""
    present: NDArray[np.bool_]
    """Which units have one (V,)."""
    layers: Mapping[str, Tensor]
    """Weights of the recurrent layers by name; those of the first read the vectors of units alone."""

    def apply(self, model: Classifier) -> None:
        """Copy the weights into a model.

        All vectors are scaled to the spread that others start with, and the weights that read them to what undoes it:
        so the layers compute what they did.
        """
        rows = torch.from_numpy(self.present)
        scale = EMBEDDING_STD / max(1e-8, float(self.vectors[rows].std()))
        with torch.no_grad():
            model.embedding.weight[rows] = (scale * self.vectors[rows]).to(model.embedding.weight)
            named = dict(model.named_parameters())
            for name, weight in self.layers.items():
                if name == "forwards.0.weight_ih":
                    own = named[name]
                    own.zero_()  # what is read beside the vectors, as characters, is to be learnt
                    own[:, : weight.shape[1]] = (weight / scale).to(own)
                else:
                    named[name].copy_(weight)


def read_vectors(path: Path, reader: Reader, width: int | None) -> Work[Beginning]:
    """Read the vectors of the units of a vocabulary from a file of word2vec or GloVe.

    A word whose lower case the vocabulary has gets the vector of that. Raises UserError for a vocabulary of characters,
    and for a broken file.
    """
    tokenizer = reader.tokenizer
    if tokenizer.level != "word":
        raise UserError(
            f"{path} has vectors of words, and a unit here is a {tokenizer.level}",
            allowed="--vectors at level word",
            fix="add --set level=word, or leave --vectors out",
        )
    words = [piece.decode("utf-8", "replace").strip(" ") for piece in tokenizer.pieces]
    vectors = yield from read_word_vectors(path, words, width=width)
    known = vectors.present.copy()
    known[list(tokenizer.specials)] = False
    if not known.any():
        raise UserError(
            f"{path} has none of the {len(words):,} words of the examples",
            allowed="vectors of the language of the texts",
            fix="check that it is the file that you mean",
        )
    remark = f"{int(known.sum()):,} of {number_of(len(words), 'word')} begin with the vectors of {path.name}"
    return Beginning(path.name, remark, torch.from_numpy(vectors.vectors), known, {})


def open_pretrained(path: Path, level: str | None) -> Opened:
    """Open a language model to begin with; raises UserError for one of another level, or without layers to take."""
    opened = load(path)
    config = opened.model.config
    if level is not None and opened.tokenizer.level != level:
        raise UserError(
            f"{path} reads at level {opened.tokenizer.level}, and the classifier is to read at level {level}",
            allowed="a language model of that level",
            fix=f"leave level out, or name a model trained with --level {level}",
        )
    if config.arch == "window" or config.layers_before:
        what = "a window" if config.arch == "window" else "feed-forward layers before its recurrent ones"
        raise UserError(
            f"{path} has {what}, which a classifier has not",
            allowed="a language model with recurrent layers on its embedding",
            fix="train one with --arch lstm",
        )
    return opened


def shape_of(config: ModelConfig) -> dict[str, Any]:
    """Return what a classifier takes from the shape of the language model that it begins with."""
    shape = {
        "arch": config.arch,
        "embedding_size": config.embedding_size,
        "hidden_size": config.hidden_size,
        "num_layers": config.num_layers,
        "skip": config.skip,
    }
    # Further layers would read both directions, and those of the model read one.
    return shape | ({"bidirectional": False} if config.num_layers > 1 else {})


def with_pretrained(opened: Opened, overrides: Overrides) -> Overrides:
    """Return the overrides with the shape of a language model; raises UserError where they ask for another."""
    shape, fixed = shape_of(opened.model.config), overrides["model"]
    if clash := sorted(name for name in shape if name in fixed and fixed[name] != shape[name]):
        raise UserError(
            f"{', '.join(clash)} cannot change: a classifier keeps the shape of the model that it begins with",
            allowed=", ".join(f"{name}={shape[name]}" for name in clash),
            fix="leave it out",
        )
    data = overrides["data"] | {"level": opened.tokenizer.level}
    if boundaries := getattr(opened.tokenizer, "boundaries", None):
        if data.get("words", boundaries) != boundaries:
            raise UserError(
                f"words={data['words']}, and {opened.path} was trained with words={boundaries}",
                allowed=f"words={boundaries}: its vectors are those of its own words",
                fix="leave words out",
            )
        data["words"] = boundaries
    return overrides | {"model": fixed | shape, "data": data}


def vocabulary_of(opened: Opened, learnt: Tokenizer) -> Tokenizer:
    """Return the vocabulary of a language model and, behind its own, the units of the examples that it lacks."""
    if opened.tokenizer.separator:
        raise UserError(
            f"{opened.path} reads documents with a separator, which single texts have not",
            allowed="a language model trained without --separator",
            fix="train one without it",
        )
    return grown(opened.tokenizer, learnt)


def read_pretrained(opened: Opened, tokenizer: Tokenizer) -> Beginning:
    """Return the embedding and the layers of a language model; new units begin with the mean of all vectors."""
    model = opened.model
    old = model.embedding.weight.detach()
    vectors = old.mean(0, keepdim=True).repeat(tokenizer.vocab_size, 1)
    vectors[: len(old)] = old
    layers = {
        name.replace("recurrent.layers.", "forwards."): weight.detach()
        for name, weight in model.named_parameters()
        if name.startswith("recurrent.layers.")
    }
    added = tokenizer.vocab_size - len(old)
    remark = f"begins with the embedding and {number_of(model.config.num_layers, 'layer')} of {opened.path}"
    remark += f"; {added:,} units of the examples are new to it" if added else ""
    return Beginning(str(opened.path), remark, vectors, np.ones(len(vectors), np.bool_), layers)
