"""Vectors: a line as the states that have read it, and the nearest of lines and of symbols, by their cosine."""

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.classifier import OpenClassifier
from unroll.artifact.open import AnyModel, Opened, open_any
from unroll.data.lines import line_text, read_lines
from unroll.data.reader import left_out
from unroll.data.tokenizer import ByteTokenizer, Tokenizer
from unroll.errors import UserError, WrongKind, check_choice, check_positive
from unroll.files import StrPath, as_path, is_regular, refuse_folder, refuse_input, replacing, reserve, stream_number
from unroll.nn.arch import ARCHITECTURES
from unroll.predict.predictor import HiddenPredictor, Window
from unroll.predict.protocols import LINE_TOKENS, STREAM_WINDOW, Ids, padded, together
from unroll.progress import Progress, Work, result
from unroll.state import State

Pool = Literal["last", "mean", "max"]
"""What represents a line: the hidden state after its last symbol, or the mean or maximum over all its symbols."""
POOLS: tuple[Pool, ...] = get_args(Pool)

LINES_TOGETHER = 2**13
"""Most lines whose vectors are in memory at a time."""
TEXTS_TOGETHER = 1024
"""Most lines that a classifier reads at a time: each is read up to its `max_units`."""
BLOCK = 2**22
"""Numbers of a file of vectors compared at a time."""


@dataclass(frozen=True)
class Embedded:
    """One vector for each line of a file."""

    vectors: NDArray[np.float32]  # (lines, H), in memory or mapped
    pool: str
    """As in `Pool`; of a classifier its own pooling."""
    unknown_rate: float
    empty: int
    """Number of lines without symbols: their vector is that of the start symbol."""
    cut: int = 0
    """Number of units left out behind the most that a classifier reads of a line."""

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        notes = []
        if self.empty:
            notes.append(f"{self.empty:,} lines are empty: their vector is that of the start symbol")
        if self.unknown_rate:
            notes.append("symbols that the model does not know were read as <unk>")
        if self.cut:
            notes.append(left_out(self.cut))
        lines, size = self.vectors.shape
        return {"lines": lines, "size": size, "pool": self.pool, "unknown_rate": self.unknown_rate, "notes": notes}


@dataclass(frozen=True)
class Neighbour:
    """A line or symbol nearby, and the cosine of the angle between the vectors."""

    text: str
    cosine: float
    line: int | None = None
    """Counted from 1; None for a symbol."""


Embedder = Opened | OpenClassifier
"""What has vectors: a network with a hidden state, or a classifier, whose vectors are what its head reads."""


def as_embedder(model: "AnyModel | OpenClassifier") -> Embedder:
    """Return a model of whatever kind opened, whatever it is named by. Raises UserError."""
    return model if isinstance(model, Opened | OpenClassifier) else open_any(model)


def pool_of(model: Embedder, pool: Pool | None) -> str:
    """Return how a model's vectors are pooled; raises UserError for another `pool` than a classifier's own."""
    if isinstance(model, OpenClassifier):
        if pool is None:
            return model.info.config.pooling
        raise UserError(
            f"{model.path} is a classifier, whose vectors are what its head reads, not pooled by {pool!r}",
            allowed=f"its own pooling, {model.info.config.pooling!r}",
            fix="leave out --pool, or `pool`",
        )
    check_choice("pool", pool or "last", POOLS)
    return pool or "last"


def reader_of(opened: Opened) -> HiddenPredictor:
    """Return the network that reads; raises UserError for a model without a hidden state."""
    if (network := opened.predictor.network) is not None:
        return network
    raise WrongKind(
        opened.path,
        "ngram",
        "without a hidden state it has no vectors",
        allowed=f"a network: {', '.join(ARCHITECTURES)}",
        fix="train one with `unroll train`",
    )


