"""The sentences of a text nearest to a query by the state that has read them, and what cheaper means would find."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.lm.vectors import POOLS, cosines, line_vectors, reader_of
from unroll.serve.texts import SURROGATES

Vectors = NDArray[np.float32]

MOST = 5_000
"""Sentences that are compared."""
LEAST, LONGEST = 2, 1_000
"""Characters of one."""
WRAPPED = 40
"""Characters of a line that is full."""
ENDINGS = ".!?…:;\"'”’)-"
"""With which a line may end that does not go on."""
MOST_SYMBOLS = 2**18
"""Of a model's own text that are read for it."""
PLOTTED = 500
"""Points of the picture, and the nearest."""
GRAMS = 3
ENDING = 3
QUIET = 1e-6
"""Units that move less have nothing that could be divided by it."""
ENDS = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+")


@dataclass(frozen=True)
class Sentence:
    """A sentence, as it is shown and as the text has it, with the line that it begins in, counted from 1."""

    text: str
    read: str
    line: int


def sentences(content: str) -> tuple[list[Sentence], list[str]]:
    """Return the sentences of a text, every one but once, and notes on what was left out.

    A line goes on in the next where that begins with a small letter, or where it is long and ends within a sentence.
    """
    found: dict[str, Sentence] = {}
    cut = False
    for number, paragraph in paragraphs(content):
        for start, part in parts(paragraph):
            read = SURROGATES.sub("\ufffd", part)
            text = " ".join(read.split())
            if len(text) < LEAST or text in found:
                continue
            if len(found) == MOST:
                return [*found.values()], [f"of the text, the first {MOST:,} different sentences are compared"]
            cut = cut or len(read) > LONGEST
            found[text] = Sentence(text[:LONGEST], read[:LONGEST], number + paragraph.count("\n", 0, start))
    notes = [f"of sentences longer than {LONGEST:,} characters, that much is read"] if cut else []
    return [*found.values()], notes


def paragraphs(content: str) -> Iterator[tuple[int, str]]:
    """Yield lines that belong together, with the number of the first, counted from 1."""
    held, first = list[str](), 1
    for number, line in enumerate(content.split("\n"), 1):
        joined = held and line and (line[0].islower() or (len(held[-1]) > WRAPPED and held[-1][-1] not in ENDINGS))
        if held and not joined:
            yield first, "\n".join(held)
            held = []
        if line.strip():
            first = first if held else number
            held.append(line.rstrip())
    if held:
        yield first, "\n".join(held)


def parts(paragraph: str) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a paragraph and where they begin."""
    start = 0
    for match in ENDS.finditer(paragraph):
        yield start, paragraph[start : match.start() + len(match.group().rstrip())]
        start = match.end()
    yield start, paragraph[start:]


def vectors(opened: Opened, texts: list[str], pool: str) -> Vectors:
    """Return the vector (n, H) of each text, read from a fresh state; raises UserError for a pool that there is not."""
    if pool not in POOLS:
        raise UserError(f"pool is {pool!r}", allowed=", ".join(POOLS), fix="choose one of them")
    encode, start = opened.tokenizer.encode, opened.tokenizer.start_id
    return np.concatenate([*line_vectors(reader_of(opened), map(encode, texts), start, pool)])


def nearest(
    query: str,
    wanted: Vectors,
    known: list[Sentence],
    those: Vectors,
    *,
    standardise: bool,
    other_ending: bool,
    top: int,
) -> dict[str, Any]:
    """Return the sentences nearest to a query (H,) among those (n, H), with their controls, as JSON.

    `standardise`: every unit to mean 0 and deviation 1 over the sentences, or a few loud units decide (Timkey and van
    Schijndel 2021). `other_ending` passes over sentences that end in the query's own last three characters. The
    controls are what surface alone would say: shared character trigrams (Jaccard), and the same last characters.
    """
    if standardise:
        mean, deviation = those.mean(axis=0, dtype=np.float64), those.std(axis=0, dtype=np.float64)
        scale = np.where(deviation > QUIET, 1 / np.maximum(deviation, QUIET), 0.0)
        those, wanted = ((those - mean) * scale).astype(np.float32), ((wanted - mean) * scale).astype(np.float32)
    near = cosines(those, wanted)
    ending = ended(query)
    same = np.array([ended(one.text) == ending for one in known])
    own = grams(query)
    shared = np.array([jaccard(own, grams(one.text)) for one in known])
    there = np.flatnonzero(~same if other_ending else np.array([one.text != query for one in known]))
    order = there[np.argsort(-near[there], kind="stable")][:top]
    by_surface = there[np.argsort(-shared[there], kind="stable")][:top]
    rows = [
        {
            "text": known[k].text,
            "line": known[k].line,
            "cosine": float(near[k]),
            "jaccard": float(shared[k]),
            "same_ending": bool(same[k]),
            "surface_rank": 1 + int((shared[there] > shared[k]).sum()),
        }
        for k in order
    ]
    return {
        "rows": rows,
        "sentences": len(known),
        "ending": ending,
        "same_ending": {
            "nearest": float(same[order].mean()) if len(order) else None,
            "all": float(same.mean()),
        },
        "jaccard": {
            "nearest": float(shared[order].mean()) if len(order) else None,
            "all": float(shared.mean()),
            "overlap": len({*order.tolist()} & {*by_surface.tolist()}),
        },
        "map": flat(wanted, those, order),
    }


def flat(wanted: Vectors, those: Vectors, nearest: NDArray[np.integer]) -> dict[str, Any]:
    """Return places in the plane in which the sentences (n, H) differ most (PCA), of some of them, as JSON."""
    some = np.unique(np.concatenate([np.linspace(0, len(those) - 1, min(PLOTTED, len(those))).astype(int), nearest]))
    mean = those.mean(axis=0, dtype=np.float64)
    centred = those.astype(np.float64) - mean
    values, axes = np.linalg.eigh(centred.T @ centred)
    plane, total = axes[:, : -3 if axes.shape[1] > 1 else None : -1], float(values.clip(0).sum())
    shares = [float(v) / total if total else 0.0 for v in values[::-1][: plane.shape[1]]]
    places = centred[some] @ plane
    rank = {int(k): place for place, k in enumerate(nearest.tolist())}
    return {
        "shares": shares,
        "query": ((wanted - mean) @ plane).tolist(),
        "points": [
            {"at": at, "sentence": int(k), "rank": rank.get(int(k))}
            for k, at in zip(some, places.tolist(), strict=True)
        ],
    }


def ended(text: str) -> str:
    """Return the last characters of a sentence, marks at its end left out."""
    return re.sub(r"[\W_]+$", "", text)[-ENDING:]


def grams(text: str) -> set[str]:
    """Return the character trigrams of a text, all in small letters."""
    small = text.lower()
    return {small[k : k + GRAMS] for k in range(max(1, len(small) - GRAMS + 1))}


def jaccard(first: set[str], second: set[str]) -> float:
    """Return what two sets share, of all that they have."""
    return len(first & second) / len(first | second) if first or second else 0.0
