"""Known kinds of text: how they are told from each other, and what is measured of each."""

import re
from collections.abc import Callable
from typing import Literal, get_args

from unroll.insight.style import c_tokens
from unroll.insight.style.closing import BLANK_LINE, FEWEST, Mark, closing, role_of

Kind = Literal["latex", "c", "wiki", "play", "plain"]
KINDS: tuple[Kind, ...] = get_args(Kind)

READ = 2**20
"""Characters of a text that its kind is told by, the first."""
RARE = 2
"""Occurrences that may be by chance."""

TEX = re.compile(
    r"\\(?P<way>begin|end)\s*\{(?P<name>[^{}\n]*)\}|\\(?P<math>[()\[\]])|\\.|%[^\n]*|(?P<dollar>\$\$?)"
    rf"|(?P<blank>{BLANK_LINE})",
    re.DOTALL,
)
FORMULAS = ("$", "$$", "(", "[")
LINKS = re.compile(rf"\[\[|\]\]|{BLANK_LINE}")
PARAGRAPHS = re.compile(r"\n(?:[^\S\n]*\n)+")
SPEAKER = re.compile(r"[^\W\d_a-z][^\n:.?!]{0,40}:")
DIRECTIVE = re.compile(r"^[^\S\n]*#[^\S\n]*(?:include|define|ifn?def|if|endif)\b", re.MULTILINE)
STATEMENT = re.compile(r"[;{}][^\S\n]*(?:/[*/].*)?$", re.MULTILINE)
SENTENCE = re.compile(r"\w ?[.!?]['\"”’)]*\s")


def kind_of(text: str) -> Kind | None:
    """Return the kind of a text by its beginning; None where it is none of those that are known."""
    text = text[:READ]
    lines = [line for line in text.split("\n") if line.strip()]
    firsts, spoken = speeches(text)
    letters = sum(map(len, re.findall(r"[^\W\d_]+", text)))
    solid = len(text) - sum(map(len, re.findall(r"\s+", text)))
    if frequent(text.count(r"\begin{"), text, 5000):
        return "latex"
    if frequent(min(text.count("[["), text.count("]]")), text, 1000):
        return "wiki"
    if frequent(len(DIRECTIVE.findall(text)), text, 5000) and len(STATEMENT.findall(text)) >= 0.2 * len(lines):
        return "c"
    if spoken > RARE and spoken >= 0.5 * firsts:
        return "play"
    if letters >= 0.85 * solid and frequent(len(SENTENCE.findall(text)), text, 500):
        return "plain"
    return None


def frequent(count: int, text: str, distance: int) -> bool:
    """Return whether something occurs more often than by chance, and once in so many characters on average."""
    return count > RARE and count * distance >= len(text)


# ---- LaTeX


def environments(text: str) -> float | None:
    r"""Return how well `\begin{name}` and `\end{name}` close, outside comments."""
    return closing(tex_marks(text)[0])


def math(text: str) -> float | None:
    r"""Return how well `$`, `$$`, `\(` and `\[` close within a paragraph, as TeX has it, outside comments."""
    return closing(tex_marks(text)[1])


def tex_marks(text: str) -> tuple[list[Mark], list[Mark]]:
    r"""Return the marks of environments and of mathematics; `\$` is a dollar, and `\%` begins no comment."""
    environments, formulas = list[Mark](), list[Mark]()
    for match in TEX.finditer(text):
        if match["way"]:
            environments.append(Mark(match["name"], "open" if match["way"] == "begin" else "close"))
        elif match["dollar"]:
            formulas.append(Mark(match["dollar"], role_of(text, match)))
        elif match["math"]:
            opener = {")": "(", "]": "["}.get(match["math"])
            formulas.append(Mark(opener, "close") if opener else Mark(match["math"], "open"))
        elif match["blank"]:
            formulas += [Mark(name, "break") for name in FORMULAS]
    return environments, formulas


# ---- wiki markup


def links(text: str) -> float | None:
    """Return how well the links `[[...]]` of a wiki close within a paragraph."""
    marks = {"[[": Mark("[[", "open"), "]]": Mark("[[", "close")}
    return closing([marks.get(match[0], Mark("[[", "break")) for match in LINKS.finditer(text)])


# ---- plays


def speakers(text: str) -> float | None:
    """Return the share of paragraphs of a play that begin with the line of a speaker, as `First Citizen:`."""
    count, spoken = speeches(text)
    return spoken / count if count >= FEWEST else None


def speeches(text: str) -> tuple[int, int]:
    """Return the number of paragraphs, and of those whose first line, which another follows, is a speaker's name."""
    firsts = [paragraph.partition("\n") for paragraph in PARAGRAPHS.split(text) if paragraph.strip()]
    return len(firsts), sum(bool(SPEAKER.fullmatch(first)) and bool(rest.strip()) for first, _, rest in firsts)


OF_KIND: dict[Kind, dict[str, Callable[[str], float | None]]] = {
    "latex": {"environments": environments, "math": math},
    "c": {"braces": c_tokens.braces, "comments": c_tokens.comments, "lines": c_tokens.lines},
    "wiki": {"links": links},
    "play": {"speakers": speakers},
    "plain": {},
}
"""What is measured of each kind of text beside what all have, by name."""
