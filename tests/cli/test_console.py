"""Figures and text as a person reads them."""

import pytest

from unroll.cli import console
from unroll.cli.training import rounds


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (65, "1:05"), (3599, "59:59"), (3665, "1:01:05")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert console.clock(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KB"), (4e6, "4.0 MB"), (1.9e8, "190.0 MB"), (2e12, "2000.0 GB")],
)
def test_size(count: float, shown: str) -> None:
    assert console.size(count) == shown


def test_quality_is_bits_per_character_or_perplexity() -> None:
    assert console.quality(0.6931472, 1.0) == "1.00 bits/char"
    assert console.quality(0.6931472, 4.0) == "0.25 bits/char"
    assert console.quality(4.6051702, None) == "perplexity 100"
    assert console.quality(1e9, None).startswith("perplexity 9")


def test_visible_shows_control_characters() -> None:
    assert console.visible("a\tb\nc\x1b[2J\r\x00\x7f\x9b€") == "a\tb\nc␛[2J␍␀␡\ufffd€"


def test_columns_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    console.put_columns([("a", "long cell", "x y"), ("name", "b", "z")])
    assert capsys.readouterr().out == "a     long cell  x y\nname  b          z\n"


def test_how_long_a_training_was_and_is_to_be() -> None:
    assert console.steps({"steps": 1, "planned_steps": 50, "finished": True}) == "1 step"
    assert console.steps({"steps": 400, "planned_steps": 4000, "finished": False}) == "400 of 4,000 steps"
    assert rounds({"steps": 4000, "epochs": 1000.4}, "pairs") == "4,000 steps, 1,000 times the pairs"
    assert rounds({"steps": 1, "epochs": 0.25}, "pairs") == "1 step, 0.25 times the pairs"
