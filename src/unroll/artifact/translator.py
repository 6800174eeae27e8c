"""The directory of a translator: its description and vocabularies, written, read and opened without torch."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unroll.artifact.directory import FORMAT_VERSION, TRANSLATOR, WEIGHTS, check_types, read_kind, read_weights_info
from unroll.artifact.snapshot import pinned
from unroll.data.blocks import Level
from unroll.data.reader import Reader
from unroll.data.tokenizer import load_tokenizer
from unroll.engine.network import Precision
from unroll.engine.translator import TranslatorNetwork, load_translator
from unroll.errors import UserError
from unroll.files import Folder, StrPath, write_into
from unroll.nn.translator_config import TranslatorConfig, translator_parameters
from unroll.settings import check, from_mapping, to_mapping

SOURCE = "source.json"
"""The vocabulary of the sources, where both languages do not share one."""
RESULT: dict[str, Any] = {
    "protocol": str,
    "valid_nats": float,
    "valid_symbols": int,
    "valid_count": int,
    "best_step": int,
    "steps": int,
    "tokens_seen": int,
}
"""Fields of the result of a finished training; `valid_nats` are per symbol of the targets, their ends included."""
TYPES: dict[str, Any] = {"max_units": int, "tokenizer_digest": str, "source_digest": str | None}
"""Fields of model.json that are taken as they are."""


@dataclass(frozen=True)
class TranslatorInfo:
    """What model.json says of a translator."""

    config: TranslatorConfig
    max_units: int
    """The most units that are read of a source."""
    tokenizer_digest: str
    """Of the targets' units or, where both languages share them, of all."""
    source_digest: str | None
    """Of the sources' own units."""
    result: dict[str, Any] | None
    """Of a finished training."""


@dataclass(frozen=True)
class Readers:
    """How sources and targets are read: by the same vocabulary, where they share one."""

    source: Reader
    target: Reader

    @property
    def shared(self) -> bool:
        """Whether both have one vocabulary."""
        return self.source.tokenizer is self.target.tokenizer

    def info(self, config: TranslatorConfig, max_units: int) -> TranslatorInfo:
        """Return the description of an untrained translator that reads so."""
        source = None if self.shared else self.source.tokenizer.digest
        return TranslatorInfo(config, max_units, self.target.tokenizer.digest, source, None)


def save_translator(
    folder: Path | Folder, info: TranslatorInfo, level: Level, result: dict[str, Any] | None = None
) -> None:
    """Write model.json."""
    description = {
        "format_version": FORMAT_VERSION,
        "kind": TRANSLATOR,
        "level": level,
        "tokenizer_digest": info.tokenizer_digest,
        "source_digest": info.source_digest,
        "parameters": translator_parameters(info.config),
        "model": to_mapping(info.config),
        "max_units": info.max_units,
        "result": result,
    }
    write_into(folder, "model.json", (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())


def save_readers(folder: Path | Folder, readers: Readers) -> None:
    """Write the vocabularies."""
    write_into(folder, "tokenizer.json", readers.target.tokenizer.to_json().encode())
    if not readers.shared:
        write_into(folder, SOURCE, readers.source.tokenizer.to_json().encode())


def read_translator(path: Path) -> TranslatorInfo:
    """Read model.json of a translator; raises UserError unless it is ours, of a known version, and complete."""
    description, place = read_kind(path, TRANSLATOR), str(path / "model.json")
    check_types(description, TYPES | {"level": Level, "parameters": int}, place)
    config = from_mapping(TranslatorConfig, description["model"], place)
    if description["max_units"] < 1 or (description.get("source_digest") is None) != (config.source_size == 0):
        raise UserError(
            f"{place} contradicts itself: max_units is {description['max_units']}, source_size {config.source_size}",
            allowed="at least one unit, and a source_digest where source_size is not 0",
            fix="restore it, or train again",
        )
    result = description.get("result")
    if result is not None:
        check_types(check(result, dict, f"result in {place}"), RESULT, f"the result in {place}")
    named: dict[str, Any] = {name: description.get(name) for name in TYPES}
    return TranslatorInfo(config=config, result=result, **named)


def read_readers(path: Path, info: TranslatorInfo) -> Readers:
    """Read the vocabularies of a translator; raises UserError where they are another's."""
    target = load_tokenizer(path / "tokenizer.json")
    source = load_tokenizer(path / SOURCE) if info.config.source_size else target
    digests = (target.digest, source.digest if info.config.source_size else None)
    sizes = (target.vocab_size, source.vocab_size)
    expected = (info.config.vocab_size, info.config.source_size or info.config.vocab_size)
    if digests != (info.tokenizer_digest, info.source_digest) or sizes != expected:
        raise UserError(
            f"the vocabularies in {path} are not those that this translator was trained with",
            allowed=f"{expected[1]:,} units of the sources and {expected[0]:,} of the targets",
            fix="restore the directory from one source",
        )
    return Readers(Reader(source, max_units=info.max_units), Reader(target, max_units=info.max_units))


@dataclass(frozen=True)
class OpenTranslator:
    """A translator in use, without torch."""

    path: Path
    info: TranslatorInfo
    readers: Readers
    network: TranslatorNetwork
    weights_info: dict[str, Any]

    @property
    def end(self) -> int:
        """The symbol that begins and ends a target."""
        return self.readers.target.tokenizer.start_id

    @property
    def never(self) -> tuple[int, ...]:
        """The symbols that are not written: `<unk>`, where there is one."""
        unknown = self.readers.target.tokenizer.unknown_id
        return () if unknown is None else (unknown,)


def open_translator(path: StrPath, precision: Precision = "float32") -> OpenTranslator:
    """Open the directory of a translator; raises UserError when it is foreign, damaged or of another kind."""
    path = Path(path)
    with pinned(path) as here:
        info = read_translator(here)
        network = load_translator(here / WEIGHTS, info.config, precision=precision)
        opened = OpenTranslator(here, info, read_readers(here, info), network, read_weights_info(here))
        return replace(opened, path=path)


AnyTranslator = StrPath | OpenTranslator
"""A translator as a caller may name it."""


def as_translator(model: AnyTranslator, precision: Precision = "float32") -> OpenTranslator:
    """Return a translator opened, whatever it is named by. Raises UserError."""
    return model if isinstance(model, OpenTranslator) else open_translator(model, precision)
