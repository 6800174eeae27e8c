from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unroll.data.batches import Batch, Streams, crops, rows, stream_windows
from unroll.errors import UserError

START = 99
Windows = Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]


class OffByOne(Streams):
    """Reads one symbol too far."""

    def batch(self, position: int, seq_len: int) -> Batch:
        return super().batch(position + 1, seq_len)


class RowsMixed(Streams):
    """Has the rows in another order at every second window."""

    def batch(self, position: int, seq_len: int) -> Batch:
        batch = super().batch(position, seq_len)
        if position // seq_len % 2:
            return Batch(batch.inputs[::-1], batch.targets[::-1], None)
        return batch


class ForgetsTheReset(Streams):
    """Gives the first symbol of a document the last of the one before as its input."""

    def batch(self, position: int, seq_len: int) -> Batch:
        batch = super().batch(position, seq_len)
        before = np.roll(self.ids, 1)[np.searchsorted(self.ids, batch.targets)]
        return Batch(before.astype(np.int64), batch.targets, batch.resets)


def ids_of(count: int) -> NDArray[np.uint16]:
    """Return ids that are all different, so that each says where it stands."""
    return np.arange(100, 100 + count, dtype=np.uint16)


def law_stream(streams: Streams, seq_len: int) -> None:
    """Batches stitched row by row are the corpus in ring order, each input is the symbol before its target."""
    ids, total, step = streams.ids, len(streams.ids), len(streams.ids) // streams.batch_size
    starts = set([] if streams.documents is None else streams.documents.tolist())
    batches = [streams.batch(position, seq_len) for position in range(0, 2 * total + 1, seq_len)]
    for batch in batches:
        assert batch.inputs.shape == batch.targets.shape == (streams.batch_size, seq_len)
        assert batch.inputs.dtype == batch.targets.dtype == np.int64
        assert batch.inputs.flags.c_contiguous
        assert batch.targets.flags.c_contiguous
    targets = np.concatenate([batch.targets for batch in batches], axis=1)
    inputs = np.concatenate([batch.inputs for batch in batches], axis=1)
    resets = [batch.resets if batch.resets is not None else np.zeros(batch.targets.shape, bool) for batch in batches]
    reset = np.concatenate(resets, axis=1)
    for row in range(streams.batch_size):
        for place in range(targets.shape[1]):
            index = (row * step + place) % total
            assert targets[row, place] == ids[index]
            assert reset[row, place] == (index in starts)
            assert inputs[row, place] == (streams.start_id if index in starts or index == 0 else ids[index - 1])
    if not starts:
        assert all(batch.resets is None for batch in batches)
    read_once = np.concatenate([targets[row, :step] for row in range(streams.batch_size)])
    assert read_once.tolist() == ids[: step * streams.batch_size].tolist()


sizes = st.tuples(st.integers(1, 30), st.integers(1, 7), st.integers(1, 40)).filter(lambda size: size[0] >= size[1])


@given(size=sizes)
def test_batches_stitched_row_by_row_are_the_corpus(size: tuple[int, int, int]) -> None:
    count, batch_size, seq_len = size
    law_stream(Streams(ids_of(count), batch_size, START), seq_len)


@given(size=sizes, data=st.data())
def test_each_document_begins_afresh(size: tuple[int, int, int], data: st.DataObject) -> None:
    count, batch_size, seq_len = size
    starts = data.draw(st.sets(st.integers(1, count - 1), max_size=5)) if count > 1 else set()
    documents = np.array([0, *sorted(starts)], np.int64)
    law_stream(Streams(ids_of(count), batch_size, START, documents), seq_len)


@pytest.mark.parametrize("fault", [OffByOne, RowsMixed])
def test_the_law_of_streams_catches(fault: type[Streams]) -> None:
    law_stream(Streams(ids_of(23), 3, START), 4)
    with pytest.raises(AssertionError):
        law_stream(fault(ids_of(23), 3, START), 4)


def test_the_law_of_streams_catches_a_forgotten_reset() -> None:
    documents = np.array([0, 5, 11])
    law_stream(Streams(ids_of(23), 3, START, documents), 4)
    with pytest.raises(AssertionError):
        law_stream(ForgetsTheReset(ids_of(23), 3, START, documents), 4)


