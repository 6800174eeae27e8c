"""An encoder: equal to torch's bidirectional layers, row by row; whatever pads a row, or stands beside it."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from unroll.errors import UserError
from unroll.nn import layers
from unroll.nn.encoder import Classifier, Encoder, Units, label_nats
from unroll.nn.encoder_config import (
    ClassifierConfig,
    EncoderConfig,
    classifier_parameters,
    classifier_shapes,
)
from unroll.nn.layers import backwards
from unroll.nn.recurrent import Engine, RecurrentLayer

LENGTHS = [30, 1, 17, 23]
CELLS = ("lstm", "gru", "mingru", "rnn")
MODULES: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def config(**options: Any) -> ClassifierConfig:
    shape = {"vocab_size": 12, "embedding_size": 5, "hidden_size": 7, "num_layers": 2, "labels": 3,
             "pooling": "last,mean,max,attention", "attention_size": 4}  # fmt: skip
    return ClassifierConfig(**shape | options)  # type: ignore[arg-type]


def spelt(**options: Any) -> ClassifierConfig:
    return config(chars=9, char_embedding_size=3, char_hidden_size=4, **options)


def randomised(model: nn.Module, scale: float = 0.6) -> Any:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    return model.double().eval()


def units(shape: EncoderConfig, lengths: list[int] = LENGTHS, padding: int = 0, seed: int = 3) -> Units:
    """Return random rows, with as much more padding as asked, of random ids: they must not matter."""
    generator = torch.Generator().manual_seed(seed)
    steps, rows = max(*lengths, 1), len(lengths)
    ids = torch.randint(shape.vocab_size, (rows, steps), generator=generator)
    word_of = torch.randint(6, (rows, steps), generator=generator)
    characters = torch.randint(shape.chars or 1, (6, 8), generator=generator)
    word_lengths = torch.tensor([8, 1, 3, 5, 2, 8])
    noise = torch.randint(shape.vocab_size, (rows, padding), generator=generator)
    ids, word_of = torch.cat([ids, noise], dim=1), torch.cat([word_of, noise % 6], dim=1)
    if not shape.char_hidden_size:
        return Units(ids, torch.tensor(lengths))
    return Units(ids, torch.tensor(lengths), characters, word_lengths, word_of)


def only(batch: Units, row: int) -> Units:
    length = int(batch.lengths[row])
    words = None if batch.word_of is None else batch.word_of[row : row + 1, : max(1, length)]
    return Units(batch.ids[row : row + 1, : max(1, length)], batch.lengths[row : row + 1], batch.characters,
                 batch.word_lengths, words)  # fmt: skip


def torch_layers(model: Encoder) -> nn.Module:
    """Return torch's own module with the weights of a model of two directions."""
    shape = model.config
    module = MODULES[shape.arch](shape.input_size, shape.hidden_size, shape.num_layers, bidirectional=True)
    module.double()
    with torch.no_grad():
        for ours, theirs in weight_names(model):
            module.get_parameter(theirs).copy_(model.get_parameter(ours))
    return module  # type: ignore[no-any-return]


def weight_names(model: Encoder) -> Iterator[tuple[str, str]]:
    """Yield our name and torch's of each weight of the recurrent layers of two directions."""
    for (way, suffix), k in product((("forwards", ""), ("backwards", "_reverse")), range(model.config.num_layers)):
        for name, _ in model.get_submodule(f"{way}.{k}").named_parameters():
            yield f"{way}.{k}.{name}", f"{name}_l{k}{suffix}"


@pytest.mark.parametrize("arch", MODULES)
def test_it_equals_torchs_bidirectional_layers(arch: str) -> None:
    model = randomised(Classifier(spelt(arch=arch)))
    batch = units(model.config)
    x = model.inputs(batch)
    packed = nn.utils.rnn.pack_padded_sequence(x, batch.lengths, enforce_sorted=False)
    module = torch_layers(model)
    theirs, state = module(packed)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs)
    y, last = model.encode(batch)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    h = state[0] if isinstance(state, tuple) else state
    torch.testing.assert_close(last, torch.cat([h[-2], h[-1]], dim=1), rtol=1e-9, atol=1e-9)
    own, other = dict(model.named_parameters()), dict(module.named_parameters())
    shared = [own["embedding.weight"], own["characters.embedding.weight"]]
    pairs = [(own[ours], other[theirs]) for ours, theirs in weight_names(model)]
    ours = torch.autograd.grad(y.square().sum(), [*shared, *(w for w, _ in pairs)], retain_graph=True)
    others = torch.autograd.grad(expected.square().sum(), [*shared, *(w for _, w in pairs)])
    torch.testing.assert_close(ours, others, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("arch", "skip", "bidirectional"), [*product(CELLS, ("none", "residual", "sum"), (True, False))]
)
def test_stepwise_is_fused(arch: str, skip: str, bidirectional: bool) -> None:
    model = randomised(Classifier(config(arch=arch, skip=skip, bidirectional=bidirectional)))
    batch = units(model.config, [30, 0, 17, 23])
    stepwise, fused = (gradients(model, batch, engine) for engine in get_args(Engine))
    torch.testing.assert_close(stepwise, fused, rtol=1e-9, atol=1e-9)


