"""What the training of a translator will take of memory, said before it is allocated."""

import numpy as np
import torch

from unroll.data.ragged import Epochs
from unroll.nn.translator_config import translator_parameters
from unroll.tasks.translate.lesson import SYMBOLS
from unroll.tasks.translate.recipe import TranslatorRecipe
from unroll.tasks.translate.store import Read
from unroll.training.memory import BYTES_KEPT, BYTES_SAVED, FLOATS_PER_UNIT, described


def announcement(recipe: TranslatorRecipe, pairs: Read, device: torch.device) -> str | None:
    """Return how much memory a large training takes; None of a small one. Raises UserError where there is too little.

    Most is kept of the largest batch: what the layers keep of each unit, the logits, and what attention compares.
    """
    model, training = recipe.model, recipe.training
    of_unit = FLOATS_PER_UNIT * (model.num_layers * (model.memory_size + model.hidden_size) + 2 * model.embedding_size)
    compared = {"dot": 2, "additive": 2 * model.attention_size, "none": 0}[model.attention]
    kept = 0
    for rows in Epochs(pairs.lengths, training.batch_size, training.seed, SYMBOLS).of(0):
        longest = int(pairs.lengths[rows].max())
        logits = int(np.sum(pairs.targets.lengths[rows] + 1)) * model.vocab_size
        kept = max(kept, len(rows) * longest * (of_unit + longest * compared) + 2 * logits)
    count = translator_parameters(model)
    size = count * (BYTES_KEPT + BYTES_SAVED) + 4 * kept
    return described(count, size, device, "lower embedding_size or hidden_size, or the number of pieces, with --set")
