"""A model's figures on a text: static, adapted and mixed, side by side, with options fitted on validation text."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints

import numpy as np

from unroll.artifact.directory import data_path
from unroll.artifact.open import Opened, open_model
from unroll.artifact.saved_state import read_on
from unroll.data.blocks import read_blocks
from unroll.data.corpus import Corpus, open_corpus
from unroll.data.encode import block_ids
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.files import Files, StrPath, as_path, as_paths
from unroll.lm.evaluate import Protocol, evaluate_predictors, regrouped
from unroll.lm.surprisal import UnknownRule, beginning
from unroll.nn.config import ModelConfig
from unroll.predict.mixture import fit_weights
from unroll.predict.predictor import Predictor
from unroll.predict.protocols import Ids
from unroll.progress import Progress, Work, result
from unroll.settings import Settings, from_mapping, parse_value, setting_pairs, unknown_key

if TYPE_CHECKING:
    from unroll.predict.cache import CacheOptions
    from unroll.predict.dynamic import DynamicOptions

T = TypeVar("T")

Adapt = Literal["dynamic", "cache"]

FIT_TOKENS = 20_000
"""Tokens of validation text used to fit options."""
CHAR_WINDOW, WORD_WINDOW = 16, 4
"""Symbols between two steps of dynamic evaluation: a word says as much as several characters."""


def evaluate(
    model: StrPath,
    files: Files,
    protocol: Protocol = "stream",
    *,
    adapt: Adapt | None = None,
    settings: Settings = (),
    mix: Sequence[StrPath] = (),
    valid: StrPath | None = None,
    unknown: UnknownRule = "as-unk",
    precision: Precision = "float32",
) -> dict[str, Any]:
    """Return how probable text files, read as one text, are to a model, as JSON.

    `stream` carries the state over the whole text; `lines` reads each line, `crops` nanoGPT's crops of 256, from fresh
    states. The other arguments are those of `evaluate_model`. Raises UserError.
    """
    return result(
        evaluate_model(
            Path(model), as_paths(files), protocol, adapt=adapt, settings=settings, mix=as_paths(mix),
            valid=as_path(valid), unknown=unknown, precision=precision,
        )
    )  # fmt: skip


def evaluate_model(
    model: Path,
    files: Sequence[Path],
    protocol: Protocol = "stream",
    *,
    adapt: Adapt | None = None,
    settings: Settings = (),
    mix: Sequence[Path] = (),
    valid: Path | None = None,
    unknown: UnknownRule = "as-unk",
    precision: Precision = "float32",
) -> Work[dict[str, Any]]:
    """Evaluate a model on text files, yielding progress; returns its figures, as JSON.

    `adapt` adds the figures of the model adapting while it reads; `mix` those of its mixture, adapted if `adapt` is
    given, with further models of the same vocabulary. The mixture's weights, and the options of adaptation unless
    `settings` names some, are fitted on the beginning of the file `valid`, by default of the validation part in the
    model directory. `unknown` says what unknown symbols cost, as in `score`. `precision` is that of the model's
    weights; dynamic evaluation uses float32. Raises UserError.
    """
    started = time.perf_counter()
    options = adapt_options(adapt, dict(setting_pairs(settings)))
    if adapt and protocol != "stream":
        raise UserError(
            f"--adapt does not work with the protocol {protocol}",
            allowed="the protocol stream, where there is something to adapt to",
            fix="leave out --protocol or --adapt",
        )
    opened = open_model(model, precision=precision)
    partners = [_same_vocabulary(opened, open_model(path)).predictor for path in mix]
    fitting = _fitting_text(opened, valid) if mix or (adapt and not options) else None
    if adapt:
        used, adapting = yield from _adapted(model, adapt, options, fitting)

    def reading() -> AbstractContextManager[Predictor]:
        return adapting() if adapt else nullcontext(opened.predictor)

    weights = None
    if mix:
        assert fitting is not None
        with reading() as predictor:
            columns = [read_on(each, fitting, beginning(opened))[0] for each in (predictor, *partners)]
        weights = np.concatenate([[0.0] * bool(adapt), fit_weights(np.stack(columns))])
    with reading() as predictor:
        first = [opened.predictor, predictor] if adapt else [predictor]
        predictors, tokenizer = [*first, *partners], opened.tokenizer
        evaluations = yield from evaluate_predictors(predictors, tokenizer, files, protocol, weights, unknown)
    figures: dict[str, Any] = {
        "model": str(model),
        "precision": precision,
        "unknown": unknown,
        "files": [str(file) for file in files],
        **evaluations[0].figures(),
    }
    if fitting is not None and np.array_equal(_first_symbols(files, opened)[: len(fitting)], fitting):
        figures["notes"].append("options were fitted on the beginning of this same text: name another with --valid")
    if adapt:
        figures["adapted"] = {"method": adapt, "options": asdict(used), **evaluations[1].figures()}
    if weights is not None:
        figures["mixed"] = {
            "models": [f"{model} ({adapt})" if adapt else str(model), *map(str, mix)],
            "weights": weights[len(first) - 1 :].tolist(),
            "nats_per_token_each": [evaluation.nats_per_token for evaluation in evaluations[len(first) - 1 : -1]],
            **evaluations[-1].figures(),
        }
    return figures | {"seconds": round(time.perf_counter() - started, 3)}


def adapt_options(adapt: Adapt | None, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return options of adaptation, parsed by name. Raises UserError for an unknown name or invalid value."""
    if not settings:
        return {}
    if not adapt:
        raise UserError(
            f"{next(iter(settings))} is set", allowed="options of --adapt", fix="add --adapt, or leave it out"
        )
    hints = get_type_hints(_options_of(adapt))
    for name in settings:
        if name not in hints:
            raise unknown_key(name, list(hints), f"the options of {adapt}")
    return {name: parse_value(text, hints[name], f"{name} in the settings") for name, text in settings.items()}


