"""Pairs of texts: line by line from two files, and held out by the hash of their sources."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.data import parallel
from unroll.data.parallel import Pairs, parallel_parts, read_parallel
from unroll.errors import UserError
from unroll.progress import result


def write(folder: Path, sources: list[str], targets: list[str]) -> tuple[Path, Path]:
    paths = folder / "s.txt", folder / "t.txt"
    for path, lines in zip(paths, (sources, targets), strict=True):
        path.write_bytes("".join(line + "\n" for line in lines).encode())
    return paths


def read(folder: Path, sources: list[str], targets: list[str]) -> Pairs:
    return result(read_parallel(*write(folder, sources, targets)))


TEXT = st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]), max_size=5)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=9))
def test_lines_of_the_same_number_are_pairs(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    stripped = [(source.strip(), target.strip()) for source, target in rows]
    kept = [k for k, pair in enumerate(stripped) if all(pair)]
    folder = tmp_path_factory.mktemp("pairs")
    sources, targets = (list(column) for column in zip(*rows, strict=True))
    if not kept:
        with pytest.raises(UserError, match="no pair"):
            read(folder, sources, targets)
        return
    pairs = read(folder, sources, targets)
    assert list(zip(pairs.sources, pairs.targets, strict=True)) == [stripped[k] for k in kept]
    assert pairs.lines.tolist() == [k + 1 for k in kept] and pairs.empty == len(rows) - len(kept)


def test_empty_lines_are_counted_in_a_remark(tmp_path: Path) -> None:
    pairs = read(tmp_path, ["one", "", "three"], ["eins", "zwei", " \t"])
    assert pairs.sources == ("one",) and pairs.remark is not None and pairs.remark.startswith("2 pairs of ")
    assert read(tmp_path, ["one"], ["eins"]).remark is None


def test_files_of_different_length_are_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"s\.txt has 1 line, and .*t\.txt 2"):
        read(tmp_path, ["one"], ["eins", "zwei"])


def test_a_last_line_may_lack_its_end_and_a_file_may_be_packed(tmp_path: Path) -> None:
    source, target = tmp_path / "s.gz", tmp_path / "t"
    source.write_bytes(gzip.compress(b"one\ntwo\n"))
    target.write_bytes(b"\xef\xbb\xbfeins\r\nzwei")
    pairs = result(read_parallel(source, target))
    assert (pairs.sources, pairs.targets) == (("one", "two"), ("eins", "zwei"))


def test_what_is_no_text_or_too_large_is_refused_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = write(tmp_path, ["one", "two"], ["eins", "zwei"])
    target.write_bytes(b"eins\nzw\xff\n")
    with pytest.raises(UserError, match=r"t\.txt.*line 2"):
        result(read_parallel(source, target))
    monkeypatch.setattr(parallel, "MAX_TEXTS", 5)
    with pytest.raises(UserError, match=r"s\.txt is too large, as line 2 shows"):
        result(read_parallel(source, target))


def test_reading_reports_how_far_it_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "REPORT_ROWS", 2)
    reports = list(read_parallel(*write(tmp_path, ["one"] * 5, ["eins"] * 5)))
    assert [(report.done, report.total) for report in reports] == [
        (8, 20), (16, 20), (20, 20), (10, 25), (20, 25), (25, 25)
    ]  # fmt: skip


def test_one_source_in_twenty_is_held_out_with_all_its_pairs(tmp_path: Path) -> None:
    sources = [f"source {k % 400}" for k in range(500)]
    pairs = read(tmp_path, sources, [f"target {k}" for k in range(500)])
    parts = parallel_parts(pairs)
    assert len(parts.train) + len(parts.valid) == 500 and 10 <= len(set(parts.valid.sources)) <= 35
    assert not set(parts.train.sources) & set(parts.valid.sources) and parts.shared == 0
    for part in (parts.train, parts.valid):
        assert [sources[line - 1] for line in part.lines] == list(part.sources)
        assert [f"target {line - 1}" for line in part.lines] == list(part.targets)


def test_few_pairs_are_split_too_but_one_source_is_not(tmp_path: Path) -> None:
    parts = parallel_parts(read(tmp_path, ["one", "two", "two"], ["eins", "zwei", "zwei"]))
    assert {len(parts.train), len(parts.valid)} == {1, 2}
    with pytest.raises(UserError, match="too few pairs"):
        parallel_parts(read(tmp_path, ["two", "two"], ["zwei", "zwo"]))


def test_what_is_odd_is_said(tmp_path: Path) -> None:
    (tmp_path / "valid").mkdir()
    train = read(tmp_path, ["one", "one", ""], ["eins", "eins", "x"])
    valid = read(tmp_path / "valid", ["one", "two"], ["eins", "zwei"])
    parts = parallel_parts(train, valid)
    assert (parts.repeated, parts.shared) == (1, 1) and parts.valid is valid
    assert [remark.split(" of ")[0] for remark in parts.remarks] == ["1 pair", "1 pair", "1 source"]
    assert parallel_parts(valid, train.select(train.lines > 5)).remarks[0].startswith("1 pair of")
