"""The tagger without torch: equal to torch's; a sentence's tags are its own, and never break their scheme."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from engine.test_encoder import LENGTHS, reading
from nn.test_encoder import randomised
from nn.test_tagger import CONTEXT, config
from unroll.data.ragged import Vectors
from unroll.data.reader import Reading
from unroll.engine.crf import Chain, best_paths
from unroll.engine.tagger import TaggerNetwork
from unroll.nn.encoder import Units
from unroll.nn.tagger import Tagger
from unroll.nn.tagger_config import TaggerConfig

TAGS = ("O", "B-A", "I-A", "I-B")
SHAPES = [config(), config(crf=True), config(crf=True, context_size=CONTEXT, arch="gru"),
          config(char_hidden_size=0, context_size=CONTEXT), config(char_hidden_size=0, num_layers=1)]  # fmt: skip


def network(model: Tagger, kind: Any = np.float64, scheme: Any = "none") -> TaggerNetwork:
    weights = {name: w.detach().numpy().astype(kind) for name, w in model.named_parameters()}
    return TaggerNetwork(model.config, weights, TAGS, scheme, kernel=kind is np.float32)


def sentences(shape: TaggerConfig) -> Reading:
    read = reading(shape)  # type: ignore[arg-type]
    if not shape.context_size:
        return read
    contexts = np.random.default_rng(1).normal(size=(len(read.units.values), CONTEXT))
    return replace(read, contexts=Vectors(contexts.astype(np.float16), read.units.ends))


@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_torch(shape: TaggerConfig) -> None:
    model, read = randomised(Tagger(shape)), sentences(shape)
    arrays = {name: None if a is None else torch.from_numpy(a) for name, a in read.arrays().items()}
    with torch.no_grad():
        logits = model(Units(**arrays)).transpose(0, 1).numpy()  # type: ignore[arg-type]
    expected = np.concatenate([logits[row, :length] for row, length in enumerate(LENGTHS)])
    np.testing.assert_allclose(network(model).scores(read), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(network(model, np.float32).scores(read), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sentence_has_its_own_tags(shape: TaggerConfig) -> None:
    net, read = network(randomised(Tagger(shape)), np.float32), sentences(shape)
    scores, lengths = net.scores(read), read.units.lengths
    ids, probabilities = net.best(scores, lengths), net.probabilities(scores, lengths)
    together = {int(row): part for row, part in enumerate(np.split(np.arange(len(ids)), read.units.ends[:-1]))}
    for numbers, part in read.batches():
        scores, lengths = net.scores(part), part.units.lengths
        places = np.concatenate([together[row] for row in numbers.tolist()])
        assert net.best(scores, lengths).tolist() == ids[places].tolist()
        np.testing.assert_allclose(net.probabilities(scores, lengths), probabilities[places], rtol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("crf", [False, True])
def test_a_scheme_is_kept(crf: bool) -> None:
    model = randomised(Tagger(config(crf=crf)), scale=2.0)
    read = sentences(model.config)
    free, kept = network(model), network(model, scheme="bio")

    def broken(ids: np.ndarray[Any, Any]) -> int:
        rows = np.split(ids, read.units.ends[:-1])
        return sum(
            TAGS[tag] == "I-B" or (TAGS[tag] == "I-A" and (not t or TAGS[row[t - 1]] not in ("B-A", "I-A")))
            for row in rows
            for t, tag in enumerate(row.tolist())
        )

    scores, lengths = free.scores(read), read.units.lengths
    assert broken(free.best(scores, lengths)), "what is ruled out would be chosen"
    ids = kept.best(scores, lengths)
    assert not broken(ids)
    if not crf:
        assert ids.tolist() == best_paths(scores, lengths, Chain.free(4).within(TAGS, "bio")).tolist()


def test_weights_of_another_network_are_refused() -> None:
    model = randomised(Tagger(config()))
    weights = {name: w.detach().numpy() for name, w in model.named_parameters()}
    with pytest.raises(ValueError, match=r"crf\.start"):
        TaggerNetwork(config(crf=True), weights, TAGS)
