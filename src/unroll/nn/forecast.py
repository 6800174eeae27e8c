"""A forecaster: recurrent layers that read a series of numbers, predict its next value, and read their prediction."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unroll.nn.dropout import drop
from unroll.nn.forecast_config import ForecastConfig
from unroll.nn.learner import Learner
from unroll.nn.recurrent import Recurrent
from unroll.state import State


class Forecaster(Learner):
    """Recurrent layers over the latest values of a series, beside a linear autoregression (Lai et al. 2018).

    At each step they read the last `lags` values, less the mean of the last season of them, and how many steps ago the
    last one was observed. The median of the next value is the mean of that season, plus a linear function of the lags,
    plus what the state says; the distances of the other quantiles from it are the state's alone, so that quantiles do
    not cross. It begins as the rule that the next value is the last.
    """

    config: ForecastConfig
    levels: Tensor

    def __init__(self, config: ForecastConfig) -> None:
        super().__init__()
        self.config, levels = config, config.levels
        self.middle = levels.index(0.5)
        self.recurrent = Recurrent(
            config.arch, config.input_size, config.hidden_size, config.num_layers, skip=config.skip,
            forget_bias=config.forget_bias, init="torch", dropout=config.dropout, weight_drop=config.weight_drop,
        )  # fmt: skip
        self.autoregression = nn.Linear(config.lags, 1, bias=False)
        self.head = nn.Linear(config.hidden_size, len(levels))
        nn.init.zeros_(self.autoregression.weight)
        nn.init.ones_(self.autoregression.weight[:, 0])
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)

    def fresh_state(self, batch_size: int) -> State:
        """Return (): every forecast reads its context from a fresh state, and nothing is carried on."""
        return ()

    def forward(self, values: Tensor) -> Tensor:
        """Return the quantiles (B, horizon, Q) of what follows values (B, N), N at least `lags`."""
        return self._read(values)[1]

    def _read(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the quantiles (B, T, Q) of the value after each step, and those after the last of them."""
        config = self.config
        windows = values.unfold(1, config.lags, 1).transpose(0, 1)  # (T, B, lags)
        x, anchors = self._inputs(windows, 0)
        y, state = self.recurrent(drop(x, config.input_dropout, variational=False, training=self.training))
        read = self._quantiles(x, anchors, y)
        window, ahead = windows[-1:], [read[-1:]]
        for step in range(1, config.horizon):
            window = torch.cat([window[:, :, 1:], ahead[-1][:, :, self.middle, None]], dim=2)
            x, anchors = self._inputs(window, step)
            y, state = self.recurrent(x, state)
            ahead.append(self._quantiles(x, anchors, y))
        return read.transpose(0, 1), torch.cat(ahead).transpose(0, 1)

    def _inputs(self, windows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return what is read of windows (T, B, lags), and the mean (T, B, 1) of the last season of each."""
        anchors = windows[:, :, -self.config.season :].mean(dim=2, keepdim=True)
        ago = torch.full_like(anchors, step / self.config.horizon)
        return torch.cat([windows.flip(2) - anchors, ago], dim=2), anchors

    def _quantiles(self, x: Tensor, anchors: Tensor, y: Tensor) -> Tensor:
        """Return the quantiles (T, B, Q) of the next values."""
        raw = self.head(drop(y, self.config.dropout, variational=False, training=self.training))
        below, median, above = raw.split([self.middle, 1, raw.shape[2] - self.middle - 1], dim=2)
        median = median + self.autoregression(x[:, :, :-1]) + anchors
        lower = median - F.softplus(below).flip(2).cumsum(2).flip(2)
        return torch.cat([lower, median, median + F.softplus(above).cumsum(2)], dim=2)

    def loss(self, values: Tensor, present: Tensor, state: State = ()) -> tuple[Tensor, State]:
        """Return the mean loss of standardised values (B, N + horizon), of which the last are to be forecast.

        Where `present` is 0, a value is no target. The loss is the mean of two, `pinball_losses` of the forecast and of
        the next value at each step before it.
        """
        config = self.config
        targets = values.unsqueeze(2), present.unsqueeze(2)
        known = values[:, : values.shape[1] - config.horizon]
        if self.training and config.noise:
            known = known + config.noise * torch.randn_like(known)
        read, ahead = self._read(known)
        parts = (read, slice(config.lags, known.shape[1] + 1)), (ahead, slice(known.shape[1], None))
        with torch.autocast(ahead.device.type, enabled=False):
            losses = [
                (pinball_losses(quantiles, targets[0][:, place], self.levels) * targets[1][:, place]).sum()
                / targets[1][:, place].sum().clamp(min=1)
                for quantiles, place in parts
            ]
        return 0.5 * (losses[0] + losses[1]), state


def pinball_losses(quantiles: Tensor, values: Tensor, levels: Tensor) -> Tensor:
    """Return twice the pinball loss of quantiles (…, Q) beside values (…, 1), its mean over the quantiles (…, 1).

    At the median that is the absolute error.
    """
    errors = values - quantiles
    return 2 * torch.maximum(levels * errors, (levels - 1) * errors).mean(dim=-1, keepdim=True)
