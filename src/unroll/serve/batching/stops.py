"""What a stream has written, symbol by symbol: text that may yet become a stop is held back, and a stop is cut off."""

from collections.abc import Sequence

from unroll.data.tokenizer import Tokenizer
from unroll.data.utf8 import StreamDecoder

BEFORE = 8
"""Symbols before a text that its decoder must know: a word for its space, the beginning of an unfinished character."""


class Writing:
    """A text that grows. `pieces` are the texts of its symbols: joined, they are all of it that is known.

    The first stop that is complete ends it, whatever the pushes it came in; the text is what stands before that.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int], stops: Sequence[str]) -> None:
        """Begin a text that goes on from the symbols `before`, and ends before any of the `stops`."""
        self.pieces: list[str] = []
        self.free = 0
        """So many pieces are known to stay: no stop begins in them."""
        self.ended = False
        """Whether a stop was found."""
        self.whole = 0
        """So many symbols are wholly in it, once it is ended."""
        self._decoder = decoder_after(tokenizer, before)
        # What a symbol of these levels writes may end within a character, which is whole with the next one.
        self._symbols = tokenizer.pieces if tokenizer.level in ("byte", "bpe") else None
        self._stops = stops
        self._beginnings = {stop[:size] for stop in stops for size in range(1, len(stop))}
        self._longest = max(map(len, stops), default=1) - 1

    def push(self, ids: Sequence[int]) -> int:
        """Take symbols; return how many are part of it: all, or those up to the end of a stop."""
        before = len(self.pieces)
        self.pieces += map(self._decoder.push, ids)
        if self._stops and (taken := self._stop(before)) is not None:
            return taken
        since, self.free = self.free, len(self.pieces)
        if self._symbols is not None and ids and not b"\0" <= self._symbols[ids[-1]][-1:] < b"\x80":
            self.free -= 1
        if self._stops:
            self._hold(since)
        return len(ids)

    def finish(self) -> None:
        """End it where it is: nothing is held back any longer."""
        if self.pieces and (rest := self._decoder.flush()):
            self.pieces[-1] += rest
            if self._stops and self._stop(len(self.pieces) - 1) is not None:
                return
        self.free = len(self.pieces)

    def _stop(self, before: int) -> int | None:
        """Cut off a stop and return how many of the pieces from `before` on it took; None where there is none."""
        held = "".join(self.pieces[self.free :])
        found = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
        if not found:
            return None
        end, cut = min(found)
        self.ended = True
        start, kept, self.whole = 0, self.free, self.free
        for number in range(self.free, len(self.pieces)):
            piece = self.pieces[number]
            if start < cut:
                self.pieces[number] = piece[: cut - start]
                kept = number + 1
            start += len(piece)
            if start <= cut:
                self.whole = number + 1
            if start >= end:
                break
        del self.pieces[kept:]
        self.whole = min(self.whole, kept)
        self.free = kept
        return number + 1 - before

    def _hold(self, since: int) -> None:
        """Of the pieces from `since` on, keep back those with the longest end of the text that begins a stop."""
        held = "".join(self.pieces[since:])
        room = range(min(self._longest, len(held)), 0, -1)
        wanted = next((size for size in room if held[-size:] in self._beginnings), 0)
        first = len(self.pieces)
        while wanted > 0:
            first -= 1
            wanted -= len(self.pieces[first])
        self.free = min(self.free, first)


def decoder_after(tokenizer: Tokenizer, before: Sequence[int]) -> StreamDecoder:
    """Return a decoder that goes on from what was read before."""
    decoder = tokenizer.stream_decoder()
    for id in before[-BEFORE:]:
        decoder.push(id)
    return decoder
