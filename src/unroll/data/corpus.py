"""Text files to a folder of memory-mapped ids: counted, split, encoded as a stream, and opened again."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_type_hints

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import BLOCK_BYTES, Level
from unroll.data.documents import base_of
from unroll.data.encode import Part, Survey, Text, TextFile, encode, learn, spacing_of, survey
from unroll.data.overlap import Overlap, shared
from unroll.data.split import has_few_lines, part_sizes, shares_of
from unroll.data.tokenizer import Tokenizer, WordTokenizer, grown, load_tokenizer
from unroll.data.words import Spacing, UnicodeWordTokenizer
from unroll.errors import UserError
from unroll.files import Files, StrPath, as_path, as_paths, explained, read_json, real_folder
from unroll.progress import Progress, Work, mapped
from unroll.settings import Settings, from_mapping, parse_value, setting_pairs, to_mapping, unknown_key

FORMAT_VERSION = 1
PARTS = ("train", "valid", "test")
BPE_VOCAB_SIZE = 1024
MIN_VOCAB_SIZE = {"word": 3, "bpe": 257}  # the special symbols and a word; <eos> and the bytes

Ids = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class DataConfig:
    """How text becomes ids."""

    level: Level = "char"
    """What a symbol is."""
    split: str = "90/5/5"
    """Percent for training, validation and, if there is a third, test; 100 holds nothing back."""
    min_count: int = 1
    """Words that occur less often are read as <unk>."""
    vocab_size: int = 0
    """Maximum number of ids at levels word and bpe; 0 is no limit for words and 1024 for bpe."""
    words: Literal["auto", "space", "unicode"] = "auto"
    """Where words end at level word: at white space (`space`) or at punctuation too (`unicode`); `auto` asks whether
    the text is tokenised already."""
    documents: bool = False
    """Whether each document, a file or what a separator ends, starts from a fresh state."""
    separator: str = ""
    """The string that ends a document within a file and becomes the symbol <end>; empty where there is none."""

    def __post_init__(self) -> None:
        shares_of(self.split)
        if self.min_count < 1 or (self.min_count > 1 and self.level != "word"):
            raise UserError(
                f"min_count is {self.min_count} at level {self.level}",
                allowed="from 1 on at level word, else 1",
                fix="leave it out, or use --level word",
            )
        if self.words != "auto" and self.level != "word":
            raise UserError(
                f"words is {self.words} at level {self.level}",
                allowed="auto, and at level word space or unicode",
                fix="leave it out, or use --level word",
            )
        if self.separator and self.level == "byte":
            raise UserError(
                "a separator is given at level byte, whose symbols are the 256 bytes",
                allowed="a separator at level char, word or bpe",
                fix="choose one of them, or leave the separator out",
            )
        if "\0" in self.separator:
            raise UserError(
                "the separator has a NUL, which no text has", allowed="any other string", fix="choose another"
            )
        least = {level: number + bool(self.separator) for level, number in MIN_VOCAB_SIZE.items()}
        if self.vocab_size and self.vocab_size < least.get(self.level, math.inf):
            raise UserError(
                f"vocab_size is {self.vocab_size} at level {self.level}",
                allowed="0, or " + " or ".join(f"from {n} on at level {level}" for level, n in least.items()),
                fix="leave it out, or choose a number from that range",
            )


@dataclass(frozen=True)
class CorpusInfo:
    """What a corpus was made of, and how; `digest` is that of the names and ids of its parts."""

    config: DataConfig
    parts: dict[str, Part]
    sources: tuple[TextFile, ...]
    digest: str
    overlaps: dict[str, Overlap] = field(default_factory=dict)
    """How much of a validation or test text that was given as a file occurs in the training text."""
    spacing: Spacing | None = None
    """At level word, how the words of the training part stand."""

    @property
    def byte_order_marks(self) -> int:
        """Number of files that began with a byte order mark, which is not part of the text."""
        return sum(source.byte_order_mark for source in self.sources)

    @property
    def newlines_added(self) -> int:
        """Number of files that lacked their final newline and got one, since another document follows."""
        return sum(source.newline_added for source in self.sources)

    @property
    def warnings(self) -> list[str]:
        """Warnings about parts whose text occurs in the training text, and about scripts without spaces."""
        texts = [overlap.warning(part) for part, overlap in self.overlaps.items()]
        return [text for text in (*texts, self.spacing and self.spacing.warning) if text]


@dataclass(frozen=True)
class Corpus:
    """A prepared text, its ids mapped from the disk; `documents` are the starts of documents in `train`.

    `valid` is empty where nothing was held back.
    """

    tokenizer: Tokenizer
    train: Ids
    valid: Ids
    test: Ids | None
    documents: NDArray[np.int64]
    info: CorpusInfo

    @property
    def given_test(self) -> Ids:
        """The test text if it was given as a file, which asks for its figure; else empty."""
        return self.train[:0] if self.test is None or "test" not in self.info.overlaps else self.test


def prepare(
    files: Files,
    out: StrPath,
    *,
    level: str | None = None,
    words: str | None = None,
    split: str | None = None,
    valid: StrPath | None = None,
    test: StrPath | None = None,
    separator: str | None = None,
    settings: Settings = (),
) -> Work[None]:
    """Encode text files into the new folder `out`, which `train` takes in place of files; yields progress."""
    refuse_split_and_valid(split, valid)
    choices = {"level": level, "words": words, "split": split, "separator": separator}
    values: dict[str, Any] = {name: value for name, value in choices.items() if value is not None}
    hints = get_type_hints(DataConfig)
    for key, text in setting_pairs(settings):
        name = key.removeprefix("data.")
        if name not in hints:
            raise unknown_key(key, list(hints), "the settings")
        values[name] = parse_value(text, hints[name], f"{key} in the settings")
    config = from_mapping(DataConfig, values, "the settings")
    return write_corpus(as_paths(files), Path(out), config, valid=as_path(valid), test=as_path(test))


def refuse_split_and_valid(split: str | None, valid: StrPath | None) -> None:
    """Raise UserError where a text is to be split, and another is to validate on."""
    if split is not None and valid is not None:
        raise UserError("both a split and a validation file are given", allowed="one of them", fix="leave one out")


def write_corpus(
    files: Sequence[Path],
    out: Path,
    config: DataConfig,
    *,
    valid: Path | None = None,
    test: Path | None = None,
    tokenizer: Tokenizer | None = None,
    grow: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Work[None]:
    """Encode the files, documents in order, into the new folder `out`, in memory that does not grow with them.

    A document that lacks its final newline gets one if another follows; a byte order mark at the start of a file is
    part of its text at level byte only. A `valid` and a `test` file take the place of the split; how much of them
    occurs in the training text is recorded. The vocabulary is the given `tokenizer`, or is learnt from the training
    part alone; with `grow` what was learnt is added to the given one. `out` appears when all of it is written. Raises
    UserError for a fault of the text, the split or the disk.
    """
    if tokenizer:
        _check_fits(config, tokenizer)
    shares = shares_of(config.split)
    files_of = _texts(files, valid, test, len(shares))
    separator = tokenizer.separator if tokenizer else config.separator
    if config.separator not in ("", separator):
        raise UserError(
            f"the separator {config.separator!r} was requested with a vocabulary that has {separator or None!r}",
            allowed="the separator of the vocabulary",
            fix="leave it out",
        )
    config = replace(config, separator=separator)
    texts = [
        Text(paths, config.level, names, block_bytes, separator, config.documents) for names, paths in files_of.items()
    ]
    out = real_folder(out)
    if out.exists():
        raise UserError(f"{out} exists already", allowed="a new folder", fix="choose another --out, or remove it")
    surveys: list[Survey] = []
    sizes = []
    for number, text in enumerate(texts):
        surveyed = yield from survey(text)
        if text.unit == "lines" and has_few_lines(surveyed, shares[: len(text.names)]):
            texts[number] = text = replace(text, by_words=True)
            surveyed = yield from survey(text)
        surveys.append(surveyed)
        sizes.append(part_sizes(surveyed.units, shares, text))
    if config.separator and not tokenizer and not surveys[0].ends:
        raise UserError(
            f"the separator {config.separator!r} does not occur in {', '.join(f'{file}' for file in files)}",
            allowed="a string that ends documents of the text",
            fix=r"check its spelling; \n, \t and \\ are escapes",
        )
    with new_folder(out) as folder:
        spacing = (yield from spacing_of(texts[0], sizes[0])) if config.level == "word" else None
        if tokenizer is None or grow:
            vocab_size = config.vocab_size or (BPE_VOCAB_SIZE if config.level == "bpe" else 0)
            words = resolved(config, tokenizer).words if tokenizer else config.words
            boundaries = spacing.boundaries if spacing and words == "auto" else words
            learnt = yield from learn(
                texts[0],
                sizes[0],
                surveys[0],
                boundaries="unicode" if boundaries == "unicode" else "space",
                min_count=config.min_count,
                vocab_size=vocab_size,
            )
            tokenizer = grown(tokenizer, learnt) if tokenizer else learnt
        parts: dict[str, Part] = {}
        documents: list[int] = []
        for text, text_sizes in zip(texts, sizes, strict=True):
            written, starts = yield from encode(text, text_sizes, tokenizer, folder)
            parts |= written
            documents = documents or starts
        for name, part in parts.items():
            if not part.tokens:
                raise UserError(f"the {name} part has no tokens", allowed="text in every part", fix="give more text")
        tokenizer.save(folder / "tokenizer.json")
        overlaps: dict[str, Overlap] = {}
        for text, surveyed in zip(texts[1:], surveys[1:], strict=True):
            (name,) = text.names
            overlaps[name] = yield from _overlap(folder, name, tokenizer, surveys[0].sources, surveyed.sources[0])
        about = {
            "format_version": FORMAT_VERSION,
            "digest": digest_of(parts),
            "tokenizer_digest": tokenizer.digest,
            "dtype": tokenizer.dtype.name,
            "config": to_mapping(resolved(config, tokenizer)),
            "parts": {name: to_mapping(part) for name, part in parts.items()},
            "sources": [to_mapping(source) for surveyed in surveys for source in surveyed.sources],
            "documents": documents,
            "overlaps": {name: to_mapping(overlap) for name, overlap in overlaps.items()},
        } | ({"spacing": to_mapping(spacing)} if spacing else {})
        (folder / "corpus.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def load_corpus(folder: Path) -> Corpus:
    """Open a folder that `prepare` wrote; the ids stay on the disk. Raises UserError where it is damaged or foreign."""
    if not folder.exists():
        raise UserError(
            f"the prepared text is no longer at {folder}",
            allowed="a folder that `unroll data prepare` wrote, where it was",
            fix="move it back, or prepare the text there again",
        )
    about = read_json(folder / "corpus.json", "a corpus of unroll")
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    where = str(folder / "corpus.json")
    try:
        if about["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {about['format_version']!r}")
        if (about["tokenizer_digest"], about["dtype"]) != (tokenizer.digest, tokenizer.dtype.name):
            raise ValueError("the tokenizer is not the one it was encoded with")
        parts = {name: from_mapping(Part, part, where) for name, part in about["parts"].items()}
        if tuple(parts) not in (PARTS[:1], PARTS[:2], PARTS) or about["digest"] != digest_of(parts):
            raise ValueError("the parts are not those that were written")
        info = CorpusInfo(
            resolved(from_mapping(DataConfig, about["config"], where), tokenizer),
            parts,
            tuple(from_mapping(TextFile, source, where) for source in about["sources"]),
            about["digest"],
            {name: from_mapping(Overlap, part, where) for name, part in about.get("overlaps", {}).items()},
            from_mapping(Spacing, about["spacing"], where) if "spacing" in about else None,
        )
        if not info.overlaps.keys() <= {"valid", "test"}:
            raise ValueError("it compares parts that do not exist")
        documents = np.array(about["documents"], np.int64)
        if documents[0] != 0 or (np.diff(documents) <= 0).any() or documents[-1] >= parts["train"].tokens:
            raise ValueError("the documents lie outside the training part")
        ids = {name: mapped_ids(folder / f"{name}.bin", part.tokens, tokenizer) for name, part in parts.items()}
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{folder} is damaged or foreign: {reason}",
            allowed=f"a corpus of unroll, format version {FORMAT_VERSION}",
            fix="prepare it again",
        ) from None
    valid = ids.get("valid", ids["train"][:0])
    return Corpus(tokenizer, ids["train"], valid, ids.get("test"), documents, info)


def is_prepared(path: Path) -> bool:
    """Tell whether a path is a folder made by `prepare`."""
    return (path / "corpus.json").exists()


def open_corpus(folder: Path) -> Corpus:
    """Open a corpus; raises UserError where it is damaged, ids beyond its vocabulary included."""
    corpus = load_corpus(folder)
    parts = [part for part in (corpus.train, corpus.valid) if len(part)]
    if max(int(part.max()) for part in parts) >= corpus.tokenizer.vocab_size:
        raise UserError(
            f"{folder} is damaged: it holds ids beyond its vocabulary",
            allowed=f"ids below {corpus.tokenizer.vocab_size}",
            fix="prepare it again, or train again",
        )
    return corpus


def prepared_corpus(
    files: Sequence[Path], requested: Mapping[str, Any], valid: Path | None, test: Path | None
) -> Corpus:
    """Open a prepared corpus; raises UserError where anything else is requested than was prepared."""
    corpus = open_corpus(files[0])
    config = to_mapping(corpus.info.config)
    changed = [name for name, value in requested.items() if config.get(name) != value]
    if len(files) > 1 or valid is not None or test is not None or changed:
        raise UserError(
            f"{files[0]} is already prepared: "
            + (f"{', '.join(changed)} cannot be changed now" if changed else "no other text can be added to it"),
            allowed="the prepared folder alone",
            fix="leave it out, or prepare the text again with `unroll data prepare`",
        )
    return corpus


def _texts(
    files: Sequence[Path], valid: Path | None, test: Path | None, num_parts: int
) -> dict[tuple[str, ...], tuple[Path, ...]]:
    """Return the files of each text under the names of its parts: one text for all of them, or one for each."""
    if not valid and not test:
        return {PARTS[:num_parts]: tuple(files)}
    if not valid:
        raise UserError(
            "a test file is given without a validation file", allowed="both, or --valid alone", fix="add --valid FILE"
        )
    texts: dict[tuple[str, ...], tuple[Path, ...]] = {("train",): tuple(files), ("valid",): (valid,)}
    return texts | {("test",): (test,)} if test else texts


def _check_fits(config: DataConfig, tokenizer: Tokenizer) -> None:
    """Raise UserError where another level, or words of another kind, are requested than a vocabulary has."""
    if tokenizer.level != config.level:
        raise UserError(
            f"level {config.level} was requested with a vocabulary of level {tokenizer.level}",
            fix=f"use --level {tokenizer.level}",
        )
    words = resolved(config, tokenizer).words
    if config.words not in ("auto", words):
        raise UserError(
            f"words {config.words} was requested with a vocabulary of words {words}", fix=f"use --words {words}"
        )


def resolved(config: DataConfig, tokenizer: Tokenizer) -> DataConfig:
    """Return the configuration with the kind of words that the vocabulary has."""
    base = base_of(tokenizer)
    words = base.boundaries if isinstance(base, WordTokenizer | UnicodeWordTokenizer) else config.words
    return replace(config, words=words)


def _overlap(
    folder: Path, part: str, tokenizer: Tokenizer, training: Sequence[TextFile], file: TextFile
) -> Work[Overlap]:
    """Return how much of a part that was given as a file occurs in the training text, both as written in `folder`."""
    same = next((source.name for source in training if source.sha256 == file.sha256), None)
    if same is not None:
        return Overlap(file.name, same_as=same)
    train, other = (np.memmap(folder / f"{name}.bin", tokenizer.dtype, mode="r") for name in ("train", part))
    size = sum(source.bytes for source in (*training, file))
    comparing = shared(train, other, tokenizer.newline_id)
    shares = yield from mapped(comparing, lambda done: Progress("comparing", int(done * size), size, "bytes"))
    share, usual = shares or (None, None)
    return Overlap(file.name, share=share, usual=usual)


def digest_of(parts: Mapping[str, Part]) -> str:
    """Return the digest of a corpus: that of the names and ids of its parts."""
    return sha256("".join(f"{name} {part.sha256}\n" for name, part in parts.items()).encode()).hexdigest()


def mapped_ids(path: Path, tokens: int, tokenizer: Tokenizer) -> Ids:
    """Return the ids of a part, mapped from the disk."""
    size, expected = path.stat().st_size if path.exists() else 0, tokens * tokenizer.dtype.itemsize
    if size != expected:
        raise ValueError(f"{path.name} has {size:,} bytes instead of {expected:,}")
    return np.asarray(np.memmap(path, tokenizer.dtype, mode="r"))


def remove_orphans(out: Path, ending: str) -> None:
    """Remove the folders `.NAME.PID.ending` beside `out` that killed processes left behind."""
    for folder in out.parent.glob(f".{escape(out.name)}.*.{ending}"):
        number = folder.name.split(".")[-2]
        try:
            if number.isdecimal():
                os.kill(int(number), 0)  # only asks whether there is such a process
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, OverflowError):
            pass  # another user's process, or not a process number


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` that becomes `out` if all goes well and vanishes if not."""
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    with explained(out):
        remove_orphans(out, "tmp")
        shutil.rmtree(beside, ignore_errors=True)  # of a killed process with our number
        try:
            beside.mkdir(parents=True)
            yield beside
            os.replace(beside, out)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
