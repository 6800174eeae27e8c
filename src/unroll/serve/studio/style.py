"""The samples of a training beside its text: their known words and measures, each computed once."""

from dataclasses import dataclass, field
from typing import Any

from unroll.data.corpus import Corpus
from unroll.insight.style.counts import word_spans
from unroll.insight.style.measure import Measures, Reference, ceiling_of, length_of, measures, read_reference, texts_of
from unroll.progress import result


@dataclass
class Beside:
    """What was counted of a training text, and the samples that were measured beside it."""

    reference: Reference
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)
    _length: int = 0
    _ceiling: Measures | None = None

    @classmethod
    def of(cls, corpus: Corpus) -> "Beside":
        """Count the training text of a corpus; takes a second or two."""
        return cls(result(read_reference(*texts_of(corpus))))

    def measure(self, texts: list[str]) -> None:
        """Measure all samples of a training, and pieces of held-out text of their length."""
        for text in texts:
            if text not in self._known:
                self._known[text] = {
                    "spans": [span for span in word_spans(text) if text[slice(*span)] in self.reference.counts.words],
                    "measures": measures(text, self.reference),
                }
        if (length := length_of(texts)) != self._length:
            self._length, self._ceiling = length, ceiling_of(self.reference, length)[0]

    def known(self, text: str) -> dict[str, Any] | None:
        """Return the spans of the words that the training text has, and the measures; None before they are measured."""
        return self._known.get(text)

    def style(self) -> dict[str, Any] | None:
        """Return the kind of the text and its own measures; None before a sample is measured."""
        return None if self._ceiling is None else {"kind": self.reference.kind, "ceiling": self._ceiling}
