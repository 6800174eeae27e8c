"""Generation inside the kernels is the reference's, symbol for symbol, whatever the rows beside it and the threads."""

import threading
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.networks import SETS, config, weights_of
from laws.cases import randomised
from tiny import Stepping
from unroll.engine import native
from unroll.engine.draw import Drawing, draw, probabilities
from unroll.engine.network import Network, Precision
from unroll.lm.sample import SampleOptions, generate, uniforms
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig, Skip
from unroll.nn.model import Model

pytestmark = pytest.mark.skipif(not SETS, reason="no kernels: there was no compiler when unroll was installed")

VOCAB, ROWS, STEPS = 41, 9, 120
OPTIONS = Drawing(
    temperature=np.array([1, 0.8, 0.5, 0, 1.3, 1, 1, 1e-3, 0.7]),
    top_k=np.array([0, 5, 0, 0, 0, 10, 0, 3, 1]),
    top_p=np.array([1, 1, 0.9, 1, 1, 0.8, 1, 0.5, 1]),
    min_p=np.array([0, 0, 0, 0, 0.1, 0, 0.05, 0, 0]),
    never=3,
)


def small_model(arch: str, layers: int = 2, skip: Skip = "none") -> Model:
    sizes = {"vocab_size": VOCAB, "embedding_size": 12, "hidden_size": 37}
    model = randomised(Model(config(arch, layers, skip=skip, layers_after=1, **sizes))).float()
    for name, weight in model.named_parameters():
        if "weight_hh" in name:
            weight.data.mul_(0.4)  # so that no network is chaotic, in which any rounding grows
    return model


