"""What the training of a forecaster will take of memory, said before it is allocated."""

import torch

from unroll.nn.forecast_config import forecast_parameters
from unroll.tasks.forecast.recipe import ForecastRecipe
from unroll.training.memory import BYTES_KEPT, BYTES_SAVED, FLOATS_PER_UNIT, described


def announcement(recipe: ForecastRecipe, device: torch.device) -> str | None:
    """Return how much memory a large training takes; None of a small one. Raises UserError where it does not fit."""
    model = recipe.model
    steps = recipe.training.batch_size * (model.context + model.horizon)
    kept = 4 * steps * (FLOATS_PER_UNIT * model.num_layers * model.hidden_size + 4 * model.input_size)
    count = forecast_parameters(model)
    size = count * (BYTES_KEPT + BYTES_SAVED) + kept
    return described(count, size, device, "lower hidden_size, lags or batch_size with --set")
