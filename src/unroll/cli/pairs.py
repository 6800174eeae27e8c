"""`unroll pairs`: how often a model prefers the right one of two texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_lists
from unroll.cli.options import PATH, json_option
from unroll.errors import UserError

if TYPE_CHECKING:
    from unroll.lm.pairs import Count, PairsResult, Unknown


@click.command(
    "pairs",
    epilog="""\b
Formats, recognised by their first line:
  BLiMP       JSON lines with sentence_good, sentence_bad, UID, linguistics_term
  agreement   colorless-green's tab: the columns form, class (correct, wrong), prefix, ...
  any table   good<TAB>bad, or good<TAB>bad<TAB>set; a first line good<TAB>bad is a header

\b
What is compared:
  Sentences are read from a fresh state, and their end counts (newline, <eos>), as in published
  figures of LSTMs and n-grams on BLiMP; --no-eos leaves it out. A pair is right if the good text
  is strictly more probable; a tie is wrong. In an agreement item only the word after the prefix
  counts, with the white space after it unless symbols are words. Intervals: Wilson, 95 %. A pair
  with a symbol unknown to one model is left out for all models, and counted.

\b
Examples:
  unroll pairs runs/wiki blimp/data/*.jsonl
  unroll pairs runs/lstm runs/rnn generated.tab         with McNemar's exact test
  unroll pairs --scored best_model.tab best_srnn.tab    count the scores in the files
  unroll pairs runs/lstm mine.tsv --items items.tsv --json""",
)
@click.argument("paths", metavar="[DIR]... FILE...", nargs=-1, type=TEXT)
@click.option(
    "--unknown",
    type=click.Choice(("exclude", "include")),
    default="exclude",
    show_default=True,
    help="Pairs with unknown symbols: leave them out, or read those symbols as <unk>.",
)
@click.option("--eos/--no-eos", default=True, help="Score the end of each sentence, too.  [default: --eos]")
@click.option("--scored", is_flag=True, help="Also count the models whose scores are columns of the files.")
@click.option("--items", metavar="F.tsv", type=PATH, help="Write every pair with its nats to this file.")
@json_option('"pairs", "accuracy", "by_set", ...')
@reads_lists
def verb(
    paths: tuple[Path, ...], unknown: "Unknown", eos: bool, scored: bool, items: Path | None, as_json: bool
) -> None:
    """Count how often the models in the DIRs prefer the good one of two texts: minimal pairs."""
    from unroll.files import refuse_input, write_atomically
    from unroll.lm.pairs import minimal_pairs

    models = [path for path in paths if path.is_dir()]
    for path in models:
        if not (path / "model.json").exists():
            raise UserError(
                f"{path} is a folder without a model", allowed="model directories and files of pairs",
                fix=f"name the files in it: {path}/*",
            )  # fmt: skip
    files = [path for path in paths if not path.is_dir()]
    refuse_input(items, *files)
    result = console.run(minimal_pairs(models, files, unknown, eos=eos, scored=scored))
    if items is not None:
        write_atomically(items, result.table().encode())
    if as_json:
        console.put_json({"files": [f"{file}" for file in files]} | result.figures())
    else:
        put(result)


def put(result: "PairsResult") -> None:
    """Print the table, a line for every two models, and the notes."""
    console.put_columns(rows_of(result))
    for comparison in result.comparisons:
        console.put(
            f"{comparison.first} against {comparison.second}: {comparison.only_first:,} pairs only the first gets "
            f"right, {comparison.only_second:,} only the second, McNemar p = {comparison.p:.2g}"
        )
    console.warn(*result.notes)


def rows_of(result: "PairsResult") -> Iterator[Sequence[str]]:
    """Yield the rows of the table: the sets, what they belong to, all."""
    alone = len(result.models) == 1
    names = [model.nats.model for model in result.models]
    yield ["", "pairs", "right", "95 %"] if alone else ["", "pairs", *names]
    first = result.models[0]
    for title, counts in (("set", first.sets), ("group", first.groups)):
        if title == "group" and counts:
            yield [""] * (4 if alone else 2 + len(names))
        for name in counts:
            yield row([(model.sets if title == "set" else model.groups)[name] for model in result.models], name)
    yield row([model.total for model in result.models], "all")


def row(counts: "Sequence[Count]", name: str) -> list[str]:
    """Return a row: how many pairs, and what each model gets right of them; the interval where there is one model."""
    cells = [name, f"{counts[0].pairs:,}", *(percent(count.accuracy) for count in counts)]
    if len(counts) == 1 and (interval := counts[0].interval):
        cells.append("{:.1f} to {:.1f} %".format(*(100 * edge for edge in interval)))
    return cells if len(counts) > 1 or len(cells) == 4 else [*cells, ""]


def percent(share: float | None) -> str:
    """Return a share as 80.5 %."""
    return "–" if share is None else f"{100 * share:.1f} %"
