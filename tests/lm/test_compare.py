"""Comparison: intervals that cover, a test that says 5 % where nothing differs, and a table that adds up."""

from pathlib import Path

import numpy as np
import pytest

from tiny import make_corpus, overrides, text, trained
from unroll.errors import UserError
from unroll.lm import compare as module
from unroll.lm.compare import compare_models, difference
from unroll.progress import result


def test_intervals_cover_and_p_is_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many pairs of models that do not differ, chance is called difference in about one of twenty."""
    monkeypatch.setattr(module, "RESAMPLES", 400)
    rng = np.random.default_rng(0)
    small, covered = 0, 0
    for _ in range(200):
        lines = rng.exponential(5.0, 60)
        result = difference(lines + rng.normal(0, 1, 60), lines + rng.normal(0, 1, 60))
        small += result.p <= 0.05
        covered += result.low <= 0 <= result.high
    assert 2 <= small <= 20
    assert 180 <= covered <= 199


def test_a_difference_is_found_and_has_a_sign() -> None:
    rng = np.random.default_rng(1)
    lines = rng.exponential(5.0, 3000)
    result = difference(lines + 0.1, lines + rng.normal(0, 0.2, 3000))
    assert result.low < 300 < result.high and result.p < 0.001 and result.stretches == 1000
    opposite = difference(lines, lines + 0.1)
    assert opposite.high < 0 < result.low
    zero = difference(lines, lines)
    assert (zero.total, zero.low, zero.high, zero.p) == (0, 0, 0, 1)


def test_a_paired_test_sees_what_an_unpaired_one_cannot() -> None:
    """Planted fault: the second model's lines in another order."""
    rng = np.random.default_rng(2)
    lines = rng.exponential(5.0, 500)
    assert difference(lines + 0.1, lines).p < 0.001
    assert difference(lines + 0.1, rng.permutation(lines)).p > 0.05


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    corpus = make_corpus(folder, [text(200)])
    for arch in ("lstm", "window"):
        trained(corpus, folder / arch, overrides({"arch": arch}))
    return [folder / "lstm", folder / "window"]


def test_the_table_is_what_evaluation_gives(models: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "test.txt"
    file.write_text(text(60, seed=7))
    table = result(compare_models([*models, models[0]], [file]))
    assert isinstance(table, dict)
    first, second, repeat = table["models"]
    assert first["nats_per_token"] == repeat["nats_per_token"] != second["nats_per_token"]
    assert (first["context"], second["context"]) == (None, 4)
    assert first["arch"] == "lstm" and first["tokens_per_second"] > 0
    pairs = {tuple(Path(model).name for model in pair["models"]): pair for pair in table["pairs"]}
    pair = table["pairs"][0]
    assert abs(pair["difference"] - (first["bits_per_byte"] - second["bits_per_byte"])) < 1e-9
    assert pair["interval"][0] < pair["difference"] < pair["interval"][1]
    assert pairs["lstm", "lstm"]["difference"] == 0 and pairs["lstm", "lstm"]["p"] == 1


def test_there_is_no_test_without_lines_and_no_crops(models: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "test.txt"
    file.write_text(text(5, seed=7))
    table = result(compare_models(models, [file], "lines"))
    assert isinstance(table, dict)
    assert table["pairs"][0]["p"] is None and "too few lines" in table["pairs"][0]["note"]
    with pytest.raises(UserError, match="crops"):
        list(compare_models(models, [file], "crops"))
