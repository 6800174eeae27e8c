"""Rescored lists: every line keeps its bytes, the new scores obey their formula, the fitted weight is the best."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lm.test_nbest import LISTS, MOSES
from lm.test_pair_files import write
from lm.test_pairs import CHARS, opened, step_by_step
from unroll.data.lines import LINE_ENDS
from unroll.errors import UserError
from unroll.lm.nbest import Fields, read_nbest
from unroll.lm.rescore import Rescored, fit_weight, rescore_list, upper_lines, word_errors
from unroll.predict import protocols
from unroll.progress import result


def rescored(path: Path, weight: float = 0.5, word_bonus: float = 0.0, references: Path | None = None) -> Rescored:
    return result(rescore_list(opened(), path, weight, word_bonus, references))


def without_added(format: str, line: bytes) -> bytes:
    """Return a line as it was before two fields were added."""
    if format == "moses":
        return b" ||| ".join(line.split(b" ||| ")[:-2])
    if format == "tsv":
        return b"\t".join(line.split(b"\t")[:-2])
    start, end = line.index(b', "lm": '), line.rindex(b"}")
    return line[:start] + line[end:]


@pytest.mark.parametrize("format", LISTS)
def test_every_line_comes_back_with_all_its_bytes(tmp_path: Path, format: str) -> None:
    result = rescored(write(tmp_path / "nbest", LISTS[format]))
    assert result.nbest.format == format
    originals = [line.rstrip(b"\r\n") for line in LISTS[format].encode().splitlines()]
    lines = result.written().splitlines()
    assert result.written().endswith((b"\n", b"\r\n"))
    if format == "tsv":
        assert lines.pop(0) == originals.pop(0) + b"\tlm\trescored"
    assert sorted(without_added(format, line) for line in lines) == sorted(originals)
    if format == "moses":
        reread = read_nbest(write(tmp_path / "again", result.written().decode()), Fields(score="6"))
        order = [k for members in result.ranked.values() for k in members]
        assert [h.score for h in reread.hypotheses] == pytest.approx(result.total[order].tolist(), abs=1e-6)
    for line in lines if format == "jsonl" else []:
        assert json.loads(line)["rescored"] == pytest.approx(json.loads(line)["score"] + json.loads(line)["lm"] / 2)


def law_totals(totals: Callable[[Path], Rescored], path: Path) -> None:
    """total = old + weight * ln P(hypothesis and its end) + bonus * words; groups in order, the best first."""
    result = totals(path)
    predictor = opened().predictor
    for hypothesis, lm, total in zip(result.nbest.hypotheses, result.log_probability, result.total, strict=True):
        ids = CHARS.encode(hypothesis.text + "\n").tolist()
        assert abs(lm + sum(step_by_step(predictor, CHARS.start_id, ids)[0])) < 1e-9
        assert total == pytest.approx(hypothesis.score + 0.7 * lm + 0.3 * len(hypothesis.text.split()), abs=1e-9)
    names: list[str] = []
    for line in result.written().decode().splitlines():
        name, *_, total_text = line.split(" ||| ")
        if name not in names:
            names.append(name)
            previous = math.inf
        assert name == names[-1], "a group is one piece"
        assert float(total_text) <= previous
        previous = float(total_text)
    assert names == ["0", "1"]
    best = {name: max(members, key=lambda k: result.total[k]) for name, members in result.nbest.groups.items()}
    assert result.best().splitlines() == [result.nbest.hypotheses[k].text for k in best.values()]


def test_totals_obey_the_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "nbest", MOSES)
    law_totals(lambda path: rescored(path, 0.7, 0.3), path)
    monkeypatch.setattr(protocols, "LINE_TOKENS", 7)
    law_totals(lambda path: rescored(path, 0.7, 0.3), path)


@pytest.mark.parametrize(
    "fault",
    [
        lambda result: replace(result, total=-result.total),  # the worst first
        lambda result: replace(result, log_probability=-result.log_probability),  # nats for ln P
        lambda result: replace(result, total=result.total[::-1]),  # scores of other lines
    ],
)
def test_the_law_of_totals_fails_for_faults(fault: Callable[[Rescored], Rescored], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        law_totals(lambda path: fault(rescored(path, 0.7, 0.3)), write(tmp_path / "nbest", MOSES))


def test_ties_keep_their_order_and_the_same_text_is_equally_probable(tmp_path: Path) -> None:
    lines = [f"0 ||| {'cab' if k % 2 else 'dab'} ||| {k} ||| 0\n" for k in range(9)]
    result = rescored(write(tmp_path / "nbest", "".join(lines)))
    for names in (range(0, 9, 2), range(1, 9, 2)):
        assert len({float(result.total[k]) for k in names}) == 1
    ranking = result.ranked["0"]
    assert [k for k in ranking if k % 2] == [1, 3, 5, 7]
    assert [k for k in ranking if k % 2 == 0] == [0, 2, 4, 6, 8]


def test_the_figures_of_a_list(tmp_path: Path) -> None:
    path = write(tmp_path / "nbest", "1 ||| zo ||| -1\n1 ||| a ||| -2\n")
    figures = rescored(path, 0.0).figures()
    assert (figures["format"], figures["groups"], figures["hypotheses"], figures["changed"]) == ("moses", 1, 2, 0)
    assert figures["unknown_rate"] == 2 / 5
    assert "<unk>" in figures["notes"][0]
    assert rescored(path, 0.0, -5.0).items(best=True)[0].keys() == {"id", "text", "score", "lm", "rescored"}
    assert rescored(path, 1e6).figures()["changed"] == int(rescored(path).log_probability.argmax() == 1)


# Fitting the weight


words = st.lists(st.sampled_from("abc"), max_size=7).map(" ".join)


@given(words, words)
def test_word_errors_are_the_fewest_changes(reference: str, hypothesis: str) -> None:
    correct, words = reference.split(), hypothesis.split()

    @cache
    def fewest(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        match = correct[i - 1] == words[j - 1]
        return min(fewest(i - 1, j - 1) + (not match), fewest(i - 1, j) + 1, fewest(i, j - 1) + 1)

    assert word_errors(reference, hypothesis) == fewest(len(correct), len(words))


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=8))
def test_upper_lines_are_the_highest(lines: list[tuple[int, int]]) -> None:
    offsets, slopes = np.array(lines, float).T
    highest = upper_lines(offsets, slopes)
    starts = [start for start, _ in highest]
    assert starts[0] == 0
    assert starts == sorted(starts)
    for (low, best), high in zip(highest, [*starts[1:], starts[-1] + 2], strict=True):
        for weight in (low, (low + high) / 2):
            values = offsets + weight * slopes
            assert values[best] >= values.max() - 1e-9


def law_weight(
    fit: Callable[..., tuple[float, int]], lists: Sequence[Sequence[tuple[int, int, str]]], folder: Path
) -> None:
    """At the weight the best hypotheses have as many errors as it says, and no weight from 0 on has fewer."""
    content = "".join(f"{k} ||| {text} ||| {scores}\n" for k, group in enumerate(lists) for scores, _, text in group)
    nbest = read_nbest(write(folder / "nbest", content))
    scores = np.array([hypothesis.score for hypothesis in nbest.hypotheses])
    slopes = np.array([lm for group in lists for _, lm, _ in group], float)
    references = {str(k): "a b c" for k in range(len(lists))}

    errors_of = [word_errors("a b c", hypothesis.text) for hypothesis in nbest.hypotheses]
    groups = list(nbest.groups.values())

    def errors(weight: float) -> int:
        total: NDArray[np.float64] = scores + weight * slopes
        return sum(errors_of[max(members, key=lambda k: total[k])] for members in groups)

    weight, fewest = fit(nbest, scores, scores, slopes, references)
    assert weight >= 0
    assert errors(weight) == fewest
    pairs = [(i, j) for members in groups for i in members for j in members if slopes[i] != slopes[j]]
    edges = sorted({0.0} | {max(0.0, (scores[i] - scores[j]) / (slopes[j] - slopes[i])) for i, j in pairs})
    assert fewest == min(errors((low + high) / 2) for low, high in pairwise([*edges, edges[-1] + 2]))


hypotheses = st.tuples(st.integers(-4, 4), st.integers(-4, 4), words)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(hypotheses, min_size=1, max_size=4), min_size=1, max_size=4))
def test_no_weight_is_better_than_the_fitted_one(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[tuple[int, int, str]]]
) -> None:
    def fit(*arguments: object) -> tuple[float, int]:
        weight, tuned = fit_weight(*arguments)  # type: ignore[arg-type]
        return weight, tuned.errors

    law_weight(fit, lists, tmp_path_factory.mktemp("weights"))


TWO = [[(0, -4, "a"), (-1, -1, "a b c"), (-3, 0, "x")], [(0, -3, "b"), (-1, -1, "a b c")]]


@pytest.mark.parametrize("fault", [0.0, 0.4, 100.0])
def test_the_law_of_the_weight_fails_for_other_weights(fault: float, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        law_weight(lambda *arguments: (fault, fit_weight(*arguments)[1].errors), TWO, tmp_path)


def test_a_tuned_weight_reports_the_word_errors(tmp_path: Path) -> None:
    path = write(
        tmp_path / "nbest",
        "x ||| a bad cab ||| -1\nx ||| dab ||| -1.0001\nx ||| a a a a a ||| -7\nx |||  ||| -7\ny ||| fade ||| 0\n",
    )
    lm = rescored(path).log_probability
    reference = "dab" if lm[1] > lm[0] else "a bad cab"
    result = rescored(path, references=write(tmp_path / "ref", f"y\tfade fade\nx\t{reference}\n"))
    assert result.weight > 0
    assert result.best().splitlines()[0] == reference
    figures = result.figures()
    assert figures["reference_words"] == 2 + len(reference.split())
    assert figures["wer"] == figures["wer_possible"] == 1 / figures["reference_words"]
    assert figures["wer_before"] >= figures["wer"]
    assert "fitted on these lists" in figures["notes"][-1]
    for bonus in (-9.0, 0.3, 9.0):
        best = rescored(path, 1.0, bonus, tmp_path / "ref")
        errors = map(word_errors, (reference, "fade fade"), best.best().splitlines())
        assert best.figures()["wer"] == sum(errors) / figures["reference_words"]
    empty = rescored(path, references=write(tmp_path / "ref", "y\t\nx\t\n"))
    assert empty.figures()["wer"] is None


def test_a_weight_that_is_not_a_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="weight is nan"):
        rescored(write(tmp_path / "nbest", MOSES), math.nan)


@pytest.mark.parametrize("end", LINE_ENDS)
def test_a_hypothesis_of_several_lines_is_not_written_as_one(tmp_path: Path, end: str) -> None:
    """One a line, the best of every later sentence would be taken for that of another."""
    items = [("a", "abc", 1.0), ("b", f"a{end}b", -1.0), ("b", "abc", 2.0)]
    rows = [json.dumps({"id": name, "text": text, "score": score}) + "\n" for name, text, score in items]
    path = write(tmp_path / "nbest", "".join(rows))
    result = rescored(path, 0.0)
    assert result.best() == "abc\nabc\n"  # it is not the best
    assert result.written().count(b"\n") == 3
    with pytest.raises(UserError, match=rf"line 2 has a hypothesis that contains a line end, U\+{ord(end):04X}"):
        list(rescore_list(opened(), path, 0.0, best=True))
    path.write_text("".join(rows).replace("-1.0", "9.0"))
    with pytest.raises(UserError, match="line 2 has a hypothesis that contains a line end"):
        rescored(path, 0.0).best()


def test_tables_of_words_keep_their_rows(tmp_path: Path) -> None:
    """What ends a line for some programs stays as it is in a list that comes back; it was in the file."""
    path = write(tmp_path / "nbest", "0 ||| a\rb ||| -1\n0 ||| c ||| -2\n")
    result = rescored(path, 0.0)
    assert result.written().count(b"\n") == 2
    with pytest.raises(UserError, match=r"line 1 .* U\+000D"):
        result.best()
