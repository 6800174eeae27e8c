"""A vocabulary that fits a budget: words that a run would read too rarely to learn them are read as <unk>."""

from dataclasses import replace
from pathlib import Path

from unroll.data.corpus import Corpus, load_corpus
from unroll.data.cut import cut_vocabulary, kept, word_counts
from unroll.progress import Work
from unroll.training.budget import reference_shape
from unroll.training.calibrate import Machine
from unroll.training.recipe import Overrides, weights_per_step

READINGS = 3
"""How often a run should read a word, repeats of the text included, to learn it."""
MOST_MIN_COUNT = 1000


def min_count_for(corpus: Corpus, minutes: float, machine: Machine, overrides: Overrides) -> int:
    """Return how often a word must occur, so that a run of `minutes` reads it `READINGS` times at the rate expected.

    The output layer is most of a model of words: the fewer words, the more text is read. So the smallest number is
    taken that satisfies both. 1 where the user fixed the vocabulary, and where the text has <unk>, so a vocabulary.
    """
    fixed = overrides["data"].keys() & {"min_count", "vocab_size"}
    if corpus.tokenizer.level != "word" or fixed or corpus.info.parts["train"].unknown:
        return 1
    shape, counts = reference_shape(overrides), word_counts(corpus)
    weights_per_second = machine.tokens_per_second * weights_per_step(shape)
    for min_count in range(1, MOST_MIN_COUNT):
        size = kept(counts, min_count)
        words = replace(shape, vocab_size=size, tie_weights=True)
        rounds = 60 * minutes * weights_per_second / weights_per_step(words) / len(corpus.train)
        if min_count * rounds >= READINGS:
            return min_count
    return MOST_MIN_COUNT


def fitted(
    folder: Path, corpus: Corpus, minutes: float, machine: Machine, overrides: Overrides
) -> Work[tuple[Corpus, str | None]]:
    """Cut the vocabulary of the corpus in `folder` to what the budget can learn; return it, and what was cut."""
    min_count = min_count_for(corpus, minutes, machine, overrides)
    if min_count == 1:
        return corpus, None
    yield from cut_vocabulary(folder, min_count)
    shorter = load_corpus(folder)
    return shorter, _note(shorter, corpus.tokenizer.vocab_size - shorter.tokenizer.vocab_size)


def _note(corpus: Corpus, words_cut: int) -> str:
    """Return what was cut from a vocabulary that is too large for the budget."""
    total, parts = corpus.tokenizer.vocab_size + words_cut, corpus.info.parts
    shares = " and ".join(
        f"{100 * part.unknown / part.tokens:.1f} % of the {name} part" for name, part in parts.items()
    )
    return (
        f"{words_cut:,} of {total:,} words occur less than {corpus.info.config.min_count} times, too rarely to be "
        f"learnt in this budget, and read as <unk>: {shares}. For all words: --set min_count=1, or more --minutes"
    )
