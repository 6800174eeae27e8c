"""A CRF in torch and without: both equal what all paths of short rows, counted one by one, say."""

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch

from unroll.engine import crf as engine
from unroll.engine.crf import IMPOSSIBLE, Chain, best_paths, log_marginals, marginals
from unroll.nn.crf import Crf

TAGS, LENGTHS = 4, [5, 1, 3, 0, 4]
STEPS, PADDING = 5, 3


@pytest.fixture
def crf() -> Crf:
    generator = torch.Generator().manual_seed(2)
    made = Crf(TAGS).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return made


@pytest.fixture
def emissions() -> torch.Tensor:
    """(T, B, K) of rows of LENGTHS, with noise behind their ends."""
    generator = torch.Generator().manual_seed(3)
    return 2 * torch.randn(STEPS + PADDING, len(LENGTHS), TAGS, generator=generator, dtype=torch.float64)


@pytest.fixture
def tags() -> torch.Tensor:
    return torch.randint(TAGS, (STEPS + PADDING, len(LENGTHS)), generator=torch.Generator().manual_seed(4))


def score(crf: Crf, emissions: torch.Tensor, path: tuple[int, ...]) -> torch.Tensor:
    """Return the score of one path over emissions (T, K), by the definition."""
    total = crf.start[path[0]] + crf.end[path[-1]] + sum(emissions[t, tag] for t, tag in enumerate(path))
    return total + sum(crf.transitions[one, other] for one, other in pairwise(path))


def every_path(crf: Crf, emissions: torch.Tensor, length: int) -> tuple[list[tuple[int, ...]], torch.Tensor]:
    """Return all paths of a row and their scores."""
    paths = list(product(range(TAGS), repeat=length))
    return paths, torch.stack([score(crf, emissions, path) for path in paths])


def by_hand(crf: Crf, emissions: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Return -ln P of each row's path."""
    nats = []
    for row, length in enumerate(LENGTHS):
        own = emissions[:, row]
        if not length:
            nats.append(torch.zeros((), dtype=torch.float64))
            continue
        _, scores = every_path(crf, own, length)
        nats.append(torch.logsumexp(scores, 0) - score(crf, own, tuple(tags[:length, row].tolist())))
    return torch.stack(nats)


def chain_of(crf: Crf) -> Chain:
    return Chain.of({name: w.detach().numpy() for name, w in crf.named_parameters()})


def rows_of(emissions: torch.Tensor) -> np.ndarray[Any, Any]:
    return np.concatenate([emissions[:length, row].numpy() for row, length in enumerate(LENGTHS)])


def gradients(crf: Crf, nats: torch.Tensor, emissions: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(nats.sum(), [emissions, *crf.parameters()]))


def test_nats_and_gradients_are_those_of_all_paths(crf: Crf, emissions: torch.Tensor, tags: torch.Tensor) -> None:
    emissions.requires_grad_()
    nats = crf.nats(emissions, tags, torch.tensor(LENGTHS))
    expected = by_hand(crf, emissions, tags)
    torch.testing.assert_close(nats, expected, rtol=1e-9, atol=1e-9)
    pairs = zip(gradients(crf, nats, emissions), gradients(crf, expected, emissions), strict=True)
    for own, others in pairs:
        torch.testing.assert_close(own, others, rtol=1e-9, atol=1e-9)


def test_padding_does_not_matter(crf: Crf, emissions: torch.Tensor, tags: torch.Tensor) -> None:
    lengths = torch.tensor(LENGTHS)
    nats = crf.nats(emissions, tags, lengths)
    torch.testing.assert_close(crf.nats(emissions[:STEPS], tags[:STEPS], lengths), nats)
    for row, length in enumerate(LENGTHS):
        emissions[length:, row], tags[length:, row] = 1e6, 0
    torch.testing.assert_close(crf.nats(emissions, tags, lengths), nats)


@torch.no_grad()
def test_viterbi_and_marginals_are_those_of_all_paths(crf: Crf, emissions: torch.Tensor) -> None:
    best: list[int] = []
    probability: list[list[float]] = []
    for row, length in enumerate(LENGTHS):
        paths, scores = every_path(crf, emissions[:, row], length) if length else ([()], torch.zeros(1))
        best += paths[int(scores.argmax())]
        share = torch.softmax(scores, 0).numpy()
        probability += [
            [sum(share[k] for k, path in enumerate(paths) if path[t] == tag) for tag in range(TAGS)]
            for t in range(length)
        ]
    rows, lengths = rows_of(emissions), np.array(LENGTHS)
    assert best_paths(rows, lengths, chain_of(crf)).tolist() == best
    np.testing.assert_allclose(marginals(rows, lengths, chain_of(crf)), probability, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1, 30, 1000])
