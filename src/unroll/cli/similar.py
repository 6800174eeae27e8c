"""`unroll similar`: the lines nearest to a text, and the symbols nearest to a symbol."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console
from unroll.cli.embed import POOL
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import PATH, json_option
from unroll.data.lines import ESCAPES
from unroll.errors import UserError

if TYPE_CHECKING:
    from unroll.lm.vectors import Pool


@click.command(
    "similar",
    epilog="""\b
All lines are compared by the cosine of their vectors, which are those of `unroll embed`. Vectors
made with another --pool are as useless as those of another model.

\b
Examples:
  unroll similar runs/book sentences.txt --query "It was late." --pool mean
  unroll similar runs/book sentences.txt --vectors sentences.npy --query "It was late." --top 3
  unroll similar runs/words --symbol king""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("file", metavar="[FILE]", required=False, type=TEXT)
@click.option("--query", metavar="T", help="Find the lines of FILE nearest to this text.")
@click.option("--symbol", metavar="W", help="Find the symbols nearest to this one, by their embeddings.")
@click.option("--top", metavar="N", type=int, default=10, show_default=True, help="How many to show.")
@POOL
@click.option("--vectors", metavar="F.npy", type=PATH, help="Use these vectors of FILE, as `unroll embed` wrote them.")
@json_option('"similar": [...]')
@reads_text
def verb(
    model: Path,
    file: Path | None,
    query: str | None,
    symbol: str | None,
    top: int,
    pool: "Pool | None",
    vectors: Path | None,
    as_json: bool,
) -> None:
    """Show which lines of FILE are nearest to a text, or which symbols to a symbol, for the model in DIR."""
    from unroll.artifact.classifier import OpenClassifier
    from unroll.artifact.open import open_any
    from unroll.lm.vectors import pool_of, similar_lines, similar_symbols

    if (query is None) == (symbol is None) or (query is None) != (file is None) or (symbol is not None and vectors):
        raise UserError(
            "it is not clear what to compare", allowed="FILE and --query, or --symbol alone",
            fix='unroll similar DIR FILE --query "some text"; unroll similar DIR --symbol W',
        )  # fmt: skip
    opened = open_any(model)
    notes = []
    if symbol is not None:
        neighbours = similar_symbols(opened, symbol, top=top)
        asked: dict[str, object] = {"symbol": symbol}
    else:
        assert file is not None
        assert query is not None
        neighbours = console.run(similar_lines(opened, file, query, top, pool, vectors))
        reader = opened.reader if isinstance(opened, OpenClassifier) else opened.tokenizer
        if unknown := reader.unknown(query):
            named = ", ".join(dict.fromkeys(repr(symbol) for _, symbol in unknown))
            notes.append(f"symbols of the query that the model does not know were read as <unk>: {named}")
        asked = {"query": query, "file": f"{file}", "pool": pool_of(opened, pool)}
    if as_json:
        similar = [
            ({"symbol": near.text} if near.line is None else {"line": near.line, "text": near.text})
            | {"cosine": near.cosine}
            for near in neighbours
        ]
        console.put_json({"model": str(model)} | asked | {"similar": similar, "notes": notes})
    else:
        console.put_columns(
            # On one row whatever is in it, be it a tab or an end of a line.
            (f"{near.cosine:.4f}", *([] if near.line is None else [f"{near.line:,}"]), near.text.translate(ESCAPES))
            for near in neighbours
        )
        console.warn(*notes)
