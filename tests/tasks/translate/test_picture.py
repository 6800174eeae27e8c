"""The picture of attention: the pieces of both sides, equal bytes for equal weights, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from unroll.errors import UserError
from unroll.tasks.translate.picture import draw_attention
from unroll.tasks.translate.predict import Attended


def attended(source: int = 3, target: int = 2) -> Attended:
    weights = np.random.default_rng(0).random((target, source))
    return Attended(
        [f"word{k} " for k in range(source)], [f" wort{k}" for k in range(target)], weights / weights.sum(1)[:, None]
    )


def test_it_names_the_pieces_of_both_sides(tmp_path: Path) -> None:
    draw_attention(attended(), tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert all(f">{piece}<" in drawn for piece in ("word0", "word2", "wort0", "wort1", "source", "translation"))
    draw_attention(attended(), tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_text() == drawn
    draw_attention(attended(40, 50), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("sides", [(101, 2), (2, 101), (0, 0)])
def test_too_many_pieces_and_none_are_refused(sides: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pieces") as refusal:
        draw_attention(attended(*sides), tmp_path / "a.svg")
    assert "1 to 100" in refusal.value.allowed and not list(tmp_path.iterdir())