def line_vectors(
    network: HiddenPredictor, texts: Iterable[Ids], start_id: int, pool: Pool
) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors (n, H) of all texts, each read from a fresh state, a few at a time, in order.

    Texts of similar length are read side by side; padding is part of no vector.
    """
    for group in together(texts, 16 * LINE_TOKENS + 1, LINES_TOGETHER):
        vectors: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(group)
        for batch, symbols in padded([np.insert(ids, 0, start_id) for ids in group], start_id):
            lengths = np.array([len(group[number]) for number in batch])
            for number, vector in zip(batch, _pooled(network, symbols, lengths, pool), strict=True):
                vectors[number] = vector
        yield np.stack(vectors)


def _pooled(network: HiddenPredictor, symbols: Window, lengths: NDArray[np.int64], pool: Pool) -> NDArray[np.float32]:
    """Return the vectors (B, H) of rows that begin with the start symbol, followed by `lengths` (B,) symbols."""
    state: State | None = None
    vectors: NDArray[np.floating] = np.zeros(0)
    for first in range(0, symbols.shape[1], STREAM_WINDOW):
        y, state = network.hidden(symbols[:, first : first + STREAM_WINDOW], state)
        steps = np.arange(first, first + y.shape[1])
        last = lengths[:, None]
        # The start symbol is step 0: it counts only in an empty line.
        counts = (steps <= last) & (steps >= np.minimum(last, 1)) if pool != "last" else steps == last
        if not first:
            vectors = np.full((len(y), y.shape[2]), -np.inf if pool == "max" else 0.0)
        if pool == "max":
            vectors = np.maximum(vectors, y.max(axis=1, where=counts[..., None], initial=-np.inf))
        else:
            vectors += y.sum(axis=1, where=counts[..., None], dtype=np.float64)
    if pool == "mean":
        vectors /= np.maximum(lengths, 1)[:, None]
    return vectors.astype(np.float32)


def text_vectors(model: OpenClassifier, texts: Iterable[str], counts: "_Counts") -> Iterator[NDArray[np.float32]]:
    """Yield the vectors (n, P) of all texts that the head of a classifier reads, a few at a time, in order."""
    following = iter(texts)
    while group := list(islice(following, TEXTS_TOGETHER)):
        reading = model.reader.read(group)
        units, start_id = reading.units, model.tokenizer.start_id
        alone = (units.lengths == 1) & (units.values[units.starts] == start_id)
        counts.add(model.tokenizer, units.values[units.values != start_id], empty=int(alone.sum()))
        counts.cut += reading.cut
        vectors = np.zeros((len(group), model.info.config.pooled_size), np.float32)
        for numbers, part in reading.batches():
            vectors[numbers] = model.network.pooled(part)
        yield vectors


def vectors_of_lines(
    model: Embedder, file: Path, pool: Pool | None, counts: "_Counts"
) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors (n, H) of the lines of a file, a few at a time, in order."""
    if isinstance(model, OpenClassifier):
        return text_vectors(model, counts.texts(file), counts)
    return line_vectors(reader_of(model), counts.ids(model.tokenizer, file), model.tokenizer.start_id, pool or "last")


def vector_of_text(model: Embedder, text: str, pool: Pool | None) -> NDArray[np.float32]:
    """Return the vector (H,) of a text."""
    if isinstance(model, OpenClassifier):
        blocks = text_vectors(model, [text], _Counts())
    else:
        ids = [model.tokenizer.encode(text)]
        blocks = line_vectors(reader_of(model), ids, model.tokenizer.start_id, pool or "last")
    vector: NDArray[np.float32] = next(blocks)[0]
    return vector


def embed(
    model: "AnyModel | OpenClassifier", file: StrPath, *, out: StrPath | None = None, pool: Pool | None = None
) -> Embedded:
    """Return a vector for each line of a file: the hidden state after it, or the mean or maximum over its symbols.

    That of a classifier is what its head reads, and `pool` is left out; otherwise it is `last` by default. With `out`
    they are written there in numpy's format, and memory does not grow with the file. Raises UserError.
    """
    return result(embed_lines(as_embedder(model), as_path(file), as_path(out), pool))


