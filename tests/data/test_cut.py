from pathlib import Path

import pytest

from unroll.data.corpus import DataConfig, load_corpus, write_corpus
from unroll.data.cut import cut_vocabulary, kept, word_counts
from unroll.progress import result

TEXT = "the cat, the rat.\nthe cat saw a rat, a dog.\n" * 2 + "once upon, the end\n"


@pytest.mark.parametrize("words", ["space", "unicode"])
@pytest.mark.parametrize("min_count", [2, 3, 99])
@pytest.mark.parametrize("separator", ["", "\n", ", "])
def test_a_cut_corpus_is_one_prepared_with_its_min_count(
    tmp_path: Path, words: str, min_count: int, separator: str
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    for name, count in (("cut", 1), ("whole", min_count)):
        config = DataConfig("word", "70/30", count, words=words, separator=separator)  # type: ignore[arg-type]
        result(write_corpus([tmp_path / "text.txt"], tmp_path / name, config))
    counts = word_counts(load_corpus(tmp_path / "cut"))
    result(cut_vocabulary(tmp_path / "cut", min_count))
    cut, whole = load_corpus(tmp_path / "cut"), load_corpus(tmp_path / "whole")
    assert cut.info == whole.info
    assert kept(counts, min_count) + bool(separator) == cut.tokenizer.vocab_size
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / file.name).read_bytes() == file.read_bytes(), file.name
