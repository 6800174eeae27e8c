"""Recurrent language models on your own text: train them in minutes, watch them learn, sample from them."""

from typing import TYPE_CHECKING

from unroll._version import __version__ as __version__

if TYPE_CHECKING:
    from unroll.artifact.info import evolution as evolution
    from unroll.artifact.info import info as info
    from unroll.artifact.ngram import ngram as ngram
    from unroll.artifact.open import load as load
    from unroll.artifact.open import open_model as open_model
    from unroll.artifact.quantize import quantize as quantize
    from unroll.data.corpus import prepare as prepare
    from unroll.data.opening import text_path as text_path
    from unroll.data.sources import fetch as fetch
    from unroll.data.sources import sources as sources
    from unroll.errors import UserError as UserError
    from unroll.export.onnx import export_onnx as export_onnx
    from unroll.insight.attribution.measure import attribute as attribute
    from unroll.insight.cells.ablation import ablate as ablate
    from unroll.insight.cells.measure import cells as cells
    from unroll.insight.classifier.attribution import attribute_classifier as attribute_classifier
    from unroll.insight.classifier.cells import classifier_cells as classifier_cells
    from unroll.insight.classifier.trace import trace_classifier as trace_classifier
    from unroll.insight.curves.picture import plot as plot
    from unroll.insight.gradients.picture import gradients as gradients
    from unroll.insight.longrange.measure import longrange as longrange
    from unroll.insight.memory.measure import memory as memory
    from unroll.insight.patching.measure import patch as patch
    from unroll.insight.sequences.attribution import attribute_sequence as attribute_sequence
    from unroll.insight.style.measure import style as style
    from unroll.insight.tagger.attribution import attribute_tagger as attribute_tagger
    from unroll.insight.tagger.trace import trace_tagger as trace_tagger
    from unroll.insight.trace import trace as trace
    from unroll.insight.translator.attribution import attribute_translator as attribute_translator
    from unroll.lm.adapted import evaluate as evaluate
    from unroll.lm.beam import beam_search as beam_search
    from unroll.lm.compare import compare as compare
    from unroll.lm.continuations import next_symbols as next_symbols
    from unroll.lm.continuations import next_words as next_words
    from unroll.lm.pairs import pairs as pairs
    from unroll.lm.rescore import rescore as rescore
    from unroll.lm.sample import sample as sample
    from unroll.lm.surprisal import score as score
    from unroll.lm.units import score_file as score_file
    from unroll.lm.vectors import embed as embed
    from unroll.lm.vectors import similar as similar
    from unroll.lm.vectors import similar_symbols as similar_symbols
    from unroll.tasks.classify.decisive import decisive_units as decisive_units
    from unroll.tasks.classify.evaluate import evaluate_classifier as evaluate_classifier
    from unroll.tasks.classify.predict import classify as classify
    from unroll.tasks.classify.quantize import quantize_classifier as quantize_classifier
    from unroll.tasks.classify.request import resume_classifier as resume_classifier
    from unroll.tasks.classify.request import train_classifier as train_classifier
    from unroll.tasks.forecast.evaluate import evaluate_forecaster as evaluate_forecaster
    from unroll.tasks.forecast.predict import forecast as forecast
    from unroll.tasks.forecast.request import resume_forecaster as resume_forecaster
    from unroll.tasks.forecast.request import train_forecaster as train_forecaster
    from unroll.tasks.sequences.evaluate import evaluate_sequences as evaluate_sequences
    from unroll.tasks.sequences.predict import predict_sequences as predict_sequences
    from unroll.tasks.sequences.quantize import quantize_sequences as quantize_sequences
    from unroll.tasks.sequences.request import resume_sequences as resume_sequences
    from unroll.tasks.sequences.request import train_sequences as train_sequences
    from unroll.tasks.tag.evaluate import evaluate_tagger as evaluate_tagger
    from unroll.tasks.tag.predict import tag as tag
    from unroll.tasks.tag.quantize import quantize_tagger as quantize_tagger
    from unroll.tasks.tag.request import resume_tagger as resume_tagger
    from unroll.tasks.tag.request import train_tagger as train_tagger
    from unroll.tasks.translate.evaluate import evaluate_translator as evaluate_translator
    from unroll.tasks.translate.predict import translate as translate
    from unroll.tasks.translate.quantize import quantize_translator as quantize_translator
    from unroll.tasks.translate.request import resume_translator as resume_translator
    from unroll.tasks.translate.request import train_translator as train_translator
    from unroll.training.request import resume as resume
    from unroll.training.request import train as train


