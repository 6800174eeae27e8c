"""What a classifier is taught: batches of examples of similar length, and its figures on those held out."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.classifier import ClassifierInfo, save_classifier
from unroll.artifact.directory import WEIGHTS
from unroll.data.ragged import Epochs, Ragged
from unroll.data.reader import Reader, Reading
from unroll.nn.encoder import Classifier, Units, label_nats
from unroll.state import State
from unroll.tasks.classify.recipe import ClassifyTraining
from unroll.tasks.classify.store import Labelled
from unroll.training.loop import mixed_precision, seed_step
from unroll.training.run import Run, kept_in_model

ClassifierRun = Run[Classifier, ClassifyTraining]

GROWTH = 0.4
"""Part of a training over which the perturbation grows to its length."""


@dataclass(frozen=True)
class LabelledBatch:
    """Examples that a step reads, as the arguments of `Classifier.loss`."""

    texts: Reading
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    perturbation: float = 0.0

    @property
    def tokens(self) -> int:
        """Number of units."""
        return len(self.texts.units.values)

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return the padded texts, their targets (B, K) and weights (B,), and the length of the perturbation ()."""
        perturbation = np.array(self.perturbation, np.float32)
        return self.texts.arrays() | {"targets": self.targets, "weights": self.weights, "perturbation": perturbation}


@dataclass(frozen=True)
class Classification:
    """The lesson of a classifier: to give each text its label."""

    chosen_by: ClassVar[str] = "nats"

    info: ClassifierInfo
    reader: Reader
    train: Labelled
    valid: Labelled
    config: ClassifyTraining

    @cached_property
    def epochs(self) -> Epochs:
        """The batches of examples."""
        return Epochs(self.train.texts.units.lengths, self.config.batch_size, self.config.seed)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """The weight of each example (N,), on average 1; equal but for balanced classes."""
        if self.config.class_weights == "none":
            return np.ones(len(self.train), np.float32)
        counts = np.bincount(self.train.labels.values, minlength=len(self.info.labels))
        of_label = np.append(1 / np.maximum(counts, 1), 0.0)  # a text without any label counts as those that have some
        sums = np.add.reduceat(np.append(of_label[self.train.labels.values], 0.0), self.train.labels.starts)
        lengths = self.train.labels.lengths
        weights = np.where(lengths > 0, sums / np.maximum(lengths, 1), np.mean(of_label[:-1]))
        return np.asarray(weights / weights.mean(), np.float32)

    def start(self, run: ClassifierRun) -> State:
        """Seed what the next step drops; nothing is carried from batch to batch."""
        seed_step(run.config.seed, run.step)
        return ()

    def batch(self, run: ClassifierRun) -> LabelledBatch:
        """Return the next batch of the epoch, a function of the step alone."""
        rows = self.epochs.batch(run.step)
        # At full length from the start it may undo all that is learnt: then the loss stays what guessing costs.
        perturbation = run.model.config.perturbation * min(1.0, run.step / (GROWTH * self.config.steps))
        return LabelledBatch(self.train.texts.select(rows), self.targets(rows), self.weights[rows], perturbation)

    def targets(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the probabilities (B, K) that the labels of examples should have, smoothed."""
        count = len(self.info.labels)
        targets = one_hot(self.train.labels.select(rows), count)
        # Of several labels each is a question of its own, with two answers.
        uniform = 0.5 if self.info.config.multi_label else 1 / count
        smoothing = self.config.label_smoothing
        return np.asarray((1 - smoothing) * targets + smoothing * uniform, np.float32)

    def validate(self, run: ClassifierRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per held-out example, and the accuracy."""
        with kept_in_model(run) as model:
            return figures(model, self.valid, run)

    def sample(self, run: ClassifierRun) -> None:
        """Return None: a classifier writes nothing."""

    def evaluate(self, run: ClassifierRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per held-out example of weights.safetensors, and the whole result."""
        file = run.path / WEIGHTS
        model = Classifier(run.model.config).to(run.device).eval()
        copy_weights(model, load_tensors(file), file)
        nats, found = figures(model, self.valid, run)
        result = {
            "protocol": "rows",
            "valid_nats": nats,
            "valid_accuracy": found["accuracy"],
            "valid_count": len(self.valid),
            "best_step": run.best_step,
            "steps": run.step,
            "tokens_seen": run.tokens_seen,
        }
        return nats, result

    def describe(self, run: ClassifierRun, result: dict[str, Any] | None) -> None:
        """Write model.json."""
        save_classifier(run.writes, self.info, self.reader, result)


def one_hot(labels: Ragged, count: int) -> NDArray[np.float32]:
    """Return an array (B, K) with a one for each label of a row."""
    targets = np.zeros((len(labels), count), np.float32)
    targets[np.repeat(np.arange(len(labels)), labels.lengths), labels.values] = 1
    return targets


@torch.no_grad()
def figures(model: Classifier, examples: Labelled, run: ClassifierRun) -> tuple[float, dict[str, Any]]:
    """Return the mean nats of examples, and the share of those whose labels are exactly the predicted ones."""
    total, hits = 0.0, 0
    for rows, texts in examples.texts.batches():
        batch = LabelledBatch(
            texts,
            one_hot(examples.labels.select(rows), model.config.labels),
            np.ones(len(rows), np.float32),
        )
        inputs = {name: None if a is None else torch.from_numpy(a).to(run.device) for name, a in batch.arrays().items()}
        targets = inputs.pop("targets")
        inputs.pop("weights")
        inputs.pop("perturbation")
        assert targets is not None
        with mixed_precision(run.config, run.device):
            logits = model(Units(**inputs)).float()  # type: ignore[arg-type]
        total += float(label_nats(logits, targets, multi_label=model.config.multi_label).double().sum())
        if model.config.multi_label:
            hits += int(((logits > 0) == (targets > 0.5)).all(1).sum())
        else:
            hits += int((logits.argmax(1) == targets.argmax(1)).sum())
    count = max(1, len(examples))
    return total / count if math.isfinite(total) else math.nan, {"accuracy": hits / count}
