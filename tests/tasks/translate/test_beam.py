"""Beam search of translations: brute force where it keeps all beginnings, else its rule, and greedy with one."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from engine.test_translator import config, network, sources
from nn.test_encoder import randomised
from unroll.data.ragged import Ragged
from unroll.engine.translator import Step, TranslatorNetwork
from unroll.nn.translator import Translator
from unroll.state import select_rows
from unroll.tasks.translate import beam
from unroll.tasks.translate.beam import Hypothesis, greedy, search

UNKNOWN, END, SYMBOLS = 0, 1, 4
MOST = 5
"""Symbols of a translation in these tests, at most."""
ATTENTIONS = [("dot", True), ("additive", False), ("none", False)]
Rule = Callable[[TranslatorNetwork, Ragged, float], list[list[Hypothesis]]]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam, "limit", lambda units: MOST)


def few(
    attention: str = "dot", feeding: bool = True, kind: Any = np.float64, scale: float = 1.0, **options: Any
) -> TranslatorNetwork:
    """Return a translator with four symbols, whose distributions are far from even."""
    shape = config("lstm", attention, feeding, vocab_size=SYMBOLS)
    return network(randomised(Translator(shape), scale), kind, **options)


def costs_of(net: TranslatorNetwork, source: Ragged) -> Callable[[tuple[int, ...]], float]:
    """Return what gives the nats of a last symbol after those before it, each time from the start."""
    memory = net.read(source)

    @cache
    def cost(ids: tuple[int, ...]) -> float:
        return float(net.nats(memory, Ragged.of([ids]), END)[0][-1])

    return cost


def brute_force(net: TranslatorNetwork, source: Ragged, alpha: float) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield the score and the symbols of every translation."""
    cost, symbols = costs_of(net, source), [id for id in range(SYMBOLS) if id not in (END, UNKNOWN)]
    for length in range(1, MOST + 1):
        for ids in product(symbols, repeat=length - 1):
            whole = (*ids, END)
            yield -sum(cost(whole[: k + 1]) for k in range(length)) / length**alpha, whole


def law_exact(found: list[list[Hypothesis]], net: TranslatorNetwork, read: Ragged, alpha: float) -> None:
    """With as many beginnings as there are, the search finds the best of all translations, with their scores."""
    for row, translations in enumerate(found):
        best = sorted(brute_force(net, read.select([row]), alpha), reverse=True)[: len(translations)]
        assert [tuple(translation.ids) for translation in translations] == [ids for _, ids in best]
        np.testing.assert_allclose([translation.score for translation in translations], [score for score, _ in best])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("attention", "feeding"), ATTENTIONS)
def test_a_search_that_keeps_all_beginnings_is_brute_force(attention: str, feeding: bool, alpha: float) -> None:
    net = few(attention, feeding)
    read = sources(net.config)
    law_exact(search(net, read, END, {UNKNOWN}, beam=SYMBOLS**MOST, n_best=4, alpha=alpha), net, read, alpha)


def test_the_law_catches_states_of_other_rows() -> None:
    class Mixed(TranslatorNetwork):
        def step(self, *arguments: Any) -> Step:
            step = super().step(*arguments)
            return step._replace(state=select_rows(step.state, np.arange(len(step.logits))[::-1]))

    net = few()
    net.__class__ = Mixed
    read = sources(net.config)
    with pytest.raises(AssertionError):
        law_exact(search(net, read, END, {UNKNOWN}, beam=SYMBOLS**MOST, n_best=9), few(), read, 1.0)


def by_the_rule(net: TranslatorNetwork, source: Ragged, beam: int, n_best: int, alpha: float) -> list[Any]:
    """Return what the docstring of `search` says, word for word, of one source."""
    cost, live, ended = costs_of(net, source), [(0.0, ())], list[tuple[float, tuple[int, ...]]]()
    for length in range(1, MOST + 1):
        symbols = [END] if length == MOST else [id for id in range(SYMBOLS) if id != UNKNOWN]
        longer = sorted((total + cost((*ids, id)), (*ids, id)) for total, ids in live for id in symbols)[:beam]
        ended += [(-total / length**alpha, ids) for total, ids in longer if ids[-1] == END]
        ended.sort(reverse=True)
        live = [(total, ids) for total, ids in longer if ids[-1] != END]  # type: ignore[misc]
        if len(ended) >= beam:
            break
        if len(ended) >= n_best:
            live = [(total, ids) for total, ids in live if -total / MOST**alpha > ended[n_best - 1][0]]
    return ended[:n_best]


@pytest.mark.parametrize(("beam", "n_best", "alpha"), [(1, 1, 1.0), (2, 1, 0.6), (3, 3, 1.0), (5, 2, 0.0), (7, 4, 1.5)])
@pytest.mark.parametrize(("attention", "feeding"), ATTENTIONS)
def test_it_keeps_its_rule(attention: str, feeding: bool, beam: int, n_best: int, alpha: float) -> None:
    net = few(attention, feeding)
    read = sources(net.config)
    found = search(net, read, END, {UNKNOWN}, beam=beam, n_best=n_best, alpha=alpha)
    for row, translations in enumerate(found):
        expected = by_the_rule(net, read.select([row]), beam, n_best, alpha)
        assert [tuple(translation.ids) for translation in translations] == [ids for _, ids in expected]
        np.testing.assert_allclose(
            [translation.score for translation in translations], [score for score, _ in expected]
        )


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_the_nats_are_those_of_the_translation_read_as_a_target(kind: Any, tolerance: float) -> None:
    net = few(kind=kind)
    read = sources(net.config)
    for row, translations in enumerate(search(net, read, END, beam=4, n_best=3, alpha=0.6)):
        memory = net.read(read.select([row]))
        assert [translation.score for translation in translations] == sorted(
            (translation.score for translation in translations), reverse=True
        )
        for ids, nats, score in translations:
            assert ids[-1] == END and END not in ids[:-1]
            expected = net.nats(memory, Ragged.of([ids]), END)[0]
            np.testing.assert_allclose(nats, expected, rtol=tolerance, atol=tolerance)
            assert score == pytest.approx(-nats.sum() / len(ids) ** 0.6)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_one_beginning_is_the_most_probable_symbol_each_time(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam, "limit", lambda units: 40)
    net = few(kind=kind, scale=1.5)
    read = sources(net.config, (9, 1, 30, 4, 2, 3, 12, 7))
    lengths = set()
    for row, (translation,) in enumerate(search(net, read, END, {UNKNOWN}, beam=1)):
        ids, nats = zip(*greedy(net, read[row], END, {UNKNOWN}), strict=True)
        assert ids == tuple(translation.ids) and UNKNOWN not in ids
        np.testing.assert_allclose(nats, translation.nats, rtol=1e-5)
        lengths.add(len(ids))
    assert len(lengths) > 1


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_source_does_not_depend_on_the_others(precision: Any) -> None:
    net = few(kind=np.float32, precision=precision)
    read = sources(net.config)
    together = search(net, read, END, beam=3, n_best=2)
    for row in range(len(read)):
        (alone,) = search(net, read.select([row]), END, beam=3, n_best=2)
        for ours, theirs in zip(together[row], alone, strict=True):
            np.testing.assert_array_equal(ours.ids, theirs.ids)
            np.testing.assert_array_equal(ours.nats, theirs.nats)
    assert search(net, Ragged.of([]), END) == []


def test_what_is_never_written_still_has_its_probability() -> None:
    net = few()
    read = sources(net.config)
    for (translation,) in search(net, read, END, {UNKNOWN, 2}, beam=3):
        assert not {UNKNOWN, 2} & set(translation.ids)
