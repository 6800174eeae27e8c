"""Forecasters without torch: the same numbers as with it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from unroll.engine.forecast import ForecastNetwork
from unroll.nn.arch import RECURRENT
from unroll.nn.forecast import Forecaster
from unroll.nn.forecast_config import ForecastConfig

SHAPE: dict[str, Any] = {
    "horizon": 6, "season": 3, "lags": 5, "context": 21, "hidden_size": 7, "quantiles": "0.1,0.3,0.5,0.9"
}  # fmt: skip


def both(**options: Any) -> tuple[Forecaster, ForecastNetwork]:
    torch.manual_seed(0)
    config = ForecastConfig(**SHAPE | options)
    model = Forecaster(config).double().eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.4)
    return model, ForecastNetwork(config, {name: w.detach().numpy() for name, w in model.named_parameters()})


@pytest.mark.parametrize("arch", RECURRENT)
@pytest.mark.parametrize(("skip", "num_layers"), [("none", 1), ("residual", 2), ("sum", 3)])
def test_both_engines_forecast_the_same(arch: str, skip: str, num_layers: int) -> None:
    model, network = both(arch=arch, skip=skip, num_layers=num_layers)
    values = torch.randn(3, 25).double()
    with torch.no_grad():
        expected = model(values).numpy()
    np.testing.assert_allclose(network.forecast(values.numpy()), expected, atol=1e-9)


def test_what_lies_before_the_reach_does_not_matter() -> None:
    _, network = both()
    values = np.random.default_rng(0).normal(size=(2, 40))
    ahead = network.forecast(values)
    np.testing.assert_array_equal(network.forecast(values[:, -25:]), ahead)
    assert np.abs(network.forecast(values[:, -24:]) - ahead).max() > 0


def test_rows_do_not_depend_on_each_other() -> None:
    _, network = both()
    values = np.random.default_rng(0).normal(size=(4, 9))
    np.testing.assert_allclose(network.forecast(values[::-1])[::-1], network.forecast(values), atol=1e-12)


def test_too_few_values_are_refused() -> None:
    _, network = both()
    with pytest.raises(ValueError, match="4 values; allowed: at least 5"):
        network.forecast(np.zeros((1, 4)))
