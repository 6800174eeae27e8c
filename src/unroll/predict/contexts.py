"""What a language model of characters or bytes says of a token in its context (Akbik et al. 2018), without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Ragged, side_by_side
from unroll.data.tokenizer import Tokenizer
from unroll.predict.predictor import HiddenPredictor
from unroll.progress import Progress, Work

ROWS = 64
"""Most sentences that are read side by side."""
UNITS = 2**14
"""Most symbols of a batch, with its padding."""


@dataclass(frozen=True)
class ContextReader:
    """A language model that reads the tokens of a sentence, joined by single spaces, from a fresh state."""

    network: HiddenPredictor
    tokenizer: Tokenizer
    """Of characters or of bytes."""
    size: int
    """Size C of what is said of a token."""

    def read(self, sentences: Sequence[Sequence[str]]) -> Work[NDArray[np.float16]]:
        """Return for each token, a sentence after the other, the outputs (N, C) of the last layer at its last symbol.

        A sentence's do not depend on the others. Numbers of 16 bits, as they are kept for training.
        """
        texts = [" ".join(sentence) for sentence in sentences]
        rows, ends = zip(*map(self._symbols, sentences, texts), strict=True) if texts else ((), ())
        symbols, last = Ragged.of(rows), Ragged.of(ends)
        contexts = np.empty((len(last.values), self.size), np.float16)
        lengths, done = symbols.lengths, 0
        for numbers in side_by_side(lengths, np.argsort(lengths, kind="stable"), ROWS, UNITS):
            outputs, _ = self.network.hidden(symbols.padded(numbers)[0].astype(np.int64))
            for output, number in zip(outputs, numbers.tolist(), strict=True):
                start, end = int(last.starts[number]), int(last.ends[number])
                contexts[start:end] = output[last.values[start:end]]
            done += len(numbers)
            yield Progress("reading contexts", done, len(texts), "sentences")
        return contexts

    def _symbols(self, sentence: Sequence[str], text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ids of a sentence behind the start symbol, and the place of each token's last symbol."""
        ids, spans = self.tokenizer.encode_offsets(text)
        ends = np.cumsum([len(token.encode()) + 1 for token in sentence], dtype=np.int64) - 1
        return np.concatenate([[self.tokenizer.start_id], ids]), np.searchsorted(spans[:, 1], ends) + 1
