"""Prompts on their way into the batch: read in pieces, several at a time, from states that are kept where possible."""

import hashlib
from collections import OrderedDict

import numpy as np

from unroll.predict.predictor import Predictor, log_probabilities, logits_along
from unroll.serve.batching.streams import CHUNK, Prompt, Start, points_of
from unroll.serve.metrics import Metrics
from unroll.state import join_rows, select_rows

READ_TOGETHER = 2048
"""Symbols of several prompts that are read in one step."""
READ_LOGITS = 2**21
"""Logits in memory at a time while a prompt is echoed."""


class Prefixes:
    """States after prompts, kept for reuse; the least used are dropped first."""

    def __init__(self, nbytes: int) -> None:
        self._most = nbytes
        self._size = 0
        self._kept: OrderedDict[bytes, Start] = OrderedDict()

    def get(self, key: bytes) -> Start | None:
        """Return a state, if it is kept."""
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, start: Start) -> None:
        """Keep a state."""
        if key in self._kept or start.nbytes > self._most:
            return
        self._kept[key] = start
        self._size += start.nbytes
        while self._size > self._most:
            self._size -= self._kept.popitem(last=False)[1].nbytes


class PromptReader:
    """Reads prompts, a piece of some of them at a time."""

    def __init__(self, predictor: Predictor, prefix_bytes: int, metrics: Metrics) -> None:
        """Read with `predictor`, and keep states after prompts in `prefix_bytes`."""
        self.prompts: list[Prompt] = []
        """Those not read to their end."""
        self._predictor = predictor
        self._prefixes = Prefixes(prefix_bytes)
        self._metrics = metrics

    def admit(self, prompt: Prompt) -> None:
        """Begin to read a prompt, from the last boundary whose state is kept."""
        self._metrics.prompt_tokens.inc(len(prompt.ids))
        if prompt.start is None and prompt.top is None:
            digest = hashlib.sha256()
            for first in range(0, len(prompt.ids), CHUNK):
                digest.update(prompt.ids[first : first + CHUNK].tobytes())
                prompt.keys.append((min(first + CHUNK, len(prompt.ids)), digest.digest()))
            for boundary, key in reversed(prompt.keys):
                if (start := self._prefixes.get(key)) is not None:
                    prompt.read, prompt.state, prompt.logits = boundary, start.state, start.logits
                    break
            (self._metrics.prefix_hits if prompt.read else self._metrics.prefix_misses).inc()
        self.prompts.append(prompt)

    def take_ready(self) -> list[Prompt]:
        """Remove and return the prompts that are read to their end."""
        ready = [prompt for prompt in self.prompts if prompt.read == len(prompt.ids)]
        self.prompts = [prompt for prompt in self.prompts if prompt.read < len(prompt.ids)]
        return ready

    def take_cancelled(self) -> list[Prompt]:
        """Remove and return the prompts whose clients have all left."""
        cancelled = [prompt for prompt in self.prompts if prompt.cancelled]
        self.prompts = [prompt for prompt in self.prompts if not prompt.cancelled]
        return cancelled

    def read(self) -> None:
        """Read a piece of a prompt, and of all others that need one of the same length."""
        if not self.prompts:
            return
        first = self.prompts[0]
        if first.top is not None:
            self._read_echoed(first, first.top)
            return
        size, fresh = first.chunk, first.state is None
        group = [
            prompt
            for prompt in self.prompts
            if prompt.top is None and prompt.chunk == size and (prompt.state is None) == fresh
        ][: max(1, READ_TOGETHER // size)]
        ids = np.stack([prompt.ids[prompt.read : prompt.read + size] for prompt in group])
        before = None if fresh else join_rows([prompt.state for prompt in group if prompt.state is not None])
        logits, after = self._predictor.logits(ids, before)
        for row, prompt in enumerate(group):
            prompt.state, prompt.logits = select_rows(after, [row]), logits[[row]]
            prompt.read += size
            for boundary, key in prompt.keys:
                if boundary == prompt.read:
                    self._prefixes.put(key, Start(prompt.state, prompt.logits, ()))

    def _read_echoed(self, prompt: Prompt, top: int) -> None:
        """Read a piece of one prompt, and note the probabilities of its echoed symbols."""
        last = prompt.read + prompt.chunk
        size = max(1, READ_LOGITS // self._predictor.vocab_size)
        for first in range(prompt.read, last, size):
            ids = prompt.ids[None, first : min(first + size, last)]
            (logits,), prompt.state = logits_along(self._predictor, ids, prompt.state)
            prompt.logits = logits[-1:]
            at = np.arange(first, first + len(logits)) + 1  # the symbol that each row of the logits is about
            echoed = (at > len(prompt.ids) - prompt.echoed) & (at < len(prompt.ids))
            prompt.points += points_of(log_probabilities(logits[echoed]), prompt.ids[at[echoed]], top)
        prompt.read = last
