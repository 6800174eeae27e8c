"""What the training of a model of sequences will take of memory, said before it is allocated."""

import torch

from unroll.data.ragged import Epochs
from unroll.nn.series_config import series_parameters
from unroll.tasks.sequences.recipe import SeriesRecipe
from unroll.training.memory import BYTES_KEPT, BYTES_SAVED, FLOATS_PER_UNIT, described


def announcement(recipe: SeriesRecipe, epochs: Epochs, device: torch.device) -> str | None:
    """Return how much memory a large training takes; None of a small one. Raises UserError where there is too little.

    Most is kept of the largest batch.
    """
    model = recipe.model
    steps = max((len(rows) * int(epochs.lengths[rows].max()) for rows in epochs.of(0)), default=0)
    kept = 4 * steps * FLOATS_PER_UNIT * (model.num_layers * model.output_size + model.input_size)
    count = series_parameters(model)
    size = count * (BYTES_KEPT + BYTES_SAVED) + kept
    return described(count, size, device, "lower hidden_size or batch_size with --set, or cut the sequences")
