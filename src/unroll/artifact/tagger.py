"""The directory of a tagger: its description, written and read, and opened for use without torch.

Beside the files of every model it has characters.json, by which words are read, and where it reads contexts the folder
context/: the language model that says them, whole.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unroll.artifact.directory import FORMAT_VERSION, TAGGER, WEIGHTS, check_types, read_kind, read_weights_info
from unroll.artifact.open import Opened, open_model
from unroll.artifact.snapshot import pinned
from unroll.artifact.vocabularies import read_vocabularies
from unroll.data.blocks import Level
from unroll.data.ragged import Vectors
from unroll.data.reader import Reader, Reading
from unroll.engine.crf import Scheme
from unroll.engine.network import Precision
from unroll.engine.tagger import TaggerNetwork, load_tagger
from unroll.errors import UserError
from unroll.files import Folder, StrPath, unreadable, write_into
from unroll.nn.config import ModelConfig
from unroll.nn.tagger_config import TaggerConfig, tagger_parameters
from unroll.predict.contexts import ContextReader
from unroll.progress import Work, result
from unroll.settings import check, from_mapping, to_mapping

CONTEXT = "context"
"""The folder of the language model that says contexts."""
CONTEXT_FILES = ("model.json", "tokenizer.json", WEIGHTS)
RESULT: dict[str, Any] = {
    "protocol": str,
    "valid_nats": float,
    "valid_accuracy": float,
    "valid_tokens": int,
    "valid_sentences": int,
    "best_step": int,
    "steps": int,
    "tokens_seen": int,
}
"""Fields of the result of a finished training; nats and accuracy are of a token."""
TYPES: dict[str, Any] = {
    "column": str,
    "token_column": int,
    "scheme": Scheme,
    "lowercase": bool,
    "tokenizer_digest": str,
    "characters_digest": str | None,
    "context_digest": str | None,
}
"""Fields of model.json that are taken as they are."""


@dataclass(frozen=True)
class TaggerInfo:
    """What model.json says of a tagger."""

    config: TaggerConfig
    tags: tuple[str, ...]
    """By their ids."""
    column: str
    """The column that tags were read from: a name of CoNLL-U or, elsewhere, a number."""
    token_column: int
    """The number of the column that tokens were read from, in files that are no CoNLL-U."""
    scheme: Scheme
    """How tags mark entities: no predicted sentence breaks it."""
    lowercase: bool
    tokenizer_digest: str
    characters_digest: str | None
    """Of the characters by which words are read; None where they are not."""
    context_digest: str | None
    """Of the files of the language model that says contexts; None without one."""
    result: dict[str, Any] | None
    """Of a finished training."""

    @property
    def crf(self) -> bool:
        """Whether the tags of a sentence are scored as one path."""
        return self.config.crf


def save_tagger(folder: Path | Folder, info: TaggerInfo, result: dict[str, Any] | None = None) -> None:
    """Write model.json."""
    description = {
        "format_version": FORMAT_VERSION,
        "kind": TAGGER,
        "level": "word",
        **{name: getattr(info, name) for name in TYPES},
        "parameters": tagger_parameters(info.config),
        "model": to_mapping(info.config),
        "tags": list(info.tags),
        "result": result,
    }
    write_into(folder, "model.json", (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())


def read_tagger(path: Path) -> TaggerInfo:
    """Read model.json of a tagger; raises UserError unless it is ours, of a known version, and complete."""
    description, place = read_kind(path, TAGGER), str(path / "model.json")
    check_types(description, TYPES | {"level": Level, "parameters": int}, place)
    config = from_mapping(TaggerConfig, description["model"], place)
    listed = check(description.get("tags"), list, f"tags in {place}")
    tags = tuple(check(tag, str, f"tags in {place}") for tag in listed)
    fix = "restore it, or train again"
    if len(set(tags)) != config.tags or len(tags) != config.tags:
        what = f"{place} has {len(set(tags))} different tags of {len(tags)}"
        raise UserError(what, allowed=f"{config.tags} different ones, as the head has", fix=fix)
    if (description["context_digest"] is None) != (config.context_size == 0):
        what = f"{place} has contexts of {config.context_size} numbers, and the digest {description['context_digest']}"
        raise UserError(what, allowed="both, or neither", fix=fix)
    found = description.get("result")
    if found is not None:
        check_types(check(found, dict, f"result in {place}"), RESULT, f"the result in {place}")
    named: dict[str, Any] = {name: description[name] for name in TYPES}
    return TaggerInfo(config=config, tags=tags, result=found, **named)


def read_reader(path: Path, info: TaggerInfo) -> Reader:
    """Read the vocabularies of a tagger; raises UserError where they are another's."""
    reader = read_vocabularies(path, info.config, (info.tokenizer_digest, info.characters_digest))
    return replace(reader, lowercase=info.lowercase)


