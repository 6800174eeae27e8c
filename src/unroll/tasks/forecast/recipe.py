"""The recipe of a forecaster: every setting, chosen from the series and the budget. Without torch."""

from dataclasses import dataclass

from unroll.errors import UserError, number_of
from unroll.nn.forecast_config import ForecastConfig
from unroll.settings import from_mapping
from unroll.training.config import LoopConfig, OptimConfig
from unroll.training.recipe import Overrides


@dataclass(frozen=True)
class ForecastTraining(LoopConfig):
    """How a forecaster is trained."""

    batch_size: int = 64
    """Forecasts of a step, each with the values that it reads."""
    held_out: float = 0.125
    """Part of each series, at its end, by which the best weights are chosen; at least a horizon."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out is {self.held_out}", allowed="between 0 and 1", fix="write for example 0.125")

    def held_out_of(self, steps: int, horizon: int) -> int:
        """Return how many of so many steps are held out."""
        return max(horizon, round(self.held_out * steps))


TABLES: dict[str, type] = {"model": ForecastConfig, "optim": OptimConfig, "training": ForecastTraining}


@dataclass(frozen=True)
class ForecastRecipe:
    """Every setting, resolved: enough to repeat a run."""

    model: ForecastConfig
    optim: OptimConfig
    training: ForecastTraining


# What follows was tuned by measurement; docs/lab-notes.md names series and failed attempts.

FEWEST_LAGS = 12
CONTEXT = 64


def steps_enough(values: int) -> int:
    """Return the most steps that a budget is spent on, for a training part of so many values."""
    return min(3000, 100 + values // 4)


def training_of(steps: int, overrides: Overrides, threads: int = 1) -> ForecastTraining:
    """Return how a forecaster is trained for so many steps. Raises UserError."""
    every = max(1, steps // 20)
    defaults = {"steps": steps, "threads": threads, "valid_every": every, "save_every": every}
    return from_mapping(ForecastTraining, defaults | overrides["training"], "the recipe's [training]")


def choose(
    horizon: int, season: int, shortest: int, steps: int, overrides: Overrides, threads: int = 1
) -> ForecastRecipe:
    """Choose every setting that the user left open, for series of at least `shortest` steps: by its arguments alone.

    Raises UserError where the shortest series is too short for a forecast to be learnt of it.
    """
    fixed = overrides["model"]
    if fixed.get("horizon", horizon) != horizon:
        raise UserError(
            f"horizon is {fixed['horizon']} in the recipe's [model], and --horizon {horizon}",
            allowed="the horizon that is asked for",
            fix="leave it out of the recipe",
        )
    training = training_of(steps, overrides, threads)
    lags = fixed.get("lags", max(FEWEST_LAGS, season + 1))
    kept = shortest - training.held_out_of(shortest, horizon)
    longest = kept - horizon - lags + 1
    model = {
        "horizon": horizon,
        "season": season,
        "lags": lags,
        "context": max(1, min(CONTEXT, longest)),
        "dropout": 0.2,
        "noise": 0.1,
    }
    config = from_mapping(ForecastConfig, model | fixed, "the recipe's [model]")
    if config.context > longest:
        raise UserError(
            f"a series of {number_of(shortest, 'step')} is too short to learn to forecast {horizon:,}: "
            f"{shortest - kept:,} are held out, and an example has {config.reach + horizon:,}, {lags:,} of them lags",
            allowed="longer series, a shorter horizon or season, or fewer lags",
            fix="lower --horizon or --season, or leave short series out",
        )
    optim = {"learning_rate": 5e-3, "warmup_steps": max(1, steps // 10), "weight_decay": 0.01, "averaging": 0.98}
    return ForecastRecipe(
        config, from_mapping(OptimConfig, optim | overrides["optim"], "the recipe's [optim]"), training
    )
