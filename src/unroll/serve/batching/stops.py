"""The text of a stream, symbol by symbol: a possible beginning of a stop is held back, and a stop is cut off."""

from collections.abc import Sequence

from unroll.data.tokenizer import Tokenizer

BEFORE = 8
"""Symbols before a text that its decoder must know: a word for its space, the beginning of an unfinished character."""


class Writing:
    """A text that grows. `pieces` are the texts of its symbols; joined, they are the text so far.

    The first complete stop ends it, however it was split between pushes; the text is what stands before that stop.
    """

    def __init__(
        self, tokenizer: Tokenizer, before: Sequence[int], stops: Sequence[str], *, spaced: bool = False
    ) -> None:
        """Begin a text after the symbols `before`, and a space if `spaced`, that ends before any of the `stops`."""
        self.pieces: list[str] = []
        self.free = 0
        """Number of pieces that are final: no stop begins in them."""
        self.ended = False
        """Whether a stop was found."""
        self.whole = 0
        """Number of symbols that are wholly in the text, once a stop has ended it."""
        self.spaced = False
        """Whether the text ends with a space that the next symbol would write."""
        self._decoder = tokenizer.decoder_after(before[-BEFORE:], spaced=spaced)
        self._end = tokenizer.end_id
        self._symbols, self._level = tokenizer.pieces, tokenizer.level
        self.may_end = bool(stops) or self._end is not None
        """Whether something in the text itself can end it."""
        self._stops = stops
        self._beginnings = {stop[:size] for stop in stops for size in range(1, len(stop))}
        self._longest = max(map(len, stops), default=1) - 1

    def push(self, ids: Sequence[int]) -> int:
        """Take symbols; return how many belong to the text: all, those up to the end of a stop, or before `<end>`."""
        if self._end is not None and self._end in ids:
            count = self.push(ids[:at]) if (at := ids.index(self._end)) else 0
            if not self.ended:
                self.finish()
            if not self.ended:
                self.ended, self.whole = True, len(self.pieces)
            return count
        before = len(self.pieces)
        self.pieces += map(self._decoder.push, ids)
        if self._stops and (taken := self._stop(before)) is not None:
            return taken
        since, self.free = self.free, len(self.pieces)
        if ids and self._may_grow(ids[-1]):
            self.free -= 1
        if self._stops:
            self._hold(since)
        return len(ids)

    def finish(self) -> None:
        """End the text here; nothing is held back any longer."""
        if self.pieces and (rest := self._decoder.flush()):
            self.pieces[-1] += rest
            if self._stops and self._stop(len(self.pieces) - 1) is not None:
                return
            self.spaced = rest == " "
        self.free = len(self.pieces)

    def _may_grow(self, id: int) -> bool:
        """Tell whether what follows a symbol may still add to its piece."""
        last = self._symbols[id][-1:]
        if self._level == "word":  # by the space after a mark, where the text ends
            return last == b" "
        # By the end of a character, which the next symbol completes.
        return self._level in ("byte", "bpe") and not b"\0" <= last < b"\x80"

    def _stop(self, before: int) -> int | None:
        """Cut off a stop; return how many pieces from `before` on it took, or None where there is no stop."""
        held = "".join(self.pieces[self.free :])
        matches = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
        if not matches:
            return None
        end, cut = min(matches)
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
        """Hold back the pieces, from `since` on, with the longest end of the text that begins a stop."""
        held = "".join(self.pieces[since:])
        sizes = range(min(self._longest, len(held)), 0, -1)
        size = next((size for size in sizes if held[-size:] in self._beginnings), 0)
        first = len(self.pieces)
        while size > 0:
            first -= 1
            size -= len(self.pieces[first])
        self.free = min(self.free, first)
