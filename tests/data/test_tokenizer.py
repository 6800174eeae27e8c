import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hostile import FRAGMENTS, texts
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer, load_tokenizer
from unroll.data.utf8 import StreamDecoder
from unroll.errors import UserError

SAMPLE = "".join(FRAGMENTS) * 2 + "the cat sat on the mat\nthe cat ate the rat\n" * 3
BPE = BpeTokenizer.learn([SAMPLE], vocab_size=300)
ALL: list[Tokenizer] = [
    CharTokenizer.learn(SAMPLE),
    ByteTokenizer(),
    WordTokenizer.learn({word: SAMPLE.count(word) for word in SAMPLE.split()}),
    BPE,
]
every_tokenizer = pytest.mark.parametrize("tokenizer", ALL, ids=lambda tokenizer: tokenizer.level)
lossless = pytest.mark.parametrize("make", [CharTokenizer.learn, lambda _: ByteTokenizer(), lambda _: BPE])


def streamed(decoder: StreamDecoder, ids: list[int]) -> str:
    return "".join([decoder.push(id) for id in ids]) + decoder.flush()


def check_spans(tokenizer: Tokenizer, text: str, spans: np.ndarray) -> None:
    """Each span of a lossless level encodes to its id's bytes, and the spans follow one another."""
    data, ids = text.encode(), tokenizer.encode(text).tolist()
    assert len(spans) == len(ids)
    assert b"".join(data[start:end] for start, end in spans) == data
    for id, (start, end) in zip(ids, spans.tolist(), strict=True):
        assert data[start:end] == tokenizer.pieces[id] or id == tokenizer.unknown_id


@lossless
@given(text=texts)
def test_decoding_gives_the_text_back(make: Callable[[str], Tokenizer], text: str) -> None:
    tokenizer = make(text)
    assert tokenizer.lossless
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert tokenizer.decode(ids) == text
    assert tokenizer.unknown(text) == []


@lossless
@given(text=texts)
def test_spans_are_the_bytes_of_each_id(make: Callable[[str], Tokenizer], text: str) -> None:
    tokenizer = make(text)
    ids, spans = tokenizer.encode_offsets(text)
    assert ids.tolist() == tokenizer.encode(text).tolist()
    check_spans(tokenizer, text, spans)


def test_the_law_of_spans_catches_a_shift_and_code_points() -> None:
    tokenizer = CharTokenizer.learn("é漢 😀")
    _, spans = tokenizer.encode_offsets("é漢 😀")
    for fault in (spans + 1, np.stack([np.arange(4), np.arange(1, 5)], axis=1)):
        with pytest.raises(AssertionError):
            check_spans(tokenizer, "é漢 😀", fault)


@given(ids=st.lists(st.integers(0, 255), max_size=30))
def test_a_byte_stream_is_whole_characters_and_broken_bytes_are_replaced(ids: list[int]) -> None:
    tokenizer = ByteTokenizer()
    assert streamed(tokenizer.stream_decoder(), ids) == bytes(ids).decode("utf-8", "replace")
    assert tokenizer.decode(ids) == bytes(ids).decode("utf-8", "replace")


@given(text=texts)
def test_a_stream_shows_a_character_with_its_last_byte(text: str) -> None:
    decoder, seen = ByteTokenizer().stream_decoder(), ""
    for end, byte in enumerate(text.encode(), 1):
        seen += decoder.push(byte)
        assert seen == text.encode()[:end].decode("utf-8", "ignore")
    assert decoder.flush() == ""


def test_the_law_of_streams_catches_bytes_decoded_one_by_one() -> None:
    ids = list("é".encode())
    assert "".join(ByteTokenizer().decode([id]) for id in ids) != bytes(ids).decode()


@given(ids=st.lists(st.integers(0, BPE.vocab_size - 1), max_size=30))
def test_pieces_stream_like_their_bytes(ids: list[int]) -> None:
    assert streamed(BPE.stream_decoder(), ids) == b"".join(BPE.pieces[id] for id in ids).decode("utf-8", "replace")


@given(known=texts, text=texts)
def test_unknown_characters_are_named_with_their_places(known: str, text: str) -> None:
    tokenizer = CharTokenizer.learn(known)
    assert tokenizer.unknown(text) == [(i, c) for i, c in enumerate(text) if c not in known + "\n"]
    assert tokenizer.encode(text).tolist() == [
        tokenizer.symbols.index(c) + 1 if c in tokenizer.symbols else 0 for c in text
    ]
    expected = "".join(c if c in known + "\n" else "\ufffd" for c in text)
    assert tokenizer.decode(tokenizer.encode(text)) == expected