def _options_of(adapt: Adapt) -> type:
    if adapt == "cache":
        from unroll.predict.cache import CacheOptions

        return CacheOptions
    from unroll.predict.dynamic import DynamicOptions

    return DynamicOptions


Adapting = Callable[[], AbstractContextManager[Predictor]]


def _adapted(
    path: Path, adapt: Adapt, options: Mapping[str, Any], fitting: Ids | None
) -> Work[tuple["DynamicOptions | CacheOptions", Adapting]]:
    """Return the options, given or fitted, and a function that provides the adapting predictor, fresh each time."""
    opened = open_model(path)
    start_id = opened.tokenizer.start_id
    if (network := opened.predictor.network) is None:
        raise UserError(f"{path} cannot adapt", allowed="a neural model", fix="leave out --adapt")
    if adapt == "cache":
        from unroll.predict import cache

        if options:
            chosen_cache = from_mapping(cache.CacheOptions, dict(options), "the settings")
        else:
            assert fitting is not None
            chosen_cache = yield from _best(cache.fit_cache(network, fitting, start_id), cache.TRIALS)
        return chosen_cache, lambda: nullcontext(cache.CachePredictor(network, chosen_cache))
    from unroll.artifact.checkpoint import load_model
    from unroll.predict import dynamic

    config = opened.config
    assert isinstance(config, ModelConfig)
    model = load_model(path, config)  # a copy: the static figures need unchanged weights
    window = WORD_WINDOW if opened.tokenizer.level == "word" else CHAR_WINDOW
    if (text := _own_text(opened)) is None:
        raise UserError(
            f"the training text is not beside {path}",
            allowed="dynamic evaluation of a model with its training text, which gives the usual size of each gradient",
            fix="use --adapt cache",
        )
    yield Progress("measuring gradients", 0, 1)
    sizes = dynamic.gradient_sizes(model, text.train, start_id, window)
    if options:
        chosen = from_mapping(dynamic.DynamicOptions, {"seq_len": window, **options}, "the settings")
    else:
        assert fitting is not None
        tried = dynamic.fit_dynamic(model, sizes, fitting, start_id, window)
        chosen = yield from _best(tried, dynamic.TRIALS)
    return chosen, lambda: dynamic.dynamic(model, sizes, chosen)


def _best(tried: Iterator[tuple[T, float]], trials: int) -> Work[T]:
    """Return the options with the fewest nats."""
    pairs = []
    for number, pair in enumerate(tried, 1):
        pairs.append(pair)
        yield Progress("fitting", number, trials, "trials")
    return min(pairs, key=lambda pair: pair[1])[0]


def _same_vocabulary(opened: Opened, other: Opened) -> Opened:
    if other.tokenizer.digest != opened.tokenizer.digest:
        raise UserError(
            f"{other.path} has another vocabulary than {opened.path}",
            allowed="models with the same vocabulary, whose probabilities can be mixed",
            fix="train them on one text, prepared once with `unroll data prepare`",
        )
    return other


def _own_text(opened: Opened) -> Corpus | None:
    """Return the text that a model was trained on; None if it is missing or has another vocabulary."""
    folder = data_path(opened.path)
    corpus = open_corpus(folder) if folder.exists() else None
    return corpus if corpus and corpus.tokenizer.digest == opened.tokenizer.digest else None


def _fitting_text(opened: Opened, valid: Path | None) -> Ids:
    """Return the first symbols of the validation text; raises UserError if there are none."""
    if valid is not None:
        ids = _first_symbols([valid], opened)
    else:
        text = _own_text(opened)
        ids = np.zeros(0, np.int64) if text is None else text.valid[:FIT_TOKENS]
    if not len(ids):
        raise UserError(
            f"{valid or opened.path} has no validation text",
            allowed="text to fit options on",
            fix="name it with --valid",
        )
    return ids


def _first_symbols(files: Sequence[Path], opened: Opened) -> Ids:
    blocks = (
        block_ids(block, opened.tokenizer)
        for block in read_blocks(files, opened.tokenizer.level, separator=opened.tokenizer.separator)
    )
    return next(regrouped(blocks, FIT_TOKENS), np.zeros(0, np.int64))
