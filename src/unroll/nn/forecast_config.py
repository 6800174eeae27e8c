"""The shape of a forecaster: what it reads of a series of numbers, and the layers that predict. Without torch."""

from dataclasses import dataclass, field
from math import isfinite

from unroll.errors import UserError, check_fields
from unroll.nn.arch import Cell, layer_shapes
from unroll.nn.config import check_count
from unroll.nn.layers_config import LayersConfig, total

MOST_STEPS = 2**14
"""The largest horizon, season, number of lags and context."""
MOST_QUANTILES = 99


@dataclass(frozen=True)
class ForecastConfig(LayersConfig):
    """The shape of recurrent layers that read a series of numbers and predict its next value, step by step."""

    arch: Cell = "gru"
    """The architecture."""
    hidden_size: int = 16
    """Number of units of each recurrent layer."""
    bidirectional: bool = False
    """False: what is to be forecast cannot be read from its end."""
    horizon: int = field(kw_only=True)
    """Number of steps to forecast; given by --horizon, so leave it out."""
    season: int = 1
    """Steps of a season, 1 without one; given by --season or estimated, so leave it out."""
    lags: int = 12
    """Number of values that are read at each step: the latest and those before it."""
    context: int = 64
    """Number of steps that are read before a forecast begins."""
    quantiles: str = "0.1,0.5,0.9"
    """The quantiles that are predicted, with commas between them; 0.5 is one, as the median is what is fed back."""
    noise: float = 0.0
    """Standard deviation of the noise that is added to standardised values in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("horizon", "season", "lags", "context"):
            right = 1 <= getattr(self, name) <= MOST_STEPS
            check_fields(self, (name, right, f"1 to {MOST_STEPS:,}", "choose a number from that range"))
        check_fields(
            self,
            ("bidirectional", not self.bidirectional, "false", "leave it out"),
            ("lags", self.lags >= self.season, f"at least the season, {self.season}", "leave it out, or raise it"),
            ("noise", 0 <= self.noise <= 100, "0 to 100", "write for example 0.1, or leave it out"),
        )
        levels = self.levels
        if not levels or levels != sorted(set(levels)) or not 0 < levels[0] <= 0.5 <= levels[-1] < 1 or (
            0.5 not in levels or len(levels) > MOST_QUANTILES
        ):  # fmt: skip
            raise UserError(
                f"quantiles is {self.quantiles[:60]!r}",
                allowed=f"rising numbers between 0 and 1, 0.5 among them, at most {MOST_QUANTILES}",
                fix="write for example 0.05,0.5,0.95",
            )
        check_count(forecast_parameters(self))

    @property
    def levels(self) -> list[float]:
        """The quantiles as numbers; none where they are not numbers."""
        try:
            levels = [float(level) for level in self.quantiles.split(",")]
        except ValueError:
            return []
        return levels if all(map(isfinite, levels)) else []

    @property
    def input_size(self) -> int:
        """Size I of what the first layer reads: the lags, and how far ahead of the last observation they end."""
        return self.lags + 1

    @property
    def reach(self) -> int:
        """Number of values before a forecast that it depends on."""
        return self.context + self.lags - 1


def forecast_shapes(config: ForecastConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a forecaster."""
    named: dict[str, tuple[int, ...]] = {}
    for k in range(config.num_layers):
        shapes = layer_shapes(config.arch, config.hidden_size if k else config.input_size, config.hidden_size)
        named |= {f"recurrent.layers.{k}.{name}": shape for name, shape in shapes.items()}
    return named | _head_shapes(config)


def forecast_parameters(config: ForecastConfig) -> int:
    """Return how many weights a forecaster has, without making it."""
    first, further = (
        total(layer_shapes(config.arch, inputs, config.hidden_size))
        for inputs in (config.input_size, config.hidden_size)
    )
    return first + (config.num_layers - 1) * further + total(_head_shapes(config))


def _head_shapes(config: ForecastConfig) -> dict[str, tuple[int, ...]]:
    outputs = len(config.levels)
    return {
        "autoregression.weight": (1, config.lags),
        "head.weight": (outputs, config.hidden_size),
        "head.bias": (outputs,),
    }