def gradients(model: Classifier, batch: Units, engine: Engine = "fused") -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    logits = model(batch, engine)
    logits.square().sum().backward()
    return logits.detach(), [w.grad.clone() for w in model.parameters() if w.grad is not None]


def law_of_rows(model: Classifier) -> None:
    """Hold a row's result, and all gradients, to those of rows by themselves, and of rows padded further."""
    lengths = [*LENGTHS, 0]
    batch = units(model.config, lengths)
    logits, of_weights = gradients(model, batch)
    further, of_further = gradients(model, units(model.config, lengths, padding=9))
    torch.testing.assert_close(further, logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(of_further, of_weights, rtol=1e-9, atol=1e-9)
    alone = [gradients(model, only(batch, row)) for row in range(len(lengths))]
    torch.testing.assert_close(torch.cat([row for row, _ in alone]), logits, rtol=1e-9, atol=1e-9)
    sums = [torch.stack(of_weight).sum(0) for of_weight in zip(*(of for _, of in alone), strict=True)]
    torch.testing.assert_close(sums, of_weights, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arch", CELLS)
def test_a_row_depends_on_nothing_beside_or_behind_it(arch: str) -> None:
    law_of_rows(randomised(Classifier(spelt(arch=arch))))


def whole_reversed(x: Tensor, lengths: Tensor) -> Tensor:
    return x.flip(0)


def last_of_all(y: Tensor, lengths: Tensor) -> Tensor:
    return y[-1]


FAULTS: list[tuple[str, Callable[..., Tensor]]] = [("backwards", whole_reversed), ("last_of", last_of_all)]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[name for name, _ in FAULTS])
def test_the_law_catches_padding_that_leaks(name: str, fault: Callable[..., Tensor], monkeypatch: Any) -> None:
    monkeypatch.setattr(layers, name, fault)
    with pytest.raises(AssertionError):
        law_of_rows(randomised(Classifier(spelt())))


def test_an_empty_row_is_zero() -> None:
    model = randomised(Classifier(config()))
    batch = units(model.config, [0, 22])
    y, last = model.encode(batch)
    assert not y[:, 0].any() and not last[0].any() and not model.pooled(y, last, batch.lengths)[0].any()
    assert torch.isfinite(model(units(model.config, [0]))).all()


def test_backwards_undoes_itself() -> None:
    x, lengths = torch.arange(12).view(6, 2), torch.tensor([4, 6])
    assert backwards(x, lengths)[:, 0].tolist() == [6, 4, 2, 0, 8, 10]
    assert torch.equal(backwards(backwards(x, lengths), lengths), x)


def poolings(y: Tensor, last: Tensor, model: Classifier) -> Iterator[Tensor]:
    """Yield what one row (T, D) without padding is pooled to."""
    yield last
    yield y.mean(0)
    yield y.max(0).values
    weights = torch.softmax(torch.tanh(y @ model.attention.weight.T + model.attention.bias) @ model.attention.vector, 0)
    yield weights @ y


def test_poolings_are_those_of_rows_without_padding() -> None:
    model = randomised(Classifier(config()))
    batch = units(model.config, padding=3)
    y, last = model.encode(batch)
    pooled = model.pooled(y, last, batch.lengths)
    for row, length in enumerate(LENGTHS):
        expected = torch.cat(list(poolings(y[:length, row], last[row], model)))
        torch.testing.assert_close(pooled[row], expected, rtol=1e-9, atol=1e-9)
    weights = model.attention.weights(y, batch.lengths)
    torch.testing.assert_close(weights.sum(0), torch.ones(len(LENGTHS), dtype=torch.float64))


def loss_arguments(shape: ClassifierConfig) -> dict[str, Any]:
    batch = units(shape)
    targets = torch.softmax(torch.randn(len(LENGTHS), shape.labels, dtype=torch.float64), 1)
    named = {name: part for name, part in batch._asdict().items() if name != "contexts"}
    return named | {"targets": targets, "weights": torch.tensor([1.0, 0.5, 2.0, 0.0], dtype=torch.float64)}


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_loss_weighs_rows(multi_label: bool) -> None:
    model = randomised(Classifier(spelt(multi_label=multi_label)))
    arguments = loss_arguments(model.config)
    loss, state = model.loss(**arguments)
    nats = label_nats(model(units(model.config)), arguments["targets"], multi_label=multi_label)
    assert loss.item() == pytest.approx(float((nats.detach() * arguments["weights"]).sum()) / 4) and state == ()


def test_a_perturbation_adds_the_gradient_of_the_worst_step() -> None:
    """Held to two passes, each with its own way back."""
    plain, model = (randomised(Classifier(spelt())).train() for _ in range(2))
    arguments = loss_arguments(model.config)
    length = torch.tensor(0.7, dtype=torch.float64)
    loss, _ = model.loss(**arguments, perturbation=length)
    torch.autograd.backward(loss)

    batch = units(plain.config)

    def loss_of(x: Tensor) -> Tensor:
        logits = plain.logits(*plain.read(x, batch.lengths), batch.lengths)
        nats = label_nats(logits, arguments["targets"], multi_label=False)
        mean: Tensor = (nats * arguments["weights"]).mean()
        return mean

    x = plain.inputs(batch)
    x.retain_grad()
    first = loss_of(x)
    torch.autograd.backward(first, retain_graph=True)
    assert x.grad is not None
    slope = x.grad.detach().clone()
    norm = slope.square().sum((0, 2)).sqrt().clamp(min=1e-12).view(1, -1, 1)
    second = loss_of(x + 0.7 * slope / norm)
    torch.autograd.backward(second)
    assert loss.item() == pytest.approx(0.5 * (first.item() + second.item()), rel=1e-12)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, 0.5 * theirs.grad, rtol=1e-9, atol=1e-12)
    assert second > first, "the worst direction is worse"
    model.eval()
    measured, _ = model.loss(**arguments, perturbation=length)
    assert measured.item() == pytest.approx(first.item(), rel=1e-12), "in training alone"


