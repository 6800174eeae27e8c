"""States that are kept for the next time."""

import numpy as np

from unroll.serve.batching.cohort import Prefixes
from unroll.serve.batching.streams import Start


def test_prefixes_are_bounded() -> None:
    prefixes = Prefixes(1000)
    start = Start(((np.zeros((1, 10)),),), np.zeros((1, 10)), ())
    for number in range(50):
        prefixes.put(str(number).encode(), start)
        assert prefixes.get(b"0") is start  # what is used stays
    assert prefixes._size <= 1000 and len(prefixes._kept) == 1000 // start.nbytes
    assert prefixes.get(b"49") is start and prefixes.get(b"30") is None
    prefixes.put(b"huge", Start(((np.zeros((1, 1000)),),), np.zeros((1, 10)), ()))
    assert prefixes.get(b"huge") is None and prefixes.get(b"49") is start
