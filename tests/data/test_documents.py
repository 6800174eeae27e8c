"""A separator is one symbol at every level: the text comes back, blocks do not matter, and no other text changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hostile import FRAGMENTS
from unroll.data.blocks import END, read_blocks, text_of
from unroll.data.corpus import Corpus, DataConfig, load_corpus, write_corpus
from unroll.data.documents import DocumentTokenizer
from unroll.data.opening import text_path
from unroll.data.tokenizer import BpeTokenizer, CharTokenizer, Tokenizer, WordTokenizer, load_tokenizer
from unroll.data.words import UnicodeWordTokenizer
from unroll.errors import UserError
from unroll.lm.evaluate import Evaluation, sizes_of
from unroll.progress import result

SEPARATORS = ["<|endoftext|>", "\n\n", "\n", "aa", "\n-a", "é"]
TEXTS = st.lists(
    st.sampled_from([*(part for part in FRAGMENTS if "\0" not in part), *SEPARATORS, "<|end", "a"]), max_size=9
)
BASES: list[Tokenizer] = [
    CharTokenizer.learn("ab \n<|>é"),
    WordTokenizer(("a", "b", "the")),
    UnicodeWordTokenizer.learn(["the cat, the cat. (a b)\n\na-b"]),
    BpeTokenizer.learn(["the cat the cat"] * 3, vocab_size=260),
]


def prepared(text: str, folder: Path, name: str = "corpus", **settings: Any) -> Corpus:
    (folder / "text").write_text(text, encoding="utf-8", newline="")
    result(write_corpus([folder / "text"], folder / name, DataConfig(**settings)))
    return load_corpus(folder / name)


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
@given(parts=TEXTS, separator=st.sampled_from(SEPARATORS))
def test_the_separator_is_the_last_id_and_documents_are_read_by_themselves(
    base: Tokenizer, parts: list[str], separator: str
) -> None:
    text, tokenizer = "".join(parts), DocumentTokenizer(base, separator)
    ids, spans = tokenizer.encode_offsets(text)
    assert ids.tolist() == tokenizer.encode(text).tolist()
    assert int((ids == tokenizer.end_id).sum()) == text.count(separator)
    data = text.encode()
    assert all(data[start:end].decode() == separator for start, end in spans[ids == tokenizer.end_id].tolist())
    documents = np.split(ids, np.flatnonzero(ids == tokenizer.end_id))
    *ended, last = text.split(separator)
    expected = [*(base.encode(document + "\n")[:-1].tolist() for document in ended), base.encode(last).tolist()]
    assert [part[part != tokenizer.end_id].tolist() for part in documents] == expected
    if base.lossless and not tokenizer.unknown(text):
        assert tokenizer.decode(ids) in (text, text.removesuffix(" "))  # the one loss, at the end of a text
        assert tokenizer.decode(ids) == text or base.level == "word"
    assert all(text[offset:].startswith(symbol) for offset, symbol in tokenizer.unknown(text))


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
def test_each_byte_of_a_corpus_has_a_symbol_that_pays_for_it(level: str, tmp_path: Path) -> None:
    text = "".join(f"the cat {k} <|>a. <|>" for k in range(40))
    words = "unicode" if level == "word" else "auto"
    corpus = prepared(text, tmp_path, level=level, words=words, separator="<|>", split="100")
    evaluation = Evaluation("stream", corpus.tokenizer)
    evaluation.add(corpus.train, np.zeros(len(corpus.train)), sizes_of(corpus.tokenizer))
    part = corpus.info.parts["train"]
    assert (evaluation.bytes, evaluation.chars) == (part.bytes, part.chars) == (len(text), len(text))
    assert part.unknown == 0 and corpus.tokenizer.decode(corpus.train) == text


@pytest.mark.parametrize("separator", ["\n", "cd\n"])
@pytest.mark.parametrize("level", ["char", "word", "bpe"])
def test_a_newline_that_is_added_may_end_a_document(level: str, separator: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"ab{separator}abcd")
    files = [tmp_path / "one", tmp_path / "two"]
    result(write_corpus(files, tmp_path / "o", DataConfig(level=level, separator=separator, split="100")))  # type: ignore[arg-type]
    corpus = load_corpus(tmp_path / "o")
    text = f"ab{separator}abcd\nab{separator}abcd"
    assert corpus.train.tolist() == corpus.tokenizer.encode(text).tolist()
    assert [source.newline_added for source in corpus.info.sources] == [True, False]
    assert corpus.info.parts["train"].bytes == len(text)


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_it_is_written_and_read_again(base: Tokenizer, tmp_path: Path) -> None:
    tokenizer = DocumentTokenizer(base, "\n\n")
    tokenizer.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert again == tokenizer
    assert (again.vocab_size, again.start_id, again.symbol(again.start_id)) == (
        base.vocab_size + 1,
        again.end_id,
        "<end>",
    )
    assert tokenizer.digest != base.digest


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
@given(parts=TEXTS, separator=st.sampled_from(SEPARATORS), size=st.integers(1, 30))
def test_blocks_do_not_cut_a_separator(
    level: str, parts: list[str], separator: str, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = "a" + "".join(parts)
    file = tmp_path_factory.mktemp("blocks") / "text"
    file.write_text(text, encoding="utf-8", newline="")
    blocks = list(read_blocks([file], level, size, separator=separator))  # type: ignore[arg-type]
    assert "".join(map(text_of, blocks)) == text
    assert "".join(str(block.content) for block in blocks) == text.replace(separator, END)
    assert sum(block.size for block in blocks) == len(text.encode())


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
@pytest.mark.parametrize("separator", ["<|>", "\n\n", "\n"])
def test_a_corpus_is_the_encoding_of_its_text(level: str, separator: str, tmp_path: Path) -> None:
    text = "".join(f"the cat {k}\nsat down{separator}" for k in range(40))
    corpus = prepared(text, tmp_path, level=level, separator=separator, split="60/40")
    ids = np.concatenate([corpus.train, corpus.valid])
    assert ids.tolist() == corpus.tokenizer.encode(text).tolist()
    assert int((ids == corpus.tokenizer.end_id).sum()) == text.count(separator)
    assert sum(part.bytes for part in corpus.info.parts.values()) == len(text.encode())
    assert sum(part.chars for part in corpus.info.parts.values()) == len(text)
    if level == "char":
        assert not {"<", "|", ">"} & {*corpus.tokenizer.base.symbols}  # type: ignore[union-attr]


def test_documents_are_where_a_state_may_restart(tmp_path: Path) -> None:
    corpus = prepared("ab|c|d", tmp_path, separator="|", split="100", documents=True)
    assert corpus.documents.tolist() == [0, 3, 5]
    assert prepared("ab|c|d", tmp_path, "other", separator="|", split="100").documents.tolist() == [0]


def test_rows_of_a_column_end_with_the_separator(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("body\nab\nc\n")
    table = text_path(tmp_path / "table", column="body")
    result(write_corpus([table], tmp_path / "rows", DataConfig(separator="|", split="100")))
    assert (
        load_corpus(tmp_path / "rows").train.tolist()
        == prepared("ab|c|", tmp_path, separator="|", split="100").train.tolist()
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"separator": "<end>"}, "does not occur"),
        ({"separator": "a\0"}, "NUL"),
        ({"separator": "a", "level": "byte"}, "level byte"),
        ({"separator": "a", "level": "bpe", "vocab_size": 257}, "vocab_size is 257"),
    ],
)
def test_separators_that_cannot_be_are_refused(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        prepared("a text\n" * 9, tmp_path, **settings)
