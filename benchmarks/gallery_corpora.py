"""The corpora of the gallery: where each comes from, which cells are searched for, and what is published on it."""

import random
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from unroll.data.sources import fetch
from unroll.errors import UserError, did_you_mean
from unroll.files import write_atomically
from unroll.progress import result


@dataclass(frozen=True)
class Corpus:
    """A text of the gallery and what is asked about it. `properties` are those of `unroll cells`."""

    name: str
    title: str
    intro: str
    origin: str
    source: str | None
    """Its name in `unroll data list`; None for names that Python brings."""
    properties: dict[str, str]
    """A name for people of each property that cells are searched for."""
    line: str
    """A piece of the long sample for the list of pages."""
    changes: str = ""
    """Why a reader's figures will differ."""
    at_most: int | None = None
    """Bytes to keep of a larger source."""
    whole_lines: bool = False
    """Whether a line is a text of its own, so that copies are whole lines."""
    published: tuple[tuple[str, float | None, str], ...] = ()
    """Who, nats per character, and under which protocol."""
    steps: tuple[int, ...] = field(default=(0, 100, 300, 500, 700, 1200, 2000))


KARPATHY = "Karpathy, Johnson and Fei-Fei ([2015](https://arxiv.org/abs/1506.02078))"
NANOGPT = "[nanoGPT](https://github.com/karpathy/nanoGPT)"

CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "war-and-peace",
            "War and Peace",
            "Tolstoy's novel in English, the text on which character models became famous.",
            "the file of the demonstration of 2015, `unroll data fetch war-and-peace`; public domain",
            "war-and-peace",
            {
                "quotes": "inside quotation marks",
                "line": "characters since the newline",
                "bracket": "inside brackets",
                r"re:(?:\n\n)([^\n]+)": "in the first line of a paragraph",
                "word": "letters of the word so far",
                r're:\b((?:What|Who|How|Why|Where|When)\b[^.!?"]*)[.!?]': "in a sentence that began as a question",
            },
            "\"Yes, he're here,\" said the countess.\n"
            "\n"
            "\"Have you seen the future for the Count Sonya's hands, the grain and honor\n"
            "of me,\" he added, considering understanding the submissive hussar of some\n"
            "now with Natasha.",
            published=(
                (f"the best recurrent network of {KARPATHY}", 1.077, "test part of the same novel with CR LF at the "
                 "ends of lines: a nearly free symbol each; the same total is about 1.098 on this file"),
                ("their 20-gram", 1.195, "the same; about 1.218 on this file"),
            ),
        ),
        Corpus(
            "tinyshakespeare",
            "Tiny Shakespeare",
            "Forty thousand lines of Shakespeare's plays, the smallest of the well-known texts.",
            "`unroll data fetch tinyshakespeare`; public domain",
            "tinyshakespeare",
            {
                r"re:^([A-Z][A-Za-z' ]+:)$": "in the name of who speaks",
                "line": "characters since the newline",
                "case": "in a word that began with a capital",
                r"re:^[A-Z][A-Za-z' ]+:\n([^\n]*)$": "in the first line of a speech",
                r"re:^((?:What|Who|How|Why|Where|When)\b[^.!?;]*\?)": "in a question that began the line",
            },
            "ROMEO:\n"
            "By the blood, thou awaketh perfumes,\n"
            "But heaven yield the matter far was longed with thee,\n"
            "To hunger them not a hole hands to come.",
            published=(
                (f"{NANOGPT}, a Transformer of 10.7 million weights", 1.4697, "validation, crops of 256, three minutes "
                 "of an A100; weights chosen by the same part"),
                (f"{NANOGPT}, its preset for CPUs", 1.88, "the same part, three minutes of a laptop"),
            ),
        ),
        Corpus(
            "linux-kernel",
            "Linux, in C",
            "C sources of the kernel, 422 files in random order.",
            "the file of the demonstration of 2015, `unroll data fetch linux-kernel`; GPL-2.0",
            "linux-kernel",
            {
                "comment": "inside a comment",
                "quotes": "inside a string",
                "indent": "blanks and tabs that the line began with",
                "depth": "open brackets",
                "bracket": "inside ( ) or [ ]",
                "line": "characters since the newline",
                r"re:^(#[^\n]*)$": "in a line of the preprocessor",
            },
            "EXPORT_SYMBOL(sd_sempt_boost_ns);\n"
            "\n"
            "/* alreas and this attribute a group in process is always modify */\n"
            "\n"
            "#ifdef CONFIG_MODIFY_BESTERNCCH_LIST_LEL_LONG",
            published=(
                (f"the best recurrent network of {KARPATHY}", 0.84, "another sample of the kernel"),
                ("their 20-gram", 0.889, "the same"),
            ),
        ),
        Corpus(
            "algebraic-geometry",
            "Algebraic geometry, in LaTeX",
            "Six chapters of the Stacks project, whose sources are one long LaTeX text.",
            "the [Stacks project](https://stacks.math.columbia.edu), `unroll data fetch stacks`; GFDL",
            "stacks",
            {
                "math": "inside $ … $",
                r"re:\\begin\{proof\}([\s\S]*?)\\end\{proof\}": "inside a proof",
                r"re:\\(?:ref|label)\{([^}]*)\}": "inside a label or a reference",
                "depth": "open brackets",
                "bracket": "inside ( ) or [ ]",
                "line": "characters since the newline",
            },
            "and let $\\mathcal{O}_{X, x}$ be ample conclided associate of coubtably generated by "
            "$a \\in \\mathcal{O}_X$.\n"
            "Then $\\mathcal{L} \\cong \\text{Supp}(n)$ and $X$ is perfective.\n"
            "\\end{lemma}",
            changes="The Stacks project grows every week, and what `unroll data fetch stacks` brings is its sources of "
            "today: your figures will differ from these.",
        ),
        Corpus(
            "wikipedia",
            "Wikipedia, in its own markup",
            "Pages of the English Wikipedia as they are stored: XML around wiki markup, read byte by byte.",
            "206 pages of an export of the English Wikipedia; CC BY-SA",
            "enwik8",
            {
                "link": "inside [[ ]]",
                "tag": "inside < >",
                r"re:\{\{([^{}]*)\}\}": "inside {{ }}",
                "url": "in a web address",
                r"re:^(=+[^=\n]+=+)$": "in a heading",
                "bracket": "inside ( ) or [ ]",
            },
            "===Emprogents===\n"
            "{{main|Georgian baelding of its place title|Alaska shpander | not last on the god of the Andorra",
            changes="No public copy of this selection exists, and Wikipedia changes by the minute: `make gallery` "
            "takes the first six megabytes of enwik8 instead, so your figures will differ from these.",
            at_most=6_000_000,
        ),
        Corpus(
            "unicode-names",
            "Characters that Unicode lacks",
            "Every character of Unicode has an official name; this is the list of those, 32,647, that no rule makes.",
            "Python's `unicodedata`: the names of all characters, one a line, shuffled, without those that a rule "
            "makes (ideographs named by their number, Hangul syllables); [Unicode's "
            "licence](https://www.unicode.org/license.txt)",
            None,
            {
                "line": "characters since the newline",
                r"re: WITH ([^\n]*)$": "after the word WITH",
                r"re:^((?:EGYPTIAN|ANATOLIAN) HIEROGLYPH [^\n]*)$": "in the name of a hieroglyph",
                r"re:^(CUNEIFORM [^\n]*)$": "in the name of a cuneiform sign",
                r"re:^(ARABIC [^\n]*)$": "in a name that begins with ARABIC",
                r"re:^(MATHEMATICAL [^\n]*)$": "in a name that begins with MATHEMATICAL",
            },
            "LEFT TURVE SIGN\n"
            "UPWARDS TWO-HEADED ARROW WITH DOUBLE ZARK\n"
            "HEBREW ACCENT SE4\n"
            "SIDDHAM SECTION MARK OPERATOR LEFT TO BAR",
            changes="The names are those of Unicode 14.0, which Python 3.11 has; a later Python knows more of them, "
            "and your figures will differ a little.",
            whole_lines=True,
        ),
    )
}  # fmt: skip


