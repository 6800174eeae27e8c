"""N-best lists: nothing of a line is lost, the new scores are what they are said to be, the best weight is the best."""

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

from lm.test_pairs import CHARS, opened, step_by_step, write
from unroll.data.lines import LINE_ENDS
from unroll.errors import UserError
from unroll.lm.rescore import (
    Fields,
    Rescored,
    fit_weight,
    read_nbest,
    read_references,
    rescore_list,
    upper_lines,
    word_errors,
)
from unroll.predict import protocols
from unroll.progress import result

MOSES = (
    "0 ||| a bad cab  ||| d: 0 -5.5 lm: -3 ||| -9.2298\n"
    "0 ||| a bad cabs ||| d: 0 -5.5 lm: -3 ||| -9.3\n"
    "1 |||  ||| d: 0 ||| 0\n"
    "0 ||| fade ||| d: 1 ||| -1e1\n"
    "1 ||| dab ||| d: 2 ||| 0.0\n"
)
TABLE = (
    "\ufeffspeaker\tutt\thyp\tscore\r\n"
    "é\tu2\ta bad cab\t-9\r\n\u202eא\tu2\tfade\t-9.5\r\ne\u0301\tu1\ta\t3\r\nx\tu2\ta bad cab\t-9"
)
JSON_LINES = (
    '{"utt": "u1", "text": "a bad cab", "score": -3, "more": {"a": [1, 2]}}\n'
    '{ "score":-2.5,"utt":"u1" , "text":"fade\\u0020" }  \r\n'
    '{"utt": 7, "text": "", "score": -1e0}\n'
)
LISTS = {"moses": MOSES, "tsv": TABLE, "jsonl": JSON_LINES}


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
    was = [line.rstrip(b"\r\n") for line in LISTS[format].encode().splitlines()]
    lines = result.written().splitlines()
    assert result.written().endswith((b"\n", b"\r\n"))
    if format == "tsv":
        assert lines.pop(0) == was.pop(0) + b"\tlm\trescored"
    assert sorted(without_added(format, line) for line in lines) == sorted(was)
    if format == "moses":
        again = read_nbest(write(tmp_path / "again", result.written().decode()), Fields(score="6"))
        ranked = [k for members in result.ranked.values() for k in members]
        assert [h.score for h in again.hypotheses] == pytest.approx(result.total[ranked].tolist(), abs=1e-6)
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
    seen: list[str] = []
    for line in result.written().decode().splitlines():
        name, *_, total_text = line.split(" ||| ")
        if name not in seen:
            seen.append(name)
            before = math.inf
        assert name == seen[-1], "a group is one piece"
        assert float(total_text) <= before
        before = float(total_text)
    assert seen == ["0", "1"]
    best = {name: max(members, key=lambda k: result.total[k]) for name, members in result.nbest.groups.items()}
    assert result.best().splitlines() == [result.nbest.hypotheses[k].text for k in best.values()]


def test_totals_are_what_they_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    ranked = result.ranked["0"]
    assert [k for k in ranked if k % 2] == [1, 3, 5, 7]
    assert [k for k in ranked if k % 2 == 0] == [0, 2, 4, 6, 8]


