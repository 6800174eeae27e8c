"""Kinds of text: recognised by their rules, and measured with planted faults."""

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tiny import text as toy_text
from unroll.insight.style.closing import FEWEST
from unroll.insight.style.kinds import environments, kind_of, links, math, speakers

LATEX = r"""\begin{lemma}
\label{lemma-one}
Let $R$ be a ring, and $\mathfrak p_i$, $i = 1, \ldots, r$, primes. % \begin{not} a $ here
A price of 5\$, which is 50\% more.
\end{lemma}

\begin{proof}
\begin{enumerate}
\item Then \(x\) is $(x)$-regular: $$ a \\ b $$ \[ c \]
\end{enumerate}
\end{proof}
"""
WIKI = "'''Anarchism''' is a [[political philosophy|view]] of [[state]]s.\n\n* [[File:A.png|thumb|A [[link]] in it.]]\n"
PLAY = "First Citizen:\nSpeak, speak; and be brief.\nOr not at all.\n\nKING HENRY VI:\nResolved.\n\n"
CODE = "#include <a.h>\n#define B 1\n\nint f(int a)\n{\n\tif (a) {\n\t\treturn B;\n\t}\n\treturn 0;\n}\n\n"
PROSE = "The Prince shrugged his shoulders. “So be it,” said he; and they left the room together.\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (LATEX * 5, "latex"),
        (WIKI * 5, "wiki"),
        (PLAY * 5, "play"),
        (CODE * 5, "c"),
        (PROSE * 5, "plain"),
        ("import os\n\n\ndef f(x):\n    return {x: [1]}\n" * 9, None),
        (">sequence\nACGTACGTTTGACCA\n" * 20, None),
        ("081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block\n" * 9, None),
        (toy_text(9), "plain"),
        ("", None),
        (LATEX.split("\n\n")[0], None),  # too little of it
    ],
)
def test_a_kind_is_recognised(text: str, kind: str | None) -> None:
    assert kind_of(text) == kind


def test_latex_closes() -> None:
    assert environments(LATEX) == 1
    assert math(LATEX) == 1


def test_an_environment_closed_by_another_name() -> None:
    value = environments(LATEX.replace(r"\end{proof}", r"\end{lemma}"))
    assert value is not None and value < 1
    assert environments(r"\begin{a}\begin{a}\end{b}\end{b}") == 0


NAMES = st.sampled_from(["lemma", "proof", "equation*"])
NESTED = st.recursive(
    st.sampled_from(["", "text ", r"5\% \\ "]),
    lambda inner: st.builds(lambda name, a, b: rf"\begin{{{name}}}{a}\end{{{name}}}{b}", NAMES, inner, inner),
    max_leaves=20,
)


@settings(max_examples=40)
@given(NESTED, st.randoms(use_true_random=False))
def test_nested_environments_close_and_one_end_less_is_noticed(text: str, choose: random.Random) -> None:
    parts = text.split(r"\end{")
    assume(2 * (len(parts) - 1) > FEWEST)
    assert environments(text) == 1
    place = choose.randrange(1, len(parts))
    value = environments(r"\end{".join(parts[:place]) + parts[place] + r"\end{".join(["", *parts[place + 1 :]]))
    assert value is not None and value < 1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"Let $x$ and $y$.", r"Let $x$ and $y."),
        (r"Let $x$ cost 5\$ and $y$.", r"Let $x$ cost 5$ and $y$."),
        (r"Let $x$ and $y$. % $", "Let $x$ and $y$. \\% $"),
        ("Let $x$ and\n$y$.", "Let $x$ and $y\n\n$."),
        (r"Let \(x\) and \[y\].", r"Let \(x\) and \[y\)."),
    ],
)
def test_mathematics(right: str, wrong: str) -> None:
    assert math(right) == 1
    value = math(wrong)
    assert value is None or value < 1


def test_links() -> None:
    assert links(WIKI) == 1
    value = links(WIKI.replace("]]s", "s"))
    assert value is not None and value < 1
    assert links("[[a\n\nb]] [[c\n\nd]]") == 0
    assert links("[a] [b]") is None


def test_speakers() -> None:
    assert speakers(PLAY * 2) == 1
    assert speakers(PLAY + "First Citizen:\n\nResolved.\n\n") == 0.5  # a name without a speech, a speech without a name
    assert speakers(PLAY) is None
    assert speakers(PROSE.replace(". ", ".\n\n") * 3) == 0
