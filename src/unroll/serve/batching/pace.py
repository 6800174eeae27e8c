"""How many steps fit into a quantum, by what the last step took."""

QUANTUM_SECONDS = 0.005


class Pace:
    """The rows and seconds of the last step."""

    def __init__(self) -> None:
        self._rows = 1
        self._seconds = QUANTUM_SECONDS

    def note(self, rows: int, seconds: float) -> None:
        """Note a step of `rows` rows."""
        self._rows, self._seconds = rows, seconds

    def steps(self, rows: int, most: int) -> int:
        """Return how many steps of `rows` rows fit into a quantum: 1 to `most`."""
        return max(1, min(most, int(QUANTUM_SECONDS / (self._seconds * max(1.0, rows / self._rows)))))
