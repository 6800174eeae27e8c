"""Every law for every model: all cells, depths, ways of joining layers, engines and precisions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from laws.cases import CASES, ROWS, STEPS, TOLERANCE, VOCAB, WINDOW, Case, config, randomised, start_state
from laws.laws import (
    Outcome,
    Subject,
    law_causal,
    law_engines,
    law_gradients,
    law_inside,
    law_limit,
    law_memory,
    law_probabilities,
    law_reset,
    law_rows,
    law_split,
    law_trace,
    outcome,
    resets_for,
)
from unroll.nn.arch import ARCHITECTURES, RECURRENT, Cell
from unroll.nn.cells import STEPS as CELLS
from unroll.nn.cells import CellWeights, state_after
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.nn.recurrent import Engine, Recurrent, RecurrentLayer, run_fused, run_stepwise
from unroll.state import State

ARCHS = RECURRENT
PRECISIONS = [torch.float64, torch.float32]


@pytest.fixture(params=CASES, ids=str)
def subject(request: pytest.FixtureRequest) -> Subject:
    case: Case = request.param
    return case.subject()


def test_split(subject: Subject) -> None:
    law_split(subject)


def test_rows(subject: Subject) -> None:
    law_rows(subject)


def test_reset(subject: Subject) -> None:
    law_reset(subject)


def test_causal(subject: Subject) -> None:
    law_causal(subject)


def test_memory(subject: Subject) -> None:
    law_memory(subject)


def test_probabilities(subject: Subject) -> None:
    law_probabilities(subject)


@pytest.mark.parametrize("window", [1, 2, WINDOW, 20])
def test_limit(window: int) -> None:
    for num_layers in (1, 2):
        law_limit(Case("window", config("window", num_layers, window=window)).subject(), window)


def layer_weights(arch: Cell, dtype: torch.dtype, sizes: tuple[int, int] = (6, 8)) -> CellWeights:
    layer = RecurrentLayer(arch, *sizes, forget_bias=1.0, init="fan_in").to(dtype)
    random = torch.Generator().manual_seed(1)
    return CellWeights(*(
        (0.35 * torch.randn(w.shape, generator=random, dtype=torch.float64)).to(dtype).requires_grad_()
        for w in layer.weights(0.0)
    ))  # fmt: skip


def random_like(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return (0.5 * torch.randn(shape, generator=random, dtype=torch.float64)).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("arch", ARCHS)
def test_trace(arch: Cell, dtype: torch.dtype) -> None:
    w = layer_weights(arch, dtype)
    state = tuple(random_like((ROWS, 8), dtype, 3 + k) for k in range(len(ARCHITECTURES[arch].state)))
    outputs, last, steps = run_stepwise(arch, random_like((STEPS, ROWS, 6), dtype, 2), state, w)
    assert len(steps) == STEPS
    law_trace(steps, state, outputs, last, TOLERANCE[dtype])


@pytest.mark.parametrize("case", [case for case in CASES if case.engine == "fused"], ids=str)
def test_inside(case: Case) -> None:
    model = case.model()
    law_inside(model, case.ids(), start_state(model), TOLERANCE[case.dtype])


# --- engines: stepwise = fused = torch.nn ---


TORCH: dict[Cell, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def torch_twin(recurrent: Recurrent) -> nn.RNNBase:
    """Return torch's own module with the same weights."""
    first = recurrent.layers[0]
    assert isinstance(first, RecurrentLayer)
    shape = first.weight_ih.shape[1], recurrent.hidden_size, len(recurrent.layers)
    twin = TORCH[recurrent.arch](*shape, dtype=first.weight_ih.dtype)
    twin.load_state_dict({
        f"{name}_l{k}": weight for k, layer in enumerate(recurrent.layers) for name, weight in layer.named_parameters()
    })  # fmt: skip
    return twin


def outcome_of_twin(twin: nn.RNNBase, x: Tensor, state: State) -> Outcome:
    def run() -> tuple[Tensor, State]:
        parts = tuple(torch.stack(part) for part in zip(*state, strict=True))
        y, after = twin(x, parts if isinstance(twin, nn.LSTM) else parts[0])
        after = after if isinstance(twin, nn.LSTM) else (after,)
        return y, tuple(tuple(part[k] for part in after) for k in range(twin.num_layers))

    names = [name.rpartition("_l") for name, _ in twin.named_parameters()]
    weights = {f"layers.{k}.{name}": w for (name, _, k), w in zip(names, twin.parameters(), strict=True)}
    return outcome(run, {**weights, "x": x, **named(state)})


def outcome_of_recurrent(recurrent: Recurrent, x: Tensor, state: State, engine: Engine) -> Outcome:
    leaves = {**dict(recurrent.named_parameters()), "x": x, **named(state)}
    return outcome(lambda: recurrent.forward(x, state, engine=engine), leaves)


def named(state: State) -> dict[str, Tensor]:
    return {f"state/{k}/{j}": part for k, layer in enumerate(state) for j, part in enumerate(layer)}


def leaf(state: State) -> State:
    return tuple(tuple(part.detach().requires_grad_() for part in layer) for layer in state)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("arch", ARCHS)
