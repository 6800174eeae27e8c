"""The window model: what it sees, in which order, and what its state is."""

import pytest
import torch

from laws.cases import STEPS, VOCAB, Case, config, start_state
from laws.laws import close
from unroll.nn.window import Window

SIZES = [1, 2, 5, 40]


@pytest.mark.parametrize("window", SIZES)
def test_the_equation(window: int) -> None:
    """Hold the first layer to y_t = tanh(b + W [x_{t-n+1}; ...; x_t]), one step at a time, zeros before the text."""
    torch.manual_seed(0)
    layer = Window(3, 4, 1, window, 0.0, False).double()
    linear = layer.layers[0]
    assert isinstance(linear, torch.nn.Linear) and linear.weight.shape == (4, 3 * window)
    x = torch.randn(12, 2, 3, dtype=torch.float64)
    y, _ = layer.forward(x)
    for t in range(12):
        for b in range(2):
            total = linear.bias.clone()
            for k in range(window):  # block k of W belongs to the input n-1-k steps back
                past = t - (window - 1 - k)
                if past >= 0:
                    total = total + linear.weight[:, 3 * k : 3 * (k + 1)] @ x[past, b]
            close(y[t, b], torch.tanh(total), 1e-12)


@pytest.mark.parametrize("window", SIZES)
def test_the_state_is_the_last_inputs(window: int) -> None:
    model = Case("", config("window", 2, window=window)).model()
    state = start_state(model)
    ids = torch.randint(VOCAB, (4, STEPS))
    for steps in (1, 3, STEPS):
        ((after,),) = model.forward(ids[:, :steps], state)[1]
        inputs = torch.cat([state[0][0], model.embedding(ids[:, :steps])], dim=1)
        close(after, inputs[:, steps:], 0.0)
        assert after.shape == (4, window - 1, 6)


@pytest.mark.parametrize("window", SIZES)
def test_the_state_holds_nothing_from_before_a_reset(window: int) -> None:
    model = Case("", config("window", 2, window=window)).model()
    ids = torch.randint(VOCAB, (4, 6))
    resets = torch.zeros(4, 6, dtype=torch.bool)
    resets[2, 4] = True
    ((after,),) = model.forward(ids, start_state(model), resets)[1]
    expected = torch.zeros(window - 1, 6, dtype=torch.float64)
    window_inputs = model.embedding(ids[2, 4:])[-(window - 1) :] if window > 1 else expected
    expected[len(expected) - len(window_inputs) :] = window_inputs
    close(after[2], expected, 0.0)


def test_the_state_does_not_keep_the_whole_text() -> None:
    # A view into a long window would hold all of it in memory for as long as the state is carried.
    layer = Window(3, 4, 1, 5, 0.0, False)
    for rows in (1, 2):
        ((after,),) = layer.forward(torch.randn(1000, rows, 3))[1]
        assert after.is_contiguous()
        assert after.untyped_storage().nbytes() == after.numel() * after.element_size()
