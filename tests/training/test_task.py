"""The frame of a task's training: the steps that fit its minutes, its directory, its terms."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.artifact.directory import partial_of
from unroll.errors import UserError
from unroll.tasks.classify.recipe import TABLES
from unroll.training.task import check_examples, check_output, new_directory, steps_within, terms_of

SECONDS = st.floats(1e-3, 10)


@given(left=st.floats(-10, 1000), step=SECONDS, validation=SECONDS, valid_every=st.integers(1, 500))
def test_the_steps_that_fit_leave_time_for_their_validations(
    left: float, step: float, validation: float, valid_every: int
) -> None:
    def cost(steps: int) -> float:
        return steps * step + steps / max(1, min(steps // 10, valid_every)) * validation

    steps = steps_within(left, step, validation, valid_every)
    assert steps >= 0 and (steps == 0 or cost(steps) <= left * (1 + 1e-9))
    more = steps + max(1, steps // 20)
    assert cost(more) > left or more > left / (step + validation / valid_every)


def test_without_validations_the_steps_fill_the_time() -> None:
    assert steps_within(100, 0.5, 0.0, 10) == 200
    assert steps_within(100, 0.5, 1.0, 10) < steps_within(100, 0.5, 1.0, 100) < 200


def terms(**options: object) -> object:
    defaults = {"recipe": None, "settings": (), "named": {"training": {"steps": None}}, "minutes": None}
    chosen = defaults | {"device": "cpu", "force": False, "started": None} | options
    return terms_of(TABLES, **chosen)  # type: ignore[arg-type]


def test_one_budget_is_taken() -> None:
    with pytest.raises(UserError, match="both minutes and steps"):
        terms(minutes=1.0, named={"training": {"steps": 5}})
    with pytest.raises(UserError, match="both minutes and steps"):
        terms(minutes=1.0, settings=("steps=5",))
    with pytest.raises(UserError, match="minutes is -1"):
        terms(minutes=-1.0)


def test_an_error_within_leaves_no_directory(tmp_path: Path) -> None:
    out = check_output(tmp_path / "new", [], "tag train", force=False)
    with (
        pytest.raises(ZeroDivisionError),
        ExitStack() as locks,
        new_directory(locks, out, [], force=False) as (folder, _),
    ):
        assert folder.path.is_dir()
        raise ZeroDivisionError
    assert not out.exists() and not partial_of(out).exists()


def test_a_model_that_is_there_is_refused_with_the_verb_that_resumes_it(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(UserError) as refusal:
        check_output(tmp_path, [], "tag train", force=False)
    assert "unroll tag train --resume" in refusal.value.fix


def test_other_examples_are_refused(tmp_path: Path) -> None:
    check_examples(tmp_path, "a", {"examples_digest": "a"})
    with pytest.raises(UserError, match="are not those"):
        check_examples(tmp_path, "a", {"examples_digest": "b"})
