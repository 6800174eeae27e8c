"""Sampling: pure random numbers, the model's frequencies, honest nats, blocks, stop strings, prompts."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiny import ARCHS, TOKENIZER, Stepping, model_config, random_model
from unroll.artifact.open import Opened
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.data.words import UnicodeWordTokenizer
from unroll.engine.draw import Step, probabilities
from unroll.errors import UserError
from unroll.lm import sample
from unroll.lm.sample import (
    SampledSymbol,
    SampleOptions,
    encode_prompt,
    generate,
    uniforms,
)
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.predict.predictor import Predictor, Window
from unroll.predict.protocols import stream_nats
from unroll.predict.torch import TorchPredictor
from unroll.state import State

Array = NDArray[np.float64]


SEEDS = st.integers(0, 2**64 - 1)


# ---- random numbers


def philox4x64(counter: int, seed: int, stream: int) -> list[int]:
    """Return the four words of a counter as Salmon et al. 2011 state them: Philox4x64 with ten rounds."""
    mask = 2**64 - 1
    c, key = [counter & mask, counter >> 64 & mask, 0, 0], [seed, stream]
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [second >> 64 ^ c[1] ^ key[0], second & mask, first >> 64 ^ c[3] ^ key[1], first & mask]
        key = [key[0] + 0x9E3779B97F4A7C15 & mask, key[1] + 0xBB67AE8584CAA73B & mask]
    return c


@given(SEEDS, SEEDS, st.integers(0, 700))
@settings(max_examples=40, deadline=None)
def test_number_k_is_a_pure_function_of_seed_stream_and_k(seed: int, stream: int, k: int) -> None:
    # numpy counts up before it draws, so the first counter is 1; a word's upper 53 bits are the number.
    words = [philox4x64(1 + place // 4, seed, stream)[place % 4] for place in range(k, k + 9)]
    assert list(islice(uniforms(seed, stream, k), 9)) == [(word >> 11) * 2.0**-53 for word in words]


@given(SEEDS, SEEDS, st.integers(0, 600), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_every_start_gives_the_same_tail_of_numpys_sequence(seed: int, stream: int, start: int, block: int) -> None:
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)))
    sequence = generator.random(start + 50).tolist()
    assert list(islice(uniforms(seed, stream, start, block), 50)) == sequence[start:]


def test_seeds_and_streams_are_independent() -> None:
    rows = np.array([list(islice(uniforms(seed, stream), 2000)) for seed in (0, 1, 2) for stream in (0, 1, 2)])
    correlation = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert np.abs(correlation).max() < 4 / np.sqrt(2000)


# ---- options


@pytest.mark.parametrize(
    "options",
    [{"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_k": -1}, {"top_p": 0.0},
     {"top_p": 1.01}, {"top_p": float("nan")}, {"min_p": -0.1}, {"min_p": 1.1}, {"min_p": float("nan")}, {"seed": -1},
     {"seed": 2**64}],
    ids=str,
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refusal:
        SampleOptions(**options)
    assert next(iter(options)) in refusal.value.what and refusal.value.allowed


# ---- predictors to try it on


def constant(p: Sequence[float]) -> Predictor:
    """Say the same whatever was read."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.array(p))
    return Stepping(lambda ids, state: (np.tile(logits, (len(ids), 1)), ()))


def scripted(ids: Sequence[int], vocab_size: int) -> Predictor:
    """Say these ids, one after the other."""
    following = iter(ids)

    def step(read: Window, state: State | None) -> tuple[Array, State]:
        return np.where(np.arange(vocab_size)[None] == next(following, 0), 0.0, -np.inf), ()

    return Stepping(step)


def rereading(model: Model) -> Predictor:
    """Carry no state: read the whole text again for every symbol."""
    ids_read: list[int] = []

    def step(ids: Window, state: State | None) -> tuple[Array, State]:
        ids_read.extend(ids[0].tolist())
        with torch.no_grad():
            logits, _ = model(torch.tensor([ids_read]))
        return logits[:, -1].double().numpy(), ()

    return Stepping(step)


