"""What a translator is taught: batches of pairs of similar length, and the nats of targets that are held out."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.translator import Readers, TranslatorInfo, save_translator
from unroll.data.ragged import Epochs
from unroll.nn.encoder import Units
from unroll.nn.translator import Translator
from unroll.state import State
from unroll.tasks.translate.recipe import TranslateTraining
from unroll.tasks.translate.store import Read
from unroll.training.loop import mixed_precision, on_device, seed_step
from unroll.training.run import Run, kept_in_model

TranslatorRun = Run[Translator, TranslateTraining]

SYMBOLS = 2**13
"""Most symbols of one side in a batch, with its padding: their logits are kept until the backward pass."""


@dataclass(frozen=True)
class PairBatch:
    """Pairs that a step reads, as the arguments of `Translator.loss`."""

    pairs: Read
    end: int
    """The symbol that begins and ends a target."""
    smoothing: float = 0.0

    @property
    def tokens(self) -> int:
        """Number of symbols that are predicted: those of the targets and their ends."""
        return len(self.pairs.targets.values) + len(self.pairs)

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return the padded sources, the targets from their start and to their end, and the smoothing ()."""
        ids, lengths = self.pairs.sources.padded()
        targets, target_lengths = self.pairs.targets.padded()
        inputs = np.pad(targets, ((0, 0), (1, 0)), constant_values=self.end)
        targets = np.pad(targets, ((0, 0), (0, 1)))
        targets[np.arange(len(targets)), target_lengths] = self.end
        return {
            "ids": ids,
            "lengths": lengths,
            "inputs": inputs,
            "targets": targets,
            "target_lengths": target_lengths + 1,
            "smoothing": np.array(self.smoothing, np.float32),
        }


@dataclass(frozen=True)
class Translation:
    """The lesson of a translator: to write the target after the source."""

    chosen_by: ClassVar[str] = "nats"

    info: TranslatorInfo
    readers: Readers
    train: Read
    valid: Read
    config: TranslateTraining

    @property
    def end(self) -> int:
        """The symbol that begins and ends a target."""
        return self.readers.target.tokenizer.start_id

    @cached_property
    def epochs(self) -> Epochs:
        """The batches of a training, as numbers of pairs."""
        return Epochs(self.train.lengths, self.config.batch_size, self.config.seed, SYMBOLS)

    def start(self, run: TranslatorRun) -> State:
        """Seed what the next step drops; nothing is carried from batch to batch."""
        seed_step(run.config.seed, run.step)
        return ()

    def batch(self, run: TranslatorRun) -> PairBatch:
        """Return the next batch of the epoch, a function of the step alone."""
        rows = self.epochs.batch(run.step)
        return PairBatch(self.train.select(rows), self.end, self.config.label_smoothing)

    def validate(self, run: TranslatorRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per held-out symbol."""
        with kept_in_model(run) as model:
            return self.nats(model, run), {}

    def sample(self, run: TranslatorRun) -> dict[str, Any]:
        """Return a held-out source of middling length with its translation, greedily, and what it should be."""
        row = int(np.argsort(self.valid.sources.lengths, kind="stable")[len(self.valid) // 2])
        source, reference = self.valid.sources[row], self.valid.targets[row]
        with kept_in_model(run) as model:
            ids = greedy(model, torch.from_numpy(source.astype(np.int64)).to(run.device), self.end)
        prompt, decode = self.readers.source.tokenizer.decode(source), self.readers.target.tokenizer.decode
        text = decode(np.array(ids, np.int64))
        return {"prompt": prompt, "text": f"{prompt} → {text}", "translation": text, "reference": decode(reference)}

    def evaluate(self, run: TranslatorRun) -> tuple[float, dict[str, Any]]:
        """Return the nats per held-out symbol of weights.safetensors, and the whole result."""
        file = run.path / WEIGHTS
        model = Translator(run.model.config).to(run.device).eval()
        copy_weights(model, load_tensors(file), file)
        nats = self.nats(model, run)
        result = {
            "protocol": "rows",
            "valid_nats": nats,
            "valid_symbols": len(self.valid.targets.values) + len(self.valid),
            "valid_count": len(self.valid),
            "best_step": run.best_step,
            "steps": run.step,
            "tokens_seen": run.tokens_seen,
        }
        return nats, result

    def describe(self, run: TranslatorRun, result: dict[str, Any] | None) -> None:
        """Write model.json."""
        save_translator(run.writes, self.info, self.readers.target.tokenizer.level, result)

    @torch.no_grad()
    def nats(self, model: Translator, run: TranslatorRun) -> float:
        """Return the mean nats of the symbols of held-out targets, their ends included."""
        total, count = 0.0, 0
        for pairs in self.valid.batches(self.config.batch_size, SYMBOLS):
            batch = PairBatch(pairs, self.end)
            arrays: dict[str, Any] = {
                name: on_device(array, run.device) for name, array in batch.arrays().items() if array is not None
            }
            with mixed_precision(run.config, run.device):
                nats, _ = model.loss(**arrays)
            total, count = total + float(nats) * batch.tokens, count + batch.tokens
        return total / count if math.isfinite(total) else math.nan


@torch.no_grad()
def greedy(model: Translator, source: Tensor, end: int) -> list[int]:
    """Return the most probable symbol after each, until the end, and at most twice as many as the source (S,) has."""
    memory, state = model.encode(Units(source.unsqueeze(0), torch.tensor([len(source)], device=source.device)))
    ids = [end]
    while len(ids) <= 2 * len(source) + 10:
        readouts, _, state = model.decode(torch.tensor([ids[-1:]], device=source.device), memory, state)
        ids.append(int(model.logits(readouts)[0, 0].argmax()))
        if ids[-1] == end:
            return ids[1:-1]
    return ids[1:]
