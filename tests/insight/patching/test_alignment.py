"""Where two texts meet, and where their states are patched."""

from insight.patching.planted import WORDS, asked, opened, planted


def test_where_the_point_is() -> None:
    model = opened(planted(), WORDS)
    assert asked(model, "Alice reads and reads", "Bob reads and reads", at=2).at == (2, 2)
    patched = asked(model, "reads Alice and reads", "reads and Bob and reads")
    assert patched.at == (2, 3) and patched.positions.tolist() == [2, 3]
    patched = asked(model, "Alice and reads and_on", "Bob and reads and_on", after="reads")
    assert patched.at == (3, 3) and patched.positions.tolist() == [1, 2, 3], "the curve begins where the texts meet"
    patched = asked(model, "Alice and reads and_on", "Bob reads and and_on", at=1)
    assert patched.at == (1, 1) and "differ after the point" in patched.notes[0]
    assert asked(model, "reads Alice reads", "Alice reads").at == (1, 0)
