"""Arrays that grow on the disk end in one .npz, and nothing is left beside it, whatever happens."""

from pathlib import Path

import numpy as np
import pytest

from unroll.errors import UserError
from unroll.insight.arrays import ArrayFiles


def test_arrays_grow_into_one_file(tmp_path: Path) -> None:
    values, ids = np.arange(12.0).reshape(6, 2), {"ids": np.arange(6), "below/ends": np.array([6])}
    with ArrayFiles(tmp_path / "a.npz", {"a/c": (6, 2), "one": (2,)}, ids) as files:
        files.append("a/c", values[:4])
        files.append("one", values[0])
        files.append("a/c", values[4:])
        assert not (tmp_path / "a.npz").exists()
        files.finish()
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays) == {"a/c", "one", "ids", "below/ends"}
        np.testing.assert_array_equal(arrays["a/c"], values)
        np.testing.assert_array_equal(arrays["below/ends"], [6])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ArrayFiles(tmp_path / "a.npz", {"a": (2,)}, {}) as files:
        files.append("a", np.zeros(1))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match=r"must end in \.npz"):
        ArrayFiles(tmp_path / "a.npy", {}, {})
    with ArrayFiles(None, {"a": (2,)}, {}) as files:
        files.finish()
