"""`unroll tag`: trains a tagger, asks it for tags, measures it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_lists
from unroll.cli.options import PATH, PRECISION, check_source, json_option, plot_option
from unroll.cli.tag_train import train_verb
from unroll.errors import UserError, number_of

COLOURS = (33, 34, 136, 162, 37, 166, 99, 70, 172, 125, 31, 64, 130, 61, 168, 29, 97)
"""Of the terminal's 256, readable on black and on white: one for each tag, or type of entity, in turn."""
COLUMN = click.option(
    "--column",
    metavar="COL",
    help="The column of the tags: a name in CoNLL-U, else a number.  [default: as in training]",
)
TOKEN_COLUMN = click.option(
    "--token-column", metavar="N", type=int, help="The column of the tokens, but in CoNLL-U.  [default: as in training]"
)


@click.group(
    "tag",
    epilog="""\b
Examples:
  unroll tag train train.conllu --valid dev.conllu --column upos
  unroll tag predict runs/train "The cat sat on the mat."
  unroll tag eval runs/train test.conllu""",
)
def verb() -> None:
    """Train a tagger of tokens, ask it for tags, measure it."""


verb.add_command(train_verb)


@verb.command(
    "predict",
    short_help="Show the tags of texts, or write them into a file.",
    epilog="""\b
Examples:
  unroll tag predict runs/ewt "The cat sat on the mat."
  unroll tag predict runs/ewt "The cat did n't sit ." --tokens spaces --json
  unroll tag predict runs/ewt --file new.conllu --out tagged.conllu
  unroll tag predict runs/ner --file letters.txt""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("texts", metavar="TEXT...", nargs=-1)
@click.option("--file", metavar="F", type=TEXT, help="Tag this file: see above.")
@click.option("--out", metavar="F", type=PATH, help="Write a tagged file here instead of to stdout.")
@COLUMN
@TOKEN_COLUMN
@click.option(
    "--tokens",
    type=click.Choice(["spaces", "unicode"]),
    help="Cut texts at white space alone, or around punctuation marks, too.  [default: as punctuation in training]",
)
@PRECISION
@json_option('"predictions": [{"text", "tokens": [{"token", "start", "end", "tag", "probability"}]}]')
@reads_lists
def predict_verb(
    model: Path,
    texts: tuple[str, ...],
    file: Path | None,
    out: Path | None,
    column: str | None,
    token_column: int | None,
    tokens: Any,
    precision: Any,
    as_json: bool,
) -> None:
    """Show the tag of each token of TEXTs.

    A file named .conllu, .conll, .tsv, .iob, .iob2 or .bio, or any with --column, has tokens: it is written with the
    tags that are predicted in its column, and every other byte as it was. In others each line is a text.
    """
    from unroll.artifact.tagger import as_tagger
    from unroll.data.lines import text_lines
    from unroll.data.tagged import is_tagged
    from unroll.tasks.tag.predict import predictions, token_spans, tokens_in_training

    check_source(texts, file, "tag")
    opened = as_tagger(model, precision)
    if file is not None and (is_tagged(file) or column is not None):
        if tokens is not None:
            raise UserError(f"--tokens cuts texts, and {file} has tokens", allowed="files of text", fix="leave it out")
        _write_tags(opened, file, out, column, token_column, as_json)
        return
    for option, value in (("--out", out), ("--column", column), ("--token-column", token_column)):
        if value is not None:
            raise UserError(
                f"{option} is given, and there is no file with tokens",
                allowed="--file F.conllu or the like",
                fix=f"leave {option} out; for a file with another ending, name its --column",
            )
    if file is not None:
        texts = tuple(text_lines(file))
    cut = tokens or tokens_in_training(opened)
    rows = console.run(predictions(opened, texts, [token_spans(text, cut) for text in texts]))
    if as_json:
        console.put_json({"predictions": rows})
        return
    types = {tag: _type_of(tag, opened.info.scheme) for tag in opened.info.tags}
    for row in rows:
        if console.is_screen(sys.stdout):
            _put_tagged(row, types)
        else:
            console.put(" ".join(f"{item['token']}/{item['tag']}" for item in row["tokens"]))


def _write_tags(
    opened: Any, file: Path, out: Path | None, column: str | None, token_column: int | None, as_json: bool
) -> None:
    """Write a file with the tags that are predicted in its column."""
    from unroll.data.tagged import read_tagged, rewritten
    from unroll.files import refuse_input, write_atomically
    from unroll.tasks.tag.predict import joined_spans, predictions

    refuse_input(out, file)
    info = opened.info
    tagged = console.run(
        read_tagged(file, column or info.column, token_column=token_column or info.token_column, tags=False)
    )
    texts, spans = [*map(" ".join, tagged.sentences)], [*map(joined_spans, tagged.sentences)]
    rows = console.run(predictions(opened, texts, spans))
    if out is not None or not as_json:
        content = rewritten(tagged, [[item["tag"] for item in row["tokens"]] for row in rows])
        if out is not None:
            write_atomically(out, content)
        else:
            console.put_bytes(content)
    if as_json:
        console.put_json({"predictions": rows})


def _type_of(tag: str, scheme: str) -> str:
    """Return what the colour of a tag stands for: the tag or, of an entity, its type."""
    return tag if scheme == "none" else tag.partition("-")[2]


def _put_tagged(row: dict[str, Any], types: dict[str, str]) -> None:
    """Print a text token by token on a screen, each above its tag in the tag's colour; an empty type has none."""
    from rich.cells import cell_len

    names = sorted({*types.values()} - {""})
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    lines, used = ["", ""], 0
    for item in row["tokens"]:
        token, type = console.visible(item["token"]), types[item["tag"]]
        cells = [token, item["tag"] if type else ""]
        width = max(map(cell_len, cells)) + 2
        if used and used + width > console.columns():
            _put_lines(lines)
            lines, used = ["", ""], 0
        for place, cell in enumerate(cells):
            gap = " " * (width - cell_len(cell))
            if type and console.has_colours(sys.stdout):
                cell = click.style(cell, fg=colours[type], bold=place == 0)
            lines[place] += cell + gap
        used += width
    _put_lines(lines)


def _put_lines(lines: list[str]) -> None:
    """Print a line of tokens and, unless it is empty, that of their tags."""
    above, below = (line.rstrip() for line in lines)
    console.put(above)
    if below:
        console.put(below)


@verb.command(
    "eval",
    short_help="Measure a tagger on tagged sentences.",
    epilog="""\b
Examples:
  unroll tag eval runs/ewt test.conllu
  unroll tag eval runs/ewt test.conllu --plot confusion.png --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("file", metavar="FILE", type=TEXT)
@COLUMN
@TOKEN_COLUMN
@plot_option("the confusion of tags")
@PRECISION
@json_option('"accuracy", "tokens", "known", "unknown": {"accuracy", "count"}, "per_tag", "entities", …')
@reads_lists
def eval_verb(
    model: Path,
    file: Path,
    column: str | None,
    token_column: int | None,
    plot: Path | None,
    precision: Any,
    as_json: bool,
) -> None:
    """Measure how often the tagger in DIR is right about the tokens in FILE, tag by tag and entity by entity."""
    from unroll.artifact.tagger import as_tagger
    from unroll.tasks.tag.evaluate import measure_file

    if plot is not None:
        from unroll.tasks.classify.picture import check_picture

        check_picture(plot)
    figures = console.run(measure_file(as_tagger(model, precision), file, column, token_column))
    if plot is not None:
        from unroll.tasks.classify.picture import draw_confusion

        draw_confusion(figures, plot)
    if as_json:
        console.put_json(figures)
        return
    console.put_columns([*_summary(figures)])
    console.put()
    _put_table("tag", "tokens", figures["per_tag"])
    if figures["entities"] is not None:
        console.put()
        _put_table("entity", "entities", figures["entities"]["per_type"])


def _summary(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    low, high = figures["interval"]
    count = number_of(figures["tokens"], "token")
    yield "accuracy", f"{_percent(figures['accuracy'])} of {count} (95 %: {100 * low:.1f} to {100 * high:.1f})"
    for part, what in (("known", "in the vocabulary"), ("unknown", "not in it")):
        if figures[part]["count"]:
            yield part, f"{_percent(figures[part]['accuracy'])} of {number_of(figures[part]['count'], 'token')} {what}"
    yield "sentences", f"{_percent(figures['sentence_accuracy'])} of {figures['sentences']:,} without an error"
    yield "macro F1", _percent(figures["macro"]["f1"])
    if figures["nats"] is not None:
        yield "nats", f"{figures['nats']:.4f} a token"
    if (entities := figures["entities"]) is not None:
        micro = entities["micro"]
        f1, precision, recall = (_percent(micro[name]) for name in ("f1", "precision", "recall"))
        yield "entities", f"F1 {f1}, precision {precision}, recall {recall} of {micro['count']:,}"
        yield "", entities["definition"]
        for name, where in (("invalid_true", "in the file"), ("invalid_predicted", "predicted")):
            if entities[name]:
                yield "invalid", f"{number_of(entities[name], 'tag')} {where} that break the scheme"
    for note in figures["notes"]:
        yield "note", note


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _put_table(name: str, of: str, rows: dict[str, dict[str, Any]]) -> None:
    """Print precision, recall and F1 of tags or of types, a row each."""
    console.put_columns([(name, "precision", "recall", "F1", of), *(
        (label, f"{100 * row['precision']:.1f}", f"{100 * row['recall']:.1f}", f"{100 * row['f1']:.1f}",
         f"{row['count']:,}") for label, row in rows.items())])  # fmt: skip
