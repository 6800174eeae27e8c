"""`unroll eval`: how good a model is on a text, by a named protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import JSON, PATH, PRECISION, UNKNOWN, UNKNOWN_RULES
from unroll.errors import number_of


@click.command(
    "eval",
    epilog=UNKNOWN_RULES
    + """

\b
Examples:
  unroll eval runs/book test.txt
  unroll eval runs/book test.txt --protocol lines --unknown penalise
  unroll eval runs/book test.txt --adapt dynamic
  unroll eval runs/words test.txt --adapt cache --mix runs/words-5gram --valid valid.txt""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=TEXT)
@click.option(
    "--protocol",
    type=click.Choice(["stream", "crops", "lines"]),
    default="stream",
    show_default=True,
    help="stream: one text with carried state; crops: nanoGPT's, pieces of 256 from a fresh state; lines: each line "
    "from a fresh state.",
)
@click.option(
    "--adapt",
    type=click.Choice(["dynamic", "cache"]),
    help="Also adapt while reading: train the weights on the text (dynamic evaluation), or expect recent symbols again "
    "(cache).",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set an option of --adapt instead of fitting it.  May be repeated.",
)
@click.option("--mix", metavar="DIR", multiple=True, type=PATH, help="Also mix with this model.  May be repeated.")
@click.option(
    "--valid", metavar="F", type=TEXT, help="Text to fit options and weights on.  [default: the validation part]"
)
@UNKNOWN
@PRECISION
@JSON
@reads_text
def verb(model: Path, files: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Evaluate the model in DIR on the text in the FILEs, read as one text."""
    from unroll.lm.adapted import evaluate_model

    evaluation = console.run(evaluate_model(model, files, **options))
    if as_json:
        console.put_json(evaluation)
    else:
        console.put_columns(rows_of(evaluation))


def rows_of(evaluation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a line for each way of reading, with its figures, and what to keep in mind."""
    yield evaluation["protocol"], figures(evaluation)
    if adapted := evaluation.get("adapted"):
        chosen = ", ".join(f"{name} {value:g}" for name, value in adapted["options"].items())
        yield adapted["method"], f"{figures(adapted)} ({chosen})"
    if mixed := evaluation.get("mixed"):
        parts = zip(mixed["weights"], mixed["models"], strict=True)
        yield "mixed", f"{figures(mixed)} ({' + '.join(f'{weight:.3f} {model}' for weight, model in parts)})"
    yield (
        "text",
        f"{number_of(evaluation['tokens'], 'symbol')}, {100 * evaluation['unknown_rate']:.2f} % of them unknown",
    )
    yield from (("note", note) for note in evaluation["notes"])


def figures(evaluation: dict[str, Any]) -> str:
    """Return figures as one line."""
    parts = [f"{evaluation['nats_per_token']:.4f} nats per symbol"]
    if evaluation["perplexity"] is not None:
        parts.append(f"perplexity {evaluation['perplexity']:,.2f}")
    for name in ("char", "byte"):
        if (bits := evaluation[f"bits_per_{name}"]) is not None:
            parts.append(f"{bits:.4f} bits/{name}")
    return ", ".join(parts)