def test_products_give_what_logarithms_do(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of scores whose products would vanish, too: there the logarithms are taken."""
    random, calls = np.random.default_rng(0), 0

    def counted(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        return log_marginals(*given)

    monkeypatch.setattr(engine, "log_marginals", counted)
    for _ in range(20):
        lengths, tags = random.integers(0, 12, size=5), int(random.integers(2, 7))
        scores = scale * random.normal(size=(lengths.sum(), tags))
        moves = scale * random.normal(size=(tags, tags))
        moves[(random.random((tags, tags)) < 0.2) & ~np.eye(tags, dtype=np.bool_)] = IMPOSSIBLE
        chain = Chain(scale * random.normal(size=tags), moves, scale * random.normal(size=tags))
        found, expected = marginals(scores, lengths, chain), log_marginals(scores, lengths, chain)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert bool(calls) == (scale > 30)


@pytest.mark.parametrize("fault", ["start", "end", "transposed"])
@torch.no_grad()
def test_the_law_catches_a_move_left_out(fault: str, crf: Crf, emissions: torch.Tensor, tags: torch.Tensor) -> None:
    expected, lengths = by_hand(crf, emissions, tags), torch.tensor(LENGTHS)
    if fault == "transposed":
        crf.transitions.copy_(crf.transitions.T.clone())
    else:
        getattr(crf, fault).zero_()
    assert not torch.allclose(crf.nats(emissions, tags, lengths), expected, atol=1e-3)


BIOES = ("O", "B-A", "I-A", "E-A", "S-A", "B-C", "I-C", "E-C", "S-C")


def right(path: list[str], scheme: str) -> bool:
    """Tell whether a path is one that a scheme allows, by reading it as an automaton would."""
    entity = ""
    for tag in path:
        place, _, kind = tag.partition("-")
        if place in ("I", "E"):
            if entity != kind:
                return False
        elif scheme == "bioes" and entity:
            return False
        entity = kind if place in ("B", "I") else ""
    return scheme == "bio" or not entity


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_a_scheme_rules_out_exactly_what_it_does_not_allow(scheme: Any) -> None:
    names = tuple(tag for tag in BIOES if scheme == "bioes" or tag[0] in "OBI")
    random, length = np.random.default_rng(0), 3
    chain = Chain.free(len(names)).within(names, scheme)
    paths = [path for path in product(range(len(names)), repeat=length) if right([names[k] for k in path], scheme)]
    for _ in range(20):
        scores = random.normal(size=(length, len(names)))
        best = max(paths, key=lambda path: sum(scores[t, tag] for t, tag in enumerate(path)))
        assert best_paths(scores, np.array([length]), chain).tolist() == list(best)
        share = marginals(scores, np.array([length]), chain)
        total = np.array([np.exp(sum(scores[t, tag] for t, tag in enumerate(path))) for path in paths])
        first = [total[[path[0] == tag for path in paths]].sum() / total.sum() for tag in range(len(names))]
        np.testing.assert_allclose(share[0], first, atol=1e-9)
