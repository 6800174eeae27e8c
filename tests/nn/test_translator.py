"""A translator: equal to its equations written out row by row, whatever pads a row and wherever its reading is cut."""

from itertools import product
from math import prod
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from unroll.errors import UserError
from unroll.nn import translator
from unroll.nn.cells import STEPS, state_after
from unroll.nn.encoder import Units
from unroll.nn.recurrent import Engine
from unroll.nn.translator import Translator
from unroll.nn.translator_config import AttentionKind, TranslatorConfig, translator_parameters, translator_shapes
from unroll.state import State, map_state

CELLS = ("lstm", "gru", "mingru", "rnn")
SOURCES, TARGETS = [23, 1, 17], [26, 9, 21]
FORMS = [("dot", False), ("dot", True), ("additive", False), ("additive", True), ("none", False)]
TINY = {"vocab_size": 11, "source_size": 13, "embedding_size": 5, "encoder_size": 4, "hidden_size": 6, "num_layers": 2,
        "attention_size": 3}  # fmt: skip


def config(**options: Any) -> TranslatorConfig:
    return TranslatorConfig(**TINY | options)


def randomised(shape: TranslatorConfig) -> Translator:
    generator, model = torch.Generator().manual_seed(1), Translator(shape)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.6 * torch.randn(weight.shape, generator=generator))
    return model.double().eval()


def random_rows(lengths: list[int], size: int, padding: int = 0, seed: int = 2) -> Tensor:
    """Return random ids in which the rows do not depend on how far they are padded, with other ids."""
    rows = torch.randint(size, (len(lengths), 50), generator=torch.Generator().manual_seed(seed))
    if padding:
        for row, length in zip(rows, lengths, strict=True):
            row[length:] = (row[length:] + 1) % size
    return rows[:, : max(lengths) + padding]


def batch(shape: TranslatorConfig, padding: int = 0) -> tuple[Units, Tensor]:
    sources = random_rows(SOURCES, shape.source_size or shape.vocab_size, padding)
    return Units(sources, torch.tensor(SOURCES)), random_rows(TARGETS, shape.vocab_size, padding, seed=3)