def test_characters_stand_in_order_of_code_point_after_unk() -> None:
    tokenizer = CharTokenizer.learn("ba€\U0001f600")
    assert tokenizer.symbols == "\nab€\U0001f600"
    assert (tokenizer.vocab_size, tokenizer.start_id, tokenizer.unknown_id) == (6, 1, 0)
    assert CharTokenizer.learn("\t").start_id == 2


@given(text=texts)
def test_words_and_newlines_survive(text: str) -> None:
    tokenizer = WordTokenizer.learn({word: 1 for word in text.split()})
    ids = tokenizer.encode(text)
    words: list[str] = []
    for number, line in enumerate(text.split("\n")):
        words += ["\n"] * (number > 0) + ["\n" if word == "<eos>" else word for word in line.split()]
    assert tokenizer.decode(ids) == re.sub(" ?\n ?", "\n", " ".join(words))
    assert tokenizer.encode(tokenizer.decode(ids)).tolist() == ids.tolist()
    assert streamed(tokenizer.stream_decoder(), ids.tolist()) == tokenizer.decode(ids)


@given(known=texts, text=texts)
def test_words_have_spans_and_unknown_ones_places(known: str, text: str) -> None:
    tokenizer = WordTokenizer.learn({word: 1 for word in known.split()})
    ids, spans = tokenizer.encode_offsets(text)
    assert ids.tolist() == tokenizer.encode(text).tolist()
    words = [text.encode()[start:end].decode() for start, end in spans]
    assert [word.strip() for word in words if word.strip()] == text.split()
    assert [word for word in words if not word.strip()] == [
        "\r\n" if cut.endswith("\r") else "\n" for cut in text.split("\n")[:-1]
    ]
    unknown = tokenizer.unknown(text)
    assert len(unknown) == ids.tolist().count(0) - words.count("<unk>")
    assert all(text[place:].startswith(word) and word not in tokenizer.words for place, word in unknown)


def test_words_rank_by_count_then_alphabet() -> None:
    counts = {"b": 2, "a": 2, "c": 5, "d": 1, "<unk>": 9, "<eos>": 9}
    assert WordTokenizer.learn(counts).words == ("c", "a", "b", "d")
    assert WordTokenizer.learn(counts, min_count=2).words == ("c", "a", "b")
    assert WordTokenizer.learn(counts, vocab_size=4).words == ("c", "a")
    assert WordTokenizer.learn(counts, vocab_size=4).vocab_size == 4


def test_literal_symbols_in_words_are_those_symbols() -> None:
    tokenizer = WordTokenizer.learn({"a": 1})
    assert tokenizer.encode("a <unk> x <eos>\r\n\n").tolist() == [2, 0, 0, 1, 1, 1]
    assert tokenizer.unknown("a <unk> x <eos>\r\n\n") == [(8, "x")]
    assert tokenizer.decode([2, 0, 1, 1, 2, 2]) == "a <unk>\n\na a"


@given(text=texts)
def test_no_text_becomes_the_end_symbol_of_pieces(text: str) -> None:
    assert BPE.start_id == 0
    assert 0 not in BPE.encode(text + "<eos>" + text)
    assert BPE.symbol(0) == "<eos>"


@given(first=texts, second=texts)
def test_a_newline_is_a_piece_of_its_own(first: str, second: str) -> None:
    ids = [*BPE.encode(first), *BPE.encode("\n"), *BPE.encode(second)]
    assert BPE.encode(f"{first}\n{second}").tolist() == ids
    assert len(BPE.encode("\n")) == 1


def test_pieces_do_not_depend_on_how_the_text_is_cut_at_lines() -> None:
    assert BpeTokenizer.learn([line + "\n" for line in SAMPLE.split("\n")[:-1]], vocab_size=300) == BPE
    assert BPE.vocab_size > 257


