"""The exceptions that are meant for the person at the keyboard, and the checks that raise them most often."""

import difflib
from collections.abc import Collection
from os import PathLike
from typing import Literal

Kind = Literal["network", "ngram", "classifier", "tagger", "translator", "sequence"]
NAMES: dict[Kind, str] = {
    "network": "a language model",
    "ngram": "an n-gram",
    "classifier": "a classifier",
    "tagger": "a tagger",
    "translator": "a translator",
    "sequence": "a model of sequences",
}
"""The kinds of models, by what can be done with them, and their names for people."""


class UserError(Exception):
    """A mistake that its user can mend: what is wrong and where, what is allowed, how to fix it.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 2

    def __init__(self, what: str, *, allowed: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.allowed = allowed
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.what]
        if self.allowed:
            parts.append(f"  allowed: {self.allowed}")
        if self.fix:
            parts.append(f"  fix: {self.fix}")
        return "\n".join(parts)


class MachineError(UserError):
    """The machine fails, not its user: a disk that is full or broken, a limit of the system."""

    exit_code = 1


class WrongKind(UserError):
    """A model of a kind that cannot do what is asked of it: why not, and what can."""

    def __init__(self, path: str | PathLike[str], kind: Kind, why: str, *, allowed: str, fix: str) -> None:
        super().__init__(f"{path} is {NAMES[kind]}: {why}", allowed=allowed, fix=fix)
        self.kind, self.why = kind, why

    def explain(self, why: str, fix: str) -> None:
        """Say why not, and how to fix it, in other words."""
        self.what, self.why, self.fix = self.what.removesuffix(self.why) + why, why, fix


def check_choice(what: str, value: object, choices: Collection[str]) -> None:
    """Raise UserError unless `value` is one of the choices."""
    if value not in choices:
        fix = did_you_mean(str(value), choices, "choose one of them")
        raise UserError(f"{what} is {value!r}", allowed=", ".join(choices), fix=fix)


def check_positive(what: str, value: int, fix: str) -> None:
    """Raise UserError for a number below 1."""
    if value < 1:
        raise UserError(f"{what} is {value}", allowed="1 or more", fix=fix)


def check_fields(config: object, *rules: tuple[str, bool, str, str]) -> None:
    """Raise UserError for the first field that breaks its rule: its name, whether it holds, what is allowed, a fix."""
    for name, holds, allowed, fix in rules:
        if not holds:
            raise UserError(f"{name} is {getattr(config, name)}", allowed=allowed, fix=fix)


def nearest(name: str, names: Collection[str]) -> str | None:
    """Return the one of the names that a shortened or mistyped name stands for; None where none is near."""
    longer = [other for other in names if len(name) > 2 and other.startswith(name)]
    folded = {other.casefold(): other for other in names}
    near = longer or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    near = near or [folded[other] for other in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)]
    return next(iter(near), None)


def did_you_mean(name: str, names: Collection[str], otherwise: str) -> str:
    """Return the fix for an unknown name: the nearest one, or else what `otherwise` advises."""
    near = nearest(name, names)
    return f"did you mean '{near}'?" if near else otherwise


def number_of(count: int, noun: str) -> str:
    """Return a number of things: `1 symbol`, `2,000 symbols`."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def install(extra: str) -> str:
    """Return the command that installs an optional part, from an index and in a clone."""
    return f'pip install "unroll-lm[{extra}]", or in a clone: pip install ".[{extra}]"'
