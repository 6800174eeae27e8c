"""Arguments that name texts: how they are read, and copies of standard input and pipes, which are read only once."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from unroll.cli import console
from unroll.data.opening import text_path
from unroll.data.tables import is_table
from unroll.errors import UserError
from unroll.files import explained
from unroll.training.many import torchrun

Verb = TypeVar("Verb", bound=Callable[..., Any])

EXAMPLES = "unroll.examples"
"""Key of what a verb is told of itself: that its files are tables of labelled texts."""
COPIES = "UNROLL_COPIES"
"""Names in the environment this process and the folder of its copies: `train` may start itself again."""


class TextType(click.Path):
    """The path of a text that `reads_text` prepares; `-` is standard input."""


class Escaped(click.types.StringParamType):
    """A string in which escapes stand for what is hard to type, as in `sample --stop`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the string that is meant; raises UserError for a backslash that begins no escape."""
        from unroll.data.lines import unescaped

        return unescaped(value, max(param.opts, key=len) if param else "the text")


TEXT = TextType(path_type=Path)
SEPARATOR = click.option(
    "--separator",
    metavar="S",
    type=Escaped(),
    help=r"The string that ends each document in a FILE, as '<|endoftext|>' or '\n\n': it becomes the symbol <end>.",
)
ENCODING = click.option("--encoding", metavar="NAME", help="Encoding of the text.  [default: utf-8]")
COLUMN = click.option(
    "--text", "column", metavar="COL", help="Read this column of CSV files, or this key of JSON lines, as the text."
)


def column_names(names: str | None) -> list[str]:
    """Return the names of columns, which commas separate."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _reader(*, columns: bool, examples: bool = False) -> Callable[[Verb], Verb]:
    """Return a decorator of verbs; `examples`: those that read tables of labelled texts where DIR is a classifier."""

    def decorated(verb: Verb) -> Verb:
        @wraps(verb)
        def read(*arguments: Any, encoding: str | None, **choices: Any) -> Any:
            column = choices.pop("column", None) if columns else None
            context = click.get_current_context()
            if examples and _classifies(choices.get("model") or choices["models"][0]):
                if column is not None:
                    raise UserError(
                        "--text names the column of a text, and a classifier reads those that it was trained on",
                        allowed="--file F, a table with these columns",
                        fix="leave out --text; `unroll info DIR` shows the columns",
                    )
                context.meta[EXAMPLES] = True
            if choices.get("labels") is not None:  # a table, whose columns the verb reads by itself
                choices["text"], column = column, None
                context.meta[EXAMPLES] = True
            prepared = partial(_prepared, context, {}, encoding, column, columns)
            for param in context.command.params:
                # Of several processes only the first reads.
                if isinstance(param.type, TextType) and param.name is not None and not torchrun.follows():
                    given = choices[param.name]
                    several = isinstance(given, tuple)
                    choices[param.name] = tuple(map(prepared, given)) if several else given and prepared(given)
            return verb(*arguments, **choices)

        return cast(Verb, ENCODING(COLUMN(read) if columns else read))

    return decorated


reads_text = _reader(columns=True)
"""Gives a verb --encoding and --text, and paths of all its TEXTs that can be read twice and say how they are read."""
reads_examples = _reader(columns=True, examples=True)
"""Does the same for a verb that reads a text or, for a classifier, a table of labelled texts."""
reads_lists = _reader(columns=False)
"""Does the same for a verb whose files have columns of their own, or none: it has no --text."""


def _classifies(model: Path) -> bool:
    """Return whether there is a classifier at this path."""
    from unroll.artifact.directory import CLASSIFIER, read_kind

    try:
        return bool(read_kind(model)["kind"] == CLASSIFIER)
    except UserError:  # which the verb raises, too
        return False


def _prepared(
    context: click.Context,
    copies: dict[Path, Path],
    encoding: str | None,
    column: str | None,
    columns: bool,
    path: Path,
) -> Path:
    """Return the path of a text as it is to be read; `copies` are those made so far.

    `columns`: whether the verb reads one column of a table as a text.
    """
    label = "standard input" if str(path) == "-" else str(path)
    if str(path) != "-" and not path.is_fifo():
        if columns and column is None and is_table(path) and not context.meta.get(EXAMPLES, False):
            console.warn(f"all of {path} is the text, its delimiters too: --text COL reads one column of it")
        return path if encoding is None and column is None else text_path(path, encoding=encoding, column=column)
    if path in copies:
        raise UserError(f"{label} is named twice", allowed="once: it can be read only once", fix="save it to a file")
    name = "stdin" if str(path) == "-" else path.name
    copies[path] = _folder(context) / str(len(copies)) / name
    if not copies[path].exists():  # as it does where this process has started itself again
        _copy(path, copies[path])
    if not copies[path].stat().st_size:
        raise UserError(f"{label} is empty", allowed="a text", fix="check the command that writes it")
    return text_path(copies[path], encoding=encoding, column=column, label=label)


def _folder(context: click.Context) -> Path:
    """Return the folder of copies, which vanishes with the verb."""
    process, _, name = os.environ.get(COPIES, "").partition(":")
    if process != str(os.getpid()) or not os.path.isdir(name):
        name = tempfile.mkdtemp(prefix="unroll-")
        os.environ[COPIES] = f"{os.getpid()}:{name}"
    context.call_on_close(partial(shutil.rmtree, name, ignore_errors=True))
    return Path(name)


def _copy(source: Path, target: Path) -> None:
    """Copy standard input or a pipe to its end."""
    with explained(target):
        target.parent.mkdir()
        with ExitStack() as stack:
            stream = sys.stdin.buffer if str(source) == "-" else stack.enter_context(open(source, "rb"))
            shutil.copyfileobj(stream, stack.enter_context(open(target, "wb")))
