"""How good a tagger is: accuracy on known and unknown tokens, figures of each tag, and entities."""

from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.tagger import AnyTagger, OpenTagger, as_tagger
from unroll.data.tables import listed
from unroll.data.tagged import Tagged, read_tagged
from unroll.engine.network import Precision
from unroll.errors import number_of
from unroll.files import StrPath
from unroll.lm.intervals import wilson
from unroll.progress import Work, result
from unroll.tasks.figures import Counts, confusion
from unroll.tasks.tag.entities import check_scheme, measure_entities
from unroll.tasks.tag.predict import predicted_tags

MOST_CONFUSED = 200
"""Tags whose confusion is counted."""

Marks = NDArray[np.bool_]


def evaluate_tagger(
    model: AnyTagger,
    file: StrPath,
    *,
    column: str | None = None,
    token_column: int | None = None,
    precision: Precision = "float32",
) -> dict[str, Any]:
    """Return how good a tagger is on the sentences of a file, as `measure_tagger` does.

    The columns are those of training, unless others are named. Raises UserError.
    """
    opened = as_tagger(model, precision)
    return result(measure_file(opened, file, column, token_column))


def measure_file(
    model: OpenTagger, file: StrPath, column: str | None = None, token_column: int | None = None
) -> Work[dict[str, Any]]:
    """Do what `evaluate_tagger` does, yielding progress."""
    info = model.info
    tagged = yield from read_tagged(file, column or info.column, token_column=token_column or info.token_column)
    return (yield from measure_tagger(model, tagged))


def measure_tagger(model: OpenTagger, tagged: Tagged) -> Work[dict[str, Any]]:
    """Tag sentences and return how often the tags are right.

    `accuracy` is the share of tokens whose tag is right, `interval` Wilson's of 95 % for it, as if tokens were
    independent, and `sentence_accuracy` the share of sentences without an error. A token is `known` where it is in the
    vocabulary, in lower case unless the recipe says otherwise: then training had it. `nats` are the mean -ln p of the
    true tags, null where training never had one of them; such a tag counts as an error. Figures in `macro` are means
    over the tags that occur. `confusion` has a row for each true tag and a column for each predicted one, null of more
    than MOST_CONFUSED. `entities` are those of `measure_entities`, null of a tagger without a scheme. Raises UserError.
    """
    info = model.info
    check_scheme(set(chain.from_iterable(tagged.tags)), info.scheme, f"{tagged.path}")
    unseen = sorted(set(chain.from_iterable(tagged.tags)) - set(info.tags))
    tags = (*info.tags, *unseen)
    ids = {tag: id for id, tag in enumerate(tags)}
    true = np.array([ids[tag] for tag in chain.from_iterable(tagged.tags)], np.int64)
    of_model = np.where(true < len(info.tags), true, -1)
    predicted = yield from predicted_tags(model, tagged.sentences, of_model)
    right, said = true == predicted.ids, predicted.ids
    counts = Counts(*(np.bincount(chosen, minlength=len(tags)) for chosen in (true[right], said, true)))
    known = model.reader.known(tagged.sentences)
    whole = np.add.reduceat(~right, np.cumsum([0, *map(len, tagged.sentences[:-1])])) == 0
    low, high = wilson(np.array([right.sum()]), np.array([len(right)]))
    names = iter([tags[id] for id in said.tolist()])
    rows = [list(islice(names, len(sentence))) for sentence in tagged.sentences]
    pairs = confusion(true, said, len(tags)).tolist() if len(tags) <= MOST_CONFUSED else None
    notes = [
        f"{number_of(int((of_model < 0).sum()), 'token')} with a tag that training never had: {listed(unseen)}",
    ]
    return {
        "accuracy": float(right.mean()),
        "interval": [float(low[0]), float(high[0])],
        "tokens": len(right),
        "sentences": len(tagged),
        "sentence_accuracy": float(whole.mean()),
        "known": _part(right, known),
        "unknown": _part(right, ~known),
        "nats": None if unseen else float(-np.log(np.maximum(predicted.true, 1e-300)).mean()),
        "macro": counts.macro,
        "per_tag": counts.by_label(tags),
        "entities": measure_entities(tagged.tags, rows, info.scheme),
        "labels": list(tags),
        "confusion": pairs,
        "notes": notes if unseen else [],
    }


def _part(right: Marks, part: Marks) -> dict[str, Any]:
    """Return the accuracy on a part of the tokens, None of an empty one, and their count."""
    return {"accuracy": float(right[part].mean()) if part.any() else None, "count": int(part.sum())}
