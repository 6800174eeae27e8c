"""What a forecaster is taught: windows of series and what follows them, and its errors on the ends held out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.forecaster import ForecasterInfo, save_forecaster
from unroll.nn.forecast import Forecaster, pinball_losses
from unroll.state import State
from unroll.tasks.forecast.naive import absolute_errors, last_value, seasonal
from unroll.tasks.forecast.recipe import ForecastTraining
from unroll.tasks.forecast.windows import Examples, Windows
from unroll.training.loop import mixed_precision, on_device, seed_step
from unroll.training.run import Run, kept_in_model

ForecasterRun = Run[Forecaster, ForecastTraining]

VALIDATED = 512
"""The most forecasts of a validation."""


@dataclass(frozen=True)
class ForecastBatch:
    """Forecasts that a step makes, as the arguments of `Forecaster.loss`."""

    examples: Examples

    @property
    def tokens(self) -> int:
        """Number of values."""
        return self.examples.values.size

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return standardised values and which of them are targets, both (B, known + horizon)."""
        examples = self.examples
        return {"values": examples.standardised().astype(np.float32), "present": examples.present.astype(np.float32)}


@dataclass(frozen=True)
class Forecasting:
    """The lesson of a forecaster: to say what follows."""

    chosen_by: ClassVar[str] = "nats"

    info: ForecasterInfo
    train: Windows
    valid: Windows
    config: ForecastTraining

    def start(self, run: ForecasterRun) -> State:
        """Seed what the next step drops; nothing is carried from batch to batch."""
        seed_step(run.config.seed, run.step)
        return ()

    def batch(self, run: ForecasterRun) -> ForecastBatch:
        """Return windows at random, a function of the step alone."""
        rng = np.random.default_rng([self.config.seed, run.step])
        return ForecastBatch(self.train.select(rng.integers(0, len(self.train), self.config.batch_size)))

    @cached_property
    def held_out(self) -> Examples:
        """The forecasts of a validation."""
        return self.valid.spread(VALIDATED)

    def validate(self, run: ForecasterRun) -> tuple[float, dict[str, Any]]:
        """Return the loss of the forecasts held out, and the mean absolute error of their medians."""
        with kept_in_model(run) as model:
            return figures(model, self.held_out, run)

    def sample(self, run: ForecasterRun) -> None:
        """Return None: a forecaster writes nothing."""

    def evaluate(self, run: ForecasterRun) -> tuple[float, dict[str, Any]]:
        """Return the loss of weights.safetensors on the forecasts held out, and the whole result."""
        file, examples, config = run.path / WEIGHTS, self.held_out, run.model.config
        model = Forecaster(config).to(run.device).eval()
        copy_weights(model, load_tensors(file), file)
        loss, found = figures(model, examples, run)
        known, horizon = examples.values[:, : examples.known], config.horizon
        rules = {"last": last_value(known, horizon)}
        rules |= {"seasonal": seasonal(known, horizon, config.season)} if config.season > 1 else {}
        errors = {name: mean_error(forecast, examples) for name, forecast in rules.items()}
        result = {
            "protocol": "the end of each series",
            "valid_loss": loss,
            "valid_mae": found["mae"],
            "valid_last_mae": errors["last"],
            "valid_seasonal_mae": errors.get("seasonal"),
            "valid_count": len(examples.values),
            "best_step": run.best_step,
            "steps": run.step,
            "tokens_seen": run.tokens_seen,
        }
        return loss, result

    def describe(self, run: ForecasterRun, result: dict[str, Any] | None) -> None:
        """Write model.json."""
        save_forecaster(run.writes, self.info, result)


def mean_error(forecast: NDArray[Any], examples: Examples) -> float:
    """Return the mean absolute error of forecasts (B, horizon)."""
    place = slice(examples.known, None)
    errors = absolute_errors(forecast, examples.values[:, place], examples.present[:, place])
    return float(errors.mean()) if errors.size else 0.0


@torch.no_grad()
def figures(model: Forecaster, examples: Examples, run: ForecasterRun) -> tuple[float, dict[str, Any]]:
    """Return the mean loss of forecasts, in scales, and the mean absolute error of the medians, in units."""
    arrays = {
        name: on_device(array, run.device)
        for name, array in ForecastBatch(examples).arrays().items()
        if array is not None
    }
    with mixed_precision(run.config, run.device):
        quantiles = model(arrays["values"][:, : examples.known]).float()
    targets, present = (arrays[name][:, examples.known :] for name in ("values", "present"))
    losses = pinball_losses(quantiles, targets.unsqueeze(2), model.levels.float())[:, :, 0].double() * present
    medians = quantiles[:, :, model.middle].double().cpu().numpy() * examples.scales + examples.levels
    return float(losses.sum() / present.sum().clamp(min=1)), {"mae": mean_error(medians, examples)}