def test_what_is_told_of_a_list(tmp_path: Path) -> None:
    path = write(tmp_path / "nbest", "1 ||| zo ||| -1\n1 ||| a ||| -2\n")
    told = rescored(path, 0.0).figures()
    assert (told["format"], told["groups"], told["hypotheses"], told["changed"]) == ("moses", 1, 2, 0)
    assert told["unknown_rate"] == 2 / 5
    assert "<unk>" in told["notes"][0]
    assert rescored(path, 0.0, -5.0).items(best=True)[0].keys() == {"id", "text", "score", "lm", "rescored"}
    assert rescored(path, 1e6).figures()["changed"] == int(rescored(path).log_probability.argmax() == 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no hypotheses"),
        ("just a text\n", "line 1 is in no format of n-best lists"),
        (MOSES + "\n", "line 6 has 1 fields, the first line 4"),
        (MOSES + "2 ||| a ||| -3\n", "line 6 has 3 fields, the first line 4"),
        (MOSES.replace("-1e1", "ten"), "line 4 has 'ten' as its score"),
        (MOSES.replace("-1e1", "nan"), "line 4 has 'nan' as its score"),
        (MOSES.replace("-1e1", "-inf"), "line 4 has '-inf' as its score"),
        ("0 ||| a\n", "line 1 has an id and a hypothesis, and no score"),
        ("a\tb\tc\nx\ty\t1\n", "line 1 has no id: its fields are a, b, c"),
        ("id\tb\tscore\nx\ty\t1\n", "line 1 has no text"),
        ("id\ttext\tb\nx\ty\t1\n", "line 1 has no score"),
        ("id\ttext\tscore\n", "line 1 is a header, with no hypotheses"),
        ("id\ttext\tscore\nx\ty\t1\nx\ty\n", "line 3 has 2 columns, the header 3"),
        ("id\ttext\tscore\nx\ty\t1\n\n", "line 3 has 1 columns, the header 3"),
        ("id\ttext\tscore\tlm\nx\ty\t1\t2\n", "has the field lm, which is to be added"),
        (JSON_LINES + "{", "line 4 is no JSON object"),
        (JSON_LINES + "\n{}", "line 4 is no JSON object"),
        (JSON_LINES + '{"text": "a", "score": 3}', "line 4 has no id"),
        (JSON_LINES + '{"id": 1, "text": 5, "score": 3}', "line 4 has an id or a hypothesis that is no text"),
        (JSON_LINES + '{"id": [], "text": "", "score": 3}', "line 4 has an id or a hypothesis that is no text"),
        (JSON_LINES + '{"id": 1, "text": "a", "score": true}', "line 4 has True as its score"),
        (JSON_LINES + '{"id": 1, "text": "a", "score": NaN}', "line 4 has nan as its score"),
        (JSON_LINES + '{"id": 1, "text": "a", "score": 1' + "0" * 400 + "}", "as its score, which is no number"),
        (JSON_LINES + '{"id": 1, "text": "\\udc00", "score": 1}', "line 4 is no JSON object"),
        (JSON_LINES + '{"id": 1, "text": "a", "score": 1, "rescored": 3}', "line 4 has the field rescored"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, content: str, says: str) -> None:
    path = write(tmp_path / "nbest", content)
    with pytest.raises(UserError) as refused:
        read_nbest(path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n  fix: " in str(refused.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "nbest", MOSES.replace("fade", "fadé"), "latin-1")
    with pytest.raises(UserError, match="line 4 is not UTF-8: byte 0xe9"):
        read_nbest(path)


def test_fields_may_have_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "nbest", '{"key": "k", "id": "i", "said": "a", "am": -2, "score": -1}')
    (one,) = read_nbest(path, Fields("key", "said", "am")).hypotheses
    assert (one.id, one.text, one.score) == ("k", "a", -2)
    with pytest.raises(UserError, match="line 1 has no score: its fields are key, id, said"):
        read_nbest(path, Fields("key", "said", "lam"))
    path = write(tmp_path / "nbest", "0 ||| a ||| -5 ||| -2 ||| 0-0\n")
    assert [read_nbest(path, Fields(score=k)).hypotheses[0].score for k in (None, "3")] == [-2, -5]
    for wrong in ("2", "6", "total"):
        with pytest.raises(UserError, match=f"cannot be field {wrong}"):
            read_nbest(path, Fields(score=wrong))


# Fitting the weight


@pytest.mark.parametrize(
    "content",
    [
        "a bad cab\ndab\n",
        "1\tdab\r\n9\tx\r\n0\ta bad cab",
        '{"id": 0, "text": "a bad cab"}\n{"utt": "1", "hyp": "dab"}\n',
    ],
)
def test_references_come_in_three_forms(tmp_path: Path, content: str) -> None:
    found = read_references(write(tmp_path / "ref", content), ["0", "1"])
    assert (found["0"], found["1"]) == ("a bad cab", "dab")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a\n", "1 lines for 2 ids"),
        ("0\ta\n", "no text for the id 1"),
        ("0\ta\n0\tb\n", "line 2 repeats the id 0"),
        ("0\ta\nb\n", "line 2 is not an id and a text"),
        ('{"id": 0}\n', "line 1 is not an id and a text"),
        ("{\n", "line 1 is not an id and a text"),
        ("", "no text for the id 0"),
    ],
)
def test_references_that_do_not_fit(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_references(write(tmp_path / "ref", content), ["0", "1"])


words = st.lists(st.sampled_from("abc"), max_size=7).map(" ".join)


@given(words, words)
def test_word_errors_are_the_fewest_changes(one: str, other: str) -> None:
    right, said = one.split(), other.split()

    @cache
    def fewest(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        same = right[i - 1] == said[j - 1]
        return min(fewest(i - 1, j - 1) + (not same), fewest(i - 1, j) + 1, fewest(i, j - 1) + 1)

    assert word_errors(one, other) == fewest(len(right), len(said))


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=8))
def test_upper_lines_are_the_highest(lines: list[tuple[int, int]]) -> None:
    offsets, slopes = np.array(lines, float).T
    found = upper_lines(offsets, slopes)
    starts = [start for start, _ in found]
    assert starts[0] == 0
    assert starts == sorted(starts)
    for (low, best), high in zip(found, [*starts[1:], starts[-1] + 2], strict=True):
        for weight in (low, (low + high) / 2):
            values = offsets + weight * slopes
            assert values[best] >= values.max() - 1e-9


