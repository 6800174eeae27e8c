"""The figures of predicted labels, as the verbs that evaluate print them."""

from typing import Any

from unroll.cli import console
from unroll.errors import number_of


def put_label_figures(figures: dict[str, Any], noun: str) -> None:
    """Print what `tasks.classify.evaluate.figures` returns, of things that `noun` names."""
    low, high = figures["interval"]
    count, macro = number_of(figures["count"], noun), []
    if figures["macro"]["accuracy"] is not None:
        macro = [
            ("macro", f"accuracy {100 * figures['macro']['accuracy']:.2f} %, F1 {100 * figures['macro']['f1']:.2f} %")
        ]
    console.put_columns([
        ("accuracy", f"{100 * figures['accuracy']:.2f} % of {count} (95 %: {100 * low:.1f} to {100 * high:.1f})"),
        *macro,
        ("nats", f"{figures['nats']:.4f}"),
        ("calibration", f"off by {100 * figures['calibration_error']:.2f} % on average"),
        *(("note", note) for note in figures.get("notes", ())),
    ])  # fmt: skip
    console.put()
    header = ("label", "precision", "recall", "F1", f"{noun}s")
    console.put_columns([header, *((label, f"{100 * row['precision']:.1f}", f"{100 * row['recall']:.1f}",
                                    f"{100 * row['f1']:.1f}", f"{row['count']:,}")
                                   for label, row in figures["per_class"].items())])  # fmt: skip
