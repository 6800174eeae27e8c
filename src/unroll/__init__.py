"""Recurrent language models on your own text: train them in minutes, watch them learn, sample from them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unroll.api import (
        compare,
        embed,
        evaluate,
        evolution,
        fetch,
        info,
        load,
        next_symbols,
        next_words,
        ngram,
        open_model,
        pairs,
        prepare,
        quantize,
        rescore,
        resume,
        sample,
        score,
        score_file,
        similar,
        similar_symbols,
        sources,
        train,
    )
    from unroll.errors import UserError
    from unroll.export.onnx import export_onnx
    from unroll.insight.attribution.measure import attribute
    from unroll.insight.cells.ablation import ablate
    from unroll.insight.cells.measure import cells
    from unroll.insight.curves.picture import plot
    from unroll.insight.gradients.picture import gradients
    from unroll.insight.longrange.measure import longrange
    from unroll.insight.memory.measure import memory
    from unroll.insight.patching.measure import patch
    from unroll.insight.trace import trace

__version__ = "0.1.0"
__all__ = [
    "UserError",
    "ablate",
    "attribute",
    "cells",
    "compare",
    "embed",
    "evaluate",
    "evolution",
    "export_onnx",
    "fetch",
    "gradients",
    "info",
    "load",
    "longrange",
    "memory",
    "next_symbols",
    "next_words",
    "ngram",
    "open_model",
    "pairs",
    "patch",
    "plot",
    "prepare",
    "quantize",
    "rescore",
    "resume",
    "sample",
    "score",
    "score_file",
    "similar",
    "similar_symbols",
    "sources",
    "trace",
    "train",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for, so that `import unroll` stays light."""
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module 'unroll' has no attribute '{name}'")
        homes = {
            "UserError": "unroll.errors",
            "ablate": "unroll.insight.cells.ablation",
            "attribute": "unroll.insight.attribution.measure",
            "cells": "unroll.insight.cells.measure",
            "export_onnx": "unroll.export.onnx",
            "gradients": "unroll.insight.gradients.picture",
            "longrange": "unroll.insight.longrange.measure",
            "memory": "unroll.insight.memory.measure",
            "patch": "unroll.insight.patching.measure",
            "plot": "unroll.insight.curves.picture",
            "trace": "unroll.insight.trace",
        }
        return getattr(import_module(homes.get(name, "unroll.api")), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
