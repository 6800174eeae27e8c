"""A network over sequences of vectors: one row at a time or many, whatever pads a row; its losses and its noise."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from unroll.errors import UserError
from unroll.nn.series import SeriesNetwork, row_losses
from unroll.nn.series_config import SeriesConfig, series_parameters, series_shapes

LENGTHS = torch.tensor([30, 1, 17, 23])


def network(**options: Any) -> Any:
    shape = {"channels": 3, "hidden_size": 7, "num_layers": 2, "outputs": 4, "pooling": "last,mean,max,attention"}
    model = SeriesNetwork(SeriesConfig(**shape | options))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.6 * torch.randn(weight.shape, generator=generator))
    return model.double().eval()


def vectors(size: int = 3) -> Tensor:
    return torch.randn(len(LENGTHS), 30, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("arch", ["lstm", "gru", "mingru", "rnn"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_row_is_the_same_alone_padded_and_stepwise(arch: str, bidirectional: bool) -> None:
    model, x = network(arch=arch, bidirectional=bidirectional), vectors()
    together = model(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(x[row : row + 1, :length], LENGTHS[row : row + 1], "stepwise")
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-9)
    padded = torch.cat([x, torch.full((4, 5, 3), 1e6, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(model(padded, LENGTHS), together, rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"marks": True, "bidirectional": False}, {"arch": "mingru", "pooling": "max"}])
def test_weights_are_those_of_the_configuration(options: dict[str, Any]) -> None:
    model = network(**options)
    assert {name: tuple(w.shape) for name, w in model.named_parameters()} == series_shapes(model.config)
    assert sum(w.numel() for w in model.parameters()) == series_parameters(model.config)


def test_the_loss_of_labels_is_their_cross_entropy_and_of_numbers_half_the_squared_error() -> None:
    model, x = network(), vectors()
    targets = torch.eye(4, dtype=torch.float64)
    expected = -torch.log_softmax(model(x, LENGTHS), 1).diagonal()
    weights = torch.tensor([1.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    loss, state = model.loss(x, LENGTHS, targets, weights)
    torch.testing.assert_close(loss, (expected * weights).mean(), rtol=0, atol=1e-9)
    assert state == ()
    numbers = row_losses(torch.tensor([[3.0], [1.0]]), torch.tensor([[1.0], [1.0]]), network(task="regress").config)
    assert numbers.tolist() == [2.0, 0.0]


def test_noise_and_dropped_channels_are_of_training_alone_and_leave_marks() -> None:
    model, x = network(marks=True, noise=0.5, channel_dropout=0.5), vectors(6)
    assert torch.equal(model.inputs(x), x.transpose(0, 1))
    torch.manual_seed(0)
    read = model.train().inputs(x)
    assert torch.equal(read[:, :, 3:], x.transpose(0, 1)[:, :, 3:])
    dropped = (read[:, :, :3] == 0).all(0)
    assert dropped.any() and not dropped.all()
    assert not math.isclose(float(read[0, 0, 0]), float(x[0, 0, 0]))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"channels": 0}, "channels"),
        ({"outputs": 1}, "outputs"),
        ({"task": "guess"}, "task"),
        ({"noise": -1.0}, "noise"),
        ({"channel_dropout": 1.0}, "channel_dropout"),
        ({"pooling": "last,last"}, "each name once"),
        ({"hidden_size": 2**30}, "parameters"),
    ],
)
def test_a_shape_that_does_not_do_is_refused(options: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part) as raised:
        SeriesConfig(**{"channels": 3, "outputs": 4} | options)
    assert part in str(raised.value) or part in raised.value.allowed
