"""What a language model is taught: windows of a text; its quick and exact figures, and samples on the way."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.directory import save_description
from unroll.artifact.open import load
from unroll.data.batches import Batch, Streams
from unroll.data.corpus import Corpus
from unroll.data.tokenizer import Tokenizer
from unroll.lm.sample import SampleOptions, generate
from unroll.nn.model import Model
from unroll.predict.protocols import rows_nats, stream_nats
from unroll.predict.torch import TorchPredictor
from unroll.state import State, detach, reset_rows
from unroll.training.config import TrainConfig
from unroll.training.loop import mixed_precision, seed_step, step_on
from unroll.training.many import processes
from unroll.training.run import Run, kept_in_model

LanguageRun = Run[Model, TrainConfig]


@dataclass(frozen=True)
class Language:
    """The lesson of a language model: to predict the next symbol of a corpus' training part."""

    chosen_by: ClassVar[str] = "nats"

    corpus: Corpus
    config: TrainConfig
    columns: tuple[int, ...] = ()
    """How many labels the columns have that steer the model: none do."""
    filled: float = 1.0
    """The share of a window that is read."""

    def epochs(self, steps: int) -> float:
        """Return how often so many steps read the training part."""
        return steps * self.config.tokens_per_step / len(self.corpus.train)

    @cached_property
    def streams(self) -> Streams:
        """The training part as rows."""
        documents = self.corpus.documents if self.corpus.info.config.documents else None
        return Streams(self.corpus.train, self.config.batch_size, self.corpus.tokenizer.start_id, documents)

    def start(self, run: LanguageRun) -> State:
        """As `start_state`."""
        return start_state(run)

    def batch(self, run: LanguageRun) -> Batch:
        """As `next_batch`."""
        return next_batch(run, self.streams)

    def validate(self, run: LanguageRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per token of a part of the validation text, read as several rows."""
        return quick_nats(run, self.corpus), {"protocol": "rows"}

    def sample(self, run: LanguageRun) -> dict[str, Any]:
        """Return a sample that continues the prompt of the recipe."""
        config = run.config
        return {
            "prompt": config.sample_prompt,
            "temperature": config.sample_temperature,
            "seed": config.seed,
            "text": sample_text(run, self.corpus.tokenizer),
        }

    def evaluate(self, run: LanguageRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per token of the validation text, exactly, and the whole result."""
        result = final_result(run, self.corpus)
        return result["valid_nats_per_token"], result

    def describe(self, run: LanguageRun, result: dict[str, Any] | None) -> None:
        """Write model.json."""
        save_description(run.writes, run.model.config, self.corpus.tokenizer, result)


def train_step(run: LanguageRun, streams: Streams) -> tuple[float, float, float]:
    """Take one step, all processes together; returns as `step_on` does."""
    return step_on(run, next_batch(run, streams), start_state(run))


def next_batch(run: LanguageRun, streams: Streams) -> Batch:
    """Return this process' share of the windows that the next step reads."""
    config = run.config
    batch = streams.batch(run.step * config.seq_len, config.seq_len)
    if run.shared:
        processes.give(processes.Order.STEP, run.step, run.cuts)
        batch = processes.share_batch(batch, config.batch_size // processes.size(), config.seq_len)
    return batch


def start_state(run: LanguageRun) -> State:
    """Return the state that a step starts from, without its graph, and seed what the step draws.

    Resets are drawn for all streams, so that a stream is reset at the same steps whoever reads it. What is dropped is
    drawn by each process for its own streams (of recurrent weights and symbols: for itself), and so from other numbers
    than one process alone would draw.
    """
    config, state = run.config, detach(run.state)
    seed_step(config.seed, run.step)
    if config.reset_probability:
        resets = torch.rand(config.batch_size, device=run.device) < config.reset_probability
        state = reset_rows(state, resets[processes.own_rows(config.batch_size)])
    if processes.rank():
        seed_step(config.seed, run.step, processes.rank())
    return state


def quick_nats(run: LanguageRun, corpus: Corpus) -> float:
    """Return the nats per token of the weights that are kept, on a part of the validation text read as several rows."""
    with kept_in_model(run) as model:
        ids = spread(corpus.valid, run.config.valid_tokens, run.config.valid_rows)
        rows = max(1, min(run.config.valid_rows, len(ids) // 100))
        predictor = TorchPredictor(model, mixed_precision(run.config, run.device))
        return rows_nats(predictor, ids, corpus.tokenizer.start_id, rows)


def spread(ids: NDArray[np.unsignedinteger], most: int, pieces: int) -> NDArray[np.unsignedinteger]:
    """Return at most `most` ids, as pieces evenly spaced over all of them: a text is not the same from start to end."""
    if len(ids) <= most:
        return ids
    starts = np.arange(pieces) * (len(ids) // pieces)
    return np.concatenate([ids[start : start + max(1, most // pieces)] for start in starts])


def sample_text(run: LanguageRun, tokenizer: Tokenizer) -> str:
    """Return the sample that is taken on the way: always the same seed and prompt, so that samples can be compared."""
    config = run.config
    options = SampleOptions(temperature=config.sample_temperature, seed=config.seed)
    prompt = [int(symbol) for symbol in tokenizer.encode(tokenizer.to_continue(config.sample_prompt))]
    spaced = tokenizer.leaves_space(config.sample_prompt, prompt)
    with kept_in_model(run) as model:
        symbols = generate(TorchPredictor(model), tokenizer, prompt, config.sample_length, options, spaced=spaced)
        return "".join(symbol.text for symbol in symbols)


def final_result(run: LanguageRun, corpus: Corpus) -> dict[str, Any]:
    """Evaluate weights.safetensors exactly (one row, carried state); returns the result that model.json keeps.

    A test text is evaluated if it was given as a file: that is what such a file is for.
    """
    ids, start_id = corpus.valid[: run.config.final_tokens], corpus.tokenizer.start_id
    predictor, test = load(run.path, str(run.device)).predictor, corpus.given_test[: run.config.final_tokens]
    nats = stream_nats(predictor, ids, start_id)
    tested = {}
    if len(test):
        tested = {"test_nats_per_token": stream_nats(predictor, test, start_id), "test_tokens": len(test)}
    return {
        "protocol": "stream",
        "valid_nats_per_token": nats,
        **tested,
        "valid_tokens": len(ids),
        "valid_part_tokens": len(corpus.valid),
        "best_step": run.best_step,
        "steps": run.step,
        "tokens_seen": run.tokens_seen,
    }
