import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.hostile import documents
from unroll.data import blocks, encode
from unroll.data.blocks import Block, Level, Unit, read_blocks
from unroll.data.corpus import Corpus, DataConfig, load_corpus, write_corpus
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.data.words import Boundaries, Spacing, UnicodeWordTokenizer, spacing
from unroll.errors import UserError
from unroll.progress import Progress

CORPORA = Path(os.environ.get("UNROLL_CORPORA", Path(__file__).parents[3] / "shared" / "corpora"))
LEVELS: tuple[Level, ...] = ("char", "byte", "word", "bpe")
every_level = pytest.mark.parametrize("level", LEVELS)
Pieces = list[tuple[int, str | bytes]]  # the number of the file, and what one part has of it


def prepared(
    files: Sequence[bytes],
    config: DataConfig,
    *,
    valid: bytes | None = None,
    test: bytes | None = None,
    tokenizer: Tokenizer | None = None,
    block_bytes: int = blocks.BLOCK_BYTES,
) -> Corpus:
    """Write the files, prepare a corpus of them and open it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number}.txt" for number in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        given_parts = {}
        for part, content in (("valid", valid), ("test", test)):
            if content is not None:
                given_parts[part] = folder / f"{part}.txt"
                given_parts[part].write_bytes(content)
        for _ in write_corpus(
            paths,
            folder / "out",
            config,
            valid=given_parts.get("valid"),
            test=given_parts.get("test"),
            tokenizer=tokenizer,
            block_bytes=block_bytes,
        ):
            pass
        return load_corpus(folder / "out")


def as_documents(texts: Sequence[str], level: Level) -> list[str]:
    """Return the texts of files as they are read: no byte order marks, and final newlines between documents."""
    read = [text if level == "byte" else text.removeprefix("\ufeff") for text in texts]
    return [text if text.endswith("\n") or number == len(read) else f"{text}\n" for number, text in enumerate(read, 1)]


def in_memory(texts: Sequence[str], config: DataConfig) -> tuple[Tokenizer, list[list[int]], list[int]] | None:
    """Return the tokenizer, the ids of each part and the documents as slow, plain code sees them; None: too short."""
    shares = [Fraction(share) / 100 for share in config.split.split("/")]

    def split(pattern: str) -> list[list[tuple[int, str]]]:
        pieces = [(number, piece) for number, text in enumerate(texts) for piece in re.findall(pattern, text, re.S)]
        ends = np.cumsum([int(len(pieces) * share) for share in shares[:-1]]).tolist()
        return [pieces[start:end] for start, end in zip([0, *ends], [*ends, len(pieces)], strict=True)]

    parts = split("." if config.level in ("char", "byte") else r"[^\n]*\n|[^\n]+")
    if config.level in ("word", "bpe"):
        parts = parts if all(parts) else split(r"\S*\s|\S+")
        parts = [
            [(number, "".join(piece for _, piece in group)) for number, group in groupby(part, key=itemgetter(0))]
            for part in parts
        ]
    training = [piece for _, piece in parts[0]]
    tokenizer: Tokenizer
    match config.level:
        case "char":
            tokenizer = CharTokenizer.learn(training)
        case "byte":
            tokenizer = ByteTokenizer()
        case "word":
            if spacing("".join(training)).boundaries == "unicode":
                tokenizer = UnicodeWordTokenizer.learn(training)
            else:
                tokenizer = WordTokenizer.learn(Counter(word for line in training for word in line.split()))
        case "bpe":
            tokenizer = BpeTokenizer.learn(training, vocab_size=config.vocab_size or 1024)
    ids: list[list[int]] = []
    starts: dict[int, int] = {}
    for part in parts:
        ids.append([])
        for number, piece in part:
            if part is parts[0]:
                starts.setdefault(number, len(ids[0]))
            ids[-1] += list(map(ord, piece)) if config.level == "byte" else tokenizer.encode(piece).tolist()
    if not all(ids):
        return None
    return tokenizer, ids, [start for start in sorted(set(starts.values())) if start < len(ids[0])]


def law_streaming(texts: Sequence[str], config: DataConfig, block_bytes: int) -> None:
    """Encoding block by block is encoding in memory; at level byte the characters stand for bytes."""
    codec = "latin-1" if config.level == "byte" else "utf-8"
    files = [text.encode(codec) for text in texts]
    documents = as_documents(texts, config.level)
    if not all(text if config.level == "byte" else text.removeprefix("\ufeff") for text in texts):
        with pytest.raises(UserError, match="is empty"):
            prepared(files, config, block_bytes=block_bytes)
        return
    expected = in_memory(documents, config)
    if expected is None:
        with pytest.raises(UserError, match="part"):
            prepared(files, config, block_bytes=block_bytes)
        return
    corpus = prepared(files, config, block_bytes=block_bytes)
    tokenizer, ids, starts = expected
    assert corpus.tokenizer == tokenizer
    parts = [corpus.train, corpus.valid] + ([corpus.test] if corpus.test is not None else [])
    assert [part.tolist() for part in parts] == ids
    assert corpus.documents.tolist() == starts
    assert sum(part.bytes for part in corpus.info.parts.values()) == sum(len(text.encode(codec)) for text in documents)
    marked = [config.level != "byte" and text.startswith("\ufeff") for text in texts]
    newlines = [len(document) + mark > len(text) for text, document, mark in zip(texts, documents, marked, strict=True)]
    for source, data, mark, newline in zip(corpus.info.sources, files, marked, newlines, strict=True):
        assert (source.bytes, source.sha256) == (len(data), sha256(data))
        assert (source.byte_order_mark, source.newline_added) == (mark, newline)
    assert (corpus.info.byte_order_marks, corpus.info.newlines_added) == (sum(marked), sum(newlines))
    for info, part in zip(corpus.info.parts.values(), parts, strict=True):
        unknown = tokenizer.unknown_id
        assert info.tokens == len(part)
        assert info.unknown == (0 if unknown is None else part.tolist().count(unknown))
        if config.level in ("char", "bpe") and not info.unknown:
            assert info.chars == len(tokenizer.decode(part))
            assert info.bytes == len(tokenizer.decode(part).encode())


splits = st.sampled_from(["90/5/5", "50/50", "80/10/10", "33.4/33.3/33.3", "1/99"])


@every_level
@settings(max_examples=60)
@given(texts=documents, split=splits, block_bytes=st.integers(1, 40))
def test_streaming_is_encoding_in_memory(level: Level, texts: list[str], split: str, block_bytes: int) -> None:
    if level == "byte":
        texts = [text.encode().decode("latin-1") for text in texts]
    law_streaming(texts, DataConfig(level=level, split=split, vocab_size=300 if level == "bpe" else 0), block_bytes)


@given(data=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=3), block_bytes=st.integers(1, 9))
def test_at_level_byte_any_file_is_a_text(data: list[bytes], block_bytes: int) -> None:
    data = [b"\0" + file for file in data]  # never gzip
    law_streaming([file.decode("latin-1") for file in data], DataConfig(level="byte", split="50/50"), block_bytes)


def decode_each_block(data: bytes, path: Path, offset: int, *, final: bool) -> tuple[str, int]:
    return data.decode("utf-8", "replace"), len(data)


def forget_the_offset(first: dict[str, int], unseen: NDArray[np.bool_], text: str, offset: int) -> None:
    NOTE_FIRST(first, unseen, text, 0)


def cut_late(block: Block, count: int, unit: Unit) -> tuple[Block, Block]:
    return CUT(block, count + 1, unit)


def split_at_any_line_end(block: Block, unit: Unit) -> int:
    return len(str(block.content).splitlines())


NOTE_FIRST, CUT = encode._note_first, blocks.cut

FAULTS: dict[str, tuple[object, str, object, Level]] = {
    "a character is torn between blocks": (blocks, "_decoded", decode_each_block, "char"),
    "the vocabulary has characters of the validation part": (encode, "_note_first", forget_the_offset, "char"),
    "the parts meet one character late": (encode, "cut", cut_late, "char"),
    "the parts meet one byte late": (encode, "cut", cut_late, "byte"),
    "lines end at other places than newlines": (encode, "units", split_at_any_line_end, "word"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_law_of_streaming_catches(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, replacement, level = FAULTS[fault]
    texts = ["aé漢😀b\x85c d\n" * 5 + "ef\n", "g" * 20 + "\nh\u2028i\n" * 5 + "z" * 9]
    if level == "byte":
        texts = [text.encode().decode("latin-1") for text in texts]
    config = DataConfig(level=level, split="60/40")
    law_streaming(texts, config, 7)
    monkeypatch.setattr(place, name, replacement)
    with pytest.raises((AssertionError, UserError)):
        law_streaming(texts, config, 7)


@given(texts=documents.filter(lambda texts: "\ufeff" not in texts and len("".join(texts)) > 3))
def test_the_vocabulary_is_that_of_the_training_part(texts: list[str]) -> None:
    content = "".join(as_documents(texts, "char"))
    training = content[: len(content) // 2]
    corpus = prepared([text.encode() for text in texts], DataConfig(split="50/50"), block_bytes=3)
    assert isinstance(corpus.tokenizer, CharTokenizer)
    assert set(corpus.tokenizer.symbols) == {*training, "\n"}
    assert corpus.info.parts["train"].unknown == 0
    assert corpus.info.parts["valid"].unknown == sum(c not in training + "\n" for c in content[len(training) :])


@every_level
def test_nothing_depends_on_the_size_of_blocks_or_on_packing(level: Level) -> None:
    text = ("Ünï漢😀\r\n" * 40 + "end").encode()
    config = DataConfig(level=level, split="50/25/25")
    expected = prepared([text, text], config)
    compressed = [gzip.compress(text), gzip.compress(text[:99]) + gzip.compress(text[99:])]
    for files in ([text, text], compressed):
        for block_bytes in (1, 2, 3, 5, 64, 10**6):
            corpus = prepared(files, config, block_bytes=block_bytes)
            assert corpus.info == expected.info
            assert corpus.tokenizer == expected.tokenizer
            assert corpus.documents.tolist() == expected.documents.tolist()


def test_a_corpus_is_described() -> None:
    corpus = prepared([b"abc\n", b"de\xc3\xa9f\n"], DataConfig(split="75/25", documents=True))
    assert corpus.documents.tolist() == [0, 4]
    assert corpus.train.tolist() == [2, 3, 4, 1, 5, 6]
    assert corpus.valid.tolist() == [0, 0, 1]
    assert corpus.test is None
    assert corpus.train.dtype == np.uint8
    assert corpus.info.config == DataConfig(split="75/25", documents=True)
    assert {name: (part.tokens, part.chars, part.bytes, part.unknown) for name, part in corpus.info.parts.items()} == {
        "train": (6, 6, 6, 0),
        "valid": (3, 3, 4, 2),
    }
    sources = [(source.name, source.bytes, source.sha256) for source in corpus.info.sources]
    assert sources == [("0.txt", 4, sha256(b"abc\n")), ("1.txt", 6, sha256(b"de\xc3\xa9f\n"))]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_large_vocabularies_take_wider_ids() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    assert prepared([text.encode()], DataConfig(split="90/10")).train.dtype == np.dtype("<u2")


def test_given_parts_take_the_place_of_the_split() -> None:
    corpus = prepared([b"ab", b"c"], DataConfig(), valid=b"ax\n", test=b"b\n")
    assert isinstance(corpus.tokenizer, CharTokenizer)
    assert corpus.tokenizer.symbols == "\nabc"
    assert (corpus.train.tolist(), corpus.valid.tolist()) == ([2, 3, 1, 4], [2, 0, 1])
    assert corpus.test is not None
    assert corpus.test.tolist() == [3, 1]
    assert [source.name for source in corpus.info.sources] == ["0.txt", "1.txt", "valid.txt", "test.txt"]
    assert prepared([b"ab"], DataConfig(), valid=b"a").test is None


@pytest.mark.parametrize("tokenizer", [CharTokenizer.learn("ab"), WordTokenizer(("a",))])
def test_a_given_vocabulary_stays_as_it_is(tokenizer: Tokenizer) -> None:
    level: Level = "char" if isinstance(tokenizer, CharTokenizer) else "word"
    corpus = prepared([b"a\nx\na\na\n"], DataConfig(level=level, split="50/50"), tokenizer=tokenizer)
    assert corpus.tokenizer == tokenizer
    assert corpus.info.parts["train"].unknown == 1
    with pytest.raises(UserError, match="level byte was requested"):
        prepared([b"ab"], DataConfig(level="byte"), tokenizer=tokenizer)


@pytest.mark.parametrize(("words", "make"), [("space", WordTokenizer), ("unicode", UnicodeWordTokenizer)])
def test_word_options(words: Boundaries, make: type[WordTokenizer]) -> None:
    text, config = b"a a a b b c\n" * 2, DataConfig(level="word", split="50/50", words=words)
    assert prepared([text], replace(config, min_count=2)).tokenizer == make(("a", "b"))
    assert prepared([text], replace(config, vocab_size=3)).tokenizer == make(("a",))


def test_words_end_where_the_text_asks_for_it_unless_the_user_does() -> None:
    raw, tokenised = b"A cat, a rat. Who?\n" * 2, b"A cat , a rat . Who ?\n" * 2
    config = DataConfig(level="word", split="50/50")
    assert isinstance(prepared([raw], config).tokenizer, UnicodeWordTokenizer)
    corpus = prepared([tokenised], config)
    assert corpus.tokenizer == WordTokenizer((",", ".", "?", "A", "Who", "a", "cat", "rat"))
    assert (corpus.info.config.words, corpus.info.spacing) == ("space", Spacing(3, 3, 0, 22, 0))
    assert isinstance(prepared([tokenised], replace(config, words="unicode")).tokenizer, UnicodeWordTokenizer)
    assert isinstance(prepared([raw], replace(config, words="space")).tokenizer, WordTokenizer)
    with pytest.raises(UserError, match="words unicode was requested"):
        prepared([raw], replace(config, words="unicode"), tokenizer=WordTokenizer(("a",)))
    with pytest.raises(UserError, match="words is space at level char"):
        DataConfig(words="space")


def test_a_script_without_spaces_is_warned_of() -> None:
    (warning,) = prepared(
        ["吾輩は猫である。\n名前はまだ無い。\n".encode()], DataConfig(level="word", split="50/50")
    ).info.warnings
    assert "--level char or --level bpe" in warning
    assert (
        prepared(["Er ist da.\n名 Ja, ja.\n".encode() * 4], DataConfig(level="word", split="50/50")).info.warnings == []
    )


@pytest.mark.parametrize("end", ["", "\r"])
@pytest.mark.parametrize("level", ["word", "bpe"])
@pytest.mark.parametrize("block_bytes", [7, 64, 10**6])
def test_a_text_in_one_line_is_cut_between_words(level: Level, end: str, block_bytes: int) -> None:
    """As text8 is: one line, however long; the ids do not depend on where its blocks end."""
    text = (" anarchism originated as a term of abuse first used" + end) * 20
    corpus = prepared([text.encode()], DataConfig(level=level, split="90/10"), block_bytes=block_bytes)
    train, valid = (corpus.tokenizer.decode(part) for part in (corpus.train, corpus.valid))
    place = len(train) + (not train[-1].isspace())  # the space after the last word
    assert (train, valid) == (text[: len(train)], text[place:])
    assert text[place - 1].isspace()
    assert 0.88 < len(train) / len(text) < 0.92
    assert corpus.train.tolist() == corpus.tokenizer.encode(text[:place]).tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"split": "90/5/5/0"},
        {"split": "90/20"},
        {"split": "100/0"},
        {"split": "110/-10"},
        {"split": "a/b"},
        {"split": ""},
        {"split": "nan/nan"},
        {"min_count": 2},
        {"min_count": 0, "level": "word"},
        {"vocab_size": 100},
        {"vocab_size": 100, "level": "bpe"},
        {"vocab_size": -1, "level": "word"},
    ],
    ids=str,
)
def test_options_that_make_no_sense(options: dict[str, str]) -> None:
    with pytest.raises(UserError) as error:
        DataConfig(**options)  # type: ignore[arg-type]
    assert error.value.allowed


invalid_bytes = st.sampled_from(
    [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\x80", b"\0"]
)


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
@given(
    before=st.text("aé漢😀\n", max_size=12),
    bad=invalid_bytes,
    after=st.text("aé\n", max_size=12),
    size=st.integers(1, 9),
)
def test_broken_text_is_named_by_its_offset(level: Level, before: str, bad: bytes, after: str, size: int) -> None:
    data = before.encode() + bad + after.encode()
    with pytest.raises(UserError) as raised:
        prepared([b"fine\n", data], DataConfig(level=level), block_bytes=size)
    try:
        data.decode()
        place = data.index(b"\0")
        assert "is binary: NUL" in raised.value.what
    except UnicodeDecodeError as error:
        place = error.start
        assert "byte " + data[error.start : error.end].hex(" ") + " at" in raised.value.what
    assert "1.txt" in raised.value.what
    assert f"at byte offset {place:,}" in raised.value.what
    assert str(raised.value.allowed).startswith("UTF-8 text")


def test_the_first_fault_of_a_file_is_named_whatever_the_blocks() -> None:
    for data, message in ((b"ab\0c\xff", "NUL at byte offset 2"), (b"ab\xffc\0", "byte ff at byte offset 2")):
        for block_bytes in (1, 2, 100):
            with pytest.raises(UserError, match=message):
                prepared([data], DataConfig(), block_bytes=block_bytes)


def test_utf_16_is_recognised() -> None:
    with pytest.raises(UserError) as error:
        prepared(["text".encode("utf-16")], DataConfig())
    assert "--encoding utf-16, or convert it: iconv -f UTF-16 " in error.value.fix


def test_line_ends_are_kept_and_byte_order_marks_within_a_text() -> None:
    corpus = prepared(["\ufeff\ufeffa\r\nb\ufeff".encode()], DataConfig(split="100"))
    assert corpus.tokenizer.decode(corpus.train) == "\ufeffa\r\nb\ufeff"


def tokens(texts: Sequence[str]) -> list[str]:
    """Return the words and line ends of documents."""
    return re.findall(r"\n|\S+", "".join(as_documents(texts, "word")))


@every_level
@given(texts=documents.filter(lambda texts: "\ufeff" not in texts), sizes=st.integers(1, 9))
def test_no_two_documents_run_into_each_other(level: Level, texts: list[str], sizes: int) -> None:
    """The documents of a text are those of its files, whatever they end with."""
    config = DataConfig(level=level, split="100", vocab_size=300 if level == "bpe" else 0)
    data = [text.encode() for text in texts]
    if level == "word" and not tokens(texts):
        return
    corpus = prepared(data, config, block_bytes=sizes)
    tokenizer = corpus.tokenizer
    ids = [
        tokenizer.encode(text) if level != "byte" else np.frombuffer(text.encode(), np.uint8)
        for text in as_documents(texts, level)
    ]
    assert corpus.train.tolist() == np.concatenate(ids).tolist()


def test_a_single_file_is_encoded_as_it_is() -> None:
    for data in (b"a b\nc", b"a b\r\nc\r\n", b"a", b"\n"):
        for level in ("char", "byte", "bpe"):
            corpus = prepared([data], DataConfig(level=level, split="100"))
            assert corpus.tokenizer.decode(corpus.train).encode() == data
            assert corpus.info.newlines_added == 0


def test_documents_of_other_line_ends_and_packed_ones_are_ended_alike() -> None:
    files = [b"red\r\napple", gzip.compress(b"blue"), b"pear"]
    corpus = prepared(files, DataConfig(split="100"))
    assert corpus.tokenizer.decode(corpus.train) == "red\r\napple\nblue\npear"
    assert corpus.documents.tolist() == [0, 11, 16]
    assert [source.newline_added for source in corpus.info.sources] == [True, True, False]
    assert [source.bytes for source in corpus.info.sources] == [10, 4, 4]
    assert corpus.info.parts["train"].bytes == 20


def test_a_validation_file_is_a_text_of_its_own() -> None:
    corpus = prepared([b"ab"], DataConfig(), valid="\ufeffab".encode(), test=b"ab")
    assert corpus.valid.tolist() == corpus.train.tolist() == [2, 3]
    assert [source.byte_order_mark for source in corpus.info.sources] == [False, True, False]
    assert corpus.info.newlines_added == 0


def test_a_corpus_of_before_has_neither(tmp_path: Path) -> None:
    """One whose description does not speak of marks, newlines and overlaps."""
    (tmp_path / "text.txt").write_bytes(b"abcdefgh")
    list(write_corpus([tmp_path / "text.txt"], tmp_path / "out", DataConfig(split="50/50")))
    file = tmp_path / "out" / "corpus.json"
    description = json.loads(file.read_text())
    del description["overlaps"]
    for source in description["sources"]:
        del source["byte_order_mark"], source["newline_added"]
    file.write_text(json.dumps(description))
    info = load_corpus(tmp_path / "out").info
    assert (info.byte_order_marks, info.newlines_added, info.overlaps, info.warnings) == (0, 0, {}, [])


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS refuse such names")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """Names of files are bytes: what is no UTF-8 is described by escapes, and so is what controls a terminal."""
    for raw, expected in (
        (b"caf\xe9.txt", "caf\\xe9.txt"),
        (b"a\n\x1b[2J.txt", "a\\n\\x1b[2J.txt"),
        ("漢 é".encode(), "漢 é"),
    ):
        file = tmp_path / os.fsdecode(raw)
        file.write_bytes(b"abcdefgh\n")
        out = tmp_path / os.fsdecode(raw + b".out")
        list(write_corpus([file], out, DataConfig(), valid=file))
        assert [source.name for source in load_corpus(out).info.sources] == [expected, expected]
        assert load_corpus(out).info.overlaps["valid"].same_as == expected


@pytest.mark.parametrize("level", ["word", "bpe"])
@pytest.mark.parametrize("block_bytes", [1, 10, 99])
def test_a_line_without_end(level: Level, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_LINE", 100)
    config = DataConfig(level=level, split="50/50")
    prepared([b"a\n" + b"b" * 99 + b"\nc"], config, block_bytes=block_bytes)
    for line in (b"b" * 101, b"b" * 100 + b"\n"):
        with pytest.raises(UserError, match="a line of more than 100 characters"):
            prepared([b"a\n" + line], config, block_bytes=block_bytes)
    prepared([b"b" * 1000], DataConfig(level="char", split="50/50"), block_bytes=block_bytes)


@every_level
def test_text_too_short_for_its_parts(level: Level) -> None:
    with pytest.raises(UserError, match="the train part is empty: the text has 1 ") as error:
        prepared([b"a"], DataConfig(level=level, split="98/1/1"))
    assert "split" in error.value.fix


def test_a_part_of_white_space_has_no_words() -> None:
    with pytest.raises(UserError, match="the valid part has no tokens"):
        prepared([b"a\n   "], DataConfig(level="word", split="50/50", words="space"))


def refusal(tmp_path: Path, files: Sequence[Path], out: Path | None = None) -> UserError:
    """Return the error of preparing the files, after which nothing lies beside them."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        list(write_corpus(files, out or tmp_path / "out", DataConfig(split="50/50")))
    assert sorted(tmp_path.rglob("*")) == before
    assert error.value.fix
    return error.value


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    valid, empty, archive = tmp_path / "good.txt", tmp_path / "empty.txt", tmp_path / "packed.gz"
    valid.write_bytes(b"good")
    empty.write_bytes(b"")
    archive.write_bytes(gzip.compress(b""))
    (tmp_path / "folder").mkdir()
    assert "missing.txt: No such file" in refusal(tmp_path, [valid, tmp_path / "missing.txt"]).what
    assert "folder is a folder" in refusal(tmp_path, [tmp_path / "folder"]).what
    assert "empty.txt is empty" in refusal(tmp_path, [valid, empty]).what
    assert "packed.gz is empty" in refusal(tmp_path, [archive]).what
    assert "has 0 characters" in refusal(tmp_path, []).what


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_cannot_be_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe or a device" in refusal(tmp_path, [tmp_path / "pipe"]).what


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:30] + b"\xff\xff" + data[32:]])
def test_damaged_gzip(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(damage(gzip.compress(bytes(range(32, 127)) * 9)))
    assert "text.gz is damaged gzip" in refusal(tmp_path, [path]).what


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"text")
    (tmp_path / "out").mkdir()
    assert "out exists already" in refusal(tmp_path, [path]).what
    assert "Not a directory" in refusal(tmp_path, [path], path / "out").what


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"text")
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot write" in refusal(tmp_path, [path], tmp_path / "locked" / "out").what


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "text.txt"
    path.write_bytes(b"text")
    monkeypatch.setattr(encode, "open", full, raising=False)
    assert "no space left on the disk" in refusal(tmp_path, [path]).what


