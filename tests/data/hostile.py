"""Text that breaks programs."""

from hypothesis import strategies as st

# Combining marks, joiners, right to left, byte order mark, NUL, all kinds of line ends, one to four bytes of UTF-8.
WORDS = [
    "a",
    "b",
    "the",
    "don't",
    "é",
    "e\u0301",
    "漢",
    "😀",
    "👩\u200d🚀",
    "𝔘",
    "\U0010ffff",
    "\ufffd",
    "<unk>",
    "<eos>",
]
FRAGMENTS = [*WORDS, " the", " ", "  ", "\t", "\n", "\r\n", "\r", "\x85", "\u2028", "\ufffd", "\0", "\ufeff", "\u202eא"]

texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=20).map("".join)
"""Any text."""

documents = st.lists(
    texts.map(lambda text: text.replace("\0", "")).filter(lambda text: text not in ("", "\ufeff")),
    min_size=1,
    max_size=3,
)
"""One to three texts as files may hold them: not empty, not a byte order mark alone, no NUL."""