def written_out(model: Translator, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits (T, V) and the weights (T, S) of one pair by the equations of `translator_config.py`."""
    shape, w = model.config, dict(model.named_parameters())
    y, last = model.encoder.encode(Units(source.unsqueeze(0), torch.tensor([len(source)])))
    y, rows = y[:, 0], w.get("embedding.weight", w["encoder.embedding.weight"])
    states: list[Any] = []
    for u in (w["start.weight"] @ last[0] + w["start.bias"]).chunk(shape.num_layers):
        states.append((torch.tanh(u).unsqueeze(0), u.unsqueeze(0))[: 2 if shape.arch == "lstm" else 1])
    readout, logits, weights = torch.zeros(shape.embedding_size, dtype=y.dtype), [], []
    for symbol in target:
        x = torch.cat([rows[symbol], readout]) if shape.input_feeding else rows[symbol]
        for k, layer in enumerate(model.decoder):
            states[k] = state_after(STEPS[shape.arch](x.unsqueeze(0), states[k], layer.weights(0.0)))  # type: ignore[operator]
            x = states[k][0][0]
        if shape.attention != "none":
            scores = []
            for y_j in y:
                if shape.attention == "dot":
                    scores.append(x @ (w["attention.key"] @ y_j))
                else:
                    summed = w["attention.query"] @ x + w["attention.key"] @ y_j + w["attention.bias"]
                    scores.append(w["attention.vector"] @ torch.tanh(summed))
            weights.append(torch.softmax(torch.stack(scores), 0))
            x = torch.cat([weights[-1] @ y, x])
        readout = torch.tanh(w["combine.weight"] @ x + w["combine.bias"])
        logits.append(w.get("head.weight", rows) @ readout + w["head.bias"])
    return torch.stack(logits), torch.stack(weights) if weights else torch.zeros(len(target), 0)


def gradients(model: Translator, total: Tensor) -> list[Tensor | None]:
    return list(torch.autograd.grad(total, list(model.parameters()), allow_unused=True))


@pytest.mark.parametrize(("arch", "form"), [*product(CELLS, FORMS)])
def test_it_is_its_equations_row_by_row(arch: str, form: tuple[str, bool]) -> None:
    model = randomised(config(arch=arch, attention=form[0], input_feeding=form[1]))
    source, ids = batch(model.config)
    lengths = [*zip(SOURCES, TARGETS, strict=True)]
    rows = [written_out(model, source.ids[k, :length], ids[k, :steps]) for k, (length, steps) in enumerate(lengths)]
    expected = gradients(model, torch.stack([theirs.square().sum() for theirs, _ in rows]).sum())
    for engine in get_args(Engine):
        memory, state = model.encode(source)
        readouts, weights, _ = model.decode(ids, memory, state, engine)
        logits = model.logits(readouts)
        total = torch.zeros((), dtype=logits.dtype)
        for row, ((length, steps), (theirs, their_weights)) in enumerate(zip(lengths, rows, strict=True)):
            torch.testing.assert_close(logits[row, :steps], theirs, rtol=1e-9, atol=1e-9)
            if weights is not None:
                torch.testing.assert_close(weights[row, :steps, :length], their_weights, rtol=1e-9, atol=1e-9)
                assert not weights[row, :, length:].any()
            total = total + logits[row, :steps].square().sum()
        torch.testing.assert_close(gradients(model, total), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("tied", "source_size"), [*product((True, False), (0, 13))])
def test_its_weights_are_those_of_its_shapes(tied: bool, source_size: int) -> None:
    for arch, (kind, feeding), layers in product(CELLS, FORMS, (1, 2)):
        shape = config(arch=arch, attention=kind, input_feeding=feeding, num_layers=layers, tie_weights=tied,
                       source_size=source_size)  # fmt: skip
        shapes = translator_shapes(shape)
        assert {name: tuple(w.shape) for name, w in Translator(shape).named_parameters()} == shapes
        assert translator_parameters(shape) == sum(map(prod, shapes.values()))
    model = randomised(shape)
    source, ids = batch(shape)
    logits, _ = written_out(model, source.ids[0], ids[0])
    torch.testing.assert_close(model(source, ids)[0], logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("arch", "form"), [*product(CELLS, FORMS)])
def test_reading_can_be_cut_anywhere(arch: str, form: tuple[str, bool]) -> None:
    model = randomised(config(arch=arch, attention=form[0], input_feeding=form[1]))
    source, ids = batch(model.config)
    memory, begin = model.encode(source)
    whole, _, last = model.decode(ids, memory, begin)
    for cuts in ([1] * ids.shape[1], [5, 20, 1]):
        state, pieces = begin, []
        for piece in torch.split(ids, cuts, dim=1):
            readouts, _, state = model.decode(piece, memory, state)
            pieces.append(readouts)
        torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(state, last, rtol=1e-9, atol=1e-9)


def law_of_padding(model: Translator) -> None:
    """Hold the loss and all gradients to those of the same pairs, padded further and with other symbols."""
    results = []
    for padding in (0, 7):
        source, inputs = batch(model.config, padding)
        targets = random_rows(TARGETS, model.config.vocab_size, padding, seed=4)
        loss, _ = model.loss(source.ids, source.lengths, inputs, targets, torch.tensor(TARGETS), torch.tensor(0.1))
        results.append((loss, gradients(model, loss)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("arch", "form"), [*product(CELLS, FORMS)])
def test_what_pads_a_source_or_a_target_does_not_matter(arch: str, form: tuple[str, bool]) -> None:
    law_of_padding(randomised(config(arch=arch, attention=form[0], input_feeding=form[1])))


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_attention_to_padding_breaks_the_law_of_padding(monkeypatch: pytest.MonkeyPatch, kind: AttentionKind) -> None:
    class Leaking(translator.Attention):
        def forward(self, h: Tensor, memory: translator.Memory) -> tuple[Tensor, Tensor]:
            return super().forward(h, memory._replace(mask=torch.ones_like(memory.mask)))

    monkeypatch.setattr(translator, "Attention", Leaking)
    with pytest.raises(AssertionError, match="not close"):
        law_of_padding(randomised(config(attention=kind)))


def test_rows_do_not_mix() -> None:
    model = randomised(config(input_feeding=True))
    source, ids = batch(model.config)
    swapped = [2, 0, 1]
    logits = model(Units(source.ids[swapped], source.lengths[swapped]), ids[swapped])
    torch.testing.assert_close(logits, model(source, ids)[swapped], rtol=1e-9, atol=1e-9)
    memory, state = model.encode(source)

    def one(part: Tensor) -> Tensor:
        return part[1:2]

    alone: State = map_state(one, state)
    readouts, _, _ = model.decode(ids[1:2], translator.Memory(*map(one, memory)), alone)
    torch.testing.assert_close(model.logits(readouts), model(source, ids)[1:2], rtol=1e-9, atol=1e-9)


def test_the_loss_is_the_mean_over_the_symbols_of_all_targets() -> None:
    model = randomised(config())
    source, inputs = batch(model.config)
    targets = random_rows(TARGETS, model.config.vocab_size, seed=4)
    loss, _ = model.loss(source.ids, source.lengths, inputs, targets, torch.tensor(TARGETS), torch.tensor(0.25))
    nats = torch.log_softmax(model(source, inputs), 2)
    own = nats.gather(2, targets.unsqueeze(2))[:, :, 0]
    smoothed = -(0.75 * own + 0.25 * nats.mean(2))
    expected = torch.cat([row[:length] for row, length in zip(smoothed, TARGETS, strict=True)]).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("feeding", [False, True])
def test_training_drops_and_evaluation_does_not(feeding: bool) -> None:
    drops = ("dropout", "input_dropout", "embedding_dropout", "weight_drop")
    for name in drops:
        model = randomised(config(input_feeding=feeding, **{name: 0.5}))
        source, ids = batch(model.config)
        plain = model(source, ids)
        torch.testing.assert_close(plain, model(source, ids))
        model.train()
        memory, state = model.encode(source)
        assert model.decode(ids, memory, state)[0].requires_grad
        losses = [model.loss(source.ids, source.lengths, ids, ids, torch.tensor(TARGETS))[0] for _ in range(2)]
        assert losses[0] != losses[1], name


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"attention": "none", "input_feeding": True}, "input_feeding without attention"),
        ({"attention": "loud"}, "attention is 'loud'"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"source_size": -1}, "source_size is -1"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"arch": "mingru", "weight_drop": 0.1}, "no recurrent weights"),
        ({"num_layers": 10**9}, "parameters"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_other_shapes_are_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        config(**options)