@pytest.mark.parametrize("shape", [config(), spelt(), spelt(arch="mingru", bidirectional=False, pooling="max")])
def test_weights_are_as_their_table_says(shape: ClassifierConfig) -> None:
    model = Classifier(shape)
    assert {name: tuple(w.shape) for name, w in model.named_parameters()} == classifier_shapes(shape)
    assert sum(w.numel() for w in model.parameters()) == classifier_parameters(shape)


def test_depths_fall_from_the_units_to_the_head() -> None:
    depths = Classifier(spelt()).depths()
    assert depths["embedding.weight"] == 3 and depths["forwards.0.weight_ih"] == 2 and depths["forwards.1.bias_hh"] == 1
    assert not {"head.weight", "backwards.0.weight_ih", "characters.embedding.weight"} & depths.keys()


def test_words_are_dropped_and_their_characters_are_not() -> None:
    model = Classifier(spelt(embedding_dropout=0.999, num_layers=1)).train()
    torch.manual_seed(0)
    x = model.inputs(units(model.config))
    unknown = model.embedding.weight[0]
    assert (x[:, :, :5] == unknown).all(2).float().mean() > 0.9
    assert x[:, :, 5:].std() > 0


@pytest.mark.parametrize("options", [{"pooling": "maximum"}, {"pooling": "max,max"}, {"labels": 1}, {"arch": "window"},
                                     {"hidden_size": 0}, {"dropout": 1.0}, {"perturbation": -1.0},
                                     {"hidden_size": 2**30}, {"attention_size": 2**24, "hidden_size": 256},
                                     {"arch": "mingru", "weight_drop": 0.2}])  # fmt: skip
def test_impossible_shapes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        config(**options)
    assert error.value.allowed


def test_layers_are_those_of_the_language_model() -> None:
    assert isinstance(Classifier(config()).get_submodule("forwards.0"), RecurrentLayer)
