"""The sentences of a text nearest to a query by the state after reading them, beside what surface form would find."""

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
"""Sentences compared."""
LEAST, LONGEST = 2, 1_000
"""Characters of a sentence."""
WRAPPED = 40
"""Characters of a full line."""
ENDINGS = ".!?…:;\"'”’)-"
"""Marks at the end of a line that does not continue."""
MOST_SYMBOLS = 2**18
"""Symbols of a model's own text that are read."""
PLOTTED = 500
"""Points of the picture, besides the nearest."""
GRAMS = 3
ENDING = 3
QUIET = 1e-6
"""Units with a smaller deviation are left out of the comparison."""
ENDS = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+")


@dataclass(frozen=True)
class Sentence:
    """A sentence, as shown and as read, with the line that it begins in, counted from 1."""

    text: str
    read: str
    line: int


def sentences(content: str) -> tuple[list[Sentence], list[str]]:
    """Return the different sentences of a text, and notes on what was left out.

    A line continues in the next if that begins with a small letter, or if it is long and ends within a sentence.
    """
    by_text: dict[str, Sentence] = {}
    cut = False
    for number, paragraph in paragraphs(content):
        for start, part in parts(paragraph):
            read = SURROGATES.sub("\ufffd", part)
            text = " ".join(read.split())
            if len(text) < LEAST or text in by_text:
                continue
            if len(by_text) == MOST:
                return [*by_text.values()], [f"the first {MOST:,} different sentences of the text are compared"]
            cut = cut or len(read) > LONGEST
            by_text[text] = Sentence(text[:LONGEST], read[:LONGEST], number + paragraph.count("\n", 0, start))
    notes = [f"sentences longer than {LONGEST:,} characters are cut"] if cut else []
    return [*by_text.values()], notes


def paragraphs(content: str) -> Iterator[tuple[int, str]]:
    """Yield lines that belong together, with the number of the first, counted from 1."""
    lines, first = list[str](), 1
    for number, line in enumerate(content.split("\n"), 1):
        joined = lines and line and (line[0].islower() or (len(lines[-1]) > WRAPPED and lines[-1][-1] not in ENDINGS))
        if lines and not joined:
            yield first, "\n".join(lines)
            lines = []
        if line.strip():
            first = first if lines else number
            lines.append(line.rstrip())
    if lines:
        yield first, "\n".join(lines)


def parts(paragraph: str) -> Iterator[tuple[int, str]]:
    """Yield the offset and text of each sentence of a paragraph."""
    start = 0
    for match in ENDS.finditer(paragraph):
        yield start, paragraph[start : match.start() + len(match.group().rstrip())]
        start = match.end()
    yield start, paragraph[start:]


def vectors(opened: Opened, texts: list[str], pool: str) -> Vectors:
    """Return the vectors (n, H) of texts, each read from a fresh state; raises UserError for an unknown pool."""
    if pool not in POOLS:
        raise UserError(f"pool is {pool!r}", allowed=", ".join(POOLS), fix="choose one of them")
    encode, start = opened.tokenizer.encode, opened.tokenizer.start_id
    return np.concatenate([*line_vectors(reader_of(opened), map(encode, texts), start, pool)])


def nearest(
    query: str,
    query_vector: Vectors,
    sentences: list[Sentence],
    vectors: Vectors,
    *,
    standardise: bool,
    other_ending: bool,
    top: int,
) -> dict[str, Any]:
    """Return the sentences nearest to a query (H,) by their vectors (n, H), with controls, as JSON.

    `standardise` scales each unit to mean 0 and deviation 1 over the sentences, or a few loud units decide (Timkey and
    van Schijndel 2021). `other_ending` skips sentences that end in the query's own last three characters. The controls
    are what the surface alone would say: shared character trigrams (Jaccard), and the same last characters.
    """
    if standardise:
        mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
        scale = np.where(deviation > QUIET, 1 / np.maximum(deviation, QUIET), 0.0)
        vectors = ((vectors - mean) * scale).astype(np.float32)
        query_vector = ((query_vector - mean) * scale).astype(np.float32)
    near = cosines(vectors, query_vector)
    ending = ended(query)
    same = np.array([ended(sentence.text) == ending for sentence in sentences])
    query_grams = grams(query)
    shared = np.array([jaccard(query_grams, grams(sentence.text)) for sentence in sentences])
    candidates = np.flatnonzero(~same if other_ending else np.array([each.text != query for each in sentences]))
    order = candidates[np.argsort(-near[candidates], kind="stable")][:top]
    by_surface = candidates[np.argsort(-shared[candidates], kind="stable")][:top]
    rows = [
        {
            "text": sentences[k].text,
            "line": sentences[k].line,
            "cosine": float(near[k]),
            "jaccard": float(shared[k]),
            "same_ending": bool(same[k]),
            "surface_rank": 1 + int((shared[candidates] > shared[k]).sum()),
        }
        for k in order
    ]
    return {
        "rows": rows,
        "sentences": len(sentences),
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
        "map": plane_map(query_vector, vectors, order),
    }


def plane_map(query_vector: Vectors, vectors: Vectors, nearest: NDArray[np.integer]) -> dict[str, Any]:
    """Return points of the query and of some sentences (n, H) in the plane of their largest variance (PCA), as JSON."""
    spread = np.linspace(0, len(vectors) - 1, min(PLOTTED, len(vectors))).astype(int)
    plotted = np.unique(np.concatenate([spread, nearest]))
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors.astype(np.float64) - mean
    values, axes = np.linalg.eigh(centred.T @ centred)
    plane, total = axes[:, : -3 if axes.shape[1] > 1 else None : -1], float(values.clip(0).sum())
    shares = [float(v) / total if total else 0.0 for v in values[::-1][: plane.shape[1]]]
    points = centred[plotted] @ plane
    ranks = {int(k): rank for rank, k in enumerate(nearest.tolist())}
    return {
        "shares": shares,
        "query": ((query_vector - mean) @ plane).tolist(),
        "points": [
            {"at": at, "sentence": int(k), "rank": ranks.get(int(k))}
            for k, at in zip(plotted, points.tolist(), strict=True)
        ],
    }


def ended(text: str) -> str:
    """Return the last characters of a sentence, without final marks."""
    return re.sub(r"[\W_]+$", "", text)[-ENDING:]


def grams(text: str) -> set[str]:
    """Return the character trigrams of a text in lower case."""
    small = text.lower()
    return {small[k : k + GRAMS] for k in range(max(1, len(small) - GRAMS + 1))}


def jaccard(first: set[str], second: set[str]) -> float:
    """Return the Jaccard index of two sets, 0 for two empty ones."""
    return len(first & second) / len(first | second) if first or second else 0.0
