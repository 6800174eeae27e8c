"""Files of sequences: what is written is read back in every format, and what is wrong is named where it stands."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unroll.data import series_reading, series_tables
from unroll.data.series import Series
from unroll.data.series_files import read_series
from unroll.data.series_reading import Columns
from unroll.errors import UserError
from unroll.progress import result

parquet: Any = pytest.importorskip("pyarrow.parquet")
pyarrow: Any = pytest.importorskip("pyarrow")
CLASSIFY = Columns("classify", "y", id="id")
NUMBERS = st.floats(-1e9, 1e9) | st.none()
Rows = list[list[list[float | None]]]


@st.composite
def sequences(draw: st.DrawFn) -> Rows:
    """Draw sequences of two channels, each with a value in its last step."""
    pairs = st.lists(NUMBERS, min_size=2, max_size=2)
    rows: Rows = draw(st.lists(st.lists(pairs, min_size=1, max_size=5), min_size=1, max_size=5))
    for row in rows:
        row[-1][0] = draw(st.floats(-1e9, 1e9))
    return rows


def read(path: Path, columns: Columns = CLASSIFY) -> Series:
    return result(read_series(path, columns))


def cell(value: float | None) -> str:
    return "" if value is None else repr(value)


def written(path: Path, rows: Rows) -> Path:
    """Write sequences with the labels a, b, c … in the format of the path's ending."""
    labels = [chr(97 + k) for k in range(len(rows))]
    steps = [(f"s{k}", x, y, labels[k]) for k, row in enumerate(rows) for x, y in row]
    if path.suffix == ".csv":
        lines = [f"{id};{cell(x)};{cell(y)};{label}" for id, x, y, label in steps]
        path.write_text("\n".join(["id;x;z;y", *lines]))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(("id", "x", "z", "y"), step, strict=True))) for step in steps))
    elif path.suffix == ".parquet":
        names = zip(("id", "x", "z", "y"), zip(*steps, strict=True), strict=True)
        table = pyarrow.table({name: [*column] for name, column in names})
        parquet.write_table(table, path)
    elif path.suffix == ".ts":
        lines = [
            ":".join(
                [
                    *(",".join("?" if v is None else repr(v) for v in channel) for channel in zip(*row, strict=True)),
                    label,
                ]
            )
            for row, label in zip(rows, labels, strict=True)
        ]
        path.write_text("\n".join(["#c", "@problemName p", "@classLabel true " + " ".join(labels), "@data", *lines]))
    else:
        longest = max(map(len, rows))
        padded = [[*row, *[[None, None]] * (longest - len(row))] for row in rows]
        np.savez_compressed(path, X=np.array(padded, np.float64), y=np.array(labels))
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "npz", "ts"])
@settings(deadline=None, max_examples=25)
@given(rows=sequences())
def test_sequences_come_back_from_every_format(
    ending: str, rows: Rows, tmp_path_factory: pytest.TempPathFactory
) -> None:

    path = written(tmp_path_factory.mktemp("a") / f"a.{ending}", rows)
    columns = CLASSIFY if ending in ("csv", "jsonl", "parquet") else Columns("classify")
    series = read(path, columns)
    assert series.labels == tuple(chr(97 + k) for k in range(len(rows)))
    assert len(series.channels) == 2 and len(series.sha256) == 64
    for k, row in enumerate(rows):
        np.testing.assert_array_equal(series.rows[k], np.array(row, np.float64))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "npz", "ts"])
def test_targets_of_sequences_to_predict_are_not_read(ending: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"a.{ending}", [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]])
    target, id = ("y", "id") if ending in ("csv", "jsonl", "parquet") else (None, None)
    with pytest.raises(UserError):
        read(path, Columns("regress", target, id))
    series = read(path, Columns("regress" if ending != "ts" else "classify", target, id, required=False))
    assert series.rows.lengths.tolist() == [2, 1] and not series.labels and not len(series.numbers)


