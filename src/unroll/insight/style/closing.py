"""Marks that open and close: how many are matched, beyond what the same marks reach in random order."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

Role = Literal["open", "close", "either", "stray", "break"]

FEWEST = 4
"""Marks, words or lines below which a share says nothing."""
SHUFFLES = 32
"""Random orders whose mean is what chance reaches."""


class Mark(NamedTuple):
    """A mark: only those of one name close each other. A break ends all open ones of its name, and is none."""

    name: str
    role: Role


BLANK_LINE = r"\n[^\S\n]*\n"


def closing(marks: Sequence[Mark], *names: str) -> float | None:
    """Return the share of marks that close or are closed, corrected for chance: (share - chance) / (1 - chance).

    1: all of them; 0: no more than the same marks in random order, or fewer. With `names` only marks of these are
    counted. None of fewer than `FEWEST` marks, and where any order of them closes all.
    """
    own = [mark for mark in marks if mark.role != "break"]
    count = sum(not names or mark.name in names for mark in own)
    if count < FEWEST:
        return None
    share, orders = 2 * matched(marks, *names) / count, random.Random(0)
    total = 0
    for _ in range(SHUFFLES):
        orders.shuffle(own)
        shuffled = iter(own)
        total += matched([mark if mark.role == "break" else next(shuffled) for mark in marks], *names)
    chance = 2 * total / SHUFFLES / count
    return max(0.0, (share - chance) / (1 - chance)) if chance < 1 else None


def matched(marks: Sequence[Mark], *names: str) -> int:
    """Return the number of pairs, of all names or of these.

    A mark closes the last open one of its name; what is open inside them stays open.
    """
    pairs, opened, count = 0, list[str](), Counter[str]()
    for name, role in marks:
        if role == "break" and count[name]:
            opened, count[name] = [other for other in opened if other != name], 0
        elif role in ("close", "either") and count[name]:
            while (last := opened.pop()) != name:
                count[last] -= 1
            count[name] -= 1
            pairs += not names or name in names
        elif role in ("open", "either"):
            opened.append(name)
            count[name] += 1
    return pairs


# ---- brackets and quotes, which most texts have

ENDS = re.compile(rf"[()\[\]{{}}\"“”«»]|{BLANK_LINE}")
OPENERS = {")": "(", "]": "[", "}": "{", "”": "“", "»": "«"}
QUOTES = '"“«'


def ends(text: str) -> float | None:
    """Return how well the brackets `()` `[]` `{}` and the quotes `""` `“”` `«»` of a text close.

    Quotes close within their paragraph. `'` is an apostrophe.
    """
    marks = list[Mark]()
    for match in ENDS.finditer(text):
        if match[0][0] == "\n":
            marks += [Mark(quote, "break") for quote in QUOTES]
        else:
            marks.append(Mark('"', role_of(text, match)) if match[0] == '"' else bracket(match[0]))
    return closing(marks)


def bracket(character: str) -> Mark:
    """Return the mark of a bracket, or of a quote that says by itself whether it opens or closes."""
    return Mark(OPENERS[character], "close") if character in OPENERS else Mark(character, "open")


def role_of(text: str, match: re.Match[str]) -> Role:
    """Return the role of a mark that looks the same at both ends, as `"` and `$`, by what stands beside it.

    It may open where nothing stands before it, or anything but a letter, a digit, a closing bracket or a full stop; it
    may close where no letter, digit or opening bracket follows. Where it may do neither, it is stray.
    """
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    opens = not (before.isalnum() or (before and before in ")]}.!?"))
    closes = not (after.isalnum() or (after and after in "([{\\"))
    if opens and closes:
        return "either"
    return "open" if opens else "close" if closes else "stray"
