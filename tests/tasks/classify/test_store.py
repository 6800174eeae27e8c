"""The examples beside a classifier: they come back as they were, and damaged ones are refused."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tasks.classify.toy import rows
from unroll.artifact.arrays import EXAMPLES
from unroll.errors import UserError
from unroll.tasks.classify import store
from unroll.tasks.classify.store import VALID, held_out


def test_they_come_back_as_they_were(toy: Path) -> None:
    stored = store.load(toy)
    assert stored.digest in (toy / "recipe.toml").read_text()
    texts = {text for text, _ in rows(random.Random(0), 120)}
    assert {example["text"] for example in held_out(toy)} <= texts and len(held_out(toy)) == len(stored.valid)
    assert len(stored.train) + len(stored.valid) == 120
    assert stored.without_characters().digest != stored.digest


def test_damaged_ones_are_refused(toy: Path, tmp_path: Path) -> None:
    path = shutil.copytree(toy, tmp_path / "model")
    whole = (path / EXAMPLES).read_bytes()
    for content in (b"", whole[:-1], whole + b"\0", b"\xff" * 8 + whole[8:]):
        (path / EXAMPLES).write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            store.load(path)
    arrays = load_file(toy / EXAMPLES)
    for name, array in (("train.units.ends", np.arange(3)), ("valid.labels.values", np.zeros((2, 2), np.int64))):
        save_file(arrays | {name: array}, path / EXAMPLES)
        with pytest.raises(UserError, match="is damaged"):
            store.load(path)
    (path / VALID).write_text("{\n")
    with pytest.raises(UserError, match="is damaged"):
        held_out(path)
    (path / VALID).unlink()
    with pytest.raises(UserError, match="cannot read"):
        held_out(path)
