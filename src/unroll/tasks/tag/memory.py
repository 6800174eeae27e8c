"""What the training of a tagger will take of memory, said before it is allocated."""

import torch

from unroll.data.ragged import Epochs
from unroll.errors import UserError
from unroll.nn.tagger_config import tagger_parameters
from unroll.tasks.tag.recipe import TaggerRecipe
from unroll.training.memory import memory_of, rows_announcement

CONTEXT_BYTES = 2
"""Bytes of each number of a context while it is kept."""


def check_contexts(tokens: int, size: int) -> None:
    """Raise UserError where the contexts of so many tokens, of `size` numbers each, do not fit into memory."""
    memory, needed = memory_of(torch.device("cpu")), tokens * size * CONTEXT_BYTES
    if memory is not None and needed > memory.free:
        raise UserError(
            f"{tokens:,} tokens with contexts of {size:,} numbers take {needed / 1e9:.1f} GB, and "
            f"{memory.free / 1e9:.1f} GB of memory are free",
            allowed="contexts that fit into memory",
            fix="name a language model with a smaller hidden_size, or train on fewer sentences",
        )


def announcement(recipe: TaggerRecipe, epochs: Epochs, device: torch.device) -> str | None:
    """Return how much memory a large training takes; None of a small one. Raises UserError where it is too much."""
    return rows_announcement(recipe.model, tagger_parameters(recipe.model), epochs, 1, device)
