"""What the training of a classifier will take of memory, said before it is allocated."""

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.data.ragged import Epochs
from unroll.nn.encoder_config import classifier_parameters
from unroll.tasks.classify.recipe import ClassifierRecipe
from unroll.training.memory import rows_announcement


def announcement(recipe: ClassifierRecipe, lengths: NDArray[np.int64], device: torch.device) -> str | None:
    """Return how much memory a large training takes, on texts with `lengths` (N,); None of a small one.

    Raises UserError where there is too little.
    """
    model, training = recipe.model, recipe.training
    epochs, passes = Epochs(lengths, training.batch_size, training.seed), 2 if model.perturbation else 1
    return rows_announcement(model, classifier_parameters(model), epochs, passes, device)
