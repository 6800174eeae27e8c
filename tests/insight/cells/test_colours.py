"""A text in colours: readable, on a scale that holds its values, and never markup."""

import numpy as np

from unroll.insight.cells.colours import in_terminal, ink, page, shade, strengths


def test_values_are_shown_on_a_scale_that_holds_them() -> None:
    assert strengths(np.array([0.5, -1.0])).tolist() == [0.5, -1.0]
    assert strengths(np.array([2.0, -4.0])).tolist() == [0.5, -1.0]
    assert strengths(np.array([])).tolist() == []


def test_signs_differ_in_colour_and_the_text_stays_readable() -> None:
    assert shade(0) == (255, 255, 255) and shade(-1)[2] > shade(-1)[0] and shade(1)[0] > shade(1)[2]

    def light(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for strength in np.linspace(-1, 1, 41):
        background = shade(float(strength))
        bright, dark = sorted((light(background), light(ink(background))), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) > 4.5, "contrast as WCAG 2 asks for"


def test_text_in_a_page_cannot_become_markup() -> None:
    markup = page("<script>", ["<b>", "&", "\n"], [("unit <i>", np.array([0.5, -0.5, 0.0]))])
    assert "<script" not in markup and "<b>" not in markup and "<i>" not in markup
    assert "&lt;b&gt;" in markup and "↵\n" in markup and 'title="-0.5000"' in markup


def test_a_terminal_gets_every_symbol_and_its_colour() -> None:
    markup = list(in_terminal(["a", "\n"], np.array([1.0, 0.0])))
    assert markup[0] == "\x1b[48;2;213;94;0;38;2;0;0;0ma\x1b[0m"
    assert markup[1].endswith("↵\x1b[0m\n")