@every_tokenizer
@given(text=texts)
def test_a_saved_vocabulary_is_the_same(
    tokenizer: Tokenizer, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "tokenizer.json"
    tokenizer.save(path)
    restored = load_tokenizer(path)
    assert restored == tokenizer
    assert (restored.digest, restored.level) == (tokenizer.digest, tokenizer.level)
    assert restored.encode(text).tolist() == tokenizer.encode(text).tolist()


def test_another_vocabulary_has_another_digest() -> None:
    assert CharTokenizer.learn("ab").digest != CharTokenizer.learn("ac").digest
    assert WordTokenizer(("a", "b")).digest != WordTokenizer(("b", "a")).digest
    assert len({tokenizer.digest for tokenizer in ALL}) == len(ALL)


@every_tokenizer
def test_every_symbol_has_a_printable_name(tokenizer: Tokenizer) -> None:
    names = [tokenizer.symbol(id) for id in range(tokenizer.vocab_size)]
    assert all(name and name.isprintable() for name in names)
    assert len(set(names)) == len(names)


def test_names_of_symbols() -> None:
    assert [ByteTokenizer().symbol(byte) for byte in (10, 65, 0, 255)] == ["\\n", "A", "\\x00", "\\xff"]
    assert [CharTokenizer("\né").symbol(id) for id in range(3)] == ["<unk>", "\\n", "é"]
    assert [WordTokenizer(("a\u200db",)).symbol(id) for id in range(3)] == ["<unk>", "<eos>", "a\\u200db"]


@pytest.mark.parametrize(("size", "dtype"), [(255, "uint8"), (256, "uint16"), (65535, "uint16"), (65536, "uint32")])
def test_ids_are_kept_in_the_smallest_type(size: int, dtype: str) -> None:
    symbols = "".join(chr(code) for code in range(size + 0x800) if not 0xD800 <= code < 0xE000)[:size]
    tokenizer = CharTokenizer(symbols)
    assert tokenizer.vocab_size == size + 1
    assert tokenizer.dtype == np.dtype(dtype)
    assert tokenizer.lookup(symbols[-1]).tolist() == [size]


@every_tokenizer
@pytest.mark.parametrize("text", ["ab\ud800", "\udcff", "\ud83d\ude00"])
def test_a_lone_surrogate_is_refused(tokenizer: Tokenizer, text: str) -> None:
    place = next(i for i, c in enumerate(text) if not c.isascii())
    expected = f"lone surrogate U\\+{ord(text[place]):04X} at character {place}"
    for encode in (tokenizer.encode, tokenizer.encode_offsets):
        with pytest.raises(UserError, match=expected):
            encode(text)


@every_tokenizer
def test_the_empty_text(tokenizer: Tokenizer) -> None:
    ids, spans = tokenizer.encode_offsets("")
    assert ids.shape == (0,)
    assert spans.shape == (0, 2)
    assert tokenizer.decode(ids) == ""


DAMAGED: list[object] = [
    None,
    [],
    {},
    {"format_version": 2, "level": "byte"},
    {"format_version": 1},
    {"format_version": 1, "level": "syllable"},
    {"format_version": 1, "level": "char"},
    {"format_version": 1, "level": "char", "symbols": 5},
    {"format_version": 1, "level": "char", "symbols": "ab"},
    {"format_version": 1, "level": "char", "symbols": "\naa"},
    {"format_version": 1, "level": "char", "symbols": "\na\ud800"},
    {"format_version": 1, "level": "word", "words": ["a", "a"]},
    {"format_version": 1, "level": "word", "words": ["<unk>"]},
    {"format_version": 1, "level": "word", "words": ["a b"]},
    {"format_version": 1, "level": "word", "words": [""]},
    {"format_version": 1, "level": "word", "words": ["a\ud800"]},
    {"format_version": 1, "level": "word", "words": [["a"]]},
    {"format_version": 1, "level": "bpe", "tokens": ["<eos>", "a"], "merges": []},
    {"format_version": 1, "level": "bpe", "tokens": BPE.tokens[1:], "merges": []},
    {"format_version": 1, "level": "bpe", "tokens": BPE.tokens[:257], "merges": BPE.merges},
    {"format_version": 1, "level": "bpe", "tokens": [*BPE.tokens, "日"], "merges": []},
    {"format_version": 1, "level": "bpe", "tokens": BPE.tokens, "merges": [["a"]]},
    {"format_version": 1, "level": "bpe", "tokens": BPE.tokens, "merges": 7},
]


@pytest.mark.parametrize("data", DAMAGED, ids=lambda data: json.dumps(data)[:60])
def test_a_damaged_vocabulary_is_refused(tmp_path: Path, data: object) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="is not a tokenizer of unroll") as refusal:
        load_tokenizer(path)
    assert refusal.value.allowed
    assert refusal.value.fix


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="no tokenizer of unroll at"):
        load_tokenizer(path)
    for data in (b"", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(data)
        with pytest.raises(UserError):
            load_tokenizer(path)
