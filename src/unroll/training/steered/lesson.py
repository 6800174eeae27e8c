"""What a steered language model is taught: texts side by side, each from the start states of its labels."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.directory import save_description
from unroll.artifact.open import load
from unroll.artifact.steering import Steering, count_of
from unroll.data.corpus import Corpus
from unroll.data.ragged import Ragged
from unroll.lm.sample import SampleOptions, generate
from unroll.nn.config import parameter_count
from unroll.nn.steering import SteeredModel
from unroll.predict.predictor import Predictor
from unroll.predict.protocols import lines
from unroll.predict.torch import TorchPredictor, to_numpy
from unroll.state import State, detach
from unroll.training.config import TrainConfig
from unroll.training.loop import mixed_precision, seed_step
from unroll.training.run import Run, kept_in_model
from unroll.training.steered.table import Labels, Window, documents, filled, windows_of

SteeredRun = Run[SteeredModel, TrainConfig]
Ids = NDArray[np.int64]

SAMPLED = 6
"""Labels of the first column of which samples are taken on the way: the most frequent."""


class SteeredBatch(NamedTuple):
    """A window of some texts of similar length."""

    inputs: Ids  # (B, T) the symbol before each target
    targets: Ids  # (B, T); -1 behind the end of a text
    labels: Ids | None  # (B, columns) where the texts begin, -1 for a label that is left out; None where they continue

    @property
    def tokens(self) -> int:
        """Number of targets."""
        return int((self.targets >= 0).sum())

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return the arguments of the model's `loss`, by name."""
        return {"ids": self.inputs, "targets": self.targets, "labels": self.labels}


