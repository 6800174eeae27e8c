"""Labels choose start states, and nothing else; padding is not read; gradients reach the labels that are named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tiny import model_config, random_ids
from unroll.nn.arch import RECURRENT
from unroll.nn.loss import cross_entropy
from unroll.nn.steering import SteeredModel
from unroll.state import State, select_rows

LABELS = torch.tensor([[2, 0], [-1, 1], [0, -1], [2, 1]])
LENGTHS = (9, 3, 5, 1)


def model_of(arch: str = "lstm", **options: Any) -> SteeredModel:
    """Return a model of two columns, of 3 and 2 labels, with random weights."""
    random = torch.Generator().manual_seed(1)
    model = SteeredModel(model_config(arch, **options), (3, 2)).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.6 * torch.randn(weight.shape, generator=random, dtype=torch.float64))
    return model


def texts(padding: int = 0) -> tuple[Tensor, Tensor]:
    """Return rows of different length, padded: ids, and targets with -1 behind each end."""
    rows = torch.from_numpy(random_ids(4 * 10).astype("int64")).view(4, 10)
    ids, targets = rows[:, :-1].clone(), rows[:, 1:].clone()
    for row, length in enumerate(LENGTHS):
        ids[row, length:], targets[row, length:] = padding, -1
    return ids, targets


def start_of(model: SteeredModel, labels: list[int]) -> State:
    """Return the start state of one row, by the names of the weights."""
    weights = dict(model.named_parameters())

    def part(layer: int, name: str) -> Tensor:
        rows = [weights[f"start.{k}.{layer}.{name}"][id] for k, id in enumerate(labels) if id >= 0]
        return torch.stack(rows).sum(0, keepdim=True)

    parts = sorted({name.rsplit(".", 1)[1] for name in weights if name.startswith("start.")}, key="hc".index)
    return tuple(tuple(part(layer, name) for name in parts) for layer in range(model.config.num_layers))


def law_start(model: SteeredModel, starts: Callable[[Tensor], State]) -> None:
    """The loss of labelled rows is that of each row alone, unpadded, from the start state of its own labels."""
    ids, targets = texts()
    model.start_state = starts  # type: ignore[method-assign, assignment]
    loss, _ = model.loss(ids, targets, labels=LABELS)
    total = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(LENGTHS):
        logits, _ = model(ids[row : row + 1, :length], start_of(model, LABELS[row].tolist()))
        total += cross_entropy(logits, targets[row : row + 1, :length], "sum")
    torch.testing.assert_close(loss, total / sum(LENGTHS), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arch", RECURRENT)
@pytest.mark.parametrize("head", [{}, {"tie_weights": True}, {"adaptive_softmax": "4", "hidden_size": 16}])
def test_a_labelled_row_is_read_from_its_own_start_state(arch: str, head: dict[str, Any]) -> None:
    model = model_of(arch, **head)
    law_start(model, model.start_state)


@pytest.mark.parametrize("fault", ["rows", "column", "zero"])
def test_another_start_state_breaks_the_law(fault: str) -> None:
    model = model_of()
    honest = model.start_state
    faults: dict[str, Callable[[Tensor], State]] = {
        "rows": lambda labels: select_rows(honest(labels), [1, 0, 2, 3]),  # those of another row's labels
        "column": lambda labels: honest(labels.clone().index_fill_(1, torch.tensor([1]), -1)),
        "zero": lambda labels: model.fresh_state(len(labels)),
    }
    with pytest.raises(AssertionError):
        law_start(model, faults[fault])


def test_padding_changes_nothing() -> None:
    model = model_of()
    one, other = (model.loss(*texts(padding), labels=LABELS)[0] for padding in (0, 5))
    assert one == other


def test_only_labels_that_are_named_learn() -> None:
    model = model_of()
    model.loss(*texts(), labels=LABELS)[0].backward()  # type: ignore[no-untyped-call]
    for part in "hc":
        for layer in range(2):
            first, second = (model.get_parameter(f"start.{k}.{layer}.{part}").grad for k in range(2))
            assert first is not None and second is not None
            assert first.abs().amax(1).bool().tolist() == [True, False, True] and bool(second.abs().amax(1).all())


def test_no_label_is_the_fresh_state_and_labels_begin_there() -> None:
    model = SteeredModel(model_config("lstm"), (3, 2))
    fresh, none = model.fresh_state(1), torch.tensor([[-1, -1]])
    torch.testing.assert_close(model.start_state(torch.tensor([[1, 0]])), fresh)
    torch.testing.assert_close(model_of().float().start_state(none), fresh)


def test_the_gradient_of_many_rows_of_one_label_is_the_same_each_time() -> None:
    """Threads that add up rows in any order would not resume bit for bit."""
    model, labels = SteeredModel(model_config("lstm", hidden_size=320), (2, 2)), torch.zeros(256, 2, dtype=torch.int64)
    weights = torch.randn(256, 320, generator=torch.Generator().manual_seed(0))
    threads, gradients = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(20):
            model.zero_grad()
            (model.start_state(labels)[0][0] * weights).sum().backward()
            gradients.append(model.get_parameter("start.0.0.h").grad.clone())  # type: ignore[union-attr]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
