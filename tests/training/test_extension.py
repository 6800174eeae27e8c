"""A finished training that is extended: the schedule of its rate, what stays, what goes, and a kill at any moment."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import unroll
from tiny import ALL, STEPS, begin_training, law_resume, outcome, start, stopped_at, trained
from unroll.artifact.directory import read_description
from unroll.errors import UserError
from unroll.files import Folder
from unroll.progress import Progress
from unroll.training import budget
from unroll.training.budget import Budget
from unroll.training.config import OptimConfig, TrainConfig
from unroll.training.optim import learning_rate_at
from unroll.training.recipe import read_recipe
from unroll.training.report import Report
from unroll.training.request import resume


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with everything that a resume can get wrong, at its end."""
    path = tmp_path_factory.mktemp("finished") / "run"
    trained(corpus, path, ALL)
    return path


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def extended(path: Path, steps: int = STEPS) -> Iterator[Report]:
    return resume(path, device="cpu", more_steps=steps)


# ---- the rate


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_rate_that_fell_to_zero_rises_to_its_peak_and_falls_again(schedule: Any) -> None:
    config = OptimConfig(learning_rate=0.4, warmup_steps=10, schedule=schedule)
    rates = [learning_rate_at(step, 160, config, extensions=(40, 100)) for step in range(160)]
    assert rates == [learning_rate_at(step, steps, config) for steps in (40, 60, 60) for step in range(steps)]
    jumps = [abs(rate - before) for before, rate in pairwise(rates)]
    assert max(jumps) <= 0.4 / 10 + 1e-12  # never more than a step of the warm-up


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_a_rate_that_does_not_fall_by_itself_stays(schedule: Any) -> None:
    config = OptimConfig(learning_rate=0.4, warmup_steps=10, schedule=schedule, plateau_factor=0.5)
    for step in range(160):
        assert learning_rate_at(step, 160, config, 2, (40, 100)) == learning_rate_at(step, 160, config, 2)


def without_starts(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"step": event["step"]} if event["kind"] == "start" else event for event in events]


# ---- the law: what is extended is what its recipe repeats


def test_an_extension_is_what_its_recipe_repeats_bit_for_bit(path: Path, corpus: Path, tmp_path: Path) -> None:
    """Also the second one; but for the number of steps that each announces when it starts."""
    first = {"result": read_description(path)["result"], "weights": outcome(path)["weights"]}
    list(extended(path, 12))
    reports = list(extended(path, 7))
    assert [report.step for report in reports if report.kind == "start"] == [25]
    training = read_recipe(path / "recipe.toml").training
    assert (training.steps, training.extensions) == (31, (12, 24))
    repeat = ALL | {"training": ALL["training"] | {"extended_at": "12,24"}}
    trained(corpus, tmp_path / "again", repeat, 31)
    results, repeated = outcome(path), outcome(tmp_path / "again")
    for name in results.keys() - {"recipe"}:
        if name == "metrics":
            results[name], repeated[name] = map(without_starts, (results[name], repeated[name]))
        assert results[name] == repeated[name], f"{name} differs"
    assert read_description(path)["result"]["steps"] == 31 != first["result"]["steps"]
    assert results["weights"] != first["weights"]
    # Planted fault: without the extensions it is another training.
    trained(corpus, tmp_path / "plain", ALL, 31)
    assert outcome(tmp_path / "plain")["weights"] != results["weights"]


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])
def test_a_stop_at_any_report_changes_nothing(kill: bool, path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "whole")
    kinds = []
    for stop, report in enumerate(extended(tmp_path / "whole"), 1):
        kinds.append(report.kind)
        if kill:
            shutil.copytree(tmp_path / "whole", tmp_path / f"copy{stop}")
    reference = outcome(tmp_path / "whole")
    assert set(kinds) == {"start", "train", "valid", "sample", "save", "end"}
    for stop in range(1, len(kinds) + 1):
        copy = tmp_path / f"copy{stop}"
        if not kill:
            shutil.copytree(path, copy)
            assert stopped_at(extended(copy), stop)
        list(resume(copy, device="cpu"))
        law_resume(reference, copy)


class Killed(BaseException):
    """The process is gone."""


