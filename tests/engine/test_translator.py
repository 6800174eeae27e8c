"""The translator without torch: equal to torch's for every cell and attention; a row's result is its own."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from nn.test_encoder import CELLS, randomised
from unroll.data.ragged import Ragged
from unroll.engine import native, translator
from unroll.engine.decoder_kernel import DecoderKernel
from unroll.engine.translator import TranslatorNetwork, stacks
from unroll.nn.encoder import Units
from unroll.nn.translator import Translator
from unroll.nn.translator_config import TranslatorConfig
from unroll.state import State, parts_of, select_rows

ATTENTIONS = (("dot", False), ("dot", True), ("additive", True), ("additive", False), ("none", False))
CASES = [
    *((arch, *attention, {}) for arch, attention in product(CELLS, ATTENTIONS)),
    ("lstm", "dot", True, {"num_layers": 2, "tie_weights": False}),
    ("gru", "additive", True, {"num_layers": 2, "source_size": 0}),
    ("mingru", "none", False, {"num_layers": 2}),
    ("rnn", "dot", False, {"num_layers": 2, "source_size": 0}),
]
START = 1
STEPS = 25


def config(arch: str = "lstm", attention: str = "dot", feeding: bool = True, **options: Any) -> TranslatorConfig:
    shape = {"vocab_size": 11, "source_size": 13, "embedding_size": 5, "encoder_size": 4, "hidden_size": 7,
             "attention_size": 3}  # fmt: skip
    return TranslatorConfig(arch=arch, attention=attention, input_feeding=feeding, **shape | options)  # type: ignore[arg-type]


def model_of(*arguments: Any, **options: Any) -> Any:
    return randomised(Translator(config(*arguments, **options)))


def network(model: Translator, kind: Any = np.float64, **options: Any) -> TranslatorNetwork:
    weights = {name: w.detach().numpy().astype(kind) for name, w in model.named_parameters()}
    return TranslatorNetwork(model.config, weights, **{"kernel": kind is np.float32} | options)


def sources(shape: TranslatorConfig, lengths: tuple[int, ...] = (9, 1, 30, 4)) -> Ragged:
    random = np.random.default_rng(3)
    return Ragged.of([random.integers(shape.encoder.vocab_size, size=length) for length in lengths])


def targets(shape: TranslatorConfig, lengths: tuple[int, ...] = (5, STEPS, 1, 12)) -> Ragged:
    random = np.random.default_rng(4)
    return Ragged.of([[*random.integers(2, shape.vocab_size, size=length - 1), START] for length in lengths])


def forced(net: TranslatorNetwork, read: Ragged, written: Ragged) -> tuple[Any, Any, State]:
    """Return logits (B, T, V), attention (B, T, S) and the state of rows that read symbols, a step at a time."""
    memory, ids = net.read(read), written.padded()[0]
    state, rows = memory.start, np.arange(len(read))
    logits, weights = [], []
    for column in np.concatenate([np.full((len(ids), 1), START), ids[:, :-1]], axis=1).T:
        step = net.step(column, state, memory, rows)
        state = step.state
        logits.append(step.logits)
        if step.attention is not None:
            assert [len(part) for part in step.attention] == read.lengths.tolist()
            wide = read.lengths.max()
            weights.append(np.array([np.pad(part, (0, wide - len(part))) for part in step.attention]))
    return np.stack(logits, 1), np.stack(weights, 1) if weights else None, state


def of_torch(model: Translator, read: Ragged, written: Ragged) -> tuple[Any, Any, State]:
    ids, lengths = (torch.from_numpy(part) for part in read.padded())
    inputs = torch.from_numpy(np.concatenate([np.full((len(read), 1), START), written.padded()[0][:, :-1]], axis=1))
    with torch.no_grad():
        memory, state = model.encode(Units(ids, lengths))
        readouts, weights, after = model.decode(inputs, memory, state)
        return model.logits(readouts).numpy(), None if weights is None else weights.numpy(), after


@pytest.mark.parametrize(("arch", "attention", "feeding", "options"), CASES)
def test_it_equals_torch(arch: str, attention: str, feeding: bool, options: dict[str, Any]) -> None:
    model = model_of(arch, attention, feeding, **options)
    read, written = sources(model.config), targets(model.config)
    expected = of_torch(model, read, written)
    for net, tolerance in ((network(model), 1e-9), (network(model, np.float32), 2e-5)):
        logits, weights, state = forced(net, read, written)
        np.testing.assert_allclose(logits, expected[0], rtol=tolerance, atol=tolerance)
        for ours, theirs in zip(parts_of(state), parts_of(expected[2]), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
        if attention == "none":
            assert weights is None and expected[1] is None
        else:
            np.testing.assert_allclose(weights, expected[1], rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(weights.sum(axis=2), 1, rtol=1e-6)


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
@pytest.mark.parametrize(("attention", "feeding"), ATTENTIONS)
def test_the_nats_of_targets_are_those_of_its_steps(attention: str, feeding: bool, kind: Any, tolerance: float) -> None:
    net = network(model_of("lstm", attention, feeding), kind)
    read, written = sources(net.config), targets(net.config)
    logits, weights, _ = forced(net, read, written)
    p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    expected = [-p[row, t, id] for row in range(len(written)) for t, id in enumerate(written[row])]
    nats, attended = net.nats(net.read(read), written, START)
    np.testing.assert_allclose(nats, expected, rtol=tolerance, atol=tolerance)
    assert (attended is None) == (weights is None)
    if attended is not None:
        rows = [(row, t) for row in range(len(written)) for t in range(written.lengths[row])]
        for ours, (row, t) in zip(attended, rows, strict=True):
            np.testing.assert_array_equal(ours, weights[row, t, : read.lengths[row]])


def law_of_rows(net: TranslatorNetwork, tolerance: float) -> None:
    """Hold rows to those that a source has alone, or with its rows in another order; several may be of one source."""
    read, random = sources(net.config, (9, 9, 1, 30, 30, 30, 4)), np.random.default_rng(6)
    memory, of = net.read(read), np.array([0, 0, 1, 1, 2, 3, 3, 3, 4, 4, 4, 5, 6])
    ids = random.integers(net.config.vocab_size, size=len(of))
    state = net.step(ids, select_rows(memory.start, of), memory, of).state
    together = net.step(ids[::-1].copy(), state, memory, of)
    for number in range(len(read)):
        rows = of == number
        alone = net.read(read.select(np.array([number])))
        within = np.zeros(rows.sum(), np.int64)
        state = net.step(ids[rows], select_rows(alone.start, within), alone, within).state
        step = net.step(ids[::-1][rows], state, alone, within)
        np.testing.assert_allclose(step.logits, together.logits[rows], rtol=tolerance, atol=tolerance)
        for ours, theirs in zip(parts_of(step.state), parts_of(together.state), strict=True):
            np.testing.assert_allclose(ours, theirs[rows], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("attention", "feeding"), ATTENTIONS)
def test_a_row_depends_on_nothing_beside_it(attention: str, feeding: bool) -> None:
    model = model_of("lstm", attention, feeding, num_layers=2)
    law_of_rows(network(model), 1e-12)
    for name, precision in product(native.instruction_sets(), ("float32", "int8")):
        law_of_rows(network(model, np.float32, precision=precision, kernel=name), 0)


def test_the_law_of_rows_catches_sources_that_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed(of: Any, ends: Any) -> Any:
        for rows, units, count in stacks(of, ends):
            yield rows, slice(units.start - min(1, units.start), units.stop - min(1, units.start)), count

    monkeypatch.setattr(translator, "stacks", mixed)
    with pytest.raises(AssertionError):
        law_of_rows(network(model_of()), 1e-12)


def test_a_state_is_a_value() -> None:
    for net in (network(model_of()), network(model_of(), np.float32)):
        memory, rows = net.read(sources(net.config)), np.arange(4)
        before = [part.copy() for part in parts_of(memory.start)]
        first, again = (net.step(rows, memory.start, memory, rows) for _ in range(2))
        np.testing.assert_array_equal(first.logits, again.logits)
        for part, kept in zip(parts_of(memory.start), before, strict=True):
            np.testing.assert_array_equal(part, kept)


@pytest.mark.parametrize("kernel", [True, False])
def test_int8_is_near_and_not_the_same(kernel: bool) -> None:
    model = randomised(Translator(config()), 0.3)
    read, written = sources(model.config), targets(model.config)
    nats = [
        net.nats(net.read(read), written, START)[0]
        for net in (network(model, np.float32, precision=p, kernel=kernel) for p in ("float32", "int8"))
    ]
    assert 0 < np.abs(nats[0] - nats[1]).max() < 0.05


def test_no_sources_have_no_targets() -> None:
    net = network(model_of())
    memory = net.read(Ragged.of([]))
    assert net.nats(memory, Ragged.of([]), START)[0].shape == (0,)
    assert net.step(np.zeros(0, np.int64), memory.start, memory, np.zeros(0, np.int64)).logits.shape == (0, 11)


def test_what_does_not_fit_is_refused() -> None:
    model = model_of()
    net = network(model, np.float32)
    memory, rows = net.read(sources(model.config)), np.arange(4)
    with pytest.raises(IndexError):
        net.step(np.array([0, 0, 11, 0]), memory.start, memory, rows)
    with pytest.raises(ValueError, match=r"ids is int64 of shape \(4, 1\)"):
        net.step(rows[:, None], memory.start, memory, rows)
    with pytest.raises(ValueError, match="sources is int64 of shape"):
        net.step(rows, memory.start, memory, rows[:3])
    with pytest.raises(ValueError, match=r"state\[0\] is float32 of shape \(3, 7\)"):
        net.step(rows, (*select_rows(memory.start[:-1], slice(3)), memory.start[-1]), memory, rows)
    with pytest.raises(ValueError, match=r"encoder\.embedding\.weight is None"):
        translator.TranslatorNetwork(model.config, {})


def test_the_kernel_checks_what_it_is_given() -> None:
    random = np.random.default_rng(0)
    layer = {name: random.normal(size=shape).astype(np.float32) for name, shape in
             (("weight_ih", (12, 5)), ("weight_hh", (12, 3)), ("bias_ih", (12,)), ("bias_hh", (12,)))}  # fmt: skip
    combine, head = (
        (random.normal(size=shape).astype(np.float32), np.zeros(shape[0], np.float32)) for shape in ((4, 3), (9, 4))
    )
    kernel = DecoderKernel("lstm", [layer], combine, head, int8=False, instructions=native.instruction_sets()[0])
    x, h, y = np.zeros((2, 5), np.float32), np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)
    for call in (
        lambda: kernel.step(x[:, :4], ((h, h),), 1),
        lambda: kernel.step(x, ((h,),), 1),
        lambda: kernel.step(x, ((h, h[:1]),), 1),
        lambda: kernel.readout(x, 1),
        lambda: kernel.logits(h, 1),
        lambda: kernel.nats(y, np.zeros(3, np.int64), 1),
    ):
        with pytest.raises(ValueError, match="allowed: "):
            call()
    with pytest.raises(IndexError):
        kernel.nats(y, np.array([0, 9]), 1)
    with pytest.raises(ValueError, match="no kernels abacus"):
        DecoderKernel("lstm", [layer], combine, head, int8=False, instructions="abacus")