def corpus_named(name: str) -> Corpus:
    """Return a corpus by its name; raises UserError, with the nearest name, for another."""
    if name not in CORPORA:
        fix = did_you_mean(name, CORPORA, "for example make gallery NAME=tinyshakespeare")
        raise UserError(f"the gallery has no corpus {name!r}", allowed=", ".join(CORPORA), fix=fix)
    return CORPORA[name]


def fetched(corpus: Corpus, folder: Path) -> Path:
    """Put the text of a corpus into a folder, as one file, and return its path; raises UserError."""
    text = folder / f"{corpus.name}.txt"
    if not text.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if corpus.source is None:
            content = "".join(f"{name}\n" for name in character_names()).encode()
        else:
            content = b"".join(path.read_bytes() for path in result(fetch(corpus.source, folder)))
        write_atomically(text, content[: corpus.at_most])
    return text


def character_names(seed: int = 0) -> list[str]:
    """Return the names of Unicode's characters in random order, without those that a rule makes."""
    named = ((code, unicodedata.name(chr(code), "")) for code in range(sys.maxunicode + 1))
    names = [name for code, name in named if name and not by_rule(code, name)]
    random.Random(seed).shuffle(names)
    return names


def by_rule(code: int, name: str) -> bool:
    """Tell whether a name is made by a rule of the standard (section 4.8): of a number, or of a syllable's letters."""
    return name.endswith(f"-{code:04X}") or name.startswith("HANGUL SYLLABLE ")