def law_weight(
    fit: Callable[..., tuple[float, int]], lists: Sequence[Sequence[tuple[int, int, str]]], folder: Path
) -> None:
    """At the weight the best hypotheses have as many errors as it says, and no weight from 0 on has fewer."""
    text = "".join(f"{k} ||| {said} ||| {old}\n" for k, some in enumerate(lists) for old, _, said in some)
    nbest = read_nbest(write(folder / "nbest", text))
    old = np.array([hypothesis.score for hypothesis in nbest.hypotheses])
    slopes = np.array([lm for some in lists for _, lm, _ in some], float)
    references = {str(k): "a b c" for k in range(len(lists))}

    each = [word_errors("a b c", hypothesis.text) for hypothesis in nbest.hypotheses]
    groups = list(nbest.groups.values())

    def errors(weight: float) -> int:
        total: NDArray[np.float64] = old + weight * slopes
        return sum(each[max(members, key=lambda k: total[k])] for members in groups)

    weight, said = fit(nbest, old, old, slopes, references)
    assert weight >= 0
    assert errors(weight) == said
    pairs = [(i, j) for members in groups for i in members for j in members if slopes[i] != slopes[j]]
    edges = sorted({0.0} | {max(0.0, (old[i] - old[j]) / (slopes[j] - slopes[i])) for i, j in pairs})
    assert said == min(errors((low + high) / 2) for low, high in pairwise([*edges, edges[-1] + 2]))


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


def test_a_tuned_weight_tells_what_it_is_worth(tmp_path: Path) -> None:
    path = write(
        tmp_path / "nbest",
        "x ||| a bad cab ||| -1\nx ||| dab ||| -1.0001\nx ||| a a a a a ||| -7\nx |||  ||| -7\ny ||| fade ||| 0\n",
    )
    lm = rescored(path).log_probability
    better = "dab" if lm[1] > lm[0] else "a bad cab"
    result = rescored(path, references=write(tmp_path / "ref", f"y\tfade fade\nx\t{better}\n"))
    assert result.weight > 0
    assert result.best().splitlines()[0] == better
    told = result.figures()
    assert told["reference_words"] == 2 + len(better.split())
    assert told["wer"] == told["wer_possible"] == 1 / told["reference_words"]
    assert told["wer_before"] >= told["wer"]
    assert "fitted on these very lists" in told["notes"][-1]
    for bonus in (-9.0, 0.3, 9.0):
        best = rescored(path, 1.0, bonus, tmp_path / "ref")
        errors = map(word_errors, (better, "fade fade"), best.best().splitlines())
        assert best.figures()["wer"] == sum(errors) / told["reference_words"]
    empty = rescored(path, references=write(tmp_path / "ref", "y\t\nx\t\n"))
    assert empty.figures()["wer"] is None


def test_a_weight_that_is_no_number(tmp_path: Path) -> None:
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
    with pytest.raises(UserError, match=rf"line 2 has a hypothesis with an end of a line in it, U\+{ord(end):04X}"):
        list(rescore_list(opened(), path, 0.0, best=True))
    path.write_text("".join(rows).replace("-1.0", "9.0"))
    with pytest.raises(UserError, match="line 2 has a hypothesis with an end of a line"):
        rescored(path, 0.0).best()


def test_tables_of_words_keep_their_rows(tmp_path: Path) -> None:
    """What ends a line for some programs stays as it is in a list that comes back; it was in the file."""
    path = write(tmp_path / "nbest", "0 ||| a\rb ||| -1\n0 ||| c ||| -2\n")
    result = rescored(path, 0.0)
    assert result.written().count(b"\n") == 2
    with pytest.raises(UserError, match=r"line 1 .* U\+000D"):
        result.best()
