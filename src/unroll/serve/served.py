"""Models in use, each as it was when it was opened, whatever happens to its directory; and what each kind is asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.artifact.directory import kind_of, read_kind
from unroll.artifact.forecaster import OpenForecaster, open_forecaster
from unroll.artifact.open import Opened, open_model
from unroll.artifact.saved_state import weights_digest
from unroll.artifact.series import OpenSeries, open_series, read_task
from unroll.artifact.snapshot import Stamp, written_at
from unroll.artifact.tagger import OpenTagger, open_tagger
from unroll.artifact.translator import OpenTranslator, open_translator
from unroll.data.tokenizer import Tokenizer
from unroll.engine.network import Precision
from unroll.errors import NAMES, Kind
from unroll.nn.series_config import Task
from unroll.predict.predictor import Predictor
from unroll.tasks.tag.predict import Tokens, tokens_in_training


@dataclass(frozen=True)
class ServedModel:
    """A model in use."""

    name: str
    kind: Kind
    opened: Any
    version: str
    """A digest of all that its answers depend on: its weights, its shape, its vocabularies, its labels."""
    stamp: Stamp
    parameters: int
    """Number of weights; of an n-gram that of its n-grams."""

    @property
    def created(self) -> int:
        """When its weights were written, in seconds since 1970."""
        return written_at(self.stamp)

    def fingerprint_of(self, precision: str) -> str:
        """Return a short name for weights and arithmetic: equal ones give equal answers to equal seeds."""
        return f"fp_{self.version[:12]}_{precision}"


@dataclass(frozen=True)
class Served(ServedModel):
    """A language model in use."""

    opened: Opened

    @property
    def info(self) -> dict[str, Any]:
        """The metadata of its weights; empty for an n-gram."""
        return self.opened.weights_info

    @property
    def predictor(self) -> Predictor:
        """The predictor."""
        return self.opened.predictor

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary."""
        return self.opened.tokenizer

    @property
    def fingerprint(self) -> str:
        """A short name for weights and arithmetic."""
        return self.fingerprint_of(self.predictor.precision)

    @cached_property
    def printable(self) -> tuple[str, ...]:
        """The printable name of each symbol."""
        from unroll.lm.surprisal import token_name

        return tuple(token_name(self.tokenizer, id) for id in range(self.tokenizer.vocab_size))


@dataclass(frozen=True)
class ServedClassifier(ServedModel):
    """A classifier in use."""

    opened: OpenClassifier


@dataclass(frozen=True)
class ServedTagger(ServedModel):
    """A tagger in use."""

    opened: OpenTagger

    @cached_property
    def tokens(self) -> Tokens:
        """How a text is cut into tokens."""
        return tokens_in_training(self.opened)


@dataclass(frozen=True)
class ServedTranslator(ServedModel):
    """A translator in use."""

    opened: OpenTranslator

    @property
    def fingerprint(self) -> str:
        """A short name for weights and arithmetic."""
        return self.fingerprint_of(self.opened.network.precision)


@dataclass(frozen=True)
class ServedSequences(ServedModel):
    """A model of sequences of numbers in use."""

    opened: OpenSeries | OpenForecaster

    @property
    def task(self) -> Task:
        """What it says of a sequence."""
        return "forecast" if isinstance(self.opened, OpenForecaster) else self.opened.info.config.task

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the numbers of a step."""
        if isinstance(self.opened, OpenForecaster):
            return (self.opened.info.target_column or "value",)
        return self.opened.info.columns.channels or ()


class Role(NamedTuple):
    """What a kind of served models is asked, and what makes one."""

    kind: Kind
    path: str
    """Of the requests that it answers."""
    verb: str
    """The command that trains one."""


ROLES: dict[type[ServedModel], Role] = {
    Served: Role("network", "/v1/completions", "unroll train"),
    ServedClassifier: Role("classifier", "/v1/classify", "unroll classify train"),
    ServedTagger: Role("tagger", "/v1/tag", "unroll tag train"),
    ServedSequences: Role("sequence", "/predict", "unroll sequences train"),
    ServedTranslator: Role("translator", "/v1/completions", "unroll translate train"),
}


def _open_sequences(path: Path, precision: Precision) -> OpenSeries | OpenForecaster:
    return open_forecaster(path) if read_task(path) == "forecast" else open_series(path, precision)


OPENERS: dict[Kind, tuple[type[ServedModel], Callable[[Path, Precision], Any]]] = {
    "classifier": (ServedClassifier, open_classifier),
    "tagger": (ServedTagger, open_tagger),
    "sequence": (ServedSequences, _open_sequences),
    "translator": (ServedTranslator, open_translator),
}
"""How the models of tasks are opened; they always run on the CPU."""


def open_served(name: str, path: Path, here: Path, stamp: Stamp, device: str, precision: Precision) -> ServedModel:
    """Open the model in the directory `path`, which is at `here` at this moment. Raises UserError."""
    description = read_kind(here)
    kind = kind_of(description)
    served, opener = OPENERS.get(kind, (Served, partial(open_model, device=device)))
    opened = opener(here, precision)
    digested = (weights_digest(here), dumps(description | {"result": None}, sort_keys=True))
    version = sha256("\n".join(digested).encode()).hexdigest()
    return served(name, kind, replace(opened, path=path), version, stamp, int(description.get("parameters") or 0))


def name_of(kind: type[ServedModel]) -> str:
    """Return the name of a kind for people, as `a classifier`."""
    return NAMES[ROLES[kind].kind]
