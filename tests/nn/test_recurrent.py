"""The recurrent layers: how they start, how they are joined, which state they hand on."""

import pytest
import torch
from torch import Tensor

from laws.laws import close
from unroll.nn.arch import ARCHITECTURES, RECURRENT, Cell
from unroll.nn.recurrent import Recurrent, RecurrentLayer, run_fused
from unroll.state import detach

ARCHS = RECURRENT


@pytest.mark.parametrize("arch", ARCHS)
def test_recurrent_weights_start_orthogonal_gate_by_gate(arch: Cell) -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer(arch, 6, 16, forget_bias=1.5, init="fan_in")
    if not ARCHITECTURES[arch].reads_state:
        assert layer.weights(0.0).weight_hh.shape == (0, 16)
        assert set(dict(layer.named_parameters())) == {"weight_ih", "bias_ih"}
        return
    gates = layer.weight_hh.chunk(len(ARCHITECTURES[arch].blocks))
    for gate in gates:
        close(gate @ gate.T, torch.eye(16), 1e-5)
    assert len({tuple(gate.flatten().tolist()) for gate in gates}) == len(gates)


def test_weights_start_the_same_with_any_number_of_threads() -> None:
    def start(threads: int) -> Tensor:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        return RecurrentLayer("lstm", 8, 128, 1.0, "fan_in").weight_hh

    weights = [start(threads) for threads in (1, 2)]
    assert torch.get_num_threads() == 2
    assert torch.equal(*weights)


@pytest.mark.parametrize("arch", ARCHS)
def test_inputs_of_unit_variance_start_gates_of_unit_variance(arch: Cell) -> None:
    """Whatever the sizes; with torch's own way they depend on both."""
    torch.manual_seed(0)
    x = torch.randn(1000, 64)
    for hidden_size in (16, 256):
        gates = x @ RecurrentLayer(arch, 64, hidden_size, forget_bias=0.0, init="fan_in").weight_ih.T
        assert 0.9 < gates.std() < 1.1
        torchs = RecurrentLayer(arch, 64, hidden_size, forget_bias=0.0, init="torch").weight_ih
        assert 0.9 < torchs.std() * (3 * hidden_size) ** 0.5 < 1.1


@pytest.mark.parametrize("arch", ARCHS)
def test_biases_start_at_zero_but_for_the_forget_gate(arch: Cell) -> None:
    layer = RecurrentLayer(arch, 6, 16, forget_bias=1.5, init="fan_in")
    bias = layer.bias_ih.view(len(ARCHITECTURES[arch].blocks), 16)
    expected = torch.zeros_like(bias)
    if arch == "lstm":
        expected[1] = 1.5  # blocks i, f, g, o
    if arch == "mingru":
        expected[0] = -1.5  # blocks z, n, of which 1 - z keeps
    assert not layer.weights(0.0).bias_hh.any()
    close(bias, expected, 0.0)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_forget_bias_makes_the_cell_keep(arch: Cell) -> None:
    """Measure what the bias is for: with it, a memory lasts; the other cells have no such bias and ignore it."""
    magnitudes = []
    for forget_bias in (0.0, 5.0):
        torch.manual_seed(0)
        recurrent = Recurrent(arch, 6, 16, 1, forget_bias=forget_bias)
        state = tuple(
            tuple(torch.ones_like(part) for part in layer) for layer in recurrent.fresh_state(1, torch.ones(1))
        )
        magnitudes.append(recurrent.forward(torch.zeros(20, 1, 6), state)[1][0][-1].abs().mean().item())
    assert magnitudes[1] > 10 * magnitudes[0] if ARCHITECTURES[arch].forget else magnitudes[1] == magnitudes[0]


@pytest.mark.parametrize("arch", ARCHS)
def test_skip(arch: Cell) -> None:
    torch.manual_seed(0)
    unskipped = Recurrent(arch, 6, 8, 3).double()
    residual, total = (Recurrent(arch, 6, 8, 3, skip=skip).double() for skip in ("residual", "sum"))
    residual.load_state_dict(unskipped.state_dict())
    total.load_state_dict(unskipped.state_dict())
    x = torch.randn(20, 4, 6, dtype=torch.float64)

    def layer(k: int, x: Tensor) -> Tensor:
        own_layer = unskipped.layers[k]
        assert isinstance(own_layer, RecurrentLayer)
        return run_fused(arch, x, unskipped.fresh_state(4, x)[k], own_layer.weights(0.0), training=False)[0]

    a = layer(0, x)
    b = layer(1, a)
    close(unskipped.forward(x)[0], layer(2, b), 1e-12)
    close(total.forward(x)[0], a + b + layer(2, b), 1e-12)
    summed = layer(1, a) + a
    close(residual.forward(x)[0], layer(2, summed) + summed, 1e-12)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_fresh_state(arch: Cell) -> None:
    recurrent = Recurrent(arch, 6, 8, 3)
    state = recurrent.fresh_state(5, torch.ones(1, dtype=torch.float64))
    assert len(state) == 3 and all(len(layer) == len(ARCHITECTURES[arch].state) for layer in state)
    assert all(part.shape == (5, 8) and part.dtype == torch.float64 for layer in state for part in layer)
    assert all((part == 0).all() for layer in state for part in layer)
    x = torch.randn(20, 5, 6)
    close(recurrent.forward(x), recurrent.forward(x, recurrent.fresh_state(5, x)), 0.0)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_state_of_other_rows_is_refused(arch: Cell) -> None:
    layers = Recurrent(arch, 3, 5, 2)
    x = torch.zeros(4, 2, 3)
    with pytest.raises(ValueError, match=r"\(3, 5\) for 2 rows of 5 units"):
        layers(x, layers.fresh_state(3, x))
    with pytest.raises(ValueError, match="2 rows"):
        layers(x, Recurrent(arch, 3, 6, 2).fresh_state(2, x))


@pytest.mark.parametrize("arch", ARCHS)
def test_truncation_is_one_visible_detach(arch: Cell) -> None:
    torch.manual_seed(0)
    recurrent = Recurrent(arch, 6, 8, 2)
    first = torch.randn(10, 4, 6, requires_grad=True)
    second = torch.randn(10, 4, 6)
    _, state = recurrent.forward(first)
    for carried, reaches in ((state, True), (detach(state), False)):
        loss = recurrent.forward(second, carried)[0].square().sum()
        (gradient,) = torch.autograd.grad(loss, [first], allow_unused=True, retain_graph=True)
        assert (gradient is not None and bool((gradient != 0).any())) == reaches
