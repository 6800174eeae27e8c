"""The sentences of a tagger: what is held out of them, and both parts on disk, beside the model."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from unroll.data.labelled import FEW, HELD_OUT, text_number
from unroll.data.tables import listed
from unroll.data.tagged import Sentences, Tagged
from unroll.errors import UserError, number_of
from unroll.files import Folder, unreadable

TRAIN, VALID = "resume/train.jsonl", "resume/valid.jsonl"
"""The sentences, one JSON object a line: `tokens` and `tags`."""


@dataclass(frozen=True)
class Part:
    """Sentences with their tags."""

    sentences: Sentences
    tags: Sentences

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return sum(map(len, self.sentences))

    def select(self, mask: Sequence[bool]) -> "Part":
        """Return the sentences that a mask names."""
        rows = [k for k, kept in enumerate(mask) if kept]
        return Part(tuple(self.sentences[k] for k in rows), tuple(self.tags[k] for k in rows))

    def packed(self) -> bytes:
        """Return the sentences as JSON lines."""
        rows = zip(self.sentences, self.tags, strict=True)
        lines = (json.dumps({"tokens": own, "tags": tags}, ensure_ascii=False) + "\n" for own, tags in rows)
        return "".join(lines).encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Stored:
    """The sentences for training and those held out."""

    train: Part
    valid: Part

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of training, sorted by code points: their places are their ids."""
        return tuple(sorted(set(chain.from_iterable(self.train.tags))))

    @property
    def digest(self) -> str:
        """The SHA-256 of both parts, in hexadecimal."""
        return hashlib.sha256(self.train.packed() + b"\n" + self.valid.packed()).hexdigest()

    def save(self, folder: Folder) -> None:
        """Write both files."""
        folder.write(TRAIN, self.train.packed())
        folder.write(VALID, self.valid.packed())


def load(path: Path) -> Stored:
    """Read what `save` wrote; raises UserError where it is missing or damaged."""
    return Stored(read_part(path / TRAIN), read_part(path / VALID))


def read_part(file: Path) -> Part:
    """Read the sentences of a part; raises UserError where the file is missing or damaged."""
    try:
        rows = [json.loads(line) for line in file.read_bytes().decode("utf-8", "surrogatepass").split("\n") if line]
        part = Part(tuple(tuple(row["tokens"]) for row in rows), tuple(tuple(row["tags"]) for row in rows))
        if any(len(own) != len(tags) for own, tags in zip(part.sentences, part.tags, strict=True)):
            raise ValueError("a sentence has not as many tags as tokens")
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged: {error}", fix="restore it, or train again") from None
    return part


# ---- parts


def parts_of(tagged: Tagged, valid: Tagged | None = None) -> tuple[Stored, tuple[str, ...]]:
    """Return the parts of a training, and what a person should know of them.

    Without `valid` one sentence in ten is held out: where the first eight bytes of the SHA-256 of its tokens, joined by
    newlines, divide by ten; where none is, the sentence with the smallest number. So equal sentences are in one part.
    One with a tag that training would lack stays there; of `valid` such sentences are left out. Raises UserError for
    sentences with a single tag, and where nothing is left to validate by.
    """
    whole = Part(tagged.sentences, tagged.tags)
    if len(names := set(chain.from_iterable(whole.tags))) < 2:
        raise UserError(
            f"all tokens of {tagged.path} have the same tag: {listed(tuple(names))}",
            allowed="at least two different tags",
            fix="name another column",
        )
    if valid is not None:
        known = [names.issuperset(tags) for tags in valid.tags]
        stored = Stored(whole, Part(valid.sentences, valid.tags).select(known))
        unseen = sorted(set(chain.from_iterable(valid.tags)) - names)
        if not len(stored.valid):
            raise UserError(
                f"no sentence of {valid.path} has the tags of {tagged.path}: it has {listed(tuple(unseen))}",
                allowed=f"tags of training: {listed(tuple(sorted(names)))}",
                fix="name the same column in both files",
            )
        left_out = (
            f"{number_of(len(known) - sum(known), 'sentence')} of {valid.path} with tags that {tagged.path} lacks "
            f"({listed(tuple(unseen))}): left out of validation"
        )
        trained = {*whole.sentences}
        shared = sum(sentence in trained for sentence in stored.valid.sentences)
        in_both = (
            f"{number_of(shared, 'sentence')} of {valid.path} also in {tagged.path}: the figures of validation include "
            "them"
        )
        return stored, (*([left_out] if unseen else []), *([in_both] if shared else []))
    out = _held_out(whole)
    stored = Stored(whole.select([not held for held in out]), whole.select(out))
    few = len(stored.valid) * FEW < len(whole)
    remark = (
        f"{number_of(len(stored.valid), 'sentence')} held out of {tagged.path}, too few to choose weights by: name "
        "others with --valid"
    )
    return stored, (remark,) if few else ()


def _held_out(part: Part) -> list[bool]:
    """Return which sentences are held out; raises UserError where none can be."""
    texts = ["\n".join(sentence) for sentence in part.sentences]
    numbers = {text: text_number(text) for text in texts}
    out = {text for text, number in numbers.items() if number % HELD_OUT == 0}
    out = out or {min(numbers, key=numbers.__getitem__)}
    trained = set(chain.from_iterable(tags for text, tags in zip(texts, part.tags, strict=True) if text not in out))
    for text, tags in zip(texts, part.tags, strict=True):
        if text in out and not trained.issuperset(tags):
            out.remove(text)
        if text not in out:
            trained.update(tags)
    if not out:
        raise UserError(
            f"too few sentences to hold any out for validation: {number_of(len(part), 'sentence')}",
            allowed="several different sentences with each tag",
            fix="add sentences, or give others with --valid FILE",
        )
    return [text in out for text in texts]
