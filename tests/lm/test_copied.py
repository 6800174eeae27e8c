"""The longest copied run, against the plain definition of it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.lm.sample import Copy, longest_copy


def plain(sample: list[int], text: list[int]) -> int:
    """Return the length of the longest common run, by trying all of them."""
    runs = {tuple(text[i:j]) for i in range(len(text)) for j in range(i, len(text) + 1)}
    return max(j - i for i in range(len(sample)) for j in range(i, len(sample) + 1) if tuple(sample[i:j]) in runs)


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<u4"])
@given(st.data())
def test_it_is_what_trying_all_runs_finds(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, data: st.DataObject
) -> None:
    """Ids of few values, so that runs occur; of two bytes or four, so that bytes of neighbours look like ids too."""
    values = st.sampled_from([0, 1, 2] if dtype == "<u1" else [0, 1, 256, 257, 1 << 8 | 1 << 0])
    sample = data.draw(st.lists(values, min_size=1, max_size=12))
    text = data.draw(st.lists(values, min_size=1, max_size=20))
    file = tmp_path_factory.mktemp("copied") / "train.bin"
    np.array(text, dtype).tofile(file)
    copy = longest_copy(sample, file, np.dtype(dtype))
    assert copy.length == plain(sample, text)
    run = sample[copy.start : copy.start + copy.length]
    assert any(text[i : i + copy.length] == run for i in range(len(text)))


def test_bytes_between_two_symbols_are_no_symbol(tmp_path: Path) -> None:
    np.array([0x0100, 0x0302], "<u2").tofile(tmp_path / "train.bin")  # 00 01 02 03: 0x0201 lies across
    assert longest_copy([0x0201], tmp_path / "train.bin", np.dtype("<u2")) == Copy(0, 0)
    assert longest_copy([0x0201, 0x0302], tmp_path / "train.bin", np.dtype("<u2")) == Copy(1, 1)