HOMES = {
    "UserError": "unroll.errors",
    "ablate": "unroll.insight.cells.ablation",
    "attribute": "unroll.insight.attribution.measure",
    "attribute_classifier": "unroll.insight.classifier.attribution",
    "attribute_sequence": "unroll.insight.sequences.attribution",
    "attribute_tagger": "unroll.insight.tagger.attribution",
    "attribute_translator": "unroll.insight.translator.attribution",
    "beam_search": "unroll.lm.beam",
    "cells": "unroll.insight.cells.measure",
    "classifier_cells": "unroll.insight.classifier.cells",
    "classify": "unroll.tasks.classify.predict",
    "compare": "unroll.lm.compare",
    "decisive_units": "unroll.tasks.classify.decisive",
    "embed": "unroll.lm.vectors",
    "evaluate": "unroll.lm.adapted",
    "evaluate_classifier": "unroll.tasks.classify.evaluate",
    "evaluate_forecaster": "unroll.tasks.forecast.evaluate",
    "evaluate_sequences": "unroll.tasks.sequences.evaluate",
    "evaluate_tagger": "unroll.tasks.tag.evaluate",
    "evaluate_translator": "unroll.tasks.translate.evaluate",
    "evolution": "unroll.artifact.info",
    "export_onnx": "unroll.export.onnx",
    "fetch": "unroll.data.sources",
    "forecast": "unroll.tasks.forecast.predict",
    "gradients": "unroll.insight.gradients.picture",
    "info": "unroll.artifact.info",
    "load": "unroll.artifact.open",
    "longrange": "unroll.insight.longrange.measure",
    "memory": "unroll.insight.memory.measure",
    "next_symbols": "unroll.lm.continuations",
    "next_words": "unroll.lm.continuations",
    "ngram": "unroll.artifact.ngram",
    "open_model": "unroll.artifact.open",
    "pairs": "unroll.lm.pairs",
    "patch": "unroll.insight.patching.measure",
    "plot": "unroll.insight.curves.picture",
    "predict_sequences": "unroll.tasks.sequences.predict",
    "prepare": "unroll.data.corpus",
    "quantize": "unroll.artifact.quantize",
    "quantize_classifier": "unroll.tasks.classify.quantize",
    "quantize_sequences": "unroll.tasks.sequences.quantize",
    "quantize_tagger": "unroll.tasks.tag.quantize",
    "quantize_translator": "unroll.tasks.translate.quantize",
    "rescore": "unroll.lm.rescore",
    "resume": "unroll.training.request",
    "resume_classifier": "unroll.tasks.classify.request",
    "resume_forecaster": "unroll.tasks.forecast.request",
    "resume_sequences": "unroll.tasks.sequences.request",
    "resume_tagger": "unroll.tasks.tag.request",
    "resume_translator": "unroll.tasks.translate.request",
    "sample": "unroll.lm.sample",
    "score": "unroll.lm.surprisal",
    "score_file": "unroll.lm.units",
    "similar": "unroll.lm.vectors",
    "similar_symbols": "unroll.lm.vectors",
    "sources": "unroll.data.sources",
    "style": "unroll.insight.style.measure",
    "tag": "unroll.tasks.tag.predict",
    "text_path": "unroll.data.opening",
    "trace": "unroll.insight.trace",
    "trace_classifier": "unroll.insight.classifier.trace",
    "trace_tagger": "unroll.insight.tagger.trace",
    "train": "unroll.training.request",
    "train_classifier": "unroll.tasks.classify.request",
    "train_forecaster": "unroll.tasks.forecast.request",
    "train_sequences": "unroll.tasks.sequences.request",
    "train_tagger": "unroll.tasks.tag.request",
    "train_translator": "unroll.tasks.translate.request",
    "translate": "unroll.tasks.translate.predict",
}
"""The public names and the module that each lives in; a test holds the imports above, for type checkers, to them."""
__all__ = list(HOMES)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for, so that `import unroll` stays light."""
        from importlib import import_module

        if name not in HOMES:
            raise AttributeError(f"module 'unroll' has no attribute '{name}'")
        return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *HOMES]
