"""Which verbs work on which kinds of models and, where one does not, why: one table for refusals and for the docs."""

from typing import NamedTuple

from unroll.errors import Kind, WrongKind


class Refusal(NamedTuple):
    """Why a verb does not work on a kind of model."""

    why: str
    """About the model: it follows `DIR is a classifier: `."""
    fix: str


Refusals = dict[Kind, Refusal]
EVERYWHERE: Refusals = {}
NO_MODEL = None
TRAIN_NETWORK = "train a network on the same text: `unroll train FILE`"
PREDICT = "ask it for labels: `unroll classify predict DIR TEXT`"
CLASSIFY = "train a classifier on examples: `unroll classify train FILE --text COL --label COL`"

USES: dict[str, Refusals | None] = {
    "train": {
        "ngram": Refusal("it was counted, and has no weights to train", "count it again: `unroll ngram FILE`"),
        "classifier": Refusal(
            "it learns from texts with labels, not from one text", "continue it: `unroll classify train --resume DIR`"
        ),
    },
    "ngram": NO_MODEL,
    "sample": {"classifier": Refusal("it tells what a text is, and writes none", PREDICT)},
    "score": {"classifier": Refusal("it gives labels a probability, not the text itself", PREDICT)},
    "next": {"classifier": Refusal("it reads whole texts, and expects nothing after them", PREDICT)},
    "evolution": {
        "ngram": Refusal("it was counted at once, and wrote nothing on the way", "see it now: `unroll sample DIR`"),
        "classifier": Refusal("it wrote nothing while it learned", "see how good it became: `unroll info DIR`"),
    },
    "info": EVERYWHERE,
    "eval": {
        "classifier": Refusal(
            "it is evaluated on texts with labels, not on one text", "measure it: `unroll classify eval DIR FILE`"
        )
    },
    "pairs": {"classifier": Refusal("neither of two texts is more probable to it", PREDICT)},
    "rescore": {"classifier": Refusal("it has no probability of a hypothesis to rank it by", PREDICT)},
    "embed": {"ngram": Refusal("it has no hidden state to sum up a line", TRAIN_NETWORK)},
    "similar": {"ngram": Refusal("it has no vectors of lines or symbols to compare", TRAIN_NETWORK)},
    "compare": {
        "classifier": Refusal(
            "it has no nats of a text beside those of other models",
            "measure each on the same examples: `unroll classify eval DIR FILE`",
        )
    },
    "plot": {
        "classifier": Refusal(
            "it has no nats of symbols to draw", "draw its errors: `unroll classify eval DIR FILE --plot F`"
        )
    },
    "trace": {
        "ngram": Refusal("it has no states and no gates to show", TRAIN_NETWORK),
    },
    "gradients": {
        "ngram": Refusal("it has no gradients: it was counted, not trained", TRAIN_NETWORK),
    },
    "attribute": {
        "ngram": Refusal("it has no network to trace a prediction back through", TRAIN_NETWORK),
    },
    "patch": {
        "ngram": Refusal("it has no state that could be put into another text", TRAIN_NETWORK),
        "classifier": Refusal("it expects no continuation that a patched state could change", PREDICT),
    },
    "memory": {"classifier": Refusal("it predicts no symbols that contexts could be measured by", PREDICT)},
    "cells": {
        "ngram": Refusal("it has no cells that could track anything", TRAIN_NETWORK),
    },
    "ablate": {
        "ngram": Refusal("it has no cell to clamp", TRAIN_NETWORK),
        "classifier": Refusal("it predicts no symbols that a clamped cell could make less probable", PREDICT),
    },
    "longrange": NO_MODEL,
    "classify train": {"ngram": Refusal("it has no weights to begin with", TRAIN_NETWORK)},
    "classify predict": {
        "network": Refusal("it has no labels to choose from", CLASSIFY),
        "ngram": Refusal("it counts symbols, and has no labels to choose from", CLASSIFY),
    },
    "classify eval": {
        "network": Refusal(
            "it has no labels to be right about", "measure it on a text: `unroll eval DIR FILE`"
        ),
        "ngram": Refusal(
            "it counts symbols, and has no labels to be right about", "measure it on a text: `unroll eval DIR FILE`"
        ),
    },
    "export": {"ngram": Refusal("it is counts, for which ONNX has no operations", TRAIN_NETWORK)},
    "quantize": {"ngram": Refusal("it is counts, and has no weights to round", TRAIN_NETWORK)},
    "serve": EVERYWHERE,
    "studio": EVERYWHERE,
    "data prepare": NO_MODEL,
    "data fetch": NO_MODEL,
    "data list": NO_MODEL,
}  # fmt: skip
"""For each verb the kinds of models on which it does not work; None where it takes no model. On what is left out it
works. A test holds this table to the verbs themselves, and docs/kinds.md is made from it."""


def explain(error: WrongKind, verb: str) -> None:
    """Give a refusal the words of the table, where it has any for this verb."""
    if (refusal := (USES.get(verb) or {}).get(error.kind)) is not None:
        error.explain(*refusal)