@given(size=sizes, position=st.integers(0, 10**12))
def test_a_batch_is_a_function_of_its_position(size: tuple[int, int, int], position: int) -> None:
    count, batch_size, seq_len = size
    streams = Streams(ids_of(count), batch_size, START)
    first = streams.batch(position, seq_len)
    streams.batch(position + seq_len, seq_len)
    repeat = Streams(ids_of(count), batch_size, START).batch(position, seq_len)
    assert np.array_equal(first.inputs, repeat.inputs)
    assert np.array_equal(first.targets, repeat.targets)
    shifted = streams.batch(position + count, seq_len)
    assert np.array_equal(first.targets, shifted.targets)


def test_too_few_symbols_for_the_rows() -> None:
    with pytest.raises(UserError, match="5 symbols for 6 rows") as refusal:
        Streams(ids_of(5), 6, START)
    assert "batch_size" in refusal.value.fix


def law_coverage(windows: Windows, ids: NDArray[np.uint16], window: int) -> None:
    """One row reads every symbol once, in order, each after the one before it, the first after the start symbol."""
    pairs = list(windows)
    assert all(inputs.shape == targets.shape == (1, targets.shape[1]) for inputs, targets in pairs)
    assert all(0 < targets.shape[1] <= window for _, targets in pairs)
    assert all(array.dtype == np.int64 for pair in pairs for array in pair)
    assert [int(id) for _, targets in pairs for id in targets[0]] == ids.tolist()
    assert [int(id) for inputs, _ in pairs for id in inputs[0]] == [START, *ids.tolist()][: len(ids)]


@given(count=st.integers(0, 50), window=st.integers(1, 60))
def test_a_stream_covers_every_symbol_once(count: int, window: int) -> None:
    law_coverage(stream_windows(ids_of(count), START, window), ids_of(count), window)


def test_the_law_of_coverage_catches_what_is_left_out_or_starts_wrong() -> None:
    ids = ids_of(20)
    pairs = list(stream_windows(ids, START, 6))
    faults = {
        "the last symbol is left out": list(stream_windows(ids[:-1], START, 6)),
        "another start": list(stream_windows(ids, 0, 6)),
        "out of order": pairs[::-1],
        "windows forget what came before": [
            (np.concatenate([[[START]], inputs[:, 1:]], axis=1), targets) for inputs, targets in pairs
        ],
    }
    for fault in faults.values():
        with pytest.raises(AssertionError):
            law_coverage(iter(fault), ids, 6)


@given(count=st.integers(1, 60), num_rows=st.integers(1, 9), window=st.integers(1, 20))
def test_rows_hold_every_symbol_once(count: int, num_rows: int, window: int) -> None:
    ids = ids_of(count)
    symbols: list[int] = []
    streams = [list(part) for part in rows(ids, START, num_rows, window)]
    assert len(streams) <= 2
    for part in streams:
        inputs = np.concatenate([inputs for inputs, _ in part], axis=1)
        targets = np.concatenate([targets for _, targets in part], axis=1)
        assert len(targets) in (num_rows, 1)
        for row_inputs, row in zip(inputs.tolist(), targets.tolist(), strict=True):
            assert row_inputs == [ids[len(symbols) - 1] if symbols else START, *row[:-1]]
            symbols += row
    assert symbols == ids.tolist()


def test_one_row_is_the_stream() -> None:
    (part,) = rows(ids_of(20), START, 1, 6)
    law_coverage(part, ids_of(20), 6)


@given(count=st.integers(0, 60), size=st.integers(1, 12), batch_size=st.integers(1, 4))
def test_crops_are_those_of_nanogpt(count: int, size: int, batch_size: int) -> None:
    ids = ids_of(count)
    pairs = list(crops(ids, size, batch_size))
    assert all(len(inputs) <= batch_size for inputs, _ in pairs)
    found = [(x.tolist(), y.tolist()) for inputs, targets in pairs for x, y in zip(inputs, targets, strict=True)]
    expected = []
    for start in range(0, count - size, size):
        expected.append((ids[start : start + size].tolist(), ids[start + 1 : start + 1 + size].tolist()))
    assert found == expected


def test_a_mapped_corpus_gives_the_same_batches(tmp_path: pytest.TempPathFactory) -> None:
    path = f"{tmp_path}/ids.bin"
    ids_of(40).tofile(path)
    mapped = np.memmap(path, np.uint16, mode="r")
    batch, expected = (Streams(ids, 3, START, np.array([0, 7])).batch(11, 6) for ids in (mapped, ids_of(40)))
    assert np.array_equal(batch.targets, expected.targets)
    assert np.array_equal(batch.inputs, expected.inputs)
