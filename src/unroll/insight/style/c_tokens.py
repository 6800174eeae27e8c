"""C as a tokenizer sees it: the lines it takes, and the braces and comments that close.

The tokens are those of C11, section 6.4, with comments and directives. Pygments, which comes with `rich`, is no judge
of them: it is made to colour half-written code, and takes `8tl` and an open comment without an error.
"""

import re
from itertools import chain

from unroll.insight.style.closing import FEWEST, Mark, bracket, closing

STRING = r'(?:u8|[uUL])?"(?:\\.|[^"\\\n])*+"'
CHARACTER = r"[uUL]?'(?:\\.|[^'\\\n])++'"
SUFFIX = r"(?:[uU](?:ll?|LL?)?|(?:ll?|LL?)[uU]?)?"
NUMBER = (
    rf"(?:0[xX][0-9a-fA-F]+{SUFFIX}"
    r"|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fFlL]?|[0-9]+[eE][+-]?[0-9]+[fFlL]?"
    rf"|[0-9]+{SUFFIX})(?![\w.])"
)
PUNCTUATOR = r"<<=|>>=|\.\.\.|->|\+\+|--|&&|\|\||<<|>>|##|[-+*/%&|^=!<>]=|[\[\](){}.&*+\-~!/%<>^|?:;=,#]"
TOKEN = rf"{STRING}|{CHARACTER}|[A-Za-z_][A-Za-z0-9_]*+|{NUMBER}|{PUNCTUATOR}|[^\S\n]++"
LINE = re.compile(rf"(?:#\s*include\s*<[^>\n]+>|{TOKEN})*+\\?")
"""A line without comments: tokens, and the backslash that continues it."""
PARTS = re.compile(
    r"(?P<comment>(?s:/\*.*?\*/)|//[^\n]*)|(?P<opened>(?s:/\*.*))|(?P<closed>\*/)|(?P<bracket>[()\[\]{}])"
    rf"|{STRING}|{CHARACTER}"
)
"""Comments, whole and broken, and brackets. Comments do not nest; nothing begins within one, or within a string."""
OPEN, CLOSE = Mark("/*", "open"), Mark("/*", "close")


def braces(text: str) -> float | None:
    """Return how well the braces of C close, and the brackets within them."""
    return closing([bracket(match["bracket"]) for match in PARTS.finditer(text) if match["bracket"]], "{")


def comments(text: str) -> float | None:
    """Return how well the comments `/* */` of C close."""
    marks = {"opened": [OPEN], "closed": [CLOSE]}
    return closing(list(chain.from_iterable(
        [OPEN, CLOSE] if (match["comment"] or "").startswith("/*") else marks.get(match.lastgroup or "", [])
        for match in PARTS.finditer(text)
    )))  # fmt: skip


def lines(text: str) -> float | None:
    """Return the share of lines, those of white space apart, that consist of tokens of C.

    A line of a comment is one of them if the comment closes.
    """
    code = PARTS.sub(without_comment, text)
    pairs = zip(code.split("\n"), text.split("\n"), strict=True)
    taken = [bool(LINE.fullmatch(line)) for line, whole in pairs if whole.strip()]
    return sum(taken) / len(taken) if len(taken) >= FEWEST else None


def without_comment(match: re.Match[str]) -> str:
    """Return what stands in place of a part: white space for a comment, for a broken one what is no token."""
    if match.lastgroup in ("comment", "opened", "closed"):
        return re.sub(r"[^\n]+", " " if match["comment"] else "@", match[0])
    return match[0]