def test_engines_agree_with_torch(arch: Cell, num_layers: int, dtype: torch.dtype, training: bool) -> None:
    model = Case("", config(arch, num_layers), dtype=dtype).model()
    recurrent = model.recurrent.train(training)
    assert isinstance(recurrent, Recurrent)
    x, state = random_like((STEPS, ROWS, 6), dtype, 4), leaf(start_state(model))
    fused = outcome_of_recurrent(recurrent, x, state, "fused")
    law_engines(fused, outcome_of_recurrent(recurrent, x, state, "stepwise"), TOLERANCE[dtype])
    if arch in TORCH:
        law_engines(fused, outcome_of_twin(torch_twin(recurrent), x, state), TOLERANCE[dtype])


@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "resets"])
@pytest.mark.parametrize("case", [c for c in CASES if c.engine == "fused" and c.config.arch != "window"], ids=str)
def test_engines_agree_in_the_model(case: Case, with_resets: bool) -> None:
    model, ids = case.model(), case.ids()
    resets = resets_for(ids) if with_resets else None
    state = leaf(start_state(model))
    leaves = {**dict(model.named_parameters()), **named(state)}
    fused, stepwise = (
        outcome(lambda engine=engine: model.forward(ids, state, resets, engine), leaves)  # type: ignore[misc]
        for engine in ("fused", "stepwise")
    )
    law_engines(fused, stepwise, TOLERANCE[case.dtype])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_gradient_passes_a_reset(case: Case) -> None:
    model, ids = case.model(), case.ids()
    state = leaf(start_state(model))
    resets = torch.zeros_like(ids, dtype=torch.bool)
    resets[1, 3] = True
    # Only what comes after the reset is derived: row 1 has none of it, the others all.
    logits, _ = model.forward(ids, state, resets, case.engine)
    loss = cross_entropy(logits[:, 3:], ids[:, 3:])
    # Of a window, only what still lies in it after three steps can reach the loss.
    reaches = case.config.arch != "window" or case.config.window > 4
    for gradient in torch.autograd.grad(loss, [part for layer in state for part in layer]):
        reached = gradient.flatten(1).abs().amax(dim=1) > 0
        assert reached.tolist() == [reaches, False, reaches, reaches]


@pytest.mark.parametrize("arch", ARCHS)
def test_engines_agree_without_gradients(arch: Cell) -> None:
    # Without gradients, in float32 and at this size, torch takes other kernels (oneDNN) than in the laws above.
    sizes = {"hidden_size": 160, "embedding_size": 64}
    model = Model(config(arch, 2, **sizes)).eval()
    ids = torch.randint(VOCAB, (16, 64), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        fused = Outcome(*model.forward(ids, start_state(model, rows=16), engine="fused"), {})
        stepwise = Outcome(*model.forward(ids, start_state(model, rows=16), engine="stepwise"), {})
    law_engines(fused, stepwise, TOLERANCE[torch.float32])


# --- gradients against finite differences ---


@pytest.mark.parametrize("arch", ARCHS)
def test_gradients_of_the_cell(arch: Cell) -> None:
    w = layer_weights(arch, torch.float64, (3, 4))
    x = random_like((2, 3), torch.float64, 2)
    state = tuple(random_like((2, 4), torch.float64, 3 + k) for k in range(len(ARCHITECTURES[arch].state)))

    def step(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        return state_after(CELLS[arch](x, rest[:-4], CellWeights(*rest[-4:])))

    law_gradients(step, [x, *state, *w])


@pytest.mark.parametrize("engine", ["fused", "stepwise"])
@pytest.mark.parametrize("arch", ARCHS)
def test_gradients_of_the_layer(arch: Cell, engine: Engine) -> None:
    w = layer_weights(arch, torch.float64, (2, 3))
    x = random_like((5, 2, 2), torch.float64, 2)
    state = tuple(random_like((2, 3), torch.float64, 3 + k) for k in range(len(ARCHITECTURES[arch].state)))

    def layer(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        weights = CellWeights(*rest[-4:])
        if engine == "stepwise":
            y, after, _ = run_stepwise(arch, x, rest[:-4], weights)
        else:
            y, after = run_fused(arch, x, rest[:-4], weights, training=True)
        return (y, *after)

    law_gradients(layer, [x, *state, *w])


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("arch", [*ARCHS, "window"])
def test_gradients_of_the_loss(arch: str, tied: bool) -> None:
    sizes = {"vocab_size": 4, "embedding_size": 2, "hidden_size": 3, "window": 3}
    options = {"skip": "residual", "tie_weights": tied, "layers_before": 1, "layers_after": 1}
    model = randomised(Model(config(arch, 2, **options, **sizes)).double())
    names = [name for name, _ in model.named_parameters()]
    state = leaf(start_state(model, rows=2))
    shape = [len(layer) for layer in state]
    ids = torch.randint(4, (2, 23), generator=torch.Generator().manual_seed(2))
    resets = torch.zeros(2, 22, dtype=torch.bool)
    resets[1, 9] = True

    def loss(*tensors: Tensor) -> Tensor:
        parts = iter(tensors[len(names) :])
        start = tuple(tuple(next(parts) for _ in range(n)) for n in shape)
        weights = dict(zip(names, tensors, strict=False))
        logits, _ = torch.func.functional_call(model, weights, (ids[:, :-1], start, resets))
        return cross_entropy(logits, ids[:, 1:])

    law_gradients(loss, [*model.parameters(), *(part for layer in state for part in layer)])


def test_cases_cover_what_they_say() -> None:
    assert {(c.config.arch, c.engine) for c in CASES} >= {(a, e) for a in ARCHS for e in ("fused", "stepwise")}
    assert STEPS > 20 and VOCAB > 1
    for case in CASES:
        assert all((weight != 0).all() for weight in case.model().parameters())
