"""The pace of a batch: as many steps as fit into a quantum, and one at least."""

import pytest

from unroll.serve.batching.cohort import QUANTUM_SECONDS, Pace


@pytest.mark.parametrize(
    ("rows", "seconds", "next_rows", "steps"),
    [(1, QUANTUM_SECONDS / 8, 1, 8), (4, QUANTUM_SECONDS / 8, 1, 8), (1, QUANTUM_SECONDS / 8, 4, 2),
     (1, 1e-9, 1, 16), (1, 1.0, 1, 1), (1, 1e-9, 10**6, 5)],
)  # fmt: skip
def test_steps_fit_into_a_quantum(rows: int, seconds: float, next_rows: int, steps: int) -> None:
    pace = Pace()
    assert pace.steps(1, 16) == 1  # nothing is known yet
    pace.note(rows, seconds)
    assert pace.steps(next_rows, 16) == steps