def embed_lines(model: Embedder, file: Path, out: Path | None = None, pool: Pool | None = None) -> Work[Embedded]:
    """Read a file line by line, yielding progress; returns its vectors.

    With `out` they are written there as they come, in numpy's format, in constant memory. Line ends (LF, CR LF) and,
    except at level byte, a byte order mark are not part of a line. Raises UserError.
    """
    pooling, counts = pool_of(model, pool), _Counts()
    blocks = vectors_of_lines(model, file, pool, counts)
    if out is not None:
        refuse_folder(out)
    if out is not None and out.suffix != ".npy":
        raise UserError(f"{out} does not end in .npy", allowed="a NumPy file", fix=f"write --out {out}.npy")
    refuse_input(out, file)
    lines, total = _size(file)
    done = 0
    vectors: NDArray[np.float32] | None = None
    with ExitStack() as stack:
        output = None if out is None else stack.enter_context(replacing(out))
        mapped = output is not None and out is not None and is_regular(output) and stream_number(out) is None
        for block in blocks:
            shape = (lines, block.shape[1])
            if done + len(block) > lines:
                raise UserError(f"{file} grew while it was read", fix="try again when it is complete")
            if not done and output is not None:
                np.lib.format.write_array_header_1_0(output, {"descr": "<f4", "fortran_order": False, "shape": shape})
                if mapped:
                    reserve(output, output.tell() + 4 * math.prod(shape))
            if not done and not mapped:
                vectors = np.zeros(shape, np.float32)
            if output is not None:
                output.write(block.astype("<f4").tobytes())
            if vectors is not None:
                vectors[done : done + len(block)] = block
            done += len(block)
            yield Progress("reading", counts.bytes, total, "bytes")
        if done < lines:
            raise UserError(f"{file} shrank while it was read", fix="try again when it is complete")
    if vectors is None:
        assert out is not None
        vectors = np.load(out, mmap_mode="r")
    return Embedded(vectors, pooling, counts.unknown / max(1, counts.symbols), counts.empty, counts.cut)


@dataclass
class _Counts:
    """Encodes lines and counts their bytes and symbols."""

    bytes: int = 0
    symbols: int = 0
    unknown: int = 0
    empty: int = 0
    cut: int = 0

    def ids(self, tokenizer: Tokenizer, file: Path) -> Iterator[Ids]:
        """Yield the ids (T,) of each line."""
        for number, line in enumerate(read_lines(file), 1):
            if isinstance(tokenizer, ByteTokenizer):  # for which a byte order mark is text, as in all verbs
                ids: Ids = np.frombuffer(line.removesuffix(b"\n").removesuffix(b"\r"), np.uint8)
            else:
                ids = tokenizer.encode(line_text(line, file, number))
            self.bytes += len(line)
            self.add(tokenizer, ids, empty=not len(ids))
            yield ids

    def texts(self, file: Path) -> Iterator[str]:
        """Yield the text of each line, without its end."""
        for number, line in enumerate(read_lines(file), 1):
            self.bytes += len(line)
            yield line_text(line, file, number)

    def add(self, tokenizer: Tokenizer, ids: Ids, *, empty: int) -> None:
        """Count symbols, and lines without any."""
        self.symbols += len(ids)
        self.unknown += tokenizer.count_unknown(ids)
        self.empty += empty


def _size(file: Path) -> tuple[int, int]:
    """Return the number of lines and bytes of a file; raises UserError for an empty one."""
    lines = size = 0
    for line in read_lines(file):
        lines, size = lines + 1, size + len(line)
    if not lines:
        raise UserError(f"{file} is empty", allowed="a text with at least one line", fix="check the path")
    return lines, size


def similar(
    model: "AnyModel | OpenClassifier",
    file: StrPath,
    query: str,
    *,
    top: int = 10,
    pool: Pool | None = None,
    vectors: StrPath | None = None,
) -> list[Neighbour]:
    """Return the lines of a file whose vectors, read from it or from `vectors`, are nearest to that of a text."""
    return result(similar_lines(as_embedder(model), as_path(file), query, top, pool, as_path(vectors)))


