"""A run comes back as it was: the resume law with its planted faults."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import ALL, ARCHS, DROPS, begin_training, law_resume, outcome, overrides, stopped_at, trained
from unroll.nn.arch import ARCHITECTURES
from unroll.training import prepare
from unroll.training.language import LanguageRun
from unroll.training.recipe import Overrides
from unroll.training.request import resume
from unroll.training.run import restore


def resume_always(path: Path) -> None:
    """Resume, and stop at each and every first report, until nothing is left to do."""
    for _ in range(100):
        if not stopped_at(resume(path, device="cpu"), 1):
            return
    raise AssertionError("it never comes to an end")


def drops_of(arch: str, drops: dict[str, float]) -> dict[str, float]:
    """Return what can be dropped of an architecture: without recurrent weights there is no weight drop."""
    return drops if ARCHITECTURES[arch].reads_state else {k: p for k, p in drops.items() if k != "weight_drop"}


VARIANTS: dict[str, Overrides] = {
    f"{arch}{'-average' * bool(averaging)}{'-drops' * bool(drops)}{'-resets' * bool(resets)}": overrides(
        model={"arch": arch, "variational": bool(resets)} | drops_of(arch, drops),
        optim={"averaging": averaging},
        training={"reset_probability": resets},
    )
    for arch in ARCHS
    for averaging in (0.0, 0.9)
    for drops in ({}, DROPS)
    for resets in (0.0, 0.4)
}
VARIANTS["lstm-bfloat16"] = overrides(optim={"averaging": 0.9}, training={"precision": "bfloat16"})
VARIANTS["lstm-thaw"] = overrides(optim={"averaging": 0.9, "thaw_steps": 3, "layer_decay": 0.5})
VARIANTS["window-bfloat16"] = overrides({"arch": "window"}, training={"precision": "bfloat16"})


@pytest.mark.parametrize("documents", [False, True], ids=["text", "documents"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_stopping_at_every_report_changes_nothing(
    variant: str, documents: bool, corpus: Path, documents_corpus: Path, tmp_path: Path
) -> None:
    folder = documents_corpus if documents else corpus
    trained(folder, tmp_path / "whole", VARIANTS[variant])
    assert stopped_at(begin_training(folder, tmp_path / "parts", VARIANTS[variant]), 1)
    resume_always(tmp_path / "parts")
    law_resume(outcome(tmp_path / "whole"), tmp_path / "parts")


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])
def test_one_stop_at_any_report_changes_nothing(kill: bool, corpus: Path, tmp_path: Path) -> None:
    """Also where the process is gone at that moment: the directory is resumed as it lay on the disk then."""
    kinds = []
    for stop, report in enumerate(begin_training(corpus, tmp_path / "whole", ALL), 1):
        kinds.append(report.kind)
        if kill:
            shutil.copytree(tmp_path / "whole", tmp_path / f"copy{stop}")
    reference = outcome(tmp_path / "whole")
    assert set(kinds) == {"start", "train", "valid", "sample", "save", "end"}
    for stop in range(1, len(kinds) + 1):
        path = tmp_path / f"copy{stop}"
        if not kill:
            assert stopped_at(begin_training(corpus, path, ALL), stop)
        list(resume(path, device="cpu"))
        law_resume(reference, path)


def test_equal_commands_give_equal_bytes(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "one", ALL)
    trained(corpus, tmp_path / "other", ALL)
    law_resume(outcome(tmp_path / "one"), tmp_path / "other")
    trained(corpus, tmp_path / "third", ALL | {"training": ALL["training"] | {"seed": 6}})
    assert outcome(tmp_path / "third")["weights"] != outcome(tmp_path / "one")["weights"]


# ---- planted faults: the law fails when any one item is left out of a resume


def forget_optimizer(kind: str) -> Callable[[LanguageRun], None]:
    def forget(run: LanguageRun) -> None:
        for moments in run.optimizer.state.values():
            moments[kind].zero_()

    return forget


def forget_state(run: LanguageRun) -> None:
    run.state = run.model.fresh_state(run.config.batch_size)


def forget_half_of_the_state(run: LanguageRun) -> None:
    (h, c), *rest = run.state
    run.state = ((h, torch.zeros_like(c)), *rest)


def forget_average(run: LanguageRun) -> None:
    for average, weight in zip(run.average, run.model.parameters(), strict=True):
        average.copy_(weight.detach())


def forget_step(run: LanguageRun) -> None:
    run.step -= 1


def forget_weight(run: LanguageRun) -> None:
    with torch.no_grad():
        list(run.model.parameters())[-1].zero_()


def forget_best(run: LanguageRun) -> None:
    run.best_figure, run.best_step = 100.0, 0


def forget_losses(run: LanguageRun) -> None:
    run.losses = (0.0, 0)


def forget_cuts(run: LanguageRun) -> None:
    run.cuts = 0


def forget_logs(run: LanguageRun) -> None:
    run.log_sizes = (0, run.log_sizes[1])


FAULTS: dict[str, Callable[[LanguageRun], None]] = {
    "moment": forget_optimizer("exp_avg"),
    "second moment": forget_optimizer("exp_avg_sq"),
    "optimizer step": forget_optimizer("step"),
    "state": forget_state,
    "cell": forget_half_of_the_state,
    "average": forget_average,
    "step": forget_step,
    "weight": forget_weight,
    "best": forget_best,
    "losses": forget_losses,
    "cuts": forget_cuts,
    "logs": forget_logs,
}


BOUNCING = overrides(
    optim={"averaging": 0.9, "learning_rate": 1.2, "schedule": "plateau", "plateau_factor": 0.99},
    training={"valid_every": 1},
)
"""A loss that bounces, so that the best weights are seldom the latest and the rate is cut now and then."""


@pytest.fixture(scope="module")
def interrupted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Path]]:
    """What an uninterrupted training leaves behind, and directories of the same one stopped on the way."""
    folder = tmp_path_factory.mktemp("interrupted")
    trained(corpus, folder / "whole", BOUNCING)
    paths = [folder / f"stop{stop}" for stop in (7, 9, 10, 14)]
    for path in paths:
        assert stopped_at(begin_training(corpus, path, BOUNCING), int(path.name.removeprefix("stop")))
    return outcome(folder / "whole"), paths


def test_the_law_holds_where_its_faults_are_planted(
    interrupted: tuple[dict[str, Any], list[Path]], tmp_path: Path
) -> None:
    reference, paths = interrupted
    for path in paths:
        shutil.copytree(path, tmp_path / path.name)
        list(resume(tmp_path / path.name, device="cpu"))
        law_resume(reference, tmp_path / path.name)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_law_fails_when_something_is_left_out(
    fault: str, interrupted: tuple[dict[str, Any], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(run: LanguageRun) -> None:
        restore(run)
        FAULTS[fault](run)

    monkeypatch.setattr(prepare, "restore", faulty)
    reference, paths = interrupted
    with pytest.raises(AssertionError, match="differs"):
        for path in paths:
            shutil.copytree(path, tmp_path / path.name)
            list(resume(tmp_path / path.name, device="cpu"))
            law_resume(reference, tmp_path / path.name)
