from pathlib import Path

import pytest

from unroll.data.corpus import Corpus, DataConfig, load_corpus, write_corpus
from unroll.progress import result
from unroll.training.calibrate import Machine
from unroll.training.recipe import TABLES, Overrides
from unroll.training.vocabulary import fitted, min_count_for

TEXT = "".join(f"{'the cat sat on a mat and ' * 4}saw word{number // 3}\n" for number in range(600))


def corpus(folder: Path, text: str = TEXT, level: str = "word") -> Corpus:
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text(text)
    result(write_corpus([folder / "text.txt"], folder / "data", DataConfig(level=level, split="90/10")))  # type: ignore[arg-type]
    return load_corpus(folder / "data")


def machine(tokens_per_second: float) -> Machine:
    return Machine(1, "float32", "default", tokens_per_second, {})


def fixed(**data: object) -> Overrides:
    return {name: {} for name in TABLES} | {"data": data}


def test_the_shorter_the_budget_the_fewer_words(tmp_path: Path) -> None:
    prepared = corpus(tmp_path)
    counts = [min_count_for(prepared, minutes, machine(1000), fixed()) for minutes in (0.01, 0.1, 1, 10)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 1
    assert counts[-1] == 1


def test_a_vocabulary_that_is_given_stays(tmp_path: Path) -> None:
    slow = machine(1)
    assert min_count_for(corpus(tmp_path / "raw"), 1, slow, fixed()) > 1
    assert min_count_for(corpus(tmp_path / "raw2"), 1, slow, fixed(min_count=1)) == 1
    assert min_count_for(corpus(tmp_path / "raw3"), 1, slow, fixed(vocab_size=900)) == 1
    assert min_count_for(corpus(tmp_path / "unk", TEXT.replace("sat", "<unk>")), 1, slow, fixed()) == 1
    assert min_count_for(corpus(tmp_path / "char", level="char"), 1, slow, fixed()) == 1


@pytest.mark.parametrize("minutes", [0.02, 10])
def test_what_is_cut_is_said(tmp_path: Path, minutes: float) -> None:
    whole = corpus(tmp_path)
    cut, note = result(fitted(tmp_path / "data", whole, minutes, machine(1000), fixed()))
    if minutes == 10:
        assert (cut, note) == (whole, None)
        return
    assert note is not None
    lost = whole.tokenizer.vocab_size - cut.tokenizer.vocab_size
    share = cut.info.parts["train"].unknown / cut.info.parts["train"].tokens
    assert note.startswith(
        f"{lost:,} of {whole.tokenizer.vocab_size:,} words occur less than {cut.info.config.min_count} times"
    )
    assert f"{100 * share:.1f} % of the train part" in note
