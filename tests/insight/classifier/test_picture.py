"""The picture of a label's best unit shows the values and is the same each time."""

from pathlib import Path

import numpy as np

from insight.classifier.cases import made
from insight.classifier.test_cells import plant, texts
from tasks.classify.toy import written
from unroll.insight.classifier.cells import classifier_cells
from unroll.insight.classifier.picture import label_picture


def test_a_picture_shows_both_kinds_of_texts(tmp_path: Path) -> None:
    opened = made(tmp_path / "planted", chars=0, arch="rnn")
    plant(opened)
    table = written(tmp_path / "table.tsv", [(text, "dog" if "o" in text else "cat") for text in texts(300)])
    tracking = classifier_cells(opened, table, property="label:dog", top=1)
    svg = label_picture(tracking, ".svg").decode()
    assert tracking.sample is not None
    dogs = int(np.sum(tracking.sample.labels))
    assert f"dog: {dogs:,} texts" in svg and f"all others: {150 - dogs:,} texts" in svg and "AUROC 1.000" in svg
    first, second = (label_picture(tracking, ".png") for _ in range(2))
    assert first == second and first.startswith(b"\x89PNG")