# ---- contexts


def copied_context(path: Path) -> dict[str, bytes]:
    """Return the files of a language model that a tagger keeps, by name; raises UserError where one is missing."""
    files = {}
    for name in CONTEXT_FILES:
        try:
            files[name] = (path / name).read_bytes()
        except OSError as error:
            raise unreadable(path / name, error) from None
    return files


def context_digest(files: dict[str, bytes]) -> str:
    """Return the SHA-256 of the files of a language model, in hexadecimal."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def open_context(path: Path, info: TaggerInfo, precision: Precision = "float32") -> ContextReader | None:
    """Open the language model that says contexts; None without one. Raises UserError for another than in training."""
    if info.context_digest is None:
        return None
    place = path / CONTEXT
    if context_digest(copied_context(place)) != info.context_digest:
        raise UserError(
            f"the language model in {place} is not that which this tagger was trained with",
            allowed="the files that training copied there",
            fix="restore the directory from one source",
        )
    context = context_reader(open_model(place, precision))
    if context.size != info.config.context_size:
        raise UserError(
            f"the language model in {place} says {context.size} numbers of a token",
            allowed=f"{info.config.context_size}, as the tagger reads",
            fix="restore the directory from one source",
        )
    return context


def context_reader(opened: Opened) -> ContextReader:
    """Return what a language model says of tokens; raises UserError unless it is a network over characters or bytes."""
    network, config, level = opened.predictor.network, opened.config, opened.tokenizer.level
    if network is None or not isinstance(config, ModelConfig) or level not in ("char", "byte"):
        what = "has no states" if network is None else f"reads at level {level}, where tokens do not end"
        raise UserError(
            f"{opened.path} {what}",
            allowed="a network over characters or bytes, with a state at the end of each token",
            fix="train one: `unroll train FILE --level char`",
        )
    return ContextReader(network, opened.tokenizer, config.hidden_size)


# ---- opened


@dataclass(frozen=True)
class OpenTagger:
    """A tagger in use, without torch."""

    path: Path
    info: TaggerInfo
    reader: Reader
    network: TaggerNetwork
    context: ContextReader | None
    """What says contexts; None without."""
    weights_info: dict[str, Any]

    def read(self, sentences: Sequence[Sequence[str]]) -> Reading:
        """Return sentences of tokens as the network reads them, with their contexts where it reads any."""
        return result(read_with(self.reader, self.context, sentences))


def read_with(reader: Reader, context: ContextReader | None, sentences: Sequence[Sequence[str]]) -> Work[Reading]:
    """Return sentences of tokens as rows of units, with what a language model says of each token."""
    reading = reader.read_tokens(sentences)
    if context is None:
        return reading
    contexts = yield from context.read(sentences)
    return replace(reading, contexts=Vectors(contexts, reading.units.ends))


def open_tagger(path: StrPath, precision: Precision = "float32") -> OpenTagger:
    """Open the directory of a tagger; raises UserError when it is foreign, damaged or of another kind."""
    path = Path(path)
    with pinned(path) as here:
        info = read_tagger(here)
        network = load_tagger(here / WEIGHTS, info.config, info.tags, info.scheme, precision=precision)
        context = open_context(here, info, precision)
        opened = OpenTagger(here, info, read_reader(here, info), network, context, read_weights_info(here))
        return replace(opened, path=path)


AnyTagger = StrPath | OpenTagger
"""A tagger as a caller may name it."""


def as_tagger(model: AnyTagger, precision: Precision = "float32") -> OpenTagger:
    """Return a tagger opened, whatever it is named by. Raises UserError."""
    return model if isinstance(model, OpenTagger) else open_tagger(model, precision)
