"""docs/format.md is enough to read a model: the program on that page gives the logits that unroll gives."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import unroll
from data.hostile import FRAGMENTS
from unroll.data.words import UnicodeWordTokenizer
from unroll.nn.arch import ARCHITECTURES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "format.md"
TEXT = "It was a bright cold day in April,  and the clocks were striking thirteen.\n" * 40
READ = "It was a cold clock.\nThe bright Ä"
"""A text with what no model here has seen."""
KINDS = [
    ("char", "lstm", ()),
    ("word", "lstm", ("tie_weights=true", "embedding_size=12", "num_layers=2", "skip=sum")),
    ("byte", "gru", ("num_layers=3", "skip=residual", "layers_before=1")),
    ("char", "rnn", ("num_layers=2", "layers_after=2", "tie_weights=true", "embedding_size=16")),
    ("word", "gru", ()),
    ("byte", "mingru", ("num_layers=2",)),
    ("char", "window", ("window=5", "num_layers=2", "layers_before=1", "layers_after=1")),
    ("byte", "window", ("window=1",)),
]

Read = Callable[[Path, str], NDArray[np.float64]]


def program(page: str) -> dict[str, Any]:
    """Return the names that the program on the page defines."""
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def reader(page: str) -> Read:
    """Return `read` of the program on the page."""
    read: Read = program(page)["read"]
    return read


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of a model of each kind, whose weights are drawn large enough for every one of them to matter."""
    folder = tmp_path_factory.mktemp("format")
    (folder / "book.txt").write_text(TEXT)
    models = {}
    for level, arch, settings in KINDS:
        out = folder / f"{level}-{arch}"
        sizes = ("hidden_size=16", "batch_size=2", "seq_len=8", "learning_rate=0.3", "warmup_steps=1")
        for _ in unroll.train(
            folder / "book.txt", out=out, steps=10, level=level, arch=arch, settings=[*sizes, *settings], device="cpu"
        ):
            pass
        models[out.name] = out
    return models


def difference(read: Read, folder: Path) -> float:
    """Return how far the logits of `read` are from those of unroll, over the largest of them."""
    opened = unroll.open_model(folder)
    start = [opened.tokenizer.start_id]
    ids = np.array([[*start, *opened.tokenizer.encode(READ)]], np.int64)
    logits, state = [], None
    for t in range(ids.shape[1]):
        after, state = opened.predictor.logits(ids[:, t : t + 1], state)
        logits.append(after[0])
    expected = np.array(logits)
    return float(np.abs(read(folder, READ) - expected).max() / np.abs(expected).max())


@given(st.lists(st.sampled_from([*FRAGMENTS, ", ", " (", "don't", "’s", "\u2028", "\x1c", "\xa0"]), max_size=9))
def test_the_page_s_words_are_those_of_unroll(parts: list[str]) -> None:
    text = "".join(parts)
    tokenizer = UnicodeWordTokenizer.learn([TEXT, text])
    assert program(PAGE.read_text())["encode"](json.loads(tokenizer.to_json()), text) == [1, *tokenizer.encode(text)]


def test_every_architecture_is_on_the_page() -> None:
    assert {arch for _, arch, _ in KINDS} == set(ARCHITECTURES)
    assert all(f"`{arch}`" in PAGE.read_text() for arch in ARCHITECTURES)


@pytest.mark.parametrize("kind", [f"{level}-{arch}" for level, arch, _ in KINDS])
def test_the_page_s_reader_gives_the_logits_of_unroll(kind: str, folders: dict[str, Path]) -> None:
    assert difference(reader(PAGE.read_text()), folders[kind]) < 1e-5


@pytest.mark.parametrize(
    ("kind", "rule", "fault"),
    [
        ("char-lstm", "i, f, g, o = np.split(a + u, 4)", "f, i, g, o = np.split(a + u, 4)"),
        ("word-gru", "(1 - z) * n + z * h", "z * n + (1 - z) * h"),
        (
            "word-gru",
            "sigmoid(a_r + u_r) * u_n",
            "sigmoid(a_r + u_r) * (u_n - w[f'recurrent.layers.{k}.bias_hh'][-16:])",
        ),
        ("char-lstm", '[ids["\\n"], *', "[0, *"),
        ("byte-gru", "h[k] + x if", "h[k] if"),
        ("char-window", "seen = [*seen[1:], x]", "seen = [x, *seen[:-1]]"),
        ("word-lstm", 'h.sum(axis=0) if config["skip"]', 'h[-1] if config["skip"]'),
    ],
)
def test_a_wrong_rule_is_noticed(kind: str, rule: str, fault: str, folders: dict[str, Path]) -> None:
    page = PAGE.read_text()
    assert page.count(rule) == 1
    assert difference(reader(page.replace(rule, fault)), folders[kind]) > 1e-4
