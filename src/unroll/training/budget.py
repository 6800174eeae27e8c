"""From a budget to a recipe: measure this machine, take the largest shape that reads enough, count the steps."""

import math
import time
from dataclasses import dataclass

import torch

from unroll.data.corpus import Corpus
from unroll.errors import UserError
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.predict.protocols import stream_nats
from unroll.predict.torch import TorchPredictor
from unroll.settings import from_mapping
from unroll.training.calibrate import Machine, measure_machine, tokens_per_second
from unroll.training.config import TrainConfig
from unroll.training.recipe import (
    Overrides,
    Recipe,
    choose,
    fit_batch,
    reads_enough,
    shapes,
    size_for_tokens,
    weights_per_step,
)


@dataclass(frozen=True)
class Budget:
    """How long a run may take: a number of steps, or minutes of wall clock, everything included."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise UserError(f"steps is {self.steps}", allowed="1 or more")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise UserError(f"minutes is {self.minutes}", allowed="above 0")


def reference_shape(overrides: Overrides) -> ModelConfig:
    """Return the model that this machine is measured with: 256 wide, but for what the user fixed."""
    fixed = {name: value for name, value in overrides["model"].items() if name != "vocab_size"}
    return from_mapping(ModelConfig, {"vocab_size": 96, "hidden_size": 256} | fixed, "the recipe's [model]")


def portions(overrides: Overrides) -> TrainConfig:
    """Return a training in the portions that the user fixed, or in those of default."""
    names, fixed = ("batch_size", "seq_len"), overrides["training"]
    return from_mapping(TrainConfig, {name: fixed[name] for name in names if name in fixed}, "the recipe's [training]")


def measured(overrides: Overrides, device: torch.device, minutes: float) -> Machine:
    """Measure this machine, within a few hundredths of the budget for each way of training."""
    shape, fixed = reference_shape(overrides), overrides["training"]
    return measure_machine(shape, portions(overrides), device, fixed, min(0.5, 0.6 * minutes))


def resolve(
    corpus: Corpus,
    budget: Budget,
    overrides: Overrides,
    device: torch.device,
    started: float,
    machine: Machine | None = None,
    *,
    tuned: bool = False,
    filled: float = 1.0,
    most_tokens: float = math.inf,
) -> Recipe:
    """Resolve text, budget and what the user fixed into a recipe with a number of steps.

    `started` (time.monotonic) is when the minutes began; without a measured `machine` the budget is in steps. `filled`
    is the share of a window that is read, `most_tokens` how many symbols teach something, repeats included.
    """
    level, vocab_size, train_tokens = corpus.tokenizer.level, corpus.tokenizer.vocab_size, len(corpus.train)
    fixed = overrides["training"]
    batch_size, seq_len = fit_batch(train_tokens, fixed.get("batch_size", 16), fixed.get("seq_len", 64), fixed)
    portion = batch_size * seq_len * filled

    def recipe_of(hidden_size: int, num_layers: int = 1, *, steps: int, final_tokens: int | None = None) -> Recipe:
        return choose(
            level=level, vocab_size=vocab_size, train_tokens=train_tokens, hidden_size=hidden_size,
            num_layers=num_layers, steps=steps, final_tokens=final_tokens, tuned=tuned, overrides=overrides,
            data=corpus.info.config, filled=filled,
        )  # fmt: skip

    if budget.minutes is None or machine is None:
        steps = budget.steps or fixed.get("steps") or 2000
        size = size_for_tokens(min(most_tokens, steps * portion), overrides, vocab_size)
        return recipe_of(hidden_size=size, steps=steps)

    # The largest shape that reads enough, by the rate expected from its weights; then it is measured, and if it is
    # slower than that, smaller ones are.
    end = started + 60 * budget.minutes
    reference = machine.tokens_per_second * weights_per_step(reference_shape(overrides))
    fixed_size = overrides["model"].get("hidden_size")
    ladder = [(fixed_size, 1)] if fixed_size else shapes(level)
    for size, layers in reversed(ladder):
        shape = {"hidden_size": size, "num_layers": layers}
        expected = reference / weights_per_step(recipe_of(**shape, steps=1).model)
        tried = recipe_of(**shape, steps=max(1, int(seconds_until(end) * expected / portion)))
        smallest = (size, layers) == ladder[0]
        if not smallest and not reads_enough(min(most_tokens, 1.1 * expected * (end - time.monotonic())), tried.model):
            continue
        rate = tokens_per_second(tried.model, tried.training, device, min(0.6, 0.6 * budget.minutes))
        if smallest or reads_enough(min(most_tokens, rate * (end - time.monotonic())), tried.model):
            break
    per_symbol = seconds_per_symbol(tried.model, corpus, device)
    final_tokens = max(1000, min(len(corpus.valid), int(0.1 * 60 * budget.minutes / per_symbol)))
    seconds = seconds_until(end) - final_symbols(corpus, final_tokens) * per_symbol
    steps = steps_in(seconds, rate, tried.training, budget, filled)
    enough = steps if most_tokens == math.inf else max(1, round(most_tokens / portion))
    return recipe_of(**shape, steps=min(steps, enough), final_tokens=final_tokens)


def further_steps(
    budget: Budget,
    model: ModelConfig,
    training: TrainConfig,
    corpus: Corpus,
    device: torch.device,
    started: float,
    filled: float,
) -> int:
    """Return by how many steps a finished training is extended: those of the budget, or as many as fit its minutes.

    `started` (time.monotonic) is when the minutes began, `filled` the share of a window that is read. The rate is
    measured, and the final evaluation fits in, too.
    """
    if budget.minutes is None:
        return budget.steps or 0
    rate = tokens_per_second(model, training, device, min(0.6, 0.6 * budget.minutes))
    final = final_symbols(corpus, training.final_tokens) * seconds_per_symbol(model, corpus, device)
    return steps_in(seconds_until(started + 60 * budget.minutes) - final, rate, training, budget, filled)


def steps_in(seconds: float, rate: float, training: TrainConfig, budget: Budget, filled: float) -> int:
    """Return the steps that fit into `seconds` at `rate` symbols per second; raises UserError for none."""
    steps = int(seconds * rate / (training.batch_size * training.seq_len * filled))
    if steps < 1:
        raise UserError(
            f"{budget.minutes:g} minutes is not enough for a single step on this machine",
            allowed="a budget that holds one step",
            fix="give more minutes, or a number of steps",
        )
    return steps


RESERVE = 0.05
"""Share of a budget kept for validation, samples and saving on the way."""


def seconds_until(end: float) -> float:
    """Return the seconds until `end` (time.monotonic) that steps may take."""
    return (end - time.monotonic()) * (1 - RESERVE)


def final_symbols(corpus: Corpus, count: int) -> int:
    """Return how many symbols are read at the end: `count` for validation, and as many of a given test text."""
    return min(count, len(corpus.valid)) + min(count, len(corpus.given_test))


def seconds_per_symbol(config: ModelConfig, corpus: Corpus, device: torch.device) -> float:
    """Return the seconds that the final exact figure takes for each symbol."""
    model = Model(config).to(device).eval()
    ids = corpus.valid[:1024]
    start = time.perf_counter()
    stream_nats(TorchPredictor(model), ids, corpus.tokenizer.start_id)
    return (time.perf_counter() - start) / max(1, len(ids))