def test_a_kill_while_it_is_extended_leaves_the_one_or_the_other(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = outcome(path)
    shutil.copytree(path, tmp_path / "whole")
    list(extended(tmp_path / "whole"))
    after = outcome(tmp_path / "whole")
    write, ends = Folder.write, []
    for moment in range(4):
        copy, writes = tmp_path / f"copy{moment}", iter(range(100))
        shutil.copytree(path, copy)

        def killed(folder: Folder, name: str, data: bytes) -> None:
            if next(writes) == moment:  # noqa: B023 - of this turn
                raise Killed
            write(folder, name, data)

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(Folder, "write", killed)
            list(extended(copy))
        unroll.info(copy)
        list(resume(copy, device="cpu"))
        ends.append(read_description(copy)["result"]["steps"])
        law_resume(before if ends[-1] == STEPS else after, copy)
    assert ends == [STEPS, STEPS, 2 * STEPS, 2 * STEPS]


# ---- what stays, what goes


def test_the_best_weights_stay_until_there_are_better_ones_and_the_result_is_gone_until_the_end(path: Path) -> None:
    before = (path / "weights.safetensors").read_bytes()
    recipe = (path / "recipe.toml").read_text()
    (path / "recipe.toml").write_text(recipe.replace("learning_rate = 0.02", "learning_rate = 3.0"))  # much too high
    reports = extended(path)
    assert next(reports).step == STEPS + 1
    assert read_description(path)["result"] is None
    assert not unroll.info(path)["finished"] and unroll.info(path)["planned_steps"] == 2 * STEPS
    list(reports)
    assert (path / "weights.safetensors").read_bytes() == before
    assert read_description(path)["result"]["steps"] == 2 * STEPS
    assert unroll.info(path)["best_step"] <= STEPS


def test_minutes_are_resolved_to_steps_that_are_written_down(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "tokens_per_second", lambda *_: 100.0)
    monkeypatch.setattr(budget, "seconds_per_symbol", lambda *_: 0.0)
    list(resume(path, device="cpu", more_minutes=0.05))
    steps = read_recipe(path / "recipe.toml").training.steps - STEPS
    assert 3 <= steps <= 9  # three seconds, some used up, of 100 symbols, 30 in each step
    assert read_description(path)["result"]["steps"] == STEPS + steps


# ---- refusals


def test_what_torchrun_starts_again_is_extended_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(path, path.with_name("whole"))
    list(extended(path.with_name("whole")))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert stopped_at(extended(path), 8)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    list(extended(path))
    law_resume(outcome(path.with_name("whole")), path)
    assert list(extended(path)) == []


def test_a_training_that_is_not_finished_is_not_extended(corpus: Path, tmp_path: Path) -> None:
    assert stopped_at(begin_training(corpus, tmp_path / "run", ALL), 8)
    recipe = (tmp_path / "run" / "recipe.toml").read_bytes()
    with pytest.raises(UserError, match="not finished") as refusal:
        list(extended(tmp_path / "run"))
    assert "--resume" in refusal.value.fix
    assert (tmp_path / "run" / "recipe.toml").read_bytes() == recipe


@pytest.mark.parametrize(
    "invalid",
    [{"more_steps": 0}, {"more_minutes": -1.0}, {"more_steps": 5, "more_minutes": 1.0}, {"more_minutes": 1e-5}],
    ids=str,
)  # fmt: skip
def test_a_wrong_budget_is_refused_and_changes_nothing(invalid: dict[str, Any], path: Path) -> None:
    before = outcome(path)
    with pytest.raises(UserError) as refusal:
        list(resume(path, device="cpu", **invalid))
    assert refusal.value.allowed
    law_resume(before, path)


@pytest.mark.parametrize("invalid", ["0", "x", "5,", "7,5", "5,5", "12", "5;7"])
def test_extensions_that_make_no_sense_are_refused(invalid: str) -> None:
    with pytest.raises(UserError, match="extended_at") as refusal:
        TrainConfig(steps=12, extended_at=invalid)
    assert refusal.value.allowed and refusal.value.fix


def test_a_budget_of_minutes_takes_no_extensions_from_a_recipe(path: Path, corpus: Path, tmp_path: Path) -> None:
    list(extended(path, 3))
    reports = start([corpus], tmp_path / "other", Budget(minutes=0.02), {}, recipe=path / "recipe.toml", device="cpu")
    for report in reports:
        if not isinstance(report, Progress):
            break
    reports.close()
    assert read_recipe(tmp_path / "other" / "recipe.toml").training.extensions == ()