def similar_lines(
    model: Embedder, file: Path, query: str, top: int = 10, pool: Pool | None = None, vectors: Path | None = None
) -> Work[list[Neighbour]]:
    """Read a file, or its `vectors` as `embed` wrote them, yielding progress; returns the `top` nearest lines.

    The nearest come first; of equally near ones the earlier. The search is exact. Raises UserError.
    """
    pool_of(model, pool)
    check_positive("top", top, "ask for at least one")
    query_vector = vector_of_text(model, query, pool)
    lines, total = _size(file)
    counts = _Counts()
    if vectors is None:
        blocks = vectors_of_lines(model, file, pool, counts)
    else:
        blocks = _stored(vectors, lines, file, len(query_vector))
    best = _Nearest(top)
    done = 0
    for block in blocks:
        best.add(done, cosines(block, query_vector))
        done += len(block)
        yield Progress("reading", counts.bytes if vectors is None else total * done // lines, total, "bytes")
    texts = dict.fromkeys(best.numbers.tolist(), "")
    for number, line in enumerate(read_lines(file)):
        if number in texts:
            text = line.decode("utf-8" if number else "utf-8-sig", errors="replace")
            texts[number] = text.removesuffix("\n").removesuffix("\r")
    return [
        Neighbour(texts[number], float(cosine), number + 1)
        for number, cosine in zip(best.numbers.tolist(), best.cosines, strict=True)
    ]


def _stored(path: Path, lines: int, file: Path, size: int) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors in a file, a few at a time; raises UserError unless there is one for each of `lines` lines."""
    try:
        stored = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path} is not a file of vectors: {error}",
            allowed="a file written by `unroll embed`",
            fix="write it again",
        ) from None
    if stored.shape != (lines, size) or stored.dtype.kind != "f":
        raise UserError(
            f"{path} holds {stored.dtype} of shape {stored.shape}",
            allowed=f"a vector of {size:,} numbers for each of the {lines:,} lines of {file}",
            fix="rewrite it from this file with this model",
        )
    count = max(1, BLOCK // size)
    return (stored[first : first + count] for first in range(0, lines, count))


def similar_symbols(model: "AnyModel | OpenClassifier", symbol: str, *, top: int = 10) -> list[Neighbour]:
    """Return the `top` symbols whose embeddings are nearest to that of `symbol`, itself left out, the nearest first.

    An invisible symbol may be written as tables show it: `\\n`. Raises UserError.
    """
    check_positive("top", top, "ask for at least one")
    opened = as_embedder(model)
    network = opened.network if isinstance(opened, OpenClassifier) else reader_of(opened)
    table = network.embedding.astype(np.float64)
    tokenizer = opened.tokenizer
    names = [tokenizer.symbol(k) for k in range(tokenizer.vocab_size)]
    pieces = list(tokenizer.pieces)
    piece = symbol.encode(errors="surrogatepass")
    if piece in pieces:
        id = pieces.index(piece)
    elif symbol in names:
        id = names.index(symbol)
    else:
        raise UserError(
            f"{symbol!r} is not a symbol of {opened.path}",
            allowed=f"one of its {len(names):,} symbols, of level {tokenizer.level}",
            fix="for a text of several symbols, use --query and a file of lines",
        )
    best = _Nearest(top + 1)
    best.add(0, cosines(table, table[id]))
    near = [(number, float(cosine)) for number, cosine in zip(best.numbers.tolist(), best.cosines, strict=True)]
    return [Neighbour(names[number], cosine) for number, cosine in near if number != id][:top]


def cosines(block: NDArray[np.floating], vector: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of each row (n, H) with `vector` (H,); 0 where either is zero."""
    rows, query = block.astype(np.float64), vector.astype(np.float64)
    sizes = np.sqrt(np.einsum("nh,nh->n", rows, rows)) * np.sqrt(query @ query)
    return np.asarray(np.divide(rows @ query, sizes, out=np.zeros(len(rows)), where=sizes > 0))


class _Nearest:
    """The highest cosines so far; of equal ones the earlier."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.numbers = np.zeros(0, np.int64)
        self.cosines = np.zeros(0)

    def add(self, first: int, cosines: NDArray[np.float64]) -> None:
        """Add the cosines of vectors number `first`, `first + 1`, …."""
        numbers = np.concatenate([self.numbers, np.arange(first, first + len(cosines))])
        values = np.concatenate([self.cosines, cosines])
        order = np.lexsort((numbers, -values))[: self.top]
        self.numbers, self.cosines = numbers[order], values[order]
