"""What the routes that look inside share: models, texts, and results that may be asked for again."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from unroll.artifact.open import Opened
from unroll.artifact.snapshot import Changed
from unroll.errors import UserError
from unroll.insight.cells.measure import Read
from unroll.insight.trace import network_of
from unroll.predict.torch import TorchPredictor
from unroll.serve.context import Context
from unroll.serve.inside import similar, trace
from unroll.serve.inside.jobs import Jobs
from unroll.serve.inside.tables import MOST_MODELS
from unroll.serve.models import TRIES, changing, read_beside
from unroll.serve.served import Served
from unroll.serve.texts import PASSAGE, Passage, Texts, passage, read

T = TypeVar("T")

MOST_TRACES = 2**29
"""Bytes of traces that are kept; those unused the longest go first."""
MOST_VECTORS = 8
"""Texts whose sentences are kept as vectors."""
GIVEN = "your text"


@dataclass
class Store:
    """Models by name, texts by name, and results that are kept."""

    context: Context
    texts: Texts = field(default_factory=Texts)
    jobs: Jobs = field(default_factory=Jobs)
    searched: dict[object, Read] = field(default_factory=dict)
    opened: OrderedDict[str, Opened] = field(default_factory=OrderedDict)
    traces: OrderedDict[tuple[str, str], trace.TextTrace] = field(default_factory=OrderedDict)
    vectors: OrderedDict[object, tuple[list[similar.Sentence], similar.Vectors, list[str]]] = field(
        default_factory=OrderedDict
    )

    async def model(self, name: str) -> Served:
        """Return a model as its directory has it now, in torch: the engine that serves has no gates or gradients."""
        for _ in range(TRIES):
            served = await self.context.models.current(name)
            if (opened := self.opened.get(served.version)) is None:
                try:
                    read = await self.apart(partial(read_beside, served, in_torch))
                except Changed:
                    continue
                opened = self.opened[served.version] = replace(read, path=served.opened.path)
                while len(self.opened) > MOST_MODELS:
                    self.opened.popitem(last=False)
            return replace(served, opened=opened)
        raise changing(name)

    async def models(self, names: list[str]) -> list[Served]:
        """Return several models by name, each once."""
        return [await self.model(name) for name in dict.fromkeys(names)]

    async def apart(self, work: Callable[[], T]) -> T:
        """Run something in the thread for analyses, which does one thing at a time."""
        return await asyncio.get_running_loop().run_in_executor(self.context.worker, work)

    def source(self, opened: Opened, fields: dict[str, Any], most: int) -> tuple[str, Passage]:
        """Return name and content of the text of a request: sent along, kept by name, or a part of the model's own."""
        content: str
        if (content := fields["text"]) is not None:
            return self.texts.keep(content), Passage(content, GIVEN, 0, len(content))
        name: str
        if (name := fields["id"]) is not None:
            content = self.texts.find(name)
            return name, Passage(content, GIVEN, 0, len(content))
        part = fields["part"]
        own = passage(opened, part.get("first") or 0, min(part.get("length") or PASSAGE, most))
        return self.texts.keep(own.content), own

    def trace_of(self, served: Served, name: str) -> trace.TextTrace:
        """Return the trace of a text that is kept under a name, traced again where it was dropped."""
        key = (served.version, name)
        if key not in self.traces:
            text = read(served.opened, GIVEN, self.texts.find(name), trace.MOST)
            self.traces[key] = trace.look(served.opened, text)
        self.traces.move_to_end(key)
        while len(self.traces) > 1 and sum(kept.nbytes for kept in self.traces.values()) > MOST_TRACES:
            self.traces.popitem(last=False)
        return self.traces[key]

    def sentences(
        self, served: Served, name: str, pool: str
    ) -> tuple[list[similar.Sentence], similar.Vectors, list[str]]:
        """Return the sentences of a text with their vectors, and notes."""
        key = (served.version, name, pool)
        if key not in self.vectors:
            sentences, notes = similar.sentences(self.texts.find(name))
            if len(sentences) < 2:
                raise UserError(
                    f"the text has {len(sentences)} sentences", allowed="2 or more", fix="give a text of several lines"
                )
            vectors = similar.vectors(served.opened, [sentence.read for sentence in sentences], pool)
            self.vectors[key] = (sentences, vectors, notes)
        self.vectors.move_to_end(key)
        while len(self.vectors) > MOST_VECTORS:
            self.vectors.popitem(last=False)
        return self.vectors[key]


def in_torch(opened: Opened) -> Opened:
    """Return an opened network with torch's predictor, as `insight` needs it; an n-gram unchanged."""
    if opened.description["model"]["arch"] == "ngram":
        return opened
    return replace(opened, predictor=TorchPredictor(network_of(opened)))
