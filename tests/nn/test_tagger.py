"""A tagger: each unit's logits are its row's own; its loss is the mean nats of the units, with a CRF those of paths."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nn.test_encoder import LENGTHS, only, randomised, units
from unroll.errors import UserError
from unroll.nn.encoder import Units
from unroll.nn.tagger import Tagger
from unroll.nn.tagger_config import TaggerConfig, tagger_parameters, tagger_shapes

CONTEXT = 3


def config(**options: Any) -> TaggerConfig:
    shape = {"vocab_size": 12, "embedding_size": 5, "hidden_size": 7, "num_layers": 2, "tags": 4, "chars": 9,
             "char_embedding_size": 3, "char_hidden_size": 4}  # fmt: skip
    return TaggerConfig(**shape | options)


SHAPES = [config(), config(crf=True, context_size=CONTEXT), config(char_hidden_size=0, bidirectional=False, crf=True)]


def batch_of(shape: TaggerConfig, padding: int = 0) -> Units:
    """Return rows of units with noise behind their ends."""
    batch = units(shape, padding=padding)
    if not shape.context_size:
        return batch
    generator = torch.Generator().manual_seed(7)
    contexts = torch.randn(*batch.ids.shape, CONTEXT, generator=generator, dtype=torch.float64)
    return batch._replace(contexts=contexts)


def tags_of(shape: TaggerConfig, batch: Units) -> Tensor:
    return torch.randint(shape.tags, batch.ids.shape, generator=torch.Generator().manual_seed(8))


def arguments(shape: TaggerConfig, batch: Units) -> dict[str, Any]:
    return {name: part for name, part in batch._asdict().items() if part is not None} | {"tags": tags_of(shape, batch)}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_has_its_own_logits_whatever_pads_it(shape: TaggerConfig) -> None:
    model = randomised(Tagger(shape))
    batch = batch_of(shape, padding=4)
    logits = model(batch)
    for row, length in enumerate(LENGTHS):
        alone = only(batch, row)
        if batch.contexts is not None:
            alone = alone._replace(contexts=batch.contexts[row : row + 1, :length])
        torch.testing.assert_close(model(alone)[:, 0], logits[:length, row], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_is_the_mean_nats_of_units_whatever_pads_them(shape: TaggerConfig) -> None:
    model = randomised(Tagger(shape))
    batch = batch_of(shape, padding=4)
    loss, state = model.loss(**arguments(shape, batch))
    tags, logits, total = tags_of(shape, batch), model(batch), torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(LENGTHS):
        own, path = logits[:length, row], tags[row, :length]
        if shape.crf:
            total = total + model.crf.nats(own.unsqueeze(1), path.unsqueeze(1), torch.tensor([length])).sum()
        else:
            total = total - torch.log_softmax(own, 1)[torch.arange(length), path].sum()
    assert loss.item() == pytest.approx(total.item() / sum(LENGTHS)) and state == ()


def test_smoothing_spreads_a_share_over_all_tags() -> None:
    model = randomised(Tagger(config()))
    batch = batch_of(model.config)
    named = arguments(model.config, batch)
    plain, smooth, whole = (
        model.loss(**named, smoothing=torch.tensor(share, dtype=torch.float64))[0] for share in (0.0, 0.25, 1.0)
    )
    assert smooth.item() == pytest.approx(0.75 * plain.item() + 0.25 * whole.item())
    rows = [torch.log_softmax(model(batch)[:length, row], 1).mean(1).sum() for row, length in enumerate(LENGTHS)]
    assert whole.item() == pytest.approx(-torch.stack(rows).sum().item() / sum(LENGTHS))


def test_contexts_are_read() -> None:
    model = randomised(Tagger(SHAPES[1]))
    batch = batch_of(model.config)
    assert batch.contexts is not None
    other = batch._replace(contexts=batch.contexts + 1)
    assert not torch.allclose(model(batch), model(other))


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_as_their_table_says(shape: TaggerConfig) -> None:
    model = Tagger(shape)
    assert {name: tuple(w.shape) for name, w in model.named_parameters()} == tagger_shapes(shape)
    assert sum(w.numel() for w in model.parameters()) == tagger_parameters(shape)


@pytest.mark.parametrize("options", [{"tags": 0}, {"context_size": -1}, {"tags": 2**24, "hidden_size": 256}])
def test_impossible_shapes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        config(**options)
    assert error.value.allowed
