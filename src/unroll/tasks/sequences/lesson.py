"""What a model of sequences is taught: batches of similar length, and its figures on those held out."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.series import SeriesInfo, save_series
from unroll.data.ragged import Epochs, Vectors, side_by_side
from unroll.nn.series import SeriesNetwork, row_losses
from unroll.state import State
from unroll.tasks.sequences.recipe import SeriesTraining
from unroll.tasks.sequences.store import Taught
from unroll.training.loop import mixed_precision, seed_step
from unroll.training.run import Run, kept_in_model

SeriesRun = Run[SeriesNetwork, SeriesTraining]

ROWS = 256
"""Most sequences that are validated side by side."""


@dataclass(frozen=True)
class SeriesBatch:
    """Sequences that a step reads, as the arguments of `SeriesNetwork.loss`."""

    rows: Vectors
    targets: NDArray[np.float32]

    @property
    def tokens(self) -> int:
        """Number of steps of all sequences."""
        return len(self.rows.values)

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return the padded vectors (B, T, I), their lengths, their targets (B, K), and weights that are equal."""
        vectors, lengths = self.rows.padded()
        weights = np.ones(len(lengths), np.float32)
        return {"vectors": vectors, "lengths": lengths, "targets": self.targets, "weights": weights}


@dataclass(frozen=True)
class SeriesLesson:
    """The lesson of a model of sequences: to give each its label or its number."""

    chosen_by: ClassVar[str] = "nats"

    info: SeriesInfo
    train: Taught
    valid: Taught
    config: SeriesTraining

    @cached_property
    def epochs(self) -> Epochs:
        """The batches of sequences."""
        return Epochs(self.train.rows.lengths, self.config.batch_size, self.config.seed)

    @cached_property
    def read(self) -> Vectors:
        """The sequences of the training as the network reads them."""
        return self.info.scaling.read(self.train.rows, marks=self.info.config.marks)

    def start(self, run: SeriesRun) -> State:
        """Seed what the next step draws; nothing is carried from batch to batch."""
        seed_step(run.config.seed, run.step)
        return ()

    def batch(self, run: SeriesRun) -> SeriesBatch:
        """Return the next batch of the epoch, a function of the step alone."""
        rows = self.epochs.batch(run.step)
        targets = self.targets(self.train.targets[rows], self.config.label_smoothing)
        return SeriesBatch(self.read.select(rows), targets)

    def targets(self, targets: NDArray[Any], smoothing: float = 0.0) -> NDArray[np.float32]:
        """Return targets (B, K): the probabilities that labels should have, smoothed, or standardised numbers."""
        if self.info.config.task == "regress":
            return self.info.goals.standardised(targets[:, None]).astype(np.float32)
        ones = np.eye(self.info.config.outputs, dtype=np.float32)[targets]
        return np.asarray((1 - smoothing) * ones + smoothing / self.info.config.outputs, np.float32)

    def validate(self, run: SeriesRun) -> tuple[float, dict[str, Any]]:
        """Return the loss per held-out sequence, and the accuracy or the mean absolute error."""
        with kept_in_model(run) as model:
            return self.figures(model, run)

    def sample(self, run: SeriesRun) -> None:
        """Return None: nothing is written."""

    def evaluate(self, run: SeriesRun) -> tuple[float, dict[str, Any]]:
        """Return the loss per held-out sequence of weights.safetensors, and the whole result."""
        file = run.path / WEIGHTS
        model = SeriesNetwork(run.model.config).to(run.device).eval()
        copy_weights(model, load_tensors(file), file)
        loss, found = self.figures(model, run)
        result = {
            "protocol": "rows",
            "valid_loss": loss,
            **{f"valid_{name}": value for name, value in found.items()},
            "valid_count": len(self.valid),
            "best_step": run.best_step,
            "steps": run.step,
            "tokens_seen": run.tokens_seen,
        }
        return loss, result

    def describe(self, run: SeriesRun, result: dict[str, Any] | None) -> None:
        """Write model.json."""
        save_series(run.writes, self.info, result)

    @torch.no_grad()
    def figures(self, model: SeriesNetwork, run: SeriesRun) -> tuple[float, dict[str, Any]]:
        """Return the mean loss of held-out sequences, and how good the answers are."""
        config, valid = self.info.config, self.valid
        read = self.info.scaling.read(valid.rows, marks=config.marks)
        targets, outputs, total = self.targets(valid.targets), np.empty((len(valid), config.outputs)), 0.0
        for rows in side_by_side(read.lengths, np.argsort(read.lengths, kind="stable"), ROWS):
            vectors, lengths = (torch.from_numpy(array).to(run.device) for array in read.padded(rows))
            with mixed_precision(run.config, run.device):
                answers = model(vectors, lengths).float()
            outputs[rows] = answers.cpu().numpy()
            losses = row_losses(answers, torch.from_numpy(targets[rows]).to(run.device), config)
            total += float(losses.double().sum())
        loss = total / len(valid) if math.isfinite(total) else math.nan
        if config.task == "classify":
            return loss, {"accuracy": float((outputs.argmax(axis=1) == valid.targets).mean())}
        (mean,), (deviation,) = self.info.goals.means, self.info.goals.deviations
        errors = np.abs(mean + deviation * outputs[:, 0] - valid.targets)
        return loss, {"mae": float(errors.mean()), "baseline_mae": float(np.abs(mean - valid.targets).mean())}
