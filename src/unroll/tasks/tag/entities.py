"""Entities in tags: read from BIO and BIOES, written in either, and how well they are found."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from unroll.engine.crf import Scheme
from unroll.errors import UserError
from unroll.tasks.figures import Counts

OUTSIDE = "O"
PREFIXES: dict[Scheme, str] = {"none": "", "bio": "BI", "bioes": "BIES"}
DEFINITION = (
    "strict: an entity is right where its first token, its last token and its type are; "
    "precision and recall count entities, and F1 is their harmonic mean"
)


class Entity(NamedTuple):
    """Some tokens of a sentence, from `start` up to `end`, and what they are."""

    start: int
    end: int
    type: str


def entities(tags: Sequence[str], scheme: Scheme = "bioes") -> tuple[list[Entity], int]:
    """Return the entities of a sentence, and the number of tags that break the scheme.

    B and S begin an entity, and so do I and E where no entity of their type is open: that is how conlleval reads tags.
    E and S end it. An entity that is open ends where the next tag does not continue it; in BIOES that breaks the
    scheme, too. In BIO, E and S are read likewise.
    """
    found: list[Entity] = []
    broken, start, open_type = 0, 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, type = tag.partition("-")
        continues = prefix in ("I", "E") and type == open_type
        if open_type and not continues:
            found.append(Entity(start, place, open_type))
            broken += scheme == "bioes"
            open_type = ""
        if prefix == OUTSIDE:
            continue
        if not continues:
            start = place
            broken += prefix in ("I", "E")
        open_type = type
        if prefix in ("E", "S"):
            found.append(Entity(start, place + 1, type))
            open_type = ""
    return found, broken


def tags_of(found: Iterable[Entity], length: int, scheme: Scheme) -> tuple[str, ...]:
    """Return the tags of a sentence of `length` tokens in a scheme, by the entities in it."""
    tags = [OUTSIDE] * length
    for start, end, type in found:
        tags[start:end] = [f"I-{type}"] * (end - start)
        if scheme == "bioes":
            tags[end - 1] = f"E-{type}"
        tags[start] = f"{'S' if scheme == 'bioes' and end - start == 1 else 'B'}-{type}"
    return tuple(tags)


def check_scheme(tags: Iterable[str], scheme: Scheme, where: str) -> None:
    """Raise UserError for the first tag that is none of its scheme."""
    for tag in tags:
        prefix, _, type = tag.partition("-")
        if scheme == "none" or tag == OUTSIDE or (prefix in [*PREFIXES[scheme]] and type):
            continue
        listed = ", ".join(f"{letter}-TYPE" for letter in PREFIXES[scheme])
        wider = type and prefix in [*PREFIXES["bioes"]]
        raise UserError(
            f"the tag {tag!r} in {where} is none of --scheme {scheme}",
            allowed=f"{OUTSIDE}, {listed}",
            fix="try --scheme bioes" if wider else "name another column, or leave --scheme out",
        )


def measure_entities(
    true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: Scheme
) -> dict[str, Any] | None:
    """Return how well the entities of sentences are found, given their true and predicted tags; None without a scheme.

    `micro` counts all entities, `macro` is the mean over the types that occur. `invalid_true` and `invalid_predicted`
    are the numbers of tags that break the scheme; such are read as `entities` says.
    """
    if scheme == "none":
        return None
    there, said = [_located(rows, scheme) for rows in (true, predicted)]
    types = sorted({entity.type for _, entity in there[0] | said[0]})
    numbers = {type: number for number, type in enumerate(types)}

    def counted(located: set[tuple[int, Entity]]) -> Any:
        return np.bincount([numbers[entity.type] for _, entity in located] or np.zeros(0, int), minlength=len(types))

    counts = Counts(counted(there[0] & said[0]), counted(said[0]), counted(there[0]))
    return {
        "definition": DEFINITION,
        "micro": counts.micro,
        "macro": counts.macro,
        "per_type": counts.by_label(types),
        "invalid_true": there[1],
        "invalid_predicted": said[1],
    }


def _located(rows: Sequence[Sequence[str]], scheme: Scheme) -> tuple[set[tuple[int, Entity]], int]:
    """Return the entities of all sentences, with the number of the sentence, and the number of broken tags."""
    pairs = [entities(row, scheme) for row in rows]
    located = {(number, entity) for number, (found, _) in enumerate(pairs) for entity in found}
    return located, sum(broken for _, broken in pairs)
