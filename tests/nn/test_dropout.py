"""What is dropped, what is kept, and that nothing is dropped once training is over; with planted faults."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from laws.cases import config, randomised, start_state
from laws.laws import close, resets_for
from unroll.errors import UserError
from unroll.nn.arch import ARCHITECTURES, RECURRENT, Cell
from unroll.nn.config import ModelConfig, Skip
from unroll.nn.dropout import drop, drop_symbols, drop_weights
from unroll.nn.model import Model
from unroll.nn.recurrent import Engine, Recurrent, RecurrentLayer

P = 0.4
Drop = Callable[[Tensor], Tensor]
READERS = [arch for arch in RECURRENT if ARCHITECTURES[arch].reads_state]
"""Cells with recurrent weights, which can be dropped."""
KNOBS = ("dropout", "input_dropout", "embedding_dropout", "weight_drop")
ARCHS = RECURRENT


def plain(x: Tensor) -> Tensor:
    return drop(x, P, variational=False, training=True)


def variational(x: Tensor) -> Tensor:
    return drop(x, P, variational=True, training=True)


def symbols(x: Tensor) -> Tensor:
    return drop_symbols(x, torch.arange(len(x)), len(x), P, training=True)


def weights(x: Tensor) -> Tensor:
    return drop_weights(x, P, training=True)


def law_expectation(dropout: Drop, shape: tuple[int, ...]) -> None:
    """What is kept is scaled up, so that the mean over many masks is what was put in."""
    torch.manual_seed(0)
    x = 1 + torch.rand(shape)
    draws = torch.stack([dropout(x) for _ in range(2000)])
    survivors = draws != 0
    close(draws[survivors], (x / (1 - P)).expand_as(draws)[survivors], 1e-6)
    # One entry's mean has a standard deviation of x * sqrt(P / (1 - P) / 2000) < 0.037: five of them.
    close(draws.mean(dim=0), x, 0.19)
    assert abs(survivors.float().mean().item() - (1 - P)) < 0.02


def law_one_mask(dropout: Drop) -> None:
    """A mask holds for all time steps, and differs between rows."""
    torch.manual_seed(0)
    mask = dropout(torch.ones(20, 6, 30)) != 0
    assert (mask == mask[:1]).all()
    assert len({tuple(row) for row in mask[0].tolist()}) == 6


@pytest.mark.parametrize("dropout", [plain, variational])
def test_expectation_of_outputs(dropout: Drop) -> None:
    law_expectation(dropout, (4, 3, 5))


@pytest.mark.parametrize("dropout", [symbols, weights])
def test_expectation_of_weights(dropout: Drop) -> None:
    law_expectation(dropout, (8, 5))


def test_variational_masks_hold_over_time() -> None:
    law_one_mask(variational)
    with pytest.raises(AssertionError):
        law_one_mask(plain)


def test_expectation_catches_its_faults() -> None:
    faults: list[Drop] = [
        lambda x: plain(x) * (1 - P),  # not scaled up
        lambda x: x / (1 - P),  # nothing dropped
        lambda x: x * F.dropout(torch.ones_like(x), 0.6) * 0.4 / 0.6,  # the probability turned round
    ]
    for fault in faults:
        with pytest.raises(AssertionError):
            law_expectation(fault, (4, 3, 5))


def test_symbols_are_dropped_whole() -> None:
    torch.manual_seed(0)
    ids = torch.randint(50, (30, 4))
    survivors = drop_symbols(torch.ones(30, 4, 5), ids, 50, P, training=True) != 0
    assert (survivors == survivors[..., :1]).all() and survivors.any() and not survivors.all()
    for symbol in range(50):  # wherever a symbol stands, it meets the same fate
        assert len(set(survivors[..., 0][ids == symbol].tolist())) <= 1


@pytest.mark.parametrize("p", [0.0, P])
def test_nothing_is_dropped_unless_training(p: float) -> None:
    x = torch.rand(4, 3, 5)
    training = p == 0.0  # and at probability 0 nothing even while training
    for dropout in (
        drop(x, p, variational=False, training=training),
        drop(x, p, variational=True, training=training),
        drop_symbols(x, torch.zeros(4, 3, dtype=torch.long), 1, p, training=training),
        drop_weights(x, p, training=training),
    ):
        assert dropout is x


# --- weight drop ---


@pytest.mark.parametrize("arch", READERS)
def test_weight_drop_changes_recurrent_weights_alone(arch: Cell) -> None:
    layer = RecurrentLayer(arch, 6, 8, forget_bias=1.0, init="fan_in")
    before = {name: weight.clone() for name, weight in layer.named_parameters()}
    dropout = layer.weights(0.5)
    assert dropout.weight_ih is layer.weight_ih
    assert dropout.bias_ih is layer.bias_ih and dropout.bias_hh is layer.bias_hh
    zero = dropout.weight_hh == 0
    assert zero.any(dim=1).float().mean() > 0.9 and not zero.all()
    close(dropout.weight_hh, torch.where(zero, 0.0, 2 * layer.weight_hh), 1e-6)
    close(dict(layer.named_parameters()), before, 0.0)
    assert layer.eval().weights(0.5).weight_hh is layer.weight_hh


@pytest.mark.parametrize("engine", get_args(Engine))
@pytest.mark.parametrize("arch", READERS)
def test_weight_drop_is_not_inert(arch: Cell, engine: Engine) -> None:
    # The famous fault: the kernel goes on reading the weights as they were before anything was dropped.
    torch.manual_seed(0)
    recurrent = Recurrent(arch, 6, 8, 2, weight_drop=0.5)
    x = torch.randn(20, 4, 6)
    undropped, _ = recurrent.eval().forward(x, engine=engine)
    recurrent.train()
    (first_run, _), (second_run, _) = recurrent.forward(x, engine=engine), recurrent.forward(x, engine=engine)
    for a, b in ((first_run, undropped), (second_run, undropped), (first_run, second_run)):
        close(a[0], b[0], 1e-6)  # at the first step there is no recurrence yet
        assert (a[-1] - b[-1]).abs().max() > 0.01


@pytest.mark.parametrize("engine", get_args(Engine))
@pytest.mark.parametrize("arch", READERS)
def test_dropped_weights_learn_nothing(arch: Cell, engine: Engine) -> None:
    torch.manual_seed(0)
    recurrent = Recurrent(arch, 6, 8, 1, weight_drop=0.5)
    layer = recurrent.layers[0]
    assert isinstance(layer, RecurrentLayer)
    x = torch.randn(20, 4, 6)
    torch.manual_seed(1)
    dropout = layer.weights(0.5).weight_hh == 0
    torch.manual_seed(1)
    loss = recurrent.forward(x, engine=engine)[0].square().sum()
    (gradient,) = torch.autograd.grad(loss, [layer.weight_hh])
    assert (gradient[dropout] == 0).all() and (gradient[~dropout] != 0).all()


# --- in the model ---


def model_of(arch: str, num_layers: int = 2, /, **options: object) -> Model:
    return randomised(Model(config(arch, num_layers, **options)).double())


def ids_of(rows: int = 4, steps: int = 26) -> Tensor:
    return torch.randint(7, (rows, steps), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("per_window", [False, True], ids=["plain", "variational"])
@pytest.mark.parametrize("arch", [*ARCHS, "window"])
def test_drop_is_off_in_eval(arch: str, per_window: bool) -> None:
    shape = {"tie_weights": True, "layers_before": 1, "layers_after": 1}
    knobs = {knob: 0.5 for knob in KNOBS if knob != "weight_drop" or arch in READERS}
    with_drop, model = model_of(arch, **shape, **knobs, variational=per_window), model_of(arch, **shape)
    state = start_state(model)
    expected = model.train().forward(ids_of(), state)
    close(with_drop.eval().forward(ids_of(), state), expected, 0.0)
    close(with_drop.eval().forward(ids_of(), state), expected, 0.0)


@pytest.mark.parametrize(
    ("arch", "knob"),
    [(arch, knob) for arch in (*ARCHS, "window") for knob in KNOBS if knob != "weight_drop" or arch in READERS],
)
def test_every_knob_drops_something(arch: str, knob: str) -> None:
    torch.manual_seed(0)
    model = model_of(arch, **{knob: 0.5}).train()
    first_run, second_run, undropped = (
        m.forward(ids_of(), start_state(m))[0] for m in (model, model, replace_config(model, **{knob: 0.0}))
    )
    assert not torch.equal(first_run, second_run) and not torch.equal(first_run, undropped)


def replace_config(model: Model, **changes: float) -> Model:
    copy = Model(replace(model.config, **changes)).double()  # type: ignore[arg-type]
    copy.load_state_dict(model.state_dict())
    return copy


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("arch", [*ARCHS, "window"])
def test_outputs_are_dropped_once_after_each_layer(arch: str, num_layers: int) -> None:
    torch.manual_seed(0)
    model = model_of(arch, num_layers, dropout=0.5, layers_after=2).train()
    (first_run, _), (second_run, _) = model.hidden(ids_of()), model.hidden(ids_of())
    assert torch.equal(first_run, second_run) == (num_layers == 1)  # dropped between the recurrent layers,
    assert (first_run != 0).all()  # and not yet after the last,
    inputs_seen: list[Tensor] = []
    for layer in (*model.after, model.head):
        layer.register_forward_pre_hook(lambda _, inputs: inputs_seen.append(inputs[0]))
    model.logits(first_run)
    for x in inputs_seen:  # but before each layer that follows
        assert abs((x == 0).double().mean().item() - 0.5) < 0.1
    close(inputs_seen[0][inputs_seen[0] != 0], 2 * first_run.transpose(0, 1)[inputs_seen[0] != 0], 1e-12)
    assert len(inputs_seen) == 3


def test_dropping_symbols_leaves_the_output_layer_whole() -> None:
    torch.manual_seed(0)
    model = model_of("lstm", tie_weights=True, embedding_dropout=0.9).train()
    y = torch.randn(3, 4, 8, dtype=torch.float64)
    close(model.logits(y), model.eval().logits(y), 0.0)


def pointwise(per_window: bool, skip: Skip = "none") -> Model:
    """Return a network in which nothing but a mask can tell one step from another: recurrent weights are zero."""
    model = model_of("rnn", 3, skip=skip, layers_after=1, dropout=0.5, input_dropout=0.5, variational=per_window)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight_hh"):
                weight.zero_()
    return model.train()


def windowed(per_window: bool) -> Model:
    shape = {"window": 1, "layers_after": 1, "dropout": 0.5, "input_dropout": 0.5}
    return model_of("window", 3, **shape, variational=per_window).train()


@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "resets"])
@pytest.mark.parametrize("model", [pointwise, windowed])
def test_variational_masks_hold_over_the_window(model: Callable[[bool], Model], with_resets: bool) -> None:
    torch.manual_seed(0)
    ids = torch.full((4, 20), 3)
    resets = resets_for(ids) if with_resets else None
    same, _ = model(True).forward(ids, None, resets)
    close(same, same[:, :1].expand_as(same), 1e-9)
    assert not torch.allclose(same[0], same[1])
    resampled, _ = model(False).forward(ids, None, resets)
    assert not torch.allclose(resampled, resampled[:, :1].expand_as(resampled))


@pytest.mark.parametrize("engine", get_args(Engine))
@pytest.mark.parametrize("skip", get_args(Skip))
@pytest.mark.parametrize(
    ("arch", "knob"), [*((arch, "dropout") for arch in ARCHS), *((arch, "weight_drop") for arch in READERS)]
)
def test_a_reset_in_one_row_leaves_the_masks_of_the_others(arch: str, knob: str, skip: Skip, engine: Engine) -> None:
    model = model_of(arch, 2, skip=skip, **{knob: 0.5}, variational=True).train()
    ids, state = ids_of(), start_state(model)
    torch.manual_seed(7)
    expected, _ = model.forward(ids, state, engine=engine)
    torch.manual_seed(7)
    logits, _ = model.forward(ids, state, resets_for(ids), engine)
    close(logits[0], expected[0], 1e-9)
    assert not torch.allclose(logits[2], expected[2])


@pytest.mark.parametrize("arch", [arch for arch in RECURRENT if arch not in READERS])
def test_weights_that_are_not_there_cannot_be_dropped(arch: Cell) -> None:
    with pytest.raises(UserError, match="no recurrent weights"):
        config(arch, 1, weight_drop=0.1)


@pytest.mark.parametrize("p", [1.0, -0.1, float("nan")])
@pytest.mark.parametrize("knob", KNOBS)
def test_a_probability_is_a_probability(knob: str, p: float) -> None:
    with pytest.raises(UserError, match=knob):
        ModelConfig(vocab_size=5, **{knob: p})  # type: ignore[arg-type]
