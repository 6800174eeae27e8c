"""What the training of a classifier will take of memory, said before it is allocated."""

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.data.ragged import buckets
from unroll.nn.encoder_config import classifier_parameters
from unroll.tasks.classify.recipe import ClassifierRecipe
from unroll.training.memory import BYTES_KEPT, BYTES_SAVED, FLOATS_PER_UNIT, described


def announcement(recipe: ClassifierRecipe, lengths: NDArray[np.int64], device: torch.device) -> str | None:
    """Return how much memory a large training takes; None of a small one. Raises UserError where there is too little.

    `lengths` (N,) are those of the texts: most is kept of the largest batch.
    """
    model, training = recipe.model, recipe.training
    batches = buckets(lengths, training.batch_size, seed=training.seed, epoch=0)
    symbols = max((len(rows) * int(lengths[rows].max()) for rows in batches), default=0)
    passes = 2 if model.perturbation else 1
    kept = 4 * symbols * passes * FLOATS_PER_UNIT * (model.num_layers * model.output_size + model.input_size)
    count = classifier_parameters(model)
    size = count * (BYTES_KEPT + BYTES_SAVED) + kept
    return described(count, size, device, "lower embedding_size or hidden_size, or raise min_count, with --set")
