"""The model: its size, its ties, what it stores (nothing), and which shapes it refuses."""

import math
from itertools import product

import pytest
import torch

from laws.cases import CASES, Case, config, randomised, start_state
from laws.laws import close
from unroll.errors import UserError
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import MAX_PARAMETERS, ModelConfig, parameter_count
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.state import State

ARCHS = list(ARCHITECTURES)
SHAPES = [
    config(arch, layers, layers_before=before, layers_after=after, tie_weights=tie, hidden_size=hidden, window=window)
    for arch, layers, before, after, tie, hidden, window in product(
        ARCHS, (1, 3), (0, 2), (0, 2), (False, True), (6, 8), (1, 4)
    )
    if arch == "window" or window == 4
]


def test_parameter_count_is_the_real_count() -> None:
    for shape in SHAPES:
        with torch.device("meta"):
            model = Model(shape)
        assert parameter_count(shape) == sum(weight.numel() for weight in model.parameters()), shape


def test_every_weight_is_in_the_weights_and_learns() -> None:
    """Derive the loss by every weight: one without a gradient is counted, saved and of no use."""
    for shape in SHAPES:
        model = randomised(Model(shape))
        assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
        logits, _ = model(torch.arange(21).view(3, 7) % 7, start_state(model, rows=3))
        weights = dict(model.named_parameters())
        gradients = torch.autograd.grad(
            cross_entropy(logits, torch.ones(3, 7, dtype=torch.long)), list(weights.values())
        )
        assert all((gradient != 0).any() for gradient in gradients), shape


@pytest.mark.parametrize("hidden_size", [6, 8])
@pytest.mark.parametrize("arch", ARCHS)
def test_tied_weights_are_one_tensor(arch: str, hidden_size: int) -> None:
    model = randomised(Model(config(arch, 2, tie_weights=True, hidden_size=hidden_size))).double()
    storages = {weight.untyped_storage().data_ptr() for weight in model.parameters() if weight.shape[0] == 7}
    assert len(storages) == 2  # the table of symbols and the bias of the output
    assert not hasattr(model, "head")
    y = torch.randn(5, hidden_size, dtype=torch.float64)
    before = model.logits(y)
    with torch.no_grad():
        model.embedding.weight[3] += 1.0  # what a symbol looks like on the way in is what it scores on the way out
    after = model.logits(y)
    assert (after[:, 3] != before[:, 3]).all()
    close(after[:, [0, 1, 2, 4, 5, 6]], before[:, [0, 1, 2, 4, 5, 6]], 0.0)


@pytest.mark.parametrize("arch", ARCHS)
def test_untied_weights_are_two(arch: str) -> None:
    model = randomised(Model(config(arch, 1)))
    y = torch.randn(5, 8)
    before = model.logits(y)
    with torch.no_grad():
        model.embedding.weight += 1.0
    close(model.logits(y), before, 0.0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_stores_nothing(case: Case) -> None:
    model, ids = case.model().train(), case.ids()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    first = model.forward(ids, start_state(model), engine=case.engine)
    close(model.forward(ids, start_state(model), engine=case.engine), first, 0.0)
    close(model.state_dict(), weights, 0.0)
    assert not list(model.buffers())
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes


@pytest.mark.parametrize("arch", ARCHS)
def test_two_sessions_do_not_mix(arch: str) -> None:
    case = Case("", config(arch, 2))
    model, ids = case.model(), case.ids()
    states: list[State | None] = [None, start_state(model)]
    expected = [model.forward(ids, state)[0] for state in states]
    pieces: list[list[torch.Tensor]] = [[], []]
    for t in range(ids.shape[1]):
        for session in (0, 1):
            logits, states[session] = model.forward(ids[:, t : t + 1], states[session])
            pieces[session].append(logits)
    for session in (0, 1):
        close(torch.cat(pieces[session], dim=1), expected[session], 1e-9)


@pytest.mark.parametrize("arch", ARCHS)
def test_hidden_and_logits_are_the_model(arch: str) -> None:
    case = Case("", config(arch, 2, layers_before=1, layers_after=1))
    model, ids = case.model(), case.ids()
    y, after = model.hidden(ids, start_state(model))
    assert y.shape == (4, 26, 8)
    close((model.logits(y), after), model.forward(ids, start_state(model)), 0.0)
    close(model.logits(y[:, -1]), model.forward(ids, start_state(model))[0][:, -1], 1e-12)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_state_is_carried_in_float32_under_autocast(arch: str) -> None:
    model, ids = randomised(Model(config(arch, 2, layers_before=1))), torch.arange(40).view(4, 10) % 7
    state: State | None = None
    with torch.autocast("cpu", torch.bfloat16):
        for resets in (None, ids == 3):
            _, state = model.forward(ids, state, resets)
            assert {part.dtype for layer in state for part in layer} == {torch.float32}


def test_a_fresh_model_knows_nothing() -> None:
    """Start close to the uniform distribution: the first loss is ln V, whatever the architecture."""
    for arch, tie in product(ARCHS, (False, True)):
        torch.manual_seed(0)
        model = Model(ModelConfig(vocab_size=50, arch=arch, hidden_size=64, tie_weights=tie))  # type: ignore[arg-type]
        ids = torch.randint(50, (8, 32))
        loss = cross_entropy(model.forward(ids)[0], torch.randint(50, (8, 32))).item()
        assert abs(loss - math.log(50)) < 0.2, (arch, tie)
        assert ((model.bias if tie else model.head.bias) == 0).all()


# --- refusals ---

REFUSED = [
    *[({name: value}, name) for name in ("vocab_size", "embedding_size", "hidden_size", "num_layers", "window")
      for value in (0, -1)],
    *[({name: -1}, name) for name in ("layers_before", "layers_after")],
    ({"arch": "transformer"}, "arch is 'transformer'"),
    ({"skip": "dense"}, "skip is 'dense'"),
    ({"vocab_size": 2**31}, "parameters"),
    ({"hidden_size": 100_000}, "parameters"),
    ({"arch": "window", "window": 2**20, "embedding_size": 2**10}, "parameters"),
    ({"num_layers": 10**6}, "parameters"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=lambda value: str(value))
def test_refusals(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        ModelConfig(**{"vocab_size": 65, **change})  # type: ignore[arg-type]
    assert error.value.allowed


def test_the_largest_model_is_allowed() -> None:
    # vocab * (embedding + hidden + 1) and little else: just inside, one symbol more is just outside.
    size = {"embedding_size": 1, "hidden_size": 1, "arch": "rnn"}
    vocab = (MAX_PARAMETERS - 4) // 3
    assert parameter_count(ModelConfig(vocab_size=vocab, **size)) <= MAX_PARAMETERS  # type: ignore[arg-type]
    with pytest.raises(UserError):
        ModelConfig(vocab_size=vocab + 1, **size)  # type: ignore[arg-type]


def test_a_refusal_costs_no_time() -> None:
    # Counting is arithmetic: nothing of the size of the model, nor of its number of layers, is made or walked.
    with pytest.raises(UserError, match="parameters"):
        ModelConfig(vocab_size=65, num_layers=10**9)
    with pytest.raises(UserError, match="num_layers"):
        ModelConfig(vocab_size=65, num_layers=10**12)
