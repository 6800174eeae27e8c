"""Forecasters in torch: what is fed back, what is learnt from, and what a shape may be."""

from typing import Any

import pytest
import torch
from torch import nn

from unroll.errors import UserError
from unroll.nn.forecast import Forecaster, pinball_losses
from unroll.nn.forecast_config import ForecastConfig, forecast_parameters, forecast_shapes

SHAPE: dict[str, Any] = {"horizon": 5, "season": 3, "lags": 4, "context": 6, "hidden_size": 4}


def forecaster(**options: Any) -> Forecaster:
    """Return a forecaster with random weights, of which none is zero."""
    torch.manual_seed(1)
    model = Forecaster(ForecastConfig(**SHAPE | options)).double().eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.4)
    return model


def test_a_forecast_is_of_one_step_and_fed_back() -> None:
    model = forecaster()
    with torch.no_grad():
        first = model.get_parameter("recurrent.layers.0.weight_ih")
        first[:, -1] = 0.0  # so that what is fed back reads as what was observed
        values = torch.randn(3, 10).double()
        ahead = model(values)
        for step in range(1, 5):
            longer = torch.cat([values, ahead[:, :step, model.middle]], dim=1)
            torch.testing.assert_close(model(longer)[:, 0], ahead[:, step])


def test_how_long_ago_the_last_observation_is_is_read() -> None:
    model, values = forecaster(), torch.randn(2, 9).double()
    with torch.no_grad():
        ahead = model(values)
        longer = torch.cat([values, ahead[:, :1, model.middle]], dim=1)
        assert not torch.allclose(model(longer)[:, 0], ahead[:, 1])


@pytest.mark.parametrize("quantiles", ["0.5", "0.1,0.5,0.9", "0.05,0.2,0.5,0.6,0.7,0.95"])
def test_quantiles_do_not_cross(quantiles: str) -> None:
    with torch.no_grad():
        ahead = forecaster(quantiles=quantiles)(10 * torch.randn(20, 9).double())
    assert ahead.shape == (20, 5, len(quantiles.split(",")))
    assert (ahead.diff(dim=2) > 0).all()


def test_it_begins_as_the_rule_of_the_last_value() -> None:
    model, values = Forecaster(ForecastConfig(**SHAPE)).eval(), torch.randn(4, 8)
    with torch.no_grad():
        medians = model(values)[:, :, model.middle]
    torch.testing.assert_close(medians, values[:, -1:].expand(4, 5))


def test_what_is_missing_is_no_target() -> None:
    model = forecaster()
    values, present = torch.randn(2, 14).double(), torch.ones(2, 14).double()
    present[0, 12] = present[1, 9] = 0.0
    loss, state = model.loss(values, present)
    other = values.clone()
    other[0, 12] = 100.0
    assert state == () and model.loss(other, present)[0] == loss
    other[0, 11] = 100.0
    assert model.loss(other, present)[0] != loss


def test_the_loss_is_of_the_forecast_and_of_each_next_value() -> None:
    model = forecaster()
    values = torch.randn(2, 14).double()
    levels = model.levels.double()
    ahead = pinball_losses(model(values[:, :9]), values[:, 9:].unsqueeze(2), levels).mean()
    nexts = [pinball_losses(model(values[:, :end])[:, 0], values[:, end, None], levels) for end in range(4, 10)]
    torch.testing.assert_close(model.loss(values, torch.ones_like(values))[0], (ahead + torch.stack(nexts).mean()) / 2)


def test_the_pinball_loss_of_the_median_is_the_absolute_error() -> None:
    values = torch.tensor([[3.0]])
    assert pinball_losses(torch.tensor([[1.0]]), values, torch.tensor([0.5])).item() == 2.0
    # Too low costs 0.9 a unit at the quantile 0.9, too high 0.1: twice that.
    assert pinball_losses(torch.tensor([[1.0]]), values, torch.tensor([0.9])).item() == pytest.approx(3.6)
    assert pinball_losses(torch.tensor([[5.0]]), values, torch.tensor([0.9])).item() == pytest.approx(0.4)


def test_the_weights_are_those_that_are_counted() -> None:
    for options in ({}, {"num_layers": 3, "arch": "lstm"}, {"arch": "mingru", "quantiles": "0.5"}):
        model = forecaster(**options)
        assert {name: tuple(w.shape) for name, w in model.named_parameters()} == forecast_shapes(model.config)
        assert sum(w.numel() for w in model.parameters()) == forecast_parameters(model.config)


@pytest.mark.parametrize(
    "options",
    [
        {"horizon": 0},
        {"horizon": 2**20},
        {"lags": 2},
        {"bidirectional": True},
        {"noise": -1.0},
        {"quantiles": ""},
        {"quantiles": "0.1,0.9"},
        {"quantiles": "0.9,0.5,0.1"},
        {"quantiles": "0.5,0.5"},
        {"quantiles": "0,0.5"},
        {"quantiles": "0.5,1"},
        {"quantiles": "0.5,nan"},
        {"quantiles": "half"},
        {"hidden_size": 2**20},
    ],
)
def test_a_shape_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        ForecastConfig(**SHAPE | options)
