"""A training as a person watches it: what is learnt, the samples as they are taken, the result."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll.artifact.info import ADD_THEM, info
from unroll.cli import console
from unroll.errors import number_of

if TYPE_CHECKING:
    from unroll.training.report import Report


def drawing(folder: Path, show: console.Show) -> Callable[["Report"], None]:
    """Return what draws the reports of the training in `folder`.

    A screen has a bar, with the samples above it; elsewhere there is a line for each validation instead.
    """
    description: dict[str, Any] = {}
    began, first_step, trained, pace = time.monotonic(), 0, "", ""

    def draw(report: "Report") -> None:
        nonlocal description, began, first_step, trained, pace
        if not description:
            beside = report.detail.get("beside")
            description = info(beside or folder) | {"path": str(folder)}
            began, first_step = time.monotonic(), report.step
            put_start(description)
            if beside:
                first = description["recipe"]["training"]["valid_every"]
                console.note(f"The model that is in {folder} stays until there are trained weights, at step {first}.")
        steps = description["planned_steps"]
        place = f"{report.step:,}/{steps:,}"
        part = "valid" if report.kind == "valid" else "train"
        quality = "" if report.nats is None else console.quality_of(description, report.nats, part)
        match report.kind:
            case "train" if report.nats is not None:
                left = (time.monotonic() - began) / max(1, report.step - first_step) * (steps - report.step)
                trained = f"training {quality}"
                pace = f" · {report.tokens_per_second or 0:,}/s · {console.clock(left)} left"
                show(place, report.step, steps, trained + pace)
            case "valid" if not console.is_screen(sys.stderr):
                figures = " · ".join(filter(None, (trained, f"validation {quality}")))
                console.note(f"step {place} · {figures}{pace}")
            case "sample":
                console.put_rule(f"step {report.step:,} · {quality}", err=True)
                console.note(console.visible(description["recipe"]["training"]["sample_prompt"] + (report.text or "")))
            case "warn":
                console.warn(report.text or "")

    return draw


def put_start(description: dict[str, Any]) -> None:
    """Print what is learnt, by what, and for how long."""
    training, parts, sources = description["recipe"]["training"], description["parts"], description["trained_on"]
    names = ", ".join(source["name"] for source in sources[:3]) + (
        f" and {len(sources) - 3} more" if sources[3:] else ""
    )
    size = console.size(sum(source["bytes"] for source in sources))
    digest = f" · sha256 {sources[0]['sha256'][:16]}" if len(sources) == 1 else ""
    shape = f"{training['batch_size']} x {training['seq_len']} symbols"
    rounds = description["planned_steps"] * training["batch_size"] * training["seq_len"] / parts["train"]["tokens"]
    portions, labels = f"{shape}, {rounds:.1f} times the text", description["labels"] or {}
    if labels:
        portions = f"up to {shape}: texts of similar length"
    # What is held back without a file of its own is the end of the text.
    ends = [name for name in parts if name != "train" and not description[f"{name}_file"]]
    sizes = ", ".join(f"{part['tokens']:,} {name}" for name, part in parts.items())
    if ends:
        sizes += f" · {' and '.join(ends)}: {'one text in ten' if labels else 'the end of the text'}"
    rows = {
        "text": f"{names} · {size}{digest}",
        "symbols": f"{description['vocab_size']:,}, level {description['level']} · {sizes}",
        "words": words(description),
        "model": f"{console.shape(description)} · {description['parameters']:,} parameters",
        "labels": ", ".join(f"{len(counts)} in column {column}" for column, counts in labels.items()),
        "training": f"{number_of(description['planned_steps'], 'step')} of {portions} · "
        f"threads: {training['threads']}, {training['precision']}",
        "folder": description["path"],
    }
    console.put_columns([(name, value) for name, value in rows.items() if value], err=True)


def words(description: dict[str, Any]) -> str:
    """Return where words end, and why; empty at the other levels."""
    return next((note.removeprefix("words ") for note in description["notes"] if note.startswith("words end")), "")


def put_stopped(folder: Path, *, as_json: bool) -> None:
    """Print how to resume a training that was stopped."""
    description = info(folder)
    console.note(f"Stopped at step {description['steps']:,} of {description['planned_steps']:,}, and saved.")
    first = description["recipe"]["training"]["valid_every"]
    if 0 < description["steps"] < first:
        console.note(f"The model is still that of step 0: the first validation is at step {first:,}.")
    console.note(f"To resume: unroll train --resume {console.quoted(folder)}")
    if as_json:
        console.put_json({"out": str(folder)} | description)


def put_result(folder: Path, *, as_json: bool) -> None:
    """Print the result of a training: for a person on stderr, or as JSON on stdout."""
    description = info(folder)
    if description["valid_nats_per_token"] is not None:
        read, whole, best = (description[key] for key in ("valid_tokens", "valid_part_tokens", "best_step"))
        part = f" · of the first {read:,} of {whole:,} validation symbols" if read < whole else ""
        quality = console.quality_of(description, description["valid_nats_per_token"])
        console.put_rule("done", err=True)
        rows = {
            "validation": f"{quality}{part} · the weights of step {best:,}",
            "test": tested(description),
            "note": next((note for note in description["notes"] if note.endswith(ADD_THEM)), ""),
            "training": console.spent(description),
            "next": f"unroll sample {console.quoted(folder)}{first_label(description)}",
        }
        console.put_columns([(name, row) for name, row in rows.items() if row], err=True)
    if as_json:
        console.put_json({"out": str(folder)} | description)


def first_label(description: dict[str, Any]) -> str:
    """Return the option that names the most frequent label, of what `info` knows of a model; empty without labels."""
    for counts in (description["labels"] or {}).values():
        return f" --label {console.quoted(max(counts, key=counts.__getitem__))}"
    return ""


def tested(description: dict[str, Any]) -> str:
    """Return the figure of the test text, of what `info` knows of a model; empty where none was given."""
    nats, part = description["test_nats_per_token"], (description["parts"] or {}).get("test")
    if nats is None or part is None:
        return ""
    chars_per_token = None if description["level"] == "word" else part["chars"] / part["tokens"]
    read = description["test_tokens"]
    cut = f"the first {read:,} of {part['tokens']:,} symbols of " if read < part["tokens"] else ""
    name = description["test_file"] or "the test text"
    return f"{console.quality(nats, chars_per_token)}{console.unknown(description, 'test')} · of {cut}{name}"
