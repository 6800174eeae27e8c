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
TRAIN_TAGGER = "train a tagger on tagged sentences: `unroll tag train FILE`"
MEASURE = "measure it on a text: `unroll eval DIR FILE`"
MEASURE_LABELS = "measure it: `unroll classify eval DIR FILE`"
MEASURE_TAGS = "measure it: `unroll tag eval DIR FILE`"
MEASURE_TRANSLATIONS = "measure it: `unroll translate eval DIR SRC TGT`"
LEARN = "train a model of sequences: `unroll sequences train FILE --target COL`"
TAG = "ask it for tags: `unroll tag predict DIR TEXT`"
TRANSLATE = "ask it for a translation: `unroll translate predict DIR TEXT`"
LEARN_PAIRS = "train a translator on pairs of texts: `unroll translate train SRC TGT`"
ATTENTION = "see what its pieces attended to: `unroll translate predict DIR TEXT --plot F`"
SEQUENCES = "ask it about sequences: `unroll sequences predict DIR FILE`"

USES: dict[str, Refusals | None] = {
    "train": {
        "ngram": Refusal("it was counted, and has no weights to train", "count it again: `unroll ngram FILE`"),
        "classifier": Refusal(
            "it learns from texts with labels, not from one text",
            "continue it: `unroll classify train --resume DIR`",
        ),
        "tagger": Refusal(
            "it learns from tagged sentences, not from one text",
            "continue it: `unroll tag train --resume DIR`",
        ),
        "translator": Refusal(
            "it learns from pairs of texts, not from one text",
            "continue it: `unroll translate train --resume DIR`",
        ),
        "sequence": Refusal(
            "it learns from sequences of numbers, not from one text",
            "continue it: `unroll sequences train --resume DIR`",
        ),
    },
    "ngram": NO_MODEL,
    "sample": {
        "classifier": Refusal("it tells what a text is, and writes none", PREDICT),
        "tagger": Refusal("it tells what each word is, and writes none", TAG),
        "translator": Refusal("it writes translations, and nothing without a source", TRANSLATE),
        "sequence": Refusal("it predicts numbers or labels, and writes no text", SEQUENCES),
    },
    "score": {
        "classifier": Refusal("it gives labels a probability, not the text itself", PREDICT),
        "tagger": Refusal("it gives tags a probability, not the text itself", TAG),
        "translator": Refusal(
            "it gives a translation a probability, not a text by itself",
            MEASURE_TRANSLATIONS,
        ),
        "sequence": Refusal("it has no probability of a text", SEQUENCES),
    },
    "next": {
        "classifier": Refusal("it reads whole texts, and expects nothing after them", PREDICT),
        "tagger": Refusal("it reads whole sentences, and expects nothing after them", TAG),
        "translator": Refusal("what it expects next depends on a source", TRANSLATE),
        "sequence": Refusal("it reads numbers, and no text that could continue", SEQUENCES),
    },
    "evolution": {
        "ngram": Refusal("it was counted at once, and wrote nothing on the way", "see it now: `unroll sample DIR`"),
        "classifier": Refusal("it wrote nothing while it learned", "see how good it became: `unroll info DIR`"),
        "tagger": Refusal("it wrote nothing while it learned", "see how good it became: `unroll info DIR`"),
        "translator": Refusal("its samples are translations of held-out sources", "see them in DIR/samples.jsonl"),
        "sequence": Refusal("it wrote nothing while it learned", "see how good it became: `unroll info DIR`"),
    },
    "info": EVERYWHERE,
    "eval": {
        "classifier": Refusal(
            "it is evaluated on texts with labels, not on one text",
            MEASURE_LABELS,
        ),
        "tagger": Refusal(
            "it is evaluated on tagged sentences, not on one text",
            MEASURE_TAGS,
        ),
        "translator": Refusal(
            "it is evaluated on pairs of texts, not on one text",
            MEASURE_TRANSLATIONS,
        ),
        "sequence": Refusal(
            "it is evaluated on sequences of numbers, not on one text",
            "measure it: `unroll sequences eval DIR FILE`",
        ),
    },
    "pairs": {
        "classifier": Refusal("neither of two texts is more probable to it", PREDICT),
        "tagger": Refusal("neither of two sentences is more probable to it", TAG),
        "translator": Refusal("neither of two texts is more probable to it without a source", TRANSLATE),
        "sequence": Refusal("neither of two texts says anything to it", SEQUENCES),
    },
    "rescore": {
        "classifier": Refusal("it has no probability of a hypothesis to rank it by", PREDICT),
        "tagger": Refusal("it has no probability of a hypothesis to rank it by", TAG),
        "translator": Refusal("it has no probability of a hypothesis without its source", TRANSLATE),
        "sequence": Refusal("it reads numbers, and no hypotheses", SEQUENCES),
    },
    "embed": {
        "ngram": Refusal("it has no hidden state to sum up a line", TRAIN_NETWORK),
        "tagger": Refusal("its states are of single words, not of whole lines", TRAIN_NETWORK),
        "translator": Refusal("its encoder serves its decoder, and has no vector of a line", TRAIN_NETWORK),
        "sequence": Refusal("it reads numbers, and no lines of text", TRAIN_NETWORK),
    },
    "similar": {
        "ngram": Refusal("it has no vectors of lines or symbols to compare", TRAIN_NETWORK),
        "tagger": Refusal("it has no vectors of lines to compare", TRAIN_NETWORK),
        "translator": Refusal("it has no vectors of lines to compare", TRAIN_NETWORK),
        "sequence": Refusal("it reads numbers, and has no vectors of texts", TRAIN_NETWORK),
    },
    "compare": {
        "classifier": Refusal(
            "it has no nats of a text beside those of other models",
            "measure each on the same examples: `unroll classify eval DIR FILE`",
        ),
        "tagger": Refusal(
            "it has no nats of a text beside those of other models",
            "measure each on the same sentences: `unroll tag eval DIR FILE`",
        ),
        "translator": Refusal(
            "its nats are of translations, given their sources",
            "measure each on the same pairs: `unroll translate eval DIR SRC TGT`",
        ),
        "sequence": Refusal(
            "it has no nats of a text beside those of other models",
            "measure each on the same sequences: `unroll sequences eval DIR FILE`",
        ),
    },
    "plot": {
        "classifier": Refusal(
            "it has no nats of symbols to draw",
            "draw its errors: `unroll classify eval DIR FILE --plot F`",
        ),
        "tagger": Refusal("it has no nats of symbols to draw", "draw its errors: `unroll tag eval DIR FILE --plot F`"),
        "translator": Refusal(
            "its nats are not of the symbols of one text",
            "draw its attention: `unroll translate predict DIR TEXT --plot F`",
        ),
        "sequence": Refusal(
            "it has no nats of symbols to draw",
            "draw its predictions: `unroll sequences eval DIR FILE --plot F`",
        ),
    },
    "trace": {
        "ngram": Refusal("it has no states and no gates to show", TRAIN_NETWORK),
        "translator": Refusal("its decoder's states are of what it writes, not of the text", ATTENTION),
        "sequence": Refusal("it reads numbers, and no symbols of a text that states could be shown at", SEQUENCES),
    },
    "gradients": {
        "ngram": Refusal("it has no gradients: it was counted, not trained", TRAIN_NETWORK),
        "tagger": Refusal("every word has a tag of its own, and no single output is traced back", TAG),
        "translator": Refusal("its decoder reaches every source by attention, not by time alone", TRANSLATE),
        "sequence": Refusal("it reads numbers, and lags are measured here in symbols of a text", SEQUENCES),
    },
    "attribute": {
        "ngram": Refusal("it has no network to trace a prediction back through", TRAIN_NETWORK),
    },
    "patch": {
        "ngram": Refusal("it has no state that could be put into another text", TRAIN_NETWORK),
        "classifier": Refusal("it expects no continuation that a patched state could change", PREDICT),
        "tagger": Refusal("it expects no continuation that a patched state could change", TAG),
        "translator": Refusal("it continues no text whose state could be put into another", TRANSLATE),
        "sequence": Refusal("it reads numbers, and no two texts that differ in a word", SEQUENCES),
    },
    "memory": {
        "classifier": Refusal("it predicts no symbols that contexts could be measured by", PREDICT),
        "tagger": Refusal("it predicts no symbols that contexts could be measured by", TAG),
        "translator": Refusal("it predicts no symbols of a text by what stands before them alone", TRANSLATE),
        "sequence": Refusal("it predicts no symbols that contexts could be measured by", SEQUENCES),
    },
    "cells": {
        "ngram": Refusal("it has no cells that could track anything", TRAIN_NETWORK),
        "tagger": Refusal("it reads sentences from both ends, and no text as a stream", TRAIN_NETWORK),
        "translator": Refusal("it reads and writes single sentences, and no text as a stream", TRAIN_NETWORK),
        "sequence": Refusal("it reads numbers, in which no property of a text can be tracked", TRAIN_NETWORK),
    },
    "ablate": {
        "ngram": Refusal("it has no cell to clamp", TRAIN_NETWORK),
        "classifier": Refusal("it predicts no symbols that a clamped cell could make less probable", PREDICT),
        "tagger": Refusal("it predicts no symbols that a clamped cell could make less probable", TAG),
        "translator": Refusal("it predicts no text in which a clamped cell could be measured", TRANSLATE),
        "sequence": Refusal("it predicts no symbols that a clamped cell could make less probable", SEQUENCES),
    },
    "longrange": NO_MODEL,
    "classify train": {
        "ngram": Refusal("it has no weights to begin with", TRAIN_NETWORK),
        "tagger": Refusal("its tags are of words, and a classifier's labels of texts", CLASSIFY),
        "translator": Refusal("it learnt pairs of texts, and a classifier learns labels", CLASSIFY),
        "sequence": Refusal("it reads numbers, and a classifier of texts reads words", CLASSIFY),
    },
    "classify predict": {
        "network": Refusal("it has no labels to choose from", CLASSIFY),
        "ngram": Refusal("it counts symbols, and has no labels to choose from", CLASSIFY),
        "tagger": Refusal("it has tags for words, and no labels for texts", TAG),
        "translator": Refusal("it writes translations, and has no labels", TRANSLATE),
        "sequence": Refusal("it classifies sequences of numbers, not texts", SEQUENCES),
    },
    "classify eval": {
        "network": Refusal("it has no labels to be right about", MEASURE),
        "ngram": Refusal(
            "it counts symbols, and has no labels to be right about",
            MEASURE,
        ),
        "tagger": Refusal(
            "its tags are measured word by word, not text by text",
            MEASURE_TAGS,
        ),
        "translator": Refusal(
            "its translations are measured against others, not by labels",
            MEASURE_TRANSLATIONS,
        ),
        "sequence": Refusal(
            "it is right about sequences of numbers, not about texts",
            "measure it: `unroll sequences eval DIR FILE`",
        ),
    },
    "tag train": {
        "ngram": Refusal("it has no states that a tagger could read", TRAIN_NETWORK),
        "classifier": Refusal("its labels are of texts, and a tagger's tags of tokens", TRAIN_TAGGER),
        "translator": Refusal("it learnt pairs of texts, and a tagger learns tags", TRAIN_TAGGER),
        "sequence": Refusal("it reads numbers, and a tagger reads tokens", TRAIN_TAGGER),
    },
    "tag predict": {
        "network": Refusal("it predicts what comes next, and has no tags", TRAIN_TAGGER),
        "ngram": Refusal("it counts symbols, and has no tags to choose from", TRAIN_TAGGER),
        "classifier": Refusal("its labels are of whole texts, not of their tokens", PREDICT),
        "translator": Refusal("it writes translations, and has no tags", TRANSLATE),
        "sequence": Refusal("it reads numbers, and no tokens to tag", SEQUENCES),
    },
    "tag eval": {
        "network": Refusal("it has no tags to be right about", MEASURE),
        "ngram": Refusal(
            "it counts symbols, and has no tags to be right about",
            MEASURE,
        ),
        "classifier": Refusal(
            "it is right about whole texts, not about their tokens",
            MEASURE_LABELS,
        ),
        "translator": Refusal(
            "its translations are measured against others, not token by token",
            MEASURE_TRANSLATIONS,
        ),
        "sequence": Refusal(
            "it is right about sequences of numbers, not about tokens",
            "measure it: `unroll sequences eval DIR FILE`",
        ),
    },
    "translate train": {
        "network": Refusal("it learnt one text, and a translator learns pairs of texts", LEARN_PAIRS),
        "ngram": Refusal("it counted one text, and a translator learns pairs of texts", LEARN_PAIRS),
        "classifier": Refusal("it learnt labels, and a translator learns pairs of texts", LEARN_PAIRS),
        "tagger": Refusal("it learnt tags, and a translator learns pairs of texts", LEARN_PAIRS),
        "sequence": Refusal("it learnt numbers, and a translator learns pairs of texts", LEARN_PAIRS),
    },
    "translate predict": {
        "network": Refusal("it continues a text, and translates none", LEARN_PAIRS),
        "ngram": Refusal("it counts symbols, and translates none", LEARN_PAIRS),
        "classifier": Refusal("it has labels for texts, and no translations", PREDICT),
        "tagger": Refusal("it has tags for words, and no translations", TAG),
        "sequence": Refusal("it reads numbers, and no texts to translate", SEQUENCES),
    },
    "translate eval": {
        "network": Refusal("it has no translations to measure", "measure it on a text: `unroll eval DIR FILE`"),
        "ngram": Refusal(
            "it counts symbols, and has no translations to measure", "measure it on a text: `unroll eval DIR FILE`"
        ),
        "classifier": Refusal(
            "it is measured by labels, not by translations", "measure it: `unroll classify eval DIR FILE`"
        ),
        "tagger": Refusal("it is measured by tags, not by translations", "measure it: `unroll tag eval DIR FILE`"),
        "sequence": Refusal(
            "it is measured on numbers, not on translations", "measure it: `unroll sequences eval DIR FILE`"
        ),
    },
    "sequences train": {
        "network": Refusal("it learnt one text, and a model of sequences learns numbers", LEARN),
        "ngram": Refusal("it counts symbols, and learns no numbers", LEARN),
        "classifier": Refusal("it learns from texts with labels, not from numbers", LEARN),
        "tagger": Refusal("it learns from tagged words, not from numbers", LEARN),
        "translator": Refusal("it learns from pairs of texts, not from numbers", LEARN),
    },
    "sequences predict": {
        "network": Refusal("it reads text, and no sequences of numbers", LEARN),
        "ngram": Refusal("it counts symbols of text, and reads no numbers", LEARN),
        "classifier": Refusal("it reads texts, and no sequences of numbers", PREDICT),
        "tagger": Refusal("it reads words, and no sequences of numbers", TAG),
        "translator": Refusal("it reads texts to translate, and no sequences of numbers", TRANSLATE),
    },
    "sequences eval": {
        "network": Refusal("it is measured on a text, not on sequences of numbers", MEASURE),
        "ngram": Refusal("it is measured on a text, as it counts symbols", MEASURE),
        "classifier": Refusal("it is measured on texts with labels, not on numbers", MEASURE_LABELS),
        "tagger": Refusal("it is measured on tagged words, not on numbers", MEASURE_TAGS),
        "translator": Refusal("it is measured on pairs of texts, not on numbers", MEASURE_TRANSLATIONS),
    },
    "export": {
        "ngram": Refusal("it is counts, for which ONNX has no operations", TRAIN_NETWORK),
    },
    "quantize": {
        "ngram": Refusal("it is counts, and has no weights to round", TRAIN_NETWORK),
    },
    "serve": EVERYWHERE,
    "studio": EVERYWHERE,
    "data prepare": NO_MODEL,
    "data fetch": NO_MODEL,
    "data list": NO_MODEL,
    "help": NO_MODEL,
}  # fmt: skip
"""For each verb the kinds of models on which it does not work; None where it takes no model. On what is left out it
works. A test holds this table to the verbs themselves, and docs/kinds.md is made from it."""


def explain(error: WrongKind, verb: str) -> None:
    """Give a refusal the words of the table, where it has any for this verb."""
    if (refusal := (USES.get(verb) or {}).get(error.kind)) is not None:
        error.explain(*refusal)
