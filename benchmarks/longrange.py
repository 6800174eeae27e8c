"""Long-range tasks: window, RNN, GRU and LSTM of equal size, accuracy by distance over seeds, with intervals."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from measure import show
from unroll.files import write_atomically
from unroll.insight.longrange.measure import make_plan, trials
from unroll.insight.longrange.table import ARCHS, STEPS, LongRange, Plan, Trial, table
from unroll.progress import Progress


def main() -> None:
    """Train every network of every task; a task that is interrupted shows the networks that were finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="pronouns,german,adding")
    parser.add_argument("--archs", default=",".join(ARCHS))
    parser.add_argument("--distances", help="for all tasks, as 5,10,100; else each has its own")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--mixed", action="store_true", help="one network for all distances, not one for each")
    parser.add_argument(
        "--tuned", action="store_true", help="choose learning rates by validation, on a seed of its own"
    )
    parser.add_argument("--pictures", type=Path, help="a folder for a picture of each task")
    told = parser.parse_args()
    torch.set_num_threads(1)
    distances = [int(distance) for distance in told.distances.split(",")] if told.distances else None
    plans = [
        make_plan(task, archs=told.archs.split(","), distances=distances, seeds=told.seeds, steps=told.steps,
                  mixed=told.mixed, tuned=told.tuned)
        for task in told.tasks.split(",")
    ]  # fmt: skip
    tables: list[dict[str, Any]] = []
    for plan in plans:
        started, used = time.perf_counter(), time.process_time()
        found, interrupted = followed(plan)
        seconds = {
            "wall_seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(time.process_time() - used, 1),
        }
        tables.append(found.figures() | seconds)
        if told.pictures and found.results:
            from unroll.insight.longrange.picture import picture

            told.pictures.mkdir(parents=True, exist_ok=True)
            write_atomically(told.pictures / f"longrange-{plan.task.name}.svg", picture(found, ".svg"))
        if interrupted:
            break
    show({"benchmark": "long-range tasks", "threads": 1, "tables": tables})


def followed(plan: Plan) -> tuple[LongRange, bool]:
    """Train what is planned, telling of every network on stderr; also returns whether it was interrupted."""
    found: list[Trial] = []
    started = time.perf_counter()
    share = 0.0
    try:
        for event in trials(plan):
            if isinstance(event, Progress):
                share = event.done / event.total
                continue
            found.append(event)
            scores = ", ".join(
                f"{one.right / one.decisions:.1%} at {one.distance}" + (f" ({one.error:.4f})" if one.error else "")
                for one in event.scores
            )
            passed = time.perf_counter() - started
            print(
                f"{plan.task.name} {event.arch} seed {event.seed} rate {event.learning_rate:g}: {scores}; "
                f"solved at {event.solved_at}; "
                f"{passed:.0f} s, {share:.0%}",
                file=sys.stderr,
                flush=True,
            )
    except KeyboardInterrupt:
        return table(plan, found), True
    return table(plan, found), False


if __name__ == "__main__":
    main()
