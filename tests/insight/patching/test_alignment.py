"""Where two texts meet, and where their states are patched."""

from insight.patching.planted import WORDS, asked, opened, planted


def test_where_the_point_is() -> None:
    one = opened(planted(), WORDS)
    assert asked(one, "Alice reads and reads", "Bob reads and reads", at=2).at == (2, 2)
    found = asked(one, "reads Alice and reads", "reads and Bob and reads")
    assert found.at == (2, 3) and found.positions.tolist() == [2, 3]
    found = asked(one, "Alice and reads and_on", "Bob and reads and_on", after="reads")
    assert found.at == (3, 3) and found.positions.tolist() == [1, 2, 3], "the curve begins where the texts meet"
    found = asked(one, "Alice and reads and_on", "Bob reads and and_on", at=1)
    assert found.at == (1, 1) and "differ after the point" in found.notes[0]
    assert asked(one, "reads Alice reads", "Alice reads").at == (1, 0)