@dataclass(frozen=True)
class Steered:
    """The lesson: to predict each symbol of each text, its end included, from the start states of its labels.

    Texts of similar length are read side by side, in an order of its own in each epoch; a text that is longer than a
    window is continued in the next steps from the state that was carried there. Some labels are left out
    (`reset_probability`), so that the model also knows texts whose labels are not named.
    """

    chosen_by: ClassVar[str] = "nats"

    corpus: Corpus
    config: TrainConfig
    steering: Steering
    labels: Labels
    _last: list[tuple[int, int, list[Window]]] = field(default_factory=list, init=False, repr=False)
    """The last epoch that was read: its number, the step that it begins with, and its windows."""

    @cached_property
    def texts(self) -> Ragged:
        """The texts for training."""
        return documents(self.corpus.train, self.corpus)

    @cached_property
    def held_out(self) -> Ragged:
        """The texts for validation."""
        return documents(self.corpus.valid, self.corpus)

    def epoch(self, number: int) -> list[Window]:
        """Return the windows of an epoch."""
        config = self.config
        return windows_of(self.texts.lengths, config.batch_size, config.seq_len, seed=config.seed, epoch=number)

    def window(self, step: int) -> Window:
        """Return the window that a step reads, a function of the step alone."""
        known = self._last and self._last[0][1] <= step
        number, start, windows = self._last[0] if known else (0, 0, self.epoch(0))
        while step >= start + len(windows):
            number, start, windows = number + 1, start + len(windows), self.epoch(number + 1)
        self._last[:] = [(number, start, windows)]
        return windows[step - start]

    def start(self, run: SteeredRun) -> State:
        """Seed what the next step drops; return the state that was carried there."""
        seed_step(run.config.seed, run.step)
        return detach(run.state)

    def batch(self, run: SteeredRun) -> SteeredBatch:
        """Return what the next step reads."""
        config, texts = self.config, self.texts
        rows, first = self.window(run.step)
        starts, lengths = texts.starts[rows, None], texts.lengths[rows, None]
        places = np.arange(first, min(first + config.seq_len, int(lengths.max())))
        inside = places < lengths
        shape = (config.batch_size, len(places))  # also where the last texts of an epoch are fewer
        inputs, targets = np.zeros(shape, np.int64), np.full(shape, -1)
        targets[: len(rows)][inside] = texts.values[(starts + places)[inside]]
        inputs[: len(rows)][inside] = texts.values[(starts + places - 1)[inside]]
        labels = None
        if not first:
            inputs[:, 0] = self.corpus.tokenizer.start_id
            labels = np.full((config.batch_size, len(self.columns)), -1)
            drawn = np.random.default_rng([config.seed, run.step]).random((len(rows), len(self.columns)))
            labels[: len(rows)] = np.where(drawn < config.reset_probability, -1, self.labels.train[rows])
        return SteeredBatch(inputs, targets, labels)

    def validate(self, run: SteeredRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per symbol of a part of the held-out texts, from the start states of their labels."""
        with kept_in_model(run) as model:
            predictor = TorchPredictor(model, mixed_precision(run.config, run.device))
            rows = np.arange(len(self.held_out))
            if (total := int(self.held_out.ends[-1])) > run.config.valid_tokens:
                rows = rows[:: -(-total // run.config.valid_tokens)]
            with torch.no_grad():
                states = to_numpy(model.start_state(torch.from_numpy(self.labels.valid[rows]).to(run.device)))
            return self.nats(predictor, rows, states), {"protocol": "labels"}

    def nats(self, predictor: Predictor, rows: Ids, states: State) -> float:
        """Return the nats per symbol of some of the texts that are held out, from their start states."""
        texts = self.held_out.select(rows)
        ids = (texts[row].astype(np.int64) for row in range(len(texts)))
        pieces = lines(predictor, ids, self.corpus.tokenizer.start_id, states)
        return sum(float(nats.sum()) for group in pieces for nats in group) / len(texts.values)

    def sample(self, run: SteeredRun) -> dict[str, Any]:
        """Return a sample of each of the most frequent labels, a text each, which continue the prompt of the recipe."""
        config, tokenizer, column = run.config, self.corpus.tokenizer, self.steering.columns[0]
        options = SampleOptions(temperature=config.sample_temperature, seed=config.seed)
        prompt = [int(symbol) for symbol in tokenizer.encode(tokenizer.to_continue(config.sample_prompt))]
        spaced = tokenizer.leaves_space(config.sample_prompt, prompt)
        texts = []
        with kept_in_model(run) as model:
            for id in np.argsort(np.negative(column.counts), kind="stable")[:SAMPLED].tolist():
                ids = torch.full((1, len(self.steering.columns)), -1, device=run.device)
                ids[0, 0] = id
                with torch.no_grad():
                    state = to_numpy(model.start_state(ids))
                symbols = generate(
                    TorchPredictor(model), tokenizer, prompt, config.sample_length, options, spaced=spaced, state=state
                )
                texts.append(f"{column.labels[id]}: {''.join(symbol.text for symbol in symbols)}")
        return {
            "prompt": config.sample_prompt,
            "temperature": config.sample_temperature,
            "seed": config.seed,
            "text": "\n".join(texts),
        }

    def evaluate(self, run: SteeredRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per symbol of the held-out texts with weights.safetensors, and the whole result."""
        opened = load(run.path, str(run.device))
        assert opened.starts is not None
        rows = np.flatnonzero(self.held_out.ends <= run.config.final_tokens)
        rows = rows if len(rows) else np.arange(1)
        nats = self.nats(opened.predictor, rows, opened.starts.state(self.labels.valid[rows]))
        return nats, {
            "protocol": "labels",
            "valid_nats_per_token": nats,
            "valid_tokens": int(self.held_out.lengths[rows].sum()),
            "valid_part_tokens": len(self.corpus.valid),
            "best_step": run.best_step,
            "steps": run.step,
            "tokens_seen": run.tokens_seen,
        }

    def describe(self, run: SteeredRun, result: dict[str, Any] | None) -> None:
        """Write model.json."""
        config = run.model.config
        parameters = parameter_count(config) + count_of(config, self.steering)
        save_description(
            run.writes, config, self.corpus.tokenizer, result, parameters=parameters, steering=self.steering.to_json()
        )

    @property
    def columns(self) -> tuple[int, ...]:
        """How many labels each column has."""
        return tuple(len(column.labels) for column in self.steering.columns)

    def epochs(self, steps: int) -> float:
        """Return how often so many steps read the texts for training."""
        return steps / len(self.epoch(0))

    @property
    def filled(self) -> float:
        """The share of a window that is read on average."""
        return filled(self.texts.lengths, self.epoch(0), self.config.seq_len)
