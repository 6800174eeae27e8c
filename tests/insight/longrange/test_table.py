"""The table of long-range tasks: intervals, trials put together, figures."""

import math

import numpy as np
import pytest
from torch import nn

from unroll.insight.longrange.measure import (
    make_plan,
)
from unroll.insight.longrange.table import (
    ARCHS,
    Plan,
    Result,
    Score,
    Trial,
    student,
    table,
)
from unroll.insight.longrange.tasks import VectorTask
from unroll.lm.intervals import wilson


def test_students_interval() -> None:
    """Of five values by hand; over many samples of a normal distribution it holds the mean in 95 % of them."""
    values = [0.95, 0.97, 0.99, 0.96, 0.98]
    half = 2.776 * math.sqrt(sum((v - 0.97) ** 2 for v in values) / 4) / math.sqrt(5)
    assert student(values) == pytest.approx((0.97 - half, 0.97 + half))
    assert student([0.5]) is None and student([]) is None
    for count in (2, 5, 31):
        samples = np.random.default_rng(0).normal(1.0, 2.0, size=(4000, count))
        covered = [low <= 1.0 <= high for low, high in map(student, samples.tolist())]  # type: ignore[misc]
        assert np.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_the_interval_holds_both() -> None:
    def result(*counts: int) -> Result:
        shares = tuple(count / 1000 for count in counts)
        return Result("lstm", 5, 1, 1e-2, shares, sum(counts), 1000 * len(counts), (), (None,) * len(counts))

    single, agreeing, scattered = result(970), result(970, 970, 970), result(500, 990, 700)
    low, high = wilson(np.array([970]), np.array([1000]))
    assert single.over_seeds is None and single.interval == single.over_decisions == (low[0], high[0])
    assert agreeing.over_seeds == pytest.approx((0.97, 0.97)) and agreeing.interval == agreeing.over_decisions
    assert scattered.over_seeds is not None and scattered.over_seeds[0] < scattered.over_decisions[0]
    assert scattered.interval == (max(0.0, scattered.over_seeds[0]), 1.0)
    assert result(1000, 1000).interval[1] == 1.0 and result(1000, 1000).interval[0] < 1.0


# ---- the table


def made_up(plan: Plan) -> list[Trial]:
    """Return trials that were never trained: the distance, the seed and the architecture are in their figures."""
    sums = isinstance(plan.task, VectorTask)
    return [
        Trial(
            seed,
            arch,
            nn.Identity(),
            1000 + ARCHS.index(arch),
            1e-2,
            tuple(
                Score(d, 1000 - d - 10 * seed - 100 * ARCHS.index(arch), 1000, d / 1000 if sums else None) for d in on
            ),
            100 * seed if seed else None,
        )
        for seed, arch, on, _ in plan.trainings()
    ]


@pytest.mark.parametrize("mixed", [False, True])
def test_trials_are_put_together_by_architecture_and_distance(mixed: bool) -> None:
    plan = make_plan("pronouns", archs=["gru", "window"], distances=[20, 5, 20], seeds=3, mixed=mixed)
    assert plan.distances == (5, 20)
    assert len(list(plan.trainings())) == 3 * 2 * (1 if mixed else 2)
    longrange = table(plan, made_up(plan))
    assert longrange.finished and [(r.arch, r.distance) for r in longrange.results] == [
        ("gru", 5), ("gru", 20), ("window", 5), ("window", 20),
    ]  # fmt: skip
    first = 980 - 100 * ARCHS.index("gru")
    assert longrange.results[1].accuracies == tuple((first - 10 * seed) / 1000 for seed in range(3))
    assert longrange.results[1].accuracy == pytest.approx((first - 10) / 1000)
    assert longrange.results[1].solved_at == (None, 100, 200)
    part = table(plan, made_up(plan)[:-1])
    assert not part.finished
    assert len(part.results[-1].accuracies) == 2
    assert table(plan, []).results == ()


def test_figures_are_json_with_what_the_issue_names() -> None:
    plan = make_plan("adding", seeds=2, distances=[20, 50])
    figures = table(plan, made_up(plan)).figures()
    assert figures["task"] == "adding" and len(figures["results"]) == 2 * len(ARCHS)
    for row in figures["results"]:
        assert {"arch", "distance", "accuracy", "interval", "seeds"} <= {*row}
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1] and row["seeds"] == 2
        assert row["mean_squared_error"] == pytest.approx(row["distance"] / 1000)
        assert row["mean_squared_error_interval"] == pytest.approx([row["distance"] / 1000] * 2)
    plan = make_plan("pronouns")
    assert {row["mean_squared_error"] for row in table(plan, made_up(plan)).figures()["results"]} == {None}
