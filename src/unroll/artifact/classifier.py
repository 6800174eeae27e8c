"""The directory of a classifier: its description, written and read, and opened for use without torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from unroll.artifact.directory import CLASSIFIER, FORMAT_VERSION, WEIGHTS, check_types, read_kind, read_weights_info
from unroll.artifact.snapshot import pinned
from unroll.artifact.vocabularies import read_vocabularies
from unroll.data.blocks import Level
from unroll.data.reader import Reader
from unroll.data.tokenizer import Tokenizer
from unroll.engine.encoder import ClassifierNetwork, load_classifier
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.files import Folder, StrPath, write_into
from unroll.nn.encoder_config import ClassifierConfig, classifier_parameters
from unroll.settings import check, from_mapping, to_mapping

RESULT: dict[str, Any] = {
    "protocol": str,
    "valid_nats": float,
    "valid_accuracy": float,
    "valid_count": int,
    "best_step": int,
    "steps": int,
    "tokens_seen": int,
}
"""Fields of the result of a finished training."""
TYPES: dict[str, Any] = {
    "label_column": str,
    "lowercase": bool,
    "max_units": int,
    "tokenizer_digest": str,
    "characters_digest": str | None,
}
"""Fields of model.json that are taken as they are."""


@dataclass(frozen=True)
class ClassifierInfo:
    """What model.json says of a classifier."""

    config: ClassifierConfig
    labels: tuple[str, ...]
    """By their ids."""
    text_columns: tuple[str, ...]
    """The columns that texts were read from."""
    label_column: str
    lowercase: bool
    max_units: int
    tokenizer_digest: str
    characters_digest: str | None
    """Of the characters by which words are read; None where they are not."""
    result: dict[str, Any] | None
    """Of a finished training."""

    @property
    def multi_label(self) -> bool:
        """Whether a text has any number of labels."""
        return self.config.multi_label


def save_classifier(
    folder: Path | Folder, info: ClassifierInfo, reader: Reader, result: dict[str, Any] | None = None
) -> None:
    """Write model.json."""
    description = {
        "format_version": FORMAT_VERSION,
        "kind": CLASSIFIER,
        "level": reader.tokenizer.level,
        "tokenizer_digest": info.tokenizer_digest,
        "characters_digest": info.characters_digest,
        "parameters": classifier_parameters(info.config),
        "model": to_mapping(info.config),
        "labels": list(info.labels),
        "text_columns": list(info.text_columns),
        "label_column": info.label_column,
        "lowercase": info.lowercase,
        "max_units": info.max_units,
        "result": result,
    }
    write_into(folder, "model.json", (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())


def read_classifier(path: Path) -> ClassifierInfo:
    """Read model.json of a classifier; raises UserError unless it is ours, of a known version, and complete."""
    description, place = read_kind(path, CLASSIFIER), str(path / "model.json")
    check_types(description, TYPES | {"level": Level, "parameters": int}, place)
    config = from_mapping(ClassifierConfig, description["model"], place)
    labels, columns = _texts(description, "labels", place), _texts(description, "text_columns", place)
    max_units, fix = description["max_units"], "restore it, or train again"
    if len(set(labels)) != config.labels or len(labels) != config.labels:
        what = f"{place} has {len(set(labels))} different labels of {len(labels)}"
        raise UserError(what, allowed=f"{config.labels} different ones, as the head has", fix=fix)
    if not columns or max_units < 1:
        what = f"{place} has {len(columns)} text columns, and max_units is {max_units}"
        raise UserError(what, allowed="at least one of each", fix=fix)
    result = description.get("result")
    if result is not None:
        check_types(check(result, dict, f"result in {place}"), RESULT, f"the result in {place}")
    named: dict[str, Any] = {name: description.get(name) for name in TYPES}
    return ClassifierInfo(config=config, labels=labels, text_columns=columns, result=result, **named)


def _texts(description: dict[str, Any], name: str, place: str) -> tuple[str, ...]:
    values = check(description.get(name), list, f"{name} in {place}")
    return tuple(check(value, str, f"{name} in {place}") for value in values)


def read_reader(path: Path, info: ClassifierInfo) -> Reader:
    """Read the vocabularies of a classifier; raises UserError where they are another's."""
    reader = read_vocabularies(path, info.config, (info.tokenizer_digest, info.characters_digest))
    return replace(reader, lowercase=info.lowercase, max_units=info.max_units)


@dataclass(frozen=True)
class OpenClassifier:
    """A classifier in use, without torch."""

    path: Path
    info: ClassifierInfo
    reader: Reader
    network: ClassifierNetwork
    weights_info: dict[str, Any]

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary of the units."""
        return self.reader.tokenizer


def open_classifier(path: StrPath, precision: Precision = "float32") -> OpenClassifier:
    """Open the directory of a classifier; raises UserError when it is foreign, damaged or of another kind."""
    path = Path(path)
    with pinned(path) as here:
        info = read_classifier(here)
        network = load_classifier(here / WEIGHTS, info.config, precision=precision)
        opened = OpenClassifier(here, info, read_reader(here, info), network, read_weights_info(here))
        return replace(opened, path=path)


AnyClassifier = StrPath | OpenClassifier
"""A classifier as a caller may name it."""


def as_classifier(model: AnyClassifier, precision: Precision = "float32") -> OpenClassifier:
    """Return a classifier opened, whatever it is named by. Raises UserError."""
    return model if isinstance(model, OpenClassifier) else open_classifier(model, precision)


class Labelled(Protocol):
    """What has labels with ids: their places."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names."""


def label_ids(info: Labelled, labels: Sequence[str]) -> list[int]:
    """Return the ids of labels; raises UserError for one that training never saw, with the nearest."""
    from unroll.errors import did_you_mean

    numbers = {label: id for id, label in enumerate(info.labels)}
    for label in labels:
        if label not in numbers:
            raise UserError(
                f"the classifier never saw the label {label!r}",
                allowed=", ".join(info.labels[:40]),
                fix=did_you_mean(label, info.labels, "choose one of them"),
            )
    return [numbers[label] for label in labels]