def fused(model: Model) -> Predictor:
    def step(ids: Window, state: State | None) -> tuple[Array, State]:
        with torch.no_grad():
            logits, after = model(torch.from_numpy(ids), state)
        return logits[:, -1].double().numpy(), after

    return Stepping(step)


def text_of(symbols: Iterator[SampledSymbol]) -> str:
    return "".join(symbol.text for symbol in symbols)


# ---- the empirical distribution is the model's


def chi_square(counts: NDArray[np.integer], expected: Array) -> float:
    """Return the statistic in standard deviations above its mean."""
    statistic, degrees = float(((counts - expected) ** 2 / expected).sum()), len(counts) - 1
    return float((statistic - degrees) / np.sqrt(2 * degrees))


SOME = (0.0, 0.3, 0.25, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("options", [SampleOptions(seed=1), SampleOptions(0.7, top_k=6, seed=2)], ids=str)
def test_frequencies_are_those_of_the_distribution(options: SampleOptions) -> None:
    length = 20_000
    ids = [s.id for s in generate(constant(SOME), TOKENIZER, [], length, options)]
    counts = np.bincount(ids, minlength=len(SOME))
    with np.errstate(divide="ignore"):
        (p,) = probabilities(np.log(np.array([SOME])), options.drawing(0))
    possible = p > 0
    assert counts[~possible].sum() == 0
    assert abs(chi_square(counts[possible], length * p[possible])) < 4
    # Planted fault: another temperature is noticed.
    hotter = p[possible] ** 0.9 / (p[possible] ** 0.9).sum()
    assert chi_square(counts[possible], length * hotter) > 6


def test_frequencies_over_streams_are_those_of_the_distribution() -> None:
    predictor, count = constant(SOME), 4000
    firsts = [next(generate(predictor, TOKENIZER, [], 1, SampleOptions(seed=3), stream=k)).id for k in range(count)]
    possible = np.array(SOME) > 0
    assert abs(chi_square(np.bincount(firsts, minlength=len(SOME))[possible], count * np.array(SOME)[possible])) < 4


@pytest.mark.parametrize("arch", ARCHS)
def test_symbols_of_a_model_come_as_often_as_it_says(arch: str) -> None:
    """Of each symbol, the times it came less the sum of its probabilities is within what chance allows."""
    distributions: list[Array] = []
    inner = TorchPredictor(random_model(model_config(arch, num_layers=1), torch.float32, scale=1.0))
    drawing = SampleOptions().drawing(TOKENIZER.unknown_id)

    def step(ids: Window, state: State | None) -> tuple[Array, State]:
        logits, after = inner.logits(ids, state)
        distributions.append(probabilities(logits, drawing)[0])
        return logits, after

    draws = np.array([symbol.id for symbol in generate(Stepping(step), TOKENIZER, [], 1500, SampleOptions(seed=4))])
    p = np.array(distributions[: len(draws)])
    indicators = draws[:, None] == np.arange(p.shape[1])

    def deviation(p: Array) -> float:
        return float(np.abs((indicators - p).sum(0)[1:] / np.sqrt((p * (1 - p)).sum(0)[1:])).max())

    assert deviation(p) < 4
    # Planted fault: a distribution that is a little flatter is noticed.
    flatter = p**0.5
    assert deviation(flatter / flatter.sum(1, keepdims=True)) > 4.2


# ---- nats


def law_nats(model: Model, predictor: Predictor, prompt: list[int], options: SampleOptions) -> None:
    """The nats reported while sampling are those of scoring the text after start symbol and prompt, one by one."""
    symbols = list(generate(predictor, TOKENIZER, prompt, 40, options))
    ids = [*prompt, *(symbol.id for symbol in symbols)]
    with torch.no_grad():
        logits, _ = model(torch.tensor([[TOKENIZER.start_id, *ids[:-1]]]))
    nats = cross_entropy(logits, torch.tensor([ids]), reduction="none")[0].numpy()
    np.testing.assert_allclose([symbol.nats for symbol in symbols], nats[len(prompt) :], rtol=1e-9, atol=1e-9)
    total = stream_nats(TorchPredictor(model), np.array(ids, dtype=np.uint8), TOKENIZER.start_id) * len(ids)
    assert abs(nats[: len(prompt)].sum() + sum(symbol.nats for symbol in symbols) - total) < 1e-8


OPTIONS = [
    SampleOptions(seed=1),
    SampleOptions(0.5, top_k=4, seed=2),
    SampleOptions(0),
    SampleOptions(1.4, 0, 0.6, 0.02),
]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("prompt", [[], [3], [5, 6, 2, 2, 1, 9, 4, 4]], ids=len)
def test_nats(arch: str, options: SampleOptions, prompt: list[int]) -> None:
    model = random_model(model_config(arch))
    law_nats(model, TorchPredictor(model), prompt, options)


def stale_state(inner: Step) -> Step:
    def step(ids: Window, state: State | None) -> tuple[Array, State]:
        logits, after = inner(ids, state)
        return logits, after if state is None else state

    return step


def no_start(inner: Step) -> Step:
    return lambda ids, state: inner(ids if state is not None or ids.shape[1] == 1 else ids[:, 1:], state)


def sharpened(inner: Step) -> Step:
    def step(ids: Window, state: State | None) -> tuple[Array, State]:
        logits, after = inner(ids, state)
        return logits / 0.9, after

    return step


@pytest.mark.parametrize("fault", [stale_state, no_start, sharpened])
def test_nats_law_fails_on_faults(fault: Callable[[Step], Step]) -> None:
    model = random_model(model_config("lstm"))
    step = TorchPredictor(model).logits
    law_nats(model, Stepping(step), [5, 6], SampleOptions(seed=1))
    with pytest.raises(AssertionError):
        law_nats(model, Stepping(fault(step)), [5, 6], SampleOptions(seed=1))


# ---- one text


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_engine_gives_the_same_text(arch: str, options: SampleOptions) -> None:
    model = random_model(model_config(arch))
    prompt = [2, 7, 1]
    texts = [
        [symbol.id for symbol in generate(predictor, TOKENIZER, prompt, 60, options)]
        for predictor in (TorchPredictor(model), fused(model), rereading(model))
    ]
    assert texts[0] == texts[1] == texts[2]


def test_a_longer_text_begins_like_a_shorter_one_and_streams_differ() -> None:
    model = random_model(model_config("gru"))
    options = SampleOptions(seed=6)
    long = text_of(generate(TorchPredictor(model), TOKENIZER, [2], 50, options))
    assert long.startswith(text_of(generate(TorchPredictor(model), TOKENIZER, [2], 20, options)))
    assert text_of(generate(TorchPredictor(model), TOKENIZER, [2], 0, options)) == ""
    streams = [text_of(generate(TorchPredictor(model), TOKENIZER, [2], 50, options, stream=k)) for k in range(6)]
    assert streams[0] == long and len(set(streams)) == 6


@pytest.mark.parametrize(("seconds", "sizes"), [(9.0, [1, 2, 4, 8, 16, 32, 64, 64, 9]), (0.0, [1] * 200)])
def test_blocks_grow_while_they_are_quick(seconds: float, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols come as soon as they are drawn, or a few at a time where that is quick; the text is the same."""
    monkeypatch.setattr(sample, "BLOCK_SECONDS", seconds)
    lengths: list[int] = []
    inner = TorchPredictor(random_model(model_config("lstm")))

    def step(ids: Window, state: State | None) -> tuple[Array, State]:
        lengths.append(ids.shape[1])
        return inner.logits(ids, state)

    symbols, ids = generate(Stepping(step), TOKENIZER, [1, 2, 3], 200, SampleOptions()), []
    ends = np.cumsum(sizes)
    for symbol in symbols:
        ids.append(symbol.id)
        assert lengths == [4] + [1] * int(ends[ends >= len(ids)][0])
    assert ids == [symbol.id for symbol in generate(inner, TOKENIZER, [1, 2, 3], 200, SampleOptions())]


def test_the_unknown_symbol_is_never_drawn() -> None:
    eager = constant([0.99, *[0.01 / 11] * 11])
    assert all(symbol.id for symbol in generate(eager, TOKENIZER, [], 500, SampleOptions(seed=7)))
    words = WordTokenizer(("car", "cat"))
    symbols = list(generate(constant([0.97, 0.01, 0.01, 0.01]), words, [], 300, SampleOptions(seed=7)))
    assert all(symbol.id for symbol in symbols)
    # Its probability is still part of what is reported: the nats are the model's own.
    assert all(abs(symbol.nats + np.log(0.01)) < 1e-9 for symbol in symbols)


# ---- text


def test_a_prompt_that_ends_with_a_space_is_not_followed_by_another(tmp_path: Path) -> None:
    words = UnicodeWordTokenizer((", ", "the", "cat"))
    opened = Opened(tmp_path, constant([0.01, 0.01, 0.01, 0.01, 0.96]), words, {})
    for prompt, continued in (("the ", "cat cat"), ("the", " cat cat"), ("the, ", "cat cat"), ("the,", " cat cat")):
        assert "".join(symbol.text for symbol in sample.sample(opened, prompt, 2, temperature=0)) == continued


BPE = BpeTokenizer.learn(["aé€😀 the cat\n" * 20], vocab_size=280)
TOKENIZERS: list[Tokenizer] = [
    CharTokenizer.learn("abé€😀"), ByteTokenizer(), WordTokenizer(("the", "cat", "é€")), BPE,
    UnicodeWordTokenizer((", ", ",", "the", "cat", " (", "é€")),
]  # fmt: skip


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: str(tokenizer.level))
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_text_that_comes_is_the_text_of_the_ids(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """Also where an id ends in the middle of a character, and right after the prompt."""
    known_ids = [id for id in range(tokenizer.vocab_size) if id != tokenizer.unknown_id]
    ids = data.draw(st.lists(st.sampled_from(known_ids), max_size=30))
    split = data.draw(st.integers(0, len(ids)))
    prompt, rest = ids[:split], ids[split:]
    decoder = tokenizer.stream_decoder()
    before = "".join(map(decoder.push, prompt))
    text = text_of(generate(scripted(rest, tokenizer.vocab_size), tokenizer, prompt, len(rest), SampleOptions()))
    if rest:
        assert before + text == tokenizer.decode(ids)
    else:
        assert text == ""


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: str(tokenizer.level))
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_shown_is_exactly_the_text_before_the_first_stop(tokenizer: Tokenizer, data: st.DataObject) -> None:
    known_ids = [id for id in range(tokenizer.vocab_size) if id != tokenizer.unknown_id]
    alphabet = data.draw(st.lists(st.sampled_from(known_ids), min_size=1, max_size=3))
    ids = data.draw(st.lists(st.sampled_from(alphabet), min_size=1, max_size=24))
    text = tokenizer.decode(ids)
    assume(text)
    begin = data.draw(st.integers(0, len(text) - 1))
    stop = text[begin : begin + data.draw(st.integers(1, 5))] + data.draw(st.sampled_from(["", text[0], "z"]))
    symbols = list(generate(scripted(ids, tokenizer.vocab_size), tokenizer, [], len(ids), SampleOptions(), stop=stop))
    assert "".join(symbol.text for symbol in symbols) == text.split(stop)[0]
    assert [symbol.id for symbol in symbols] == ids[: len(symbols)]
    if stop not in text:
        assert len(symbols) == len(ids)


def before_the_first_stop(content: str, stops: list[str]) -> tuple[int, int] | None:
    """Return where the first stop that is complete begins and ends, as one reads; None where there is none."""
    for end in range(1, len(content) + 1):
        if ending := [stop for stop in stops if content[:end].endswith(stop)]:
            return end - max(map(len, ending)), end
    return None


@given(st.text("ab", min_size=1, max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
@settings(max_examples=300, deadline=None)
def test_no_more_is_held_back_than_must_be(content: str, stops: list[str]) -> None:
    """At every moment all is shown but the longest end that may still become one of the stops."""
    tokenizer = CharTokenizer.learn("ab")
    ids = tokenizer.encode(content).tolist()
    place = before_the_first_stop(content, stops)
    text, count = "", 0
    for count, symbol in enumerate(generate(scripted(ids, 4), tokenizer, [], len(ids), SampleOptions(), stop=stops), 1):
        text += symbol.text
        if (place and count == place[1]) or count == len(content):
            continue
        withheld = max(
            (k for stop in stops for k in range(1, min(count, len(stop) - 1) + 1)
             if stop.startswith(content[count - k : count])), default=0,
        )  # fmt: skip
        assert text == content[: count - withheld]
    assert (text, count) == ((content[: place[0]], place[1]) if place else (content, len(content)))


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: str(tokenizer.level))
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_of_several_stops_the_first_that_is_complete_ends_the_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """Whatever symbols it comes in, so that models of all levels end the same text at the same place."""
    known_ids = [id for id in range(tokenizer.vocab_size) if id != tokenizer.unknown_id]
    alphabet = data.draw(st.lists(st.sampled_from(known_ids), min_size=1, max_size=3))
    ids = data.draw(st.lists(st.sampled_from(alphabet), min_size=1, max_size=24))
    content = tokenizer.decode(ids)
    assume(content)
    starts = data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3))
    stops = [content[begin : begin + data.draw(st.integers(1, 5))] for begin in starts]
    place = before_the_first_stop(content, stops)
    assert place is not None
    predictor = scripted(ids, tokenizer.vocab_size)
    symbols = generate(predictor, tokenizer, [], len(ids), SampleOptions(), stop=stops)
    assert "".join(symbol.text for symbol in symbols) == content[: place[0]]


def test_an_empty_stop_is_refused() -> None:
    for stop in ("", ["a", ""]):
        with pytest.raises(UserError, match="a stop text is empty"):
            generate(scripted([2], 4), CharTokenizer.learn("ab"), [], 1, SampleOptions(), stop=stop)


# ---- prompts


def test_unknown_symbols_of_a_prompt_are_named_or_replaced() -> None:
    with pytest.raises(UserError) as refusal:
        encode_prompt(TOKENIZER, "ab€cé")
    assert (
        "'€' at 2" in refusal.value.what
        and "'é' at 4" in refusal.value.what
        and refusal.value.allowed
        and refusal.value.fix
    )
    assert encode_prompt(TOKENIZER, "ab€cé", replace_unknown=True) == [2, 3, 0, 4, 0]
    assert encode_prompt(TOKENIZER, "abc\n") == [2, 3, 4, 1] and encode_prompt(TOKENIZER, "") == []
    with pytest.raises(UserError, match="and 4 more"):
        encode_prompt(TOKENIZER, "a" + "Z" * 9)
    with pytest.raises(UserError, match="'dog' at 8"):
        encode_prompt(WordTokenizer(("the", "cat")), "the cat dog")
    assert encode_prompt(ByteTokenizer(), "€") == [0xE2, 0x82, 0xAC]


def test_a_prompt_of_any_length_is_read_whole() -> None:
    model = random_model(model_config("lstm"))
    prompt = np.random.default_rng(0).integers(1, TOKENIZER.vocab_size, 5000).tolist()
    (last,) = generate(TorchPredictor(model), TOKENIZER, prompt, 1, SampleOptions())
    total = stream_nats(TorchPredictor(model), np.array([*prompt, last.id], np.uint8), TOKENIZER.start_id) * (
        len(prompt) + 1
    )
    prompt_nats = stream_nats(TorchPredictor(model), np.array(prompt, np.uint8), TOKENIZER.start_id) * len(prompt)
    assert abs(total - prompt_nats - last.nats) < 1e-7
