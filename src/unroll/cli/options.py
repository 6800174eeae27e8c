"""Options that several verbs share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from unroll.cli.inputs import TEXT
from unroll.errors import UserError

Verb = TypeVar("Verb", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


def json_option(members: str = "") -> Callable[[Verb], Verb]:
    """Return `--json`; `members` are those of the object that it prints, as JSON."""
    object_of = f": {{{members}}}" if members else ""
    return click.option("--json", "as_json", is_flag=True, help=f"Print one JSON object{object_of}.")


def plot_option(picture: str) -> Callable[[Verb], Verb]:
    """Return `--plot`, which writes a picture, such as "accuracy by distance"."""
    return click.option("--plot", metavar="F", type=PATH, help=f"Draw {picture} to this .png or .svg file.")


def check_source(texts: Sequence[str], file: Path | None, verb: str) -> None:
    """Raise UserError unless there are either texts or a file of them to `verb`."""
    if texts and file is not None:
        raise UserError("there are both texts and --file", allowed="TEXT..., or --file F", fix="leave one out")
    if not texts and file is None:
        raise UserError(f"there is nothing to {verb}", allowed="TEXT..., or --file F, - for standard input",
                        fix="give texts or a file")  # fmt: skip


def refuse_options(model: Path, kind: str, given: dict[str, object], allowed: str) -> None:
    """Raise UserError for the first of these options that was given: a model of this kind has no use for them."""
    for name, value in given.items():
        if value is not None and value is not False and value != ():
            from unroll.artifact.directory import KINDS

            raise UserError(
                f"{name} does not apply to {KINDS[kind][0]}, and {model} is one",
                allowed=allowed,
                fix=f"leave out {name}",
            )


JSON = json_option()
PRECISION = click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="int8 is faster and takes a quarter of the memory; `unroll quantize` measures what it costs.",
)
UNKNOWN = click.option(
    "--unknown",
    type=click.Choice(["as-unk", "exclude", "penalise", "refuse"]),
    default="as-unk",
    show_default=True,
    help="What unknown symbols cost; see below.",
)
UNKNOWN_RULES = """\b
--unknown: the cost of a symbol that the model has never seen and reads as <unk>:
  as-unk     the nats of <unk>
  exclude    nothing, and it is not counted as a symbol
  penalise   the nats of <unk>, and 5.55 (ln 256) for each of its bytes and for the end of a word
  refuse     an error that names it"""
FILE = click.option("--file", metavar="F", type=TEXT, help="The text.  [default: the model's own validation part]")
LABEL = click.option(
    "--label",
    metavar="[COL=]LABEL",
    multiple=True,
    help="Begin with the start state of this label, of a model trained with labels; one of each column.",
)
REPLACE_UNKNOWN = click.option("--replace-unknown", is_flag=True, help="Read symbols unknown to the model as <unk>.")

LEVEL = click.option(
    "--level", type=click.Choice(["char", "byte", "word", "bpe"]), help="What a symbol is.  [default: char]"
)
WORDS = click.option(
    "--words",
    type=click.Choice(["space", "unicode"]),
    help="Where words end: at white space, or at punctuation too.  [default: space if the text is tokenised already]",
)
SPLIT = click.option("--split", metavar="A/B[/C]", help="Percent for training, validation and test.  [default: 90/5/5]")
VALID = click.option("--valid", metavar="FILE", type=TEXT, help="Validate on this text instead of a part of FILE.")
TEST = click.option("--test", metavar="FILE", type=TEXT, help="Keep this text for a test at the very end.")

HOST = click.option("--host", metavar="H", default="127.0.0.1", show_default=True, help="Address to listen on.")
PORT = click.option("--port", metavar="N", type=int, default=8000, show_default=True, help="Port; 0 takes a free one.")
ALLOW_HOST = click.option(
    "--allow-host", "allow_hosts", metavar="NAME", multiple=True, help="Another name of this server.  May be repeated."
)
