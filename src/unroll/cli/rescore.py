"""`unroll rescore`: n-best lists re-ranked with a model's probability of every hypothesis."""

from pathlib import Path
from typing import Any

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_lists
from unroll.cli.options import PATH
from unroll.errors import UserError


@click.command(
    "rescore",
    epilog="""\b
Formats, recognised by the first line; higher scores are better:
  Moses        id ||| hypothesis ||| features ||| total
  a table      tabs, with a header that names id, text (hyp, sentence), score (total, logprob)
  JSON lines   {"id" or "utt": ..., "text" or "hyp": ..., "score": ..., ...}

\b
The new score is the old one + weight * ln P(hypothesis) + bonus * words. Every line comes back
with all its bytes and two more fields, ln P and the new score (in tables and JSON: lm, rescored);
the best first in each group, the groups in their order. Unknown symbols are read as <unk>, and
their rate is reported.

\b
Examples:
  unroll rescore runs/lm dev.nbest --tune dev.ref        which weight makes the fewest word errors
  unroll rescore runs/lm test.nbest --weight 0.4 --out test.rescored
  unroll rescore runs/lm test.nbest --weight 0.4 --best > test.txt""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("nbest", metavar="NBEST", type=TEXT)
@click.option("--out", metavar="F", type=PATH, help="Write to this file instead of stdout.")
@click.option("--weight", metavar="X", type=float, help="Weight of ln P.  [default: 1, unless tuned]")
@click.option("--word-bonus", metavar="X", type=float, default=0.0, help="Bonus for each word.")
@click.option(
    "--tune",
    metavar="REF",
    type=TEXT,
    help="Fit the weight to these reference texts: JSON lines, id<TAB>text, or one per line in order.",
)
@click.option(
    "--best",
    is_flag=True,
    help="Write only the best hypothesis of each group, one per line; refused if one has several lines.",
)
@click.option("--id-field", metavar="NAME", help="Name of the id field, if unusual.")
@click.option("--text-field", metavar="NAME", help="Name of the field with the hypothesis.")
@click.option(
    "--score-field", metavar="NAME", help="Name of the field with the old score; for Moses its number, from 1."
)
@click.option(
    "--json", "as_json", is_flag=True, help='Print one JSON object; without --out it has the list as "nbest".'
)
@reads_lists
def verb(
    model: Path,
    nbest: Path,
    out: Path | None,
    weight: float | None,
    word_bonus: float,
    tune: Path | None,
    best: bool,
    id_field: str | None,
    text_field: str | None,
    score_field: str | None,
    as_json: bool,
) -> None:
    """Re-rank the hypotheses of NBEST by their old scores and those of the model in DIR together."""
    from unroll.artifact.open import open_model
    from unroll.files import refuse_input, stream_number, write_atomically
    from unroll.lm.nbest import Fields
    from unroll.lm.rescore import rescore_list

    if weight is not None and tune is not None:
        raise UserError("both --weight and --tune are given", allowed="one of them", fix="leave one out")
    refuse_input(out, tune, nbest if best else None)  # a whole list may take the place of itself
    fields = Fields(id_field, text_field, score_field)
    lines = best and (out is not None or not as_json)
    result = console.run(
        rescore_list(open_model(model), nbest, 1.0 if weight is None else weight, word_bonus, tune, fields, best=lines)
    )
    content = result.best().encode() if lines else result.written()
    if out is not None:
        write_atomically(out, content)
    figures = {"model": model, "out": out} | result.figures()
    if as_json:
        console.put_json(figures | ({} if out else {"nbest": result.items(best=best)}))
        return
    if out is None:
        console.put_bytes(content)
    console.put_columns(rows_of(figures), err=out is None or stream_number(out) == 1)
    console.warn(*figures["notes"])


def rows_of(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the summary, each with its name."""
    rows = [
        ("list", f"{figures['hypotheses']:,} hypotheses of {figures['groups']:,} groups, {figures['format']}"),
        (
            "weight",
            f"{figures['weight']:.4g}" + (f", {figures['word_bonus']:g} a word" if figures["word_bonus"] else ""),
        ),
        ("changed", f"the best of {figures['changed']:,} groups"),
        ("unknown", f"{100 * figures['unknown_rate']:.2f} % of the symbols"),
    ]
    if figures.get("wer") is not None:
        rates = [100 * figures[name] for name in ("wer", "wer_before", "wer_possible")]
        rows.insert(2, ("words wrong", "{:.2f} %, by the old scores {:.2f} %, at best {:.2f} %".format(*rates)))
    return rows
