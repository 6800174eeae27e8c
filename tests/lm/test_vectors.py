"""Vectors of lines: each what a reader of that line alone finds, however it was batched; the nearest, exactly."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import unroll
from artifact.test_classifier import save
from lm.test_pair_files import write
from lm.test_pairs import CHARS, TOKENIZERS, opened
from tiny import ARCHS, Stepping
from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.artifact.open import Opened
from unroll.data import reader as reader_module
from unroll.data.tokenizer import ByteTokenizer, Tokenizer
from unroll.errors import UserError
from unroll.lm import vectors as vectors_module
from unroll.lm.vectors import (
    POOLS,
    Embedded,
    Neighbour,
    Pool,
    cosines,
    embed_lines,
    line_vectors,
    similar_lines,
    similar_symbols,
)
from unroll.predict.predictor import HiddenPredictor
from unroll.predict.protocols import Ids
from unroll.predict.torch import TorchPredictor
from unroll.progress import result
from unroll.state import State

Vectors = Callable[[HiddenPredictor, Iterable[Ids], int, Pool], Iterator[NDArray[np.float32]]]

LINES = ["a bad cab", "", "fade", "a" * 70, "j", "", "a bad cab faded", "dab", "bad cab a", "a bad cab"]


def reader(arch: str = "lstm") -> TorchPredictor:
    predictor = opened(arch=arch).predictor
    assert isinstance(predictor, TorchPredictor)
    return predictor


def alone(reader: HiddenPredictor, ids: Sequence[int], start_id: int, pool: Pool) -> NDArray[np.float64]:
    """Return the vector of one text, read symbol by symbol."""
    state: State | None = None
    steps = []
    for symbol in [start_id, *ids]:
        y, state = reader.hidden(np.array([[symbol]]), state)
        steps.append(y[0, 0].astype(np.float64))
    rows = np.stack(steps[1:] or steps)
    return np.asarray({"last": rows[-1], "mean": rows.mean(axis=0), "max": rows.max(axis=0)}[pool])


def law_vectors(vectors: Vectors, reader: HiddenPredictor, pool: Pool) -> None:
    """The vector of a line is that of the line read alone; of an empty one that of the start symbol."""
    texts = [CHARS.encode(line) for line in LINES]
    stacked = np.concatenate(list(vectors(reader, texts, CHARS.start_id, pool)))
    assert stacked.dtype == np.float32
    for ids, vector in zip(texts, stacked, strict=True):
        assert np.allclose(vector, alone(reader, ids.tolist(), CHARS.start_id, pool), rtol=0, atol=1e-6)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("pool", POOLS)
def test_a_vector_is_that_of_its_line_alone(arch: str, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    law_vectors(line_vectors, reader(arch), pool)
    for tokens, window, lines in ((1, 1, 99), (80, 7, 3), (200, 1000, 1)):
        monkeypatch.setattr(vectors_module, "LINES_TOGETHER", lines)
        monkeypatch.setattr(vectors_module, "LINE_TOKENS", tokens)
        monkeypatch.setattr(vectors_module, "STREAM_WINDOW", window)
        law_vectors(line_vectors, reader(arch), pool)


def padded(reader: HiddenPredictor, texts: Iterable[Ids], start_id: int, pool: Pool) -> Iterator[NDArray[np.float32]]:
    """Planted fault: what fills up the shorter lines is pooled with them."""
    texts = list(texts)
    symbols = np.full((len(texts), 1 + max(map(len, texts))), start_id, np.int64)
    for row, ids in enumerate(texts):
        symbols[row, 1 : 1 + len(ids)] = ids
    y, _ = reader.hidden(symbols, None)
    y = y[:, 1:]
    yield {"last": y[:, -1], "mean": y.mean(axis=1), "max": y.max(axis=1)}[pool].astype(np.float32)


def with_start(
    reader: HiddenPredictor, texts: Iterable[Ids], start_id: int, pool: Pool
) -> Iterator[NDArray[np.float32]]:
    """Planted fault: the start symbol is pooled with the line; the last symbol is not read."""
    for ids in texts:
        y, _ = reader.hidden(np.array([[start_id, *ids[:-1].tolist()]]), None)
        yield {"last": y[:, -1], "mean": y.mean(axis=1), "max": y.max(axis=1)}[pool].astype(np.float32)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("fault", [padded, with_start])
def test_the_law_of_vectors_fails_for_faults(fault: Vectors, pool: Pool) -> None:
    with pytest.raises(AssertionError):
        law_vectors(fault, reader(), pool)


def embedded(model: Opened, file: Path, out: Path | None = None, pool: Pool = "last") -> Embedded:
    return result(embed_lines(model, file, out, pool))


def lines_of(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    model = opened(tokenizer).predictor
    assert isinstance(model, TorchPredictor)
    return np.concatenate(list(line_vectors(model, map(tokenizer.encode, texts), tokenizer.start_id, "mean")))


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.level)
def test_ends_of_lines_and_a_byte_order_mark_are_no_part_of_a_line(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = ["a bad cab", "", "ה\u202eא\u2028e\u0301", "x\ry\x85z", "fade"]
    file = write(tmp_path / "lines", "\ufeff" + "\r\n".join(texts[:3]) + "\n" + "\n".join(texts[3:]))
    embedding = embedded(opened(tokenizer), file, pool="mean")
    marked = ["\ufeff" + texts[0], *texts[1:]]  # at level byte, where any file is a text, it is bytes like others
    assert np.array_equal(embedding.vectors, lines_of(tokenizer, marked if tokenizer.level == "byte" else texts))
    assert embedding.figures()["lines"] == 5
    assert embedding.empty == 1
    assert (embedding.unknown_rate > 0) == (tokenizer.level in ("char", "word"))
    assert any("empty" in note for note in embedding.figures()["notes"])


def test_bytes_need_not_be_text(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"\xff\xfe\0a\n\0\n")
    assert embedded(opened(ByteTokenizer()), file).vectors.shape == (2, 10)
    with pytest.raises(UserError, match="is UTF-16, by its byte order mark"):
        embedded(opened(), file)


def test_a_line_of_a_million_characters(tmp_path: Path) -> None:
    """The whole line is read, a window at a time; of a window model, which does not take half a minute."""
    text = "a bad cab faded " * 62_500
    model = opened(arch="window")
    vectors = embedded(model, write(tmp_path / "lines", f"fade\n{text}\nb\n"), pool="mean").vectors
    assert isinstance(model.predictor, TorchPredictor)
    hidden, _ = model.predictor.hidden(np.array([[CHARS.start_id, *CHARS.encode(text).tolist()]]))
    assert np.allclose(vectors[1], hidden[0, 1:].mean(axis=0), rtol=0, atol=1e-6)
    assert np.allclose(
        vectors[0], alone(model.predictor, CHARS.encode("fade").tolist(), CHARS.start_id, "mean"), atol=1e-6
    )


def test_what_is_written_is_what_is_returned(tmp_path: Path) -> None:
    file, out = write(tmp_path / "lines", "\n".join(LINES)), tmp_path / "lines.npy"
    embedding = embedded(opened(), file, out)
    assert isinstance(embedding.vectors, np.memmap)
    assert np.array_equal(np.load(out), embedded(opened(), file).vectors)
    assert sorted(os.listdir(tmp_path)) == ["lines", "lines.npy"]
    out.write_bytes(b"old")
    embedded(opened(), file, out)
    assert np.load(out).shape == (10, 10)


def test_a_failure_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "LINE_TOKENS", 1)
    file, out = tmp_path / "lines", tmp_path / "lines.npy"
    file.write_bytes(b"a bad cab\n" * 9 + b"\xff\n")
    with pytest.raises(UserError, match=r"is not UTF-8: byte ff at byte offset 0 .*in line 10"):
        embedded(opened(), file, out)
    assert os.listdir(tmp_path) == ["lines"]
    write(file, "a\n" * 9)
    steps = embed_lines(opened(), file, out)
    next(steps)
    steps.close()
    assert os.listdir(tmp_path) == ["lines"]


@pytest.mark.parametrize(("change", "message"), [("a\n" * 99, "grew"), ("", "shrank")])
def test_a_file_that_changes_is_refused(
    change: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "lines", "a\nb\nc\n")
    size = vectors_module._size

    def then_changed(path: Path) -> tuple[int, int]:
        sizes = size(path)
        write(path, "a\n" + change)
        return sizes

    monkeypatch.setattr(vectors_module, "_size", then_changed)
    with pytest.raises(UserError, match=message):
        embedded(opened(), file, tmp_path / "out.npy")
    assert os.listdir(tmp_path) == ["lines"]


COUNTING = Opened(Path("m"), Stepping(lambda ids, state: (np.zeros((len(ids), CHARS.vocab_size)), ())), CHARS, {})
"""A model without a hidden state."""


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda model, file, folder: list(embed_lines(COUNTING, file)), "without a hidden state"),
        (lambda model, file, folder: similar_symbols(COUNTING, "a"), "without a hidden state"),
        (lambda model, file, folder: list(embed_lines(model, file, folder / "out.txt")), "does not end in .npy"),
        (lambda model, file, folder: list(embed_lines(model, file, pool="sum")), "pool is 'sum'"),  # type: ignore[arg-type]
        (lambda model, file, folder: list(embed_lines(model, folder / "nowhere")), "cannot read"),
        (lambda model, file, folder: list(embed_lines(model, write(folder / "empty", ""))), "is empty"),
        (lambda model, file, folder: list(embed_lines(model, file, folder / "no" / "out.npy")), "No such file"),
        (lambda model, file, folder: list(similar_lines(model, file, "a", 0)), "top is 0"),
        (lambda model, file, folder: similar_symbols(model, "ab"), "'ab' is not a symbol of model"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(ask: Callable[[Opened, Path, Path], object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        ask(opened(), write(tmp_path / "lines", "a\n"), tmp_path)


# The nearest


def nearest(file: Path, query: str, top: int = 10, pool: Pool = "last", vectors: Path | None = None) -> list[Neighbour]:
    return result(similar_lines(opened(), file, query, top, pool, vectors))


def law_nearest(ask: Callable[[Path, str, int], list[Neighbour]], folder: Path) -> None:
    """The lines with the highest cosines, all compared one by one, the nearest first, of equal ones the earlier."""
    file = write(folder / "lines", "\r\n".join(LINES))
    texts = [CHARS.encode(line) for line in LINES]
    vectors = [alone(reader(), ids.tolist(), CHARS.start_id, "mean") for ids in texts]
    query = vectors[6]
    similarities = [float(v @ query / np.linalg.norm(v) / np.linalg.norm(query)) for v in vectors]
    order = sorted(range(len(similarities)), key=lambda k: (-round(similarities[k], 5), k))
    for top in (1, 4, 10, 99):
        neighbours = ask(file, LINES[6], top)
        assert [near.line for near in neighbours] == [k + 1 for k in order[:top]]
        assert [near.text for near in neighbours] == [LINES[k] for k in order[:top]]
        assert [near.cosine for near in neighbours] == pytest.approx([similarities[k] for k in order[:top]], abs=1e-5)


def test_the_nearest_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    law_nearest(lambda file, query, top: nearest(file, query, top, "mean"), tmp_path)
    embedded(opened(), tmp_path / "lines", tmp_path / "lines.npy", "mean")
    vectors = tmp_path / "lines.npy"
    monkeypatch.setattr(vectors_module, "LINE_TOKENS", 3)
    monkeypatch.setattr(vectors_module, "BLOCK", 1)
    law_nearest(lambda file, query, top: nearest(file, query, top, "mean"), tmp_path)
    law_nearest(lambda file, query, top: nearest(file, query, top, "mean", vectors), tmp_path)


@pytest.mark.parametrize(
    "fault",
    [
        lambda found: found[::-1],  # the farthest first
        lambda found: [Neighbour(n.text, n.cosine, (n.line or 0) - 1) for n in found],  # counted from 0
        lambda found: [Neighbour(n.text, 1 - n.cosine, n.line) for n in found],  # distances
    ],
)
def test_the_law_of_the_nearest_fails_for_faults(
    fault: Callable[[list[Neighbour]], list[Neighbour]], tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        law_nearest(lambda file, query, top: fault(nearest(file, query, top, "mean")), tmp_path)


def test_vectors_of_something_else_are_refused(tmp_path: Path) -> None:
    file, cache = write(tmp_path / "lines", "a\nb\n"), tmp_path / "v.npy"
    for array in (
        np.zeros((3, 10), np.float32),
        np.zeros((2, 9), np.float32),
        np.zeros((2, 10), np.int64),
        np.zeros(20),
    ):
        np.save(cache, array)
        with pytest.raises(UserError, match="a vector of 10 numbers for each of the 2 lines"):
            nearest(file, "a", vectors=cache)
    for content in (b"", b"no numbers", cache.read_bytes()[:40]):
        cache.write_bytes(content)
        with pytest.raises(UserError, match="is not a file of vectors"):
            nearest(file, "a", vectors=cache)
    np.save(cache, np.array([{}, {}]))
    with pytest.raises(UserError, match="is not a file of vectors"):
        nearest(file, "a", vectors=cache)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.level)
def test_the_nearest_symbols(tokenizer: Tokenizer) -> None:
    model = opened(tokenizer)
    assert isinstance(model.predictor, TorchPredictor)
    table = model.predictor.model.embedding.weight.detach().numpy()
    id = int(tokenizer.encode("a")[0])
    neighbours = similar_symbols(model, "a", top=5)
    similarities = table @ table[id] / np.linalg.norm(table, axis=1) / np.linalg.norm(table[id])
    order = [k for k in np.argsort(-similarities, kind="stable").tolist() if k != id]
    assert [near.text for near in neighbours] == [tokenizer.symbol(k) for k in order[:5]]
    assert [near.cosine for near in neighbours] == pytest.approx(similarities[order[:5]].tolist(), abs=1e-12)
    assert len(similar_symbols(model, "a", top=10**6)) == tokenizer.vocab_size - 1
    for name in ("\n", tokenizer.symbol(tokenizer.pieces.index(b"\n"))):
        assert similar_symbols(model, name, top=3)


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1),
    st.lists(st.integers(-3, 3), min_size=3, max_size=3),
)
def test_cosines_are_of_the_angle(rows: list[list[int]], one: list[int]) -> None:
    for row, cosine in zip(rows, cosines(np.array(rows, float), np.array(one, float)), strict=True):
        size = np.linalg.norm(row) * np.linalg.norm(one)
        assert cosine == pytest.approx(float(np.dot(row, one) / size) if size else 0.0)


# ---- classifiers

TEXTS = ["the cat says meow", "", "woof", "the the the woof says the", "meow says", "woof"] * 3


@pytest.fixture
def classifier(tmp_path: Path) -> OpenClassifier:
    save(tmp_path / "model")
    return open_classifier(tmp_path / "model")


def test_the_vectors_of_a_classifier_are_what_its_head_reads(
    classifier: OpenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "lines.txt", "\r\n".join(TEXTS))
    network, weights = classifier.network, classifier.network._weights
    expected = np.concatenate([network.pooled(classifier.reader.read([text])) for text in TEXTS])
    logits = network.logits(classifier.reader.read(TEXTS))
    for together, side_by_side in ((1024, 64), (5, 2)):
        monkeypatch.setattr(vectors_module, "TEXTS_TOGETHER", together)
        monkeypatch.setattr(reader_module, "ROWS", side_by_side)
        for out in (None, tmp_path / "vectors.npy"):
            embedded = result(embed_lines(classifier, file, out))
            assert embedded.vectors.dtype == np.float32 and embedded.pool == classifier.info.config.pooling
            np.testing.assert_allclose(embedded.vectors, expected, rtol=1e-6, atol=1e-6)
        read = embedded.vectors @ weights["head.weight"].T + weights["head.bias"]
        np.testing.assert_allclose(read, logits, rtol=1e-5, atol=1e-5)
    assert unroll.embed(classifier.path, file).vectors.tobytes() == embedded.vectors.tobytes()


def test_what_a_classifier_does_not_read_is_said(classifier: OpenClassifier, tmp_path: Path) -> None:
    file = write(tmp_path / "lines.txt", "the cat\n\n  \n" + "woof " * 53)
    embedded = result(embed_lines(classifier, file))
    assert (embedded.empty, embedded.cut, embedded.unknown_rate) == (2, 3, 1 / 52)
    assert [word for word in ("empty", "<unk>", "3 units behind") if word in " ".join(embedded.figures()["notes"])] == [
        "empty", "<unk>", "3 units behind"
    ]  # fmt: skip


def test_the_lines_nearest_for_a_classifier(classifier: OpenClassifier, tmp_path: Path) -> None:
    file = write(tmp_path / "lines.txt", "\n".join(TEXTS[:5]))
    near = result(similar_lines(classifier, file, "woof", 2))
    assert near[0].text == "woof" and near[0].cosine == pytest.approx(1) and near[1].cosine < 1
    result(embed_lines(classifier, file, tmp_path / "v.npy"))
    assert result(similar_lines(classifier, file, "woof", 2, vectors=tmp_path / "v.npy")) == near
    assert [near.text for near in similar_symbols(classifier, "woof", top=9)].count("meow") == 1
    for ask in (
        lambda: embed_lines(classifier, file, None, "mean"),
        lambda: similar_lines(classifier, file, "a", 1, "max"),
    ):
        with pytest.raises(UserError, match="not pooled by") as refusal:
            result(ask())
        assert classifier.info.config.pooling in refusal.value.allowed and refusal.value.fix
