"""A unit clamped at its own values changes nothing; clamped elsewhere it is what the equation gives step by step."""

import pytest
import torch
from torch import Tensor

from unroll.insight.hold import Cell, Held, holding, holds_of
from unroll.nn.cells import STEPS, LSTMStep, state_after
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.nn.recurrent import RecurrentLayer
from unroll.state import LayerState


def random_lstm() -> tuple[Model, Tensor, tuple[tuple[Tensor, Tensor], ...]]:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=11, embedding_size=5, hidden_size=7, num_layers=2, skip="sum")
    model = Model(config).double().eval()
    ids = torch.randint(11, (3, 25))
    state = tuple((torch.randn(3, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)) for _ in range(2))
    return model, ids, state


@pytest.mark.parametrize("signal", ["c", "h"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_unit_held_at_its_own_values_changes_nothing(signal: str, layer: int) -> None:
    model, ids, state = random_lstm()
    free, after, inside = model.trace(ids, state)
    values = inside[layer][signal][:, :, 4].T  # (T, B)
    rows, units = torch.arange(3), torch.full((3,), 4)
    fixed, held_after, _ = model.trace(ids, state, {layer: holding({signal: (rows, units, values)})})
    assert torch.allclose(free, fixed, atol=1e-9, rtol=0)
    for free_layer, fixed_layer in zip(after, held_after, strict=True):
        assert all(torch.allclose(a, b, atol=1e-9, rtol=0) for a, b in zip(free_layer, fixed_layer, strict=True))
    # The fault: values of the step before are others.
    late = torch.roll(values, 1, 0)
    misplaced, _, _ = model.trace(ids, state, {layer: holding({signal: (rows, units, late)})})
    assert not torch.allclose(free, misplaced, atol=1e-3, rtol=0)


@pytest.mark.parametrize("signal", ["c", "h"])
def test_holding_equals_the_equation_step_by_step(signal: str) -> None:
    model, ids, state = random_lstm()
    holds = holds_of([(Held(Cell(1, signal, 2), 0.7), torch.arange(3, 6))], 25, torch.float64)
    doubled = tuple(tuple(torch.cat([part, part]) for part in layer) for layer in state)
    logits, _, _ = model.trace(torch.cat([ids, ids]), doubled, holds)
    free, _, _ = model.trace(ids, state)
    assert torch.allclose(logits[:3], free, atol=1e-9, rtol=0), "rows that are not held are left alone"

    x, total = model.embedding(ids.T), torch.zeros(25, 3, 7, dtype=torch.float64)
    for k, layer in enumerate(model.recurrent.layers):
        assert isinstance(layer, RecurrentLayer)
        state_now: LayerState = state[k]
        outputs = []
        for x_t in x:
            step = STEPS["lstm"](x_t, state_now, layer.weights(0.0))
            assert isinstance(step, LSTMStep)
            if k == 1:
                c, h = step.c.clone(), step.h.clone()
                if signal == "c":
                    c[:, 2] = 0.7
                    h = step.o * torch.tanh(c)
                else:
                    h[:, 2] = 0.7
                step = step._replace(c=c, h=h)
            state_now = state_after(step)
            outputs.append(step.h)
        x = torch.stack(outputs)
        total = total + x
    assert torch.allclose(logits[3:], model.logits(total).transpose(0, 1), atol=1e-9, rtol=0)