def test_each_row_is_a_sequence_where_none_are_named_and_ends_with_its_last_value(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("a,b,c,y\n1,2,3,up\n4,,,down\n,5,,up\n")
    series = read(path, Columns("classify", "y"))
    assert series.channels == ("value",) and series.rows.lengths.tolist() == [3, 1, 2]
    assert series.labels == ("up", "down", "up") and series.lines.tolist() == [2, 3, 4]
    assert np.isnan(series.rows[2][0, 0]) and series.rows[2][1, 0] == 5


def test_rows_of_a_sequence_may_stand_apart_and_times_are_numbers_or_dates(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("id,t,x,y\nb,2020-01,1,5\na,2020-02-01,2,6\nb,2020-03-01T00:00:00+01:00,3,5\n")
    series = read(path, Columns("regress", "y", id="id", time="t"))
    assert series.ids == ("b", "a") and series.numbers.tolist() == [5, 6]
    assert series.rows[0].tolist() == [[1], [3]] and series.channels == ("x",)
    assert str(series.times[1]) == "2020-02-29T23:00:00.000000"  # type: ignore[index]
    one = read(path_of(tmp_path, "t,x\n1,3\n2,4\n"), Columns("forecast", "x", time="t"))
    assert len(one) == 1 and one.channels == ("x",) and one.times.tolist() == [1, 2]  # type: ignore[union-attr]


def path_of(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


LONG = Columns("classify", "y", id="id", time="t")
TS = "@problemName p\n@classLabel true a b\n@data\n"


@pytest.mark.parametrize(
    ("text", "columns", "parts"),
    [
        ("id,x,y\na,1,u\na,nan,u\n", CLASSIFY, ["'x' in line 3 of", "'nan'", "leave the cell empty"]),
        ("id,x,y\na,1,u\na,inf,u\n", CLASSIFY, ["'x' in line 3 of", "'inf'"]),
        ("id,x,y\na,1e999,u\n", CLASSIFY, ["'x' in line 2 of", "too large"]),
        ("id,x,y\na,red,u\n", CLASSIFY, ["'x' in line 2 of", "'red'", "a number"]),
        ("id,x,y\na,1_0,u\n", CLASSIFY, ["'x' in line 2 of", "'1_0'"]),
        ("id,x,y\na,1,u\na,2,v\n", CLASSIFY, ["'y' in line 3 of", "'v'", "one target for each sequence"]),
        ("id,x,y\na,1,\n", CLASSIFY, ["'y' in line 2 of", "empty", "label it"]),
        ("id,x,y\n,1,u\n", CLASSIFY, ["'id' in line 2 of", "empty"]),
        ("id,x\na,1\n", CLASSIFY, ["no column 'y'", "--target"]),
        ("id,x,y\na,1,dear\n", Columns("regress", "y", id="id"), ["'y' in line 2 of", "'dear'", "--task classify"]),
        ("id,x,y\na,1,\n", Columns("regress", "y", id="id"), ["'y' in line 2 of", "empty"]),
        ("id,t,x,y\na,2,1,u\na,1,1,u\n", LONG, ["'t' in line 3 of", "before", "sort the rows"]),
        ("id,t,x,y\na,2,1,u\na,2,1,u\n", LONG, ["'t' in line 3 of", "leave one of the two rows out"]),
        ("id,t,x,y\na,2,1,u\na,2020-01-01,1,u\n", LONG, ["'t' in line 3 of", "a date, the first a number"]),
        ("id,t,x,y\na,soon,1,u\n", LONG, ["'t' in line 2 of", "'soon'"]),
        ("id,t,x,y\na,0001-01-01T00:00+01:00,1,u\n", LONG, ["'t' in line 2 of", "'0001-01-01T00:00+01:00'"]),
        ("t,x,y\n1,1,u\n", Columns("classify", "y", time="t"), ["--time t is given without --id"]),
        ("id,x,x,y\na,1,1,u\n", CLASSIFY, ["column 3 of", "the name of another, 'x'"]),
        (",id,x,y\n0,a,1,u\n", CLASSIFY, ["column 1 of", "no name", "index=False"]),
        ("id,y\na,u\n", CLASSIFY, ["no column of numbers"]),
        ("id,x,y\n", CLASSIFY, ["no rows"]),
        ("id,x,y\na,1,u\n", Columns("classify", id="id"), ["--target"]),
        ("id,x,y\na,1,u\n", Columns("classify", "id", id="id"), ["different columns"]),
        ("id,x,z,y\na,1,2,u\n", Columns("classify", "y", id="id", channels=("x",)),
         ["2 channels: x, z; in training there were 1 channel: x"]),
        ('{"id": "a", "x": 1, "y": "u"}\n{"id": "a", "x": 2, "y": "u", "z": 3}\n', CLASSIFY, ["line 2 of", "z"]),
        ('{"id": "a", "x": true, "y": "u"}\n', CLASSIFY, ["'x' in line 1 of", "True"]),
        ('{"id": "a", "x": NaN, "y": "u"}\n', CLASSIFY, ["'x' in line 1 of", "nan"]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_table_is_named_with_its_line(
    tmp_path: Path, text: str, columns: Columns, parts: list[str]
) -> None:
    with pytest.raises(UserError) as raised:
        read(path_of(tmp_path, text), columns)
    for part in parts:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2:a\n", ["line 1 of", "stands before @data"]),
        (f"{TS}1,x:a\n", ["dimension 1 in line 4 of", "'x'"]),
        (f"{TS}1,,2:a\n", ["dimension 1 in line 4 of", "empty"]),
        (f"{TS}1,inf:a\n", ["dimension 1 in line 4 of", "'inf'"]),
        (f"{TS}1,2:3:a\n", ["dimension 2 in line 4 of", "1 steps, the first 2"]),
        (f"{TS}1,2:a\n1,2:3,4:b\n", ["line 5 of", "2 dimensions, the first sequence 1"]),
        (f"{TS}1,2:3,4:a\n1,2:b\n", ["line 5 of", "1 dimension, the first sequence 2"]),
        (f"{TS}1,2:\n", ["the target in line 4 of", "empty"]),
        (f"{TS}1,2:c\n", ["the target in line 4 of", "is 'c'", "does not list", "allowed: a, b"]),
        (f"{TS}a\n", ["line 4 of", "has no values, only a target: 'a'"]),
        (TS, ["no sequences after @data"]),
        ("@targetlabel true\n@data\n1,2:3\n", ["targets to regress", "--task regress"]),
        ("@problemName p\n@data\n1,2\n", ["names no targets"]),
        (
            "@timeStamps true\n@classLabel true a b\n@data\n(1,2),(1,3):a\n",
            ["a time in line 4 of", "as that of the row"],
        ),
        ("@timeStamps true\n@classLabel true a b\n@data\n(1,2),3:a\n", ["line 4 of", "(time,value)"]),
    ],
)
def test_what_is_wrong_in_a_ts_file_is_named_with_its_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        read(path_of(tmp_path, text, "a.ts"), Columns("classify"))
    for part in parts:
        assert part in str(raised.value)


def test_a_ts_file_with_times_and_one_of_numbers(tmp_path: Path) -> None:
    line = "(2020-01-01,1),(2020-01-02,?):(2020-01-01,3),(2020-01-02,NaN):7.5"
    text = f"@timeStamps true\n@targetlabel true\n@data\n{line}\n"
    series = read(path_of(tmp_path, text, "a.ts"), Columns("regress"))
    assert series.numbers.tolist() == [7.5] and np.isnan(series.rows[0][1]).all()
    assert series.times is not None and series.times.dtype == "datetime64[us]"


def header_of(shape: tuple[int, ...], dtype: str = "<f8", behind: bytes = b"") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + behind


X = np.ones((4, 5, 2))
NPZ: list[tuple[dict[str, Any], list[str]]] = [
    ({"X": X}, ["no array 'y'"]),
    ({"y": np.arange(4)}, ["no array 'X'"]),
    ({"X": X, "y": np.array(["a", 1, None, {}], object)}, ["y in", "a pickle"]),
    ({"X": X.astype(object), "y": np.arange(4)}, ["X in", "a pickle"]),
    ({"X": X, "y": np.arange(3)}, ["y in", "(3,)"]),
    ({"X": X, "y": np.array([1.5] * 4)}, ["y[0] of", "--task regress"]),
    ({"X": X[0, 0], "y": np.arange(4)}, ["X in", "1 dimensions"]),
    ({"X": np.where(np.arange(40).reshape(4, 5, 2) == 27, np.inf, 1.0), "y": np.arange(4)},
     ["channel 2 in step 4 of sequence 3 of", "inf"]),
    ({"X": np.full((4, 5, 2), np.nan), "y": np.arange(4)}, ["sequence '1' of", "no steps"]),
    ({"X": X, "y": np.arange(4), "lengths": np.array([1, 2, 6, 1])}, ["lengths[2] of", "1 to 5"]),
    ({"X": X, "y": np.arange(4), "lengths": np.ones(4)}, ["lengths in", "float64"]),
]  # fmt: skip


@pytest.mark.parametrize(("arrays", "parts"), NPZ)
def test_what_is_wrong_in_an_npz_is_named(tmp_path: Path, arrays: dict[str, Any], parts: list[str]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError) as raised:
        read(tmp_path / "a.npz", Columns("classify"))
    for part in parts:
        assert part in str(raised.value)


def test_lengths_of_an_npz_end_sequences_and_labels_may_be_whole_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=X, y=np.arange(4), lengths=np.array([1, 5, 2, 3], np.int8))
    series = read(tmp_path / "a.npz", Columns("classify"))
    assert series.rows.lengths.tolist() == [1, 5, 2, 3] and series.labels == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (header_of((2**40, 2, 2)), "bytes"),
        (header_of((2**26, 1), "|u1"), "sequences"),
        (header_of((4, 5, 2), behind=b"1234"), "damaged"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "damaged"),
        (b"\x93NUMPY\x01\x00\x0c\x00{'descr': ((\n", "damaged"),
        (b"nothing", "damaged"),
    ],
)
def test_a_header_that_claims_more_than_is_there_takes_no_memory(tmp_path: Path, content: bytes, part: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", content)
        archive.writestr("y.npy", header_of((4,), "<i8", bytes(32)))
    with pytest.raises(UserError, match=part):
        read(tmp_path / "a.npz", Columns("classify"))


def test_too_many_values_are_refused_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    from unroll.data import series_tables

    rows: Rows = [[[1.0, 2.0]] * 30] * 3
    paths = [written(tmp_path / f"a.{ending}", rows) for ending in ("csv", "parquet", "npz", "ts")]
    for module in (series_reading, series_tables):
        monkeypatch.setattr(module, "MAX_VALUES", 100)
    for path in paths:
        columns = CLASSIFY if path.suffix in (".csv", ".parquet") else Columns("classify")
        with pytest.raises(UserError, match="100 values"):
            read(path, columns)


def test_too_many_sequences_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_reading, "MAX_SEQUENCES", 2)
    wide, ts = path_of(tmp_path, "a,y\n" + "1,u\n" * 3), written(tmp_path / "a.ts", [[[1.0, 2.0]]] * 3)
    for path, columns in ((wide, Columns("classify", "y")), (ts, Columns("classify"))):
        with pytest.raises(UserError, match="has more than 2 sequences"):
            read(path, columns)


def test_a_parquet_file_is_read_with_times_and_labels_of_its_types(tmp_path: Path) -> None:
    table = pyarrow.table({
        "id": [1, 1, 2], "t": pyarrow.array([0, 1001, 0], pyarrow.timestamp("ns")), "x": [1.0, float("nan"), None],
        "n": [1, 2, 3], "y": [True, True, False],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    series = read(tmp_path / "a.parquet", LONG)
    assert series.ids == ("1", "2") and series.labels == ("true", "false") and series.channels == ("x", "n")
    assert np.isnan(series.rows[0][1, 0]) and np.isnan(series.rows[1][0, 0]) and series.rows[0][1, 1] == 2
    for columns, part in (
        (Columns("regress", "n", id="ix"), "--id"),
        (Columns("regress", "n", time="t", id="id"), "holds bool"),
    ):
        with pytest.raises(UserError, match=part):
            read(tmp_path / "a.parquet", columns)
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-7])
    with pytest.raises(UserError, match="damaged"):
        read(tmp_path / "b.parquet", LONG)


def test_what_unpacks_far_in_a_parquet_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pyarrow.table({"id": ["a" * 3000, "b"], "y": ["u", "v"], "x": [1.0, 2.0], "rows": [[1] * 9, []]})
    parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    monkeypatch.setattr(series_tables, "MAX_COLUMN", 2000)
    monkeypatch.setattr(parquet.ParquetFile, "read", None)
    for columns, part in (
        (Columns("classify", "y", id="id"), r"column 'id' of .* has \d,\d+ bytes\n.*at most 2,000"),
        (Columns("classify", "rows", id="y"), r"column 'rows' of .* holds list<\w+: int64>\n.*texts, numbers"),
    ):
        with pytest.raises(UserError, match=part):
            read(tmp_path / "a.parquet", columns)


def test_without_pyarrow_a_parquet_file_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match="needs pyarrow") as raised:
        read(path_of(tmp_path, "", "a.parquet"))
    assert "unroll-lm[parquet]" in raised.value.fix


def test_a_file_without_a_known_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ending") as raised:
        read(path_of(tmp_path, "x", "a.txt"))
    assert ".parquet" in raised.value.allowed