@pytest.mark.parametrize("change", [lambda data: data + b"more", lambda data: data[:-20]])
def test_a_file_that_changes_between_the_passes(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"text" * 2**14)
    passes = write_corpus([path], tmp_path / "out", DataConfig(split="50/50"), block_bytes=2**12)
    assert next(progress for progress in passes if progress.phase == "encoding")
    path.write_bytes(change(b"text" * 2**14))
    with pytest.raises(UserError, match="changed while being read"):
        list(passes)
    assert os.listdir(tmp_path) == ["text.txt"]


def test_progress_ends_with_the_last_byte_of_each_pass(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab\n" * 30)
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"ab\n" * 30))
    files = [tmp_path / "a.txt", tmp_path / "b.gz"]
    total = sum(path.stat().st_size for path in files)
    events = list(write_corpus(files, tmp_path / "out", DataConfig(level="word"), block_bytes=16))
    assert all(progress.total == total for progress in events)
    phases = ("reading", "measuring", "learning", "encoding")
    assert events == sorted(events, key=lambda progress: phases.index(progress.phase))
    for phase in ("reading", "encoding"):
        positions = [progress.done for progress in events if progress.phase == phase]
        assert positions == sorted(positions)
        assert positions[-1] == total
    assert isinstance(events[0], Progress)


