"""A model of each task, trained on its toy problem once for all tests."""

import random
from functools import cached_property
from pathlib import Path

from tasks.classify import toy as classify
from tasks.forecast import toy as forecast
from tasks.sequences import toy as sequences
from tasks.tag import toy as tag
from tasks.translate import toy as translate


class Toys:
    """Model directories in a folder, each trained when it is first asked for; a test that writes into one copies it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def classifier(self) -> Path:
        table = classify.written(self.folder / "toy.tsv", classify.rows(random.Random(0), 120))
        return classify.trained(table, self.folder / "classifier", steps=60)

    @cached_property
    def animals(self) -> Path:
        """A classifier that errs about some."""
        return classify.animals(self.folder)

    @cached_property
    def tagger(self) -> Path:
        file = tag.written(self.folder / "tagged.tsv", tag.sentences(random.Random(0), 120))
        return tag.trained(file, self.folder / "tagger", steps=60)

    @cached_property
    def translator(self) -> Path:
        pairs = translate.written(self.folder, translate.sources(random.Random(0), 240))
        return translate.trained(pairs, self.folder / "translator", steps=300)

    @cached_property
    def sides(self) -> Path:
        """A model of sequences that predicts labels."""
        return sequences.trained(self.sequences, self.folder / "sides")

    @cached_property
    def slopes(self) -> Path:
        """A model of sequences that predicts numbers."""
        return sequences.trained_slopes(self.sequences, self.folder / "slopes")

    @cached_property
    def sequences(self) -> Path:
        return sequences.written(self.folder / "toy.csv")

    @cached_property
    def waves(self) -> Path:
        """A forecaster."""
        return forecast.trained(forecast.written(self.folder / "waves.csv"), self.folder / "waves", steps=120)
