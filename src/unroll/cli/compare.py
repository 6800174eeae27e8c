"""`unroll compare`: models side by side on one text."""

from pathlib import Path
from typing import Any

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import PATH, json_option


@click.command(
    "compare",
    epilog="""\b
Examples:
  unroll compare runs/window runs/rnn runs/lstm test.txt
  unroll compare runs/book runs/book-12gram test.txt --protocol lines --json""",
)
@click.argument("models", metavar="DIR DIR...", nargs=-1, required=True, type=PATH)
@click.argument("file", metavar="FILE", type=TEXT)
@click.option(
    "--protocol",
    type=click.Choice(["stream", "lines"]),
    default="stream",
    show_default=True,
    help="stream: one text with carried state; lines: each line from a fresh state.",
)
@json_option('"models": [...], "pairs": [...]')
@reads_text
def verb(models: tuple[Path, ...], file: Path, as_json: bool, **options: Any) -> None:
    """Compare the models in the DIRs on the text FILE: size, figures, speed, context, and a paired test."""
    from unroll.lm.compare import compare_models

    comparison = console.run(compare_models(models, [file], **options))
    if as_json:
        console.put_json(comparison)
    else:
        put(comparison)


COLUMNS = ("model", "arch", "parameters", "bits/char", "bits/byte", "perplexity", "symbols/s", "context")


def put(comparison: dict[str, Any]) -> None:
    """Print a line for each model, the numbers set right, one for each pair, and the notes."""
    rows = [COLUMNS, *map(cells, comparison["models"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left, right = row[:2], row[2:]
        parts = [cell.ljust(width) for cell, width in zip(left, widths[:2], strict=True)]
        parts += [cell.rjust(width) for cell, width in zip(right, widths[2:], strict=True)]
        console.put("  ".join(parts).rstrip())
    for pair in comparison["pairs"]:
        console.put(sentence(pair))
    noted: dict[str, list[str]] = {}
    for row in comparison["models"]:
        for remark in row["notes"]:
            noted.setdefault(remark, []).append(row["model"])
    for remark, models in noted.items():
        console.note(remark if len(models) == len(comparison["models"]) else f"{', '.join(models)}: {remark}")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a model's line; what does not apply is a dash."""
    return (
        row["model"],
        row["arch"],
        f"{row['parameters']:,}",
        *(f"{row[name]:.4f}" if row[name] is not None else "–" for name in ("bits_per_char", "bits_per_byte")),
        f"{row['perplexity']:,.2f}" if row["perplexity"] is not None else "–",
        f"{row['tokens_per_second']:,}",
        "no limit" if row["context"] is None else f"{row['context']:,}",
    )


def sentence(pair: dict[str, Any]) -> str:
    """Return what the paired test says, in a sentence."""
    first, second = pair["models"]
    if pair["difference"] is None:
        return f"{first} against {second}: no test, {pair['note']}"
    unit = {"bits_per_byte": "bits/byte", "nats_per_token": "nats per symbol"}[pair["unit"]]
    more = "more" if pair["difference"] > 0 else "less"
    low, high = (
        sorted(map(abs, pair["interval"])) if pair["interval"][0] * pair["interval"][1] > 0 else pair["interval"]
    )
    sure = "" if pair["interval"][0] * pair["interval"][1] > 0 else ": no difference that chance could not make"
    return (
        f"{first} pays {abs(pair['difference']):.4f} {unit} {more} than {second} "
        f"(95 % interval {low:.4f} to {high:.4f}, p = {pair['p']:.2g}, {pair['stretches']} stretches of lines){sure}"
    )