def test_abandoning_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"text" * 20)
    passes = write_corpus([tmp_path / "text.txt"], tmp_path / "out", DataConfig(), block_bytes=8)
    assert next(progress for progress in passes if progress.phase == "encoding")
    assert len(os.listdir(tmp_path)) == 2
    passes.close()
    assert os.listdir(tmp_path) == ["text.txt"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_process_leaves_no_half_corpus(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"abc\n" * 2**21)
    program = (
        "import sys; from pathlib import Path; from unroll.data.corpus import DataConfig, write_corpus\n"
        "for progress in write_corpus([Path('text.txt')], Path('out'), DataConfig()): print(progress.phase, flush=True)"
    )
    for moment in range(6):
        process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE)
        assert process.stdout
        for _ in range(moment * 24 + 1):  # 65 blocks in each of two passes
            process.stdout.readline()
        time.sleep(0.001 * moment)
        process.kill()
        process.communicate()
        if (tmp_path / "out").exists():
            assert load_corpus(tmp_path / "out").info.parts["train"].tokens == 7549747
            shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("level", ["char", "byte"])
def test_memory_does_not_grow_with_the_text(level: Level) -> None:
    def peak(size: int) -> int:
        data = "aé漢😀".encode() * (size // 10)
        tracemalloc.start()
        try:
            prepared([data], DataConfig(level=level), block_bytes=2**14)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(4_000_000) < peak(200_000) + 200_000


DAMAGE: dict[str, Callable[[Path], object]] = {
    "ids cut off": lambda folder: os.truncate(folder / "train.bin", 3),
    "ids added": lambda folder: (folder / "valid.bin").write_bytes(b"123456789"),
    "ids missing": lambda folder: (folder / "valid.bin").unlink(),
    "no description": lambda folder: (folder / "corpus.json").unlink(),
    "no vocabulary": lambda folder: (folder / "tokenizer.json").unlink(),
    "another vocabulary": lambda folder: CharTokenizer.learn("xyz").save(folder / "tokenizer.json"),
    "no JSON": lambda folder: (folder / "corpus.json").write_text("{"),
    "a list": lambda folder: (folder / "corpus.json").write_text("[]"),
}


def damage(key: str, value: object) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        description = json.loads((folder / "corpus.json").read_text())
        description[key] = value
        (folder / "corpus.json").write_text(json.dumps(description))

    return rewrite


DAMAGE |= {
    f"{key} is {str(value)[:20]}": damage(key, value)
    for key, value in [
        ("format_version", 2),
        ("dtype", "uint16"),
        ("dtype", "object"),
        ("parts", None),
        ("parts", {}),
        ("parts", {"../x": {"tokens": 1, "chars": 1, "bytes": 1, "unknown": 0, "sha256": ""}}),
        ("parts", {"train": {"tokens": "many"}}),
        ("documents", []),
        ("documents", [0, 99]),
        ("documents", [0, 2, 2]),
        ("documents", "none"),
        ("documents", [2**70]),
        ("sources", [3]),
        ("overlaps", []),
        ("overlaps", {"valid": 3}),
        ("overlaps", {"train": {"name": "a"}}),
        ("overlaps", {"valid": {"name": "a", "share": "much"}}),
        ("overlaps", {"valid": {"name": "a", "share": float("nan"), "usual": 0.0}}),
        ("config", {"level": "sound"}),
        ("digest", ""),
    ]
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_corpus_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_bytes(b"abcdefgh")
    list(write_corpus([tmp_path / "text.txt"], tmp_path / "out", DataConfig(split="50/50")))
    assert load_corpus(tmp_path / "out").train.tolist() == [2, 3, 4, 5]
    DAMAGE[name](tmp_path / "out")
    with pytest.raises(UserError):
        load_corpus(tmp_path / "out")


def test_digests_tell_corpora_apart() -> None:
    text, config = b"abcdabcd\n" * 9, DataConfig(split="50/50")
    digest = prepared([text], config).info.digest
    assert digest == prepared([text], config).info.digest
    assert digest != prepared([text], replace(config, split="60/40")).info.digest
    assert digest != prepared([text + b"a"], config).info.digest


def test_blocks_are_whole_lines_of_their_files(tmp_path: Path) -> None:
    for name, data in (("a", b"one\ntwo"), ("b", b"three\n\nfour\n")):
        (tmp_path / name).write_bytes(data)
    for block_bytes in range(1, 12):
        found = list(read_blocks([tmp_path / "a", tmp_path / "b"], "word", block_bytes))
        texts = ["".join(str(block.content) for block in found if block.file == file) for file in (0, 1)]
        assert texts == ["one\ntwo\n", "three\n\nfour\n"]
        assert all(str(block.content).endswith("\n") for block in found)


needs_corpora = pytest.mark.skipif(not CORPORA.is_dir(), reason="the benchmark corpora are not here")


@pytest.mark.corpora
@needs_corpora
def test_tiny_shakespeare_has_nanogpts_split(tmp_path: Path) -> None:
    list(write_corpus([CORPORA / "tinyshakespeare" / "input.txt"], tmp_path / "out", DataConfig(split="90/10")))
    corpus = load_corpus(tmp_path / "out")
    assert (len(corpus.train), len(corpus.valid), corpus.tokenizer.vocab_size) == (1_003_854, 111_540, 66)


@pytest.mark.corpora
@needs_corpora
@pytest.mark.parametrize(
    ("name", "vocab_size", "tokens"),
    [("ptb", 10_000, (929_589, 73_760, 82_430)), ("wikitext-2", 33_278, (2_088_628, 217_646, 245_569))],
)
def test_word_corpora_have_their_published_sizes(
    tmp_path: Path, name: str, vocab_size: int, tokens: tuple[int, ...]
) -> None:
    train, valid, test = (CORPORA / name / f"{part}.txt" for part in ("train", "valid", "test"))
    list(write_corpus([train], tmp_path / "out", DataConfig(level="word"), valid=valid, test=test))
    corpus = load_corpus(tmp_path / "out")
    assert tuple(part.tokens for part in corpus.info.parts.values()) == tokens
    assert corpus.tokenizer.vocab_size == vocab_size