def alone(drawing: Drawing, row: int) -> Drawing:
    temperature, top_k, top_p, min_p = (
        np.asarray(part)[row : row + 1] for part in (drawing.temperature, drawing.top_k, drawing.top_p, drawing.min_p)
    )
    return Drawing(temperature, top_k, top_p, min_p, drawing.never)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_the_kernel_draws_what_the_reference_draws(arch: str, instructions: str) -> None:
    model, random = small_model(arch), np.random.default_rng(0)
    prompt, numbers = random.integers(0, VOCAB, (ROWS, 3)), random.random((ROWS, STEPS))
    reference = Network(model.config, weights_of(model), kernel=False)
    kernel = Network(model.config, weights_of(model), kernel=instructions)
    ids, nats, logits, state = reference.generate(*reference.logits(prompt), OPTIONS, numbers)
    ours, our_nats, our_logits, our_state = kernel.generate(*kernel.logits(prompt), OPTIONS, numbers)
    assert (ours == ids).all()
    assert 3 not in ours
    np.testing.assert_allclose(our_nats, nats, atol=1e-5)
    np.testing.assert_allclose(our_logits, logits, atol=1e-4)
    for layer, expected in zip(our_state, state, strict=True):
        for part, target in zip(layer, expected, strict=True):
            np.testing.assert_allclose(part, target, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize(
    ("arch", "layers", "skip", "table"),
    [
        ("lstm", 2, "none", True),
        ("gru", 2, "none", True),
        ("rnn", 2, "none", True),
        ("window", 2, "none", True),
        ("lstm", 1, "none", True),
        ("lstm", 2, "residual", False),
        ("gru", 3, "sum", False),
    ],
)
def test_a_row_does_not_depend_on_the_others_nor_on_threads(
    arch: str,
    layers: int,
    skip: Skip,
    table: bool,
    instructions: str,
    precision: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not table:
        monkeypatch.setattr(native, "TABLE_BYTES", 0)
    model, random = small_model(arch, layers, skip), np.random.default_rng(1)
    prompt, numbers = random.integers(0, VOCAB, (ROWS, 3)), random.random((ROWS, 40))
    for threads in (1, 2, 3):
        kernel = Network(model.config, weights_of(model), kernel=instructions, precision=precision, threads=threads)
        batched = kernel.generate(*kernel.logits(prompt), OPTIONS, numbers)
        if threads == 1:
            first = batched
        for ours, expected in zip(batched[:3], first[:3], strict=True):
            assert (np.asarray(ours) == np.asarray(expected)).all()
        for row in (0, 4, 8):
            only = slice(row, row + 1)
            single = kernel.generate(*kernel.logits(prompt[only]), alone(OPTIONS, row), numbers[only])
            for ours, expected in zip(single[:3], batched[:3], strict=True):
                assert (np.asarray(ours)[0] == np.asarray(expected)[row]).all()
            for layer, expected_layer in zip(single[3], batched[3], strict=True):
                for part, expected_part in zip(layer, expected_layer, strict=True):
                    assert (part[0] == expected_part[row]).all()


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(("arch", "layers", "skip"), [("lstm", 1, "none"), ("gru", 2, "residual"), ("lstm", 3, "sum")])
def test_sums_computed_ahead_are_those_of_each_step(
    arch: str, layers: int, skip: Skip, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a table the first layer's sums over the embeddings of many steps are computed together."""
    monkeypatch.setattr(native, "TABLE_BYTES", 0)
    model, random = small_model(arch, layers, skip), np.random.default_rng(6)
    for instructions, threads, (rows, steps) in product(SETS, (1, 3), ((1, 400), (2, 30), (9, 60), (130, 7))):
        ids = random.integers(0, VOCAB, (rows, steps))
        network = Network(model.config, weights_of(model), kernel=instructions, precision=precision, threads=threads)
        together, _ = network.hidden(ids)
        state = network.fresh_state(rows)
        for t in range(steps):
            y, state = network.hidden(ids[:, t : t + 1], state)
            assert np.array_equal(y[:, 0], together[:, t])


@pytest.mark.parametrize("instructions", SETS)
def test_the_last_few_of_many_rows_have_their_room(instructions: str) -> None:
    """A thread steps up to 96 rows together; what the rest needs grows with the layers, of which these have many."""
    of = ModelConfig(arch="lstm", vocab_size=VOCAB, embedding_size=8, hidden_size=64, num_layers=16)
    model, random = randomised(Model(of)).float(), np.random.default_rng(5)
    kernel = Network(of, weights_of(model), kernel=instructions, threads=1)
    ids, numbers = random.integers(0, VOCAB, (102, 3)), random.random((102, 4))
    batched = kernel.generate(*kernel.logits(ids), Drawing(), numbers)
    single = kernel.generate(*kernel.logits(ids[96:]), Drawing(), numbers[96:])
    assert (batched[0][96:] == single[0]).all()
    assert (batched[2][96:] == single[2]).all()


@pytest.mark.parametrize("kernel", [False, *SETS])
def test_a_halted_generation_can_be_continued(kernel: bool | str) -> None:
    model, random = small_model("lstm"), np.random.default_rng(4)
    prompt, numbers, drawing = random.integers(0, VOCAB, (1, 3)), random.random((1, 4000)), alone(OPTIONS, 0)
    for threads in (1, 2, 3) if kernel else (1,):
        network = Network(model.config, weights_of(model), kernel=kernel, threads=threads)
        start = network.logits(prompt)
        full = network.generate(*start, drawing, numbers)
        halt = np.ones(1, np.int32)
        at_once = network.generate(*start, drawing, numbers, halt)
        assert at_once[0].shape == at_once[1].shape == (1, 1)
        halt[0] = 0
        threading.Timer(0.002, halt.fill, [1]).start()  # at some step
        first = network.generate(*start, drawing, numbers, halt)
        count = first[0].shape[1]
        rest = network.generate(first[2], first[3], drawing, numbers[:, count:])
        assert 0 < count <= 4000
        for k in (0, 1):
            assert (np.hstack([first[k], rest[k]]) == full[k]).all()
        assert (rest[2] == full[2]).all()


def test_eight_bit_sums_are_the_same_on_every_processor() -> None:
    model, random = small_model("lstm"), np.random.default_rng(2)
    ids = random.integers(0, VOCAB, (3, 25))
    results = [Network(model.config, weights_of(model), kernel=name, precision="int8").logits(ids)[0] for name in SETS]
    for logits in results[1:]:
        np.testing.assert_allclose(logits, results[0], atol=1e-3)  # only exponentials differ in their last place


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_int8_is_near_float32_and_not_the_same(arch: str) -> None:
    model, random = small_model(arch), np.random.default_rng(3)
    ids = random.integers(0, VOCAB, (8, 60))
    targets = random.integers(0, VOCAB, ids.shape)
    exact, _ = Network(model.config, weights_of(model)).nats(ids, targets)
    rounded, _ = Network(model.config, weights_of(model), precision="int8").nats(ids, targets)
    assert 0 < np.abs(rounded - exact).mean() < 0.1
    assert abs((rounded - exact).mean()) < 0.03


def test_blocks_give_the_text_that_steps_give(tmp_path: Path) -> None:
    from unroll.data.tokenizer import CharTokenizer

    tokenizer = CharTokenizer.learn("".join(map(chr, range(97, 97 + 24))) + " \n")
    shape = config("lstm", 2, vocab_size=tokenizer.vocab_size, hidden_size=33)
    model = randomised(Model(shape)).float()
    network = Network(shape, weights_of(model))
    options = SampleOptions(temperature=0.9, top_p=0.95, seed=7)
    for stop in ((), "e", "ab"):
        stepped = list(generate(Stepping(network.logits), tokenizer, [4, 5], 300, options, stream=2, stop=stop))
        blocks = list(generate(network, tokenizer, [4, 5], 300, options, stream=2, stop=stop))
        assert [symbol.text for symbol in blocks] == [symbol.text for symbol in stepped]
        assert [symbol.id for symbol in blocks] == [symbol.id for symbol in stepped]
        assert [symbol.nats for symbol in blocks] == pytest.approx([symbol.nats for symbol in stepped], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.floats(0, 3),
    st.integers(0, 70),
    st.floats(0.01, 1),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_any_option_draws_what_the_reference_draws(
    vocab: int, temperature: float, top_k: int, top_p: float, min_p: float, seed: int
) -> None:
    vocab += 1
    shape = ModelConfig(vocab_size=vocab, embedding_size=3, hidden_size=5, arch="rnn")
    random = np.random.default_rng(seed)
    weights = {name: random.normal(size=shape_).astype(np.float32) for name, shape_ in _shapes(shape).items()}
    network = Network(shape, weights)
    logits = (random.normal(size=(2, vocab)) * random.choice([0.0, 1.0, 30.0])).astype(np.float32)
    drawing = Drawing(temperature, top_k, top_p, min_p, never=0)
    numbers = random.random((2, 1))
    ids, _, _, _ = network.generate(logits, network.fresh_state(2), drawing, numbers)
    p = probabilities(logits, drawing)
    assert (ids[:, 0] == draw(p, numbers[:, 0])).all()
    assert (p[[0, 1], ids[:, 0]] > 0).all()


def _shapes(shape: ModelConfig) -> dict[str, tuple[int, ...]]:
    from unroll.engine.weights import shapes

    return shapes(shape)


def test_the_frequencies_are_the_models() -> None:
    model = small_model("gru")
    network = Network(model.config, weights_of(model))
    logits, state = network.logits(np.array([[5, 6]]))
    rows = 4000
    states = tuple(tuple(np.repeat(part, rows, axis=0) for part in layer) for layer in state)
    numbers = np.array([[next(uniforms(11, stream))] for stream in range(rows)])
    ids, _, _, _ = network.generate(np.repeat(logits, rows, axis=0), states, Drawing(), numbers)
    (p,) = probabilities(logits, Drawing())
    counts = np.bincount(ids[:, 0], minlength=VOCAB)
    likely = p * rows > 5
    chi2 = ((counts - p * rows)[likely] ** 2 / (p * rows)[likely]).sum()
    assert chi2 < likely.sum() + 5 * np.sqrt(2 * likely.sum())


def test_ids_outside_the_vocabulary_are_refused() -> None:
    model = small_model("lstm")
    network = Network(model.config, weights_of(model))
    for id in (-1, VOCAB):
        with pytest.raises(IndexError, match=f"for {VOCAB} symbols"):
            network.logits(np.array([[1, id]]))
        with pytest.raises(IndexError, match=f"for {VOCAB} symbols"):
            network.nats(np.array([[1, 2]]), np.array([[1, id]]))
