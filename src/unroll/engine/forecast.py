"""A forecaster without torch: it reads the latest values of series, predicts the next, and reads its prediction."""

from pathlib import Path

import numpy as np

from unroll.engine.checks import FLOATS, check_array
from unroll.engine.reference import STEPS, Array, Weights
from unroll.engine.weights import check_shapes, read_tensors
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.forecast_config import ForecastConfig, forecast_parameters, forecast_shapes


class ForecastNetwork:
    """A forecaster's weights and what is computed with them, in their type. It stores no state."""

    def __init__(self, config: ForecastConfig, weights: Weights) -> None:
        """Use `weights` by the names of the torch model; raises ValueError for those of another network."""
        check_shapes(weights, forecast_shapes(config))
        self.config, self._weights = config, weights
        self._middle = config.levels.index(0.5)

    def forecast(self, values: Array) -> Array:
        """Return the quantiles (B, horizon, Q) of what follows standardised values (B, N), N at least `lags`.

        The last `reach` of them are read. Raises ValueError for fewer than `lags`.
        """
        config = self.config
        check_array(values, "values", FLOATS, ("B", "N"))
        if values.shape[1] < config.lags:
            raise ValueError(f"{values.shape[1]} values; allowed: at least {config.lags}")
        values = values[:, -config.reach :].astype(self._weights["head.bias"].dtype)
        shape = (len(values), config.hidden_size)
        state = [
            tuple(np.zeros(shape, values.dtype) for _ in ARCHITECTURES[config.arch].state)
            for _ in range(config.num_layers)
        ]
        windows = np.lib.stride_tricks.sliding_window_view(values, config.lags, axis=1)
        for window in windows.swapaxes(0, 1):
            quantiles = self._next(window, 0, state)
        ahead = [quantiles]
        for step in range(1, config.horizon):
            window = np.concatenate([window[:, 1:], ahead[-1][:, self._middle, None]], axis=1)
            ahead.append(self._next(window, step, state))
        return np.stack(ahead, axis=1)

    def _next(self, window: Array, step: int, state: list[tuple[Array, ...]]) -> Array:
        """Return the quantiles (B, Q) of the value after a window (B, lags), whose last `step` values are forecasts.

        The `state` of the layers moves on.
        """
        anchor = window[:, -self.config.season :].mean(axis=1, keepdims=True)
        x = np.concatenate([window[:, ::-1] - anchor, np.full_like(anchor, step / self.config.horizon)], axis=1)
        y = self._step(x, state)
        raw = y @ self._weights["head.weight"].T + self._weights["head.bias"]
        middle = self._middle
        median = raw[:, middle, None] + x[:, :-1] @ self._weights["autoregression.weight"].T + anchor
        spread = np.logaddexp(0, raw)
        lower = median - spread[:, :middle][:, ::-1].cumsum(axis=1)[:, ::-1]
        return np.concatenate([lower, median, median + spread[:, middle + 1 :].cumsum(axis=1)], axis=1)

    def _step(self, x: Array, state: list[tuple[Array, ...]]) -> Array:
        """Return the output (B, H) of the layers for their input (B, I); their `state` moves on."""
        total = np.zeros((), x.dtype)
        for k in range(self.config.num_layers):
            w = {name: self._weights.get(f"recurrent.layers.{k}.{name}") for name in ("weight_hh", "bias_hh")}
            inputs = x @ self._weights[f"recurrent.layers.{k}.weight_ih"].T
            inputs += self._weights[f"recurrent.layers.{k}.bias_ih"]
            hidden = state[k][0]
            recurrent = hidden[:, :0] if w["weight_hh"] is None else hidden @ w["weight_hh"].T + w["bias_hh"]
            state[k] = STEPS[self.config.arch](inputs, recurrent, state[k])
            x = state[k][0] + x if self.config.skip == "residual" and k else state[k][0]
            total = total + x
        return total if self.config.skip == "sum" else x


def load_forecaster(file: Path, config: ForecastConfig) -> ForecastNetwork:
    """Load the weights of a forecaster. Raises UserError for a file that is missing, damaged or of another model."""
    return ForecastNetwork(config, read_tensors(file, forecast_parameters(config), lambda: forecast_shapes(config)))
