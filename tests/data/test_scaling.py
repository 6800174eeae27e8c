"""Standardised values, with what is missing filled in: laws over any sequences."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unroll.data.ragged import Vectors
from unroll.data.scaling import FARTHEST, Scaling

NUMBERS = st.floats(-1e6, 1e6) | st.just(float("nan"))


@st.composite
def sequences(draw: st.DrawFn) -> Vectors:
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    values = draw(arrays(np.float64, (sum(lengths), draw(st.integers(1, 3))), elements=NUMBERS))
    return Vectors(values, np.cumsum(lengths, dtype=np.int64))


@given(sequences())
def test_channels_have_mean_0_and_deviation_1_where_nothing_is_missing(rows: Vectors) -> None:
    scaling = Scaling.of(rows)
    scaled = scaling.standardised(rows.values)
    for channel, deviation in zip(scaled.T, scaling.deviations, strict=True):
        present = channel[~np.isnan(channel)]
        if len(present):
            assert abs(present.mean()) < 1e-6
            assert deviation == 0 or abs(present.std() - 1) < 1e-6


@given(sequences())
def test_a_missing_value_is_the_last_of_its_channel_in_the_sequence_or_the_mean(rows: Vectors) -> None:
    scaling = Scaling.of(rows)
    read = scaling.read(rows, marks=True)
    scaled = scaling.standardised(rows.values).astype(np.float32)
    channels = rows.values.shape[1]
    for row in range(len(rows)):
        last = np.zeros(channels, np.float32)
        for t in range(rows.starts[row], rows.ends[row]):
            missing = np.isnan(rows.values[t])
            last = np.where(missing, last, scaled[t])
            assert np.array_equal(read.values[t], np.concatenate([last, missing]))
    assert np.array_equal(scaling.read(rows, marks=False).values, read.values[:, :channels])


@given(sequences(), st.data())
def test_a_sequence_is_read_the_same_whatever_stands_beside_it(rows: Vectors, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    scaling = Scaling.of(rows)
    alone = scaling.read(rows.select([row]), marks=False)
    assert np.array_equal(alone.values, scaling.read(rows, marks=False)[row])


def test_a_constant_channel_is_0_whatever_it_becomes_and_what_is_far_stays_finite() -> None:
    rows = Vectors(np.array([[0.1, 1.0], [0.1, 2.0], [0.1, np.nan]]), np.array([3]))
    scaling = Scaling.of(rows)
    assert scaling.deviations == (0.0, 0.5) and scaling.means[1] == 1.5
    later = Vectors(np.array([[7.0, 1e300]]), np.array([1]))
    assert scaling.read(later, marks=False).values.tolist() == [[0.0, FARTHEST]]
