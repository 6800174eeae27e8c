"""What a tagger is taught: batches of sentences of similar length, and its figures on those held out."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.tagger import TaggerInfo, save_tagger
from unroll.data.ragged import Epochs, Ragged
from unroll.data.reader import Reading
from unroll.engine.crf import Chain, best_paths
from unroll.nn.encoder import Units
from unroll.nn.tagger import Tagger
from unroll.state import State
from unroll.tasks.tag.recipe import TagTraining
from unroll.training.loop import mixed_precision, seed_step
from unroll.training.run import Run, kept_in_model

TaggerRun = Run[Tagger, TagTraining]


@dataclass(frozen=True)
class TaggedRows:
    """Sentences as they are read, with the ids of their tags."""

    reading: Reading
    tags: Ragged

    def __len__(self) -> int:
        return len(self.tags)


@dataclass(frozen=True)
class TaggedBatch:
    """Sentences that a step reads, as the arguments of `Tagger.loss`."""

    inputs: dict[str, NDArray[Any] | None]
    tokens: int

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return the padded sentences, their tags (B, T), and what is done to them."""
        return self.inputs


@dataclass(frozen=True)
class Tagging:
    """The lesson of a tagger: to give each token its tag."""

    chosen_by: ClassVar[str] = "accuracy"
    """With smoothed labels the nats turn before the accuracy does."""

    info: TaggerInfo
    train: TaggedRows
    valid: TaggedRows
    config: TagTraining

    @cached_property
    def epochs(self) -> Epochs:
        """The batches of sentences."""
        return Epochs(self.train.tags.lengths, self.config.batch_size, self.config.seed)

    @cached_property
    def unknown_rates(self) -> NDArray[np.float64]:
        """The probability (V,) of reading each token as unknown."""
        counts = np.bincount(self.train.reading.units.values, minlength=self.info.config.vocab_size)
        share = self.config.unknown
        return np.asarray(share / np.maximum(share + counts, 1e-9))

    def start(self, run: TaggerRun) -> State:
        """Seed what the next step drops; nothing is carried from batch to batch."""
        seed_step(run.config.seed, run.step)
        return ()

    def batch(self, run: TaggerRun) -> TaggedBatch:
        """Return the next batch of the epoch, a function of the step alone."""
        rows = self.epochs.batch(run.step)
        reading = self.train.reading.select(rows)
        inputs = arrays_of(reading, self.train.tags.select(rows))
        chance = np.random.default_rng([self.config.seed, run.step])
        ids = inputs["ids"]
        assert ids is not None
        inputs["ids"] = np.where(chance.random(ids.shape) < self.unknown_rates[ids], 0, ids)
        inputs["smoothing"] = np.array(self.config.label_smoothing, np.float32)
        return TaggedBatch(inputs, len(reading.units.values))

    def validate(self, run: TaggerRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per held-out token, and the accuracy."""
        with kept_in_model(run) as model:
            return self.figures(model, run)

    def sample(self, run: TaggerRun) -> None:
        """Return None: a tagger writes nothing."""

    def evaluate(self, run: TaggerRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per held-out token of weights.safetensors, and the whole result."""
        file = run.path / WEIGHTS
        model = Tagger(run.model.config).to(run.device).eval()
        copy_weights(model, load_tensors(file), file)
        nats, found = self.figures(model, run)
        result = {
            "protocol": "rows",
            "valid_nats": nats,
            "valid_accuracy": found["accuracy"],
            "valid_tokens": len(self.valid.tags.values),
            "valid_sentences": len(self.valid),
            "best_step": run.best_step,
            "steps": run.step,
            "tokens_seen": run.tokens_seen,
        }
        return nats, result

    def describe(self, run: TaggerRun, result: dict[str, Any] | None) -> None:
        """Write model.json."""
        save_tagger(run.writes, self.info, result)

    @torch.no_grad()
    def figures(self, model: Tagger, run: TaggerRun) -> tuple[float, dict[str, Any]]:
        """Return the mean nats of held-out tokens, and the share of them whose tag is the predicted one."""
        total, hits, tokens = 0.0, 0, len(self.valid.tags.values)
        chain = chain_of(model).within(self.info.tags, self.info.scheme)
        for rows, reading in self.valid.reading.batches():
            tags = self.valid.tags.select(rows)
            arrays = arrays_of(reading, tags)
            inputs = {name: None if a is None else torch.from_numpy(a).to(run.device) for name, a in arrays.items()}
            targets = inputs.pop("tags")
            assert targets is not None
            units = Units(**inputs)  # type: ignore[arg-type]
            with mixed_precision(run.config, run.device):
                logits = model(units).float()
            total += float(model.nats(logits, targets.T, units.lengths).double().sum())
            padded = logits.transpose(0, 1).cpu().numpy()
            scores = padded[np.arange(padded.shape[1]) < tags.lengths[:, None]]
            hits += int((best_paths(scores, tags.lengths, chain) == tags.values).sum())
        return total / tokens if math.isfinite(total) else math.nan, {"accuracy": hits / tokens}


def arrays_of(reading: Reading, tags: Ragged) -> dict[str, NDArray[Any] | None]:
    """Return sentences padded, as arguments of `Tagger.loss`."""
    return reading.arrays() | {"tags": tags.padded()[0].astype(np.int64)}


def chain_of(model: Tagger) -> Chain:
    """Return the moves of a tagger's paths; without a CRF they cost nothing."""
    if not model.config.crf:
        return Chain.free(model.config.tags)
    return Chain.of({name: weight.cpu().numpy() for name, weight in model.crf.named_parameters()})
