"""Writes docs/commands.md, docs/kinds.md and docs/recipe.md from the code: `python tools/reference.py`, or `make docs`.

A test compares the pages with what this program would write.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import click

from unroll.cli.app import HELP, VERBS, app
from unroll.cli.kinds import USES
from unroll.errors import NAMES
from unroll.tasks.classify.recipe import TABLES as CLASSIFIER
from unroll.tasks.forecast.recipe import TABLES as FORECASTER
from unroll.tasks.tag.recipe import TABLES as TAGGER
from unroll.training.recipe import TABLES

DOCS = Path(__file__).resolve().parent.parent / "docs"
REGENERATE = "make docs"
WIDTH = 100
"""Columns of the help texts."""
LINE = 150
"""Columns of the text beside them."""


def pages() -> dict[Path, str]:
    """Return every generated page with its content."""
    return {DOCS / "commands.md": commands(), DOCS / "kinds.md": kinds(), DOCS / "recipe.md": recipe()}


# ---- the commands


def commands() -> str:
    """Return the page of all verbs: the help of each, as `--help` prints it."""
    root = click.Context(app, info_name="unroll", help_option_names=HELP)
    links = "\n".join(f"- [{verb}](#unroll-{verb}): {does}" for verb, does in VERBS.items())
    sections = [f"## {title}\n\n```text\n{text}\n```" for verb in VERBS for title, text in helps(root, app, verb)]
    return (
        f"# Commands\n\nGenerated from the code by `{REGENERATE}`; the same text as `unroll VERB --help`.\n\n"
        f"{links}\n\n" + "\n\n".join(sections) + "\n"
    )


def helps(parent: click.Context, group: click.Group, name: str) -> Iterator[tuple[str, str]]:
    """Yield the title and the help of a command, and of those below it."""
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    lines = command.get_help(context).splitlines()
    yield context.command_path, "\n".join(line.rstrip() for line in lines)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from helps(context, command, below)


# ---- the kinds of models


def kinds() -> str:
    """Return the page on which verb works on which kind of model."""
    names = {kind: name.split(" ", 1)[1] for kind, name in NAMES.items()}
    used = {verb: refusals for verb, refusals in USES.items() if refusals is not None}
    rows, why = [], []
    for verb, refusals in used.items():
        cells = ["–" if kind in refusals else "yes" for kind in names]
        rows.append(f"| {_linked(verb)} | {' | '.join(cells)} |\n")
    for kind, name in names.items():
        why.append(f"\n## {name[0].upper()}{name[1:]}\n\n")
        why += [f"- {_linked(verb)}: {refusals[kind].why}\n" for verb, refusals in used.items() if kind in refusals]
    without = ", ".join(f"`{verb}`" for verb, refusals in USES.items() if refusals is None)
    return f"""# Kinds of models

Generated from the code by `{REGENERATE}`. A model directory holds a language model, which is a network (`unroll train`)
or an n-gram (`unroll ngram`), or the model of a task: a classifier of texts (`unroll classify train`), a tagger, a
translator or a model of sequences of numbers. Where a verb does not work on a kind of model, it exits with code 2 and
says why, as below, and what to do instead.

| verb | {" | ".join(names.values())} |
|---|{"---|" * len(names)}
{"".join(rows)}
If asked to (`--pretrained`), `classify train` begins with a language model, and `tag train` reads one. One that
[labels steer](steering.md) is one as any other; `classify predict` and `classify eval` work on it, too. No model is
read by {without}.
{"".join(why)}"""


def _linked(verb: str) -> str:
    return f"[`{verb}`](commands.md#unroll-{verb.replace(' ', '-')})"


# ---- the recipe

TASKS = {"a classifier": CLASSIFIER, "a tagger": TAGGER, "a forecaster": FORECASTER}
"""The tables of the recipes of tasks."""


def recipe() -> str:
    """Return the page of all keys of a recipe: table by table, with their defaults."""
    head = f"""# Recipe

Generated from the code by `{REGENERATE}`. `recipe.toml` in a model directory has every key below, as it was
resolved. `unroll train --set KEY=VALUE` fixes one, `--recipe FILE` fixes those of a TOML file, and the budget chooses
the rest for the text: the default given here is not always what a training uses.
"""
    tables = "".join(table(f"[{name}]", config) for name, config in TABLES.items())
    for task, of_task in TASKS.items():
        own = {name: config for name, config in of_task.items() if config not in TABLES.values()}
        tables += "".join(table(f"[{name}] of {task}", config) for name, config in own.items())
    return head + tables


def table(name: str, config: type) -> str:
    """Return the section of one table: what it is about, then a line for each key."""
    docs, hints = documented(config), get_type_hints(config)
    lines = [f"\n## {name}\n", f"{inspect.getdoc(config)}\n"]
    for key in fields(config):
        value = "" if key.default is MISSING else f" = {json.dumps(key.default)}"
        choices = ", ".join(f"`{choice}`" for choice in get_args(hints[key.name]))
        about = " ".join(filter(None, (docs.get(key.name), choices and f"One of {choices}.")))
        text = f"- `{key.name}{value}`" + (f": {about}" if about else "")
        lines.append(textwrap.fill(text, LINE, subsequent_indent="  ", break_long_words=False))
    return "\n".join(lines) + "\n"


def documented(config: type) -> dict[str, str]:
    """Return the docstring that stands below each field of a dataclass or of those it is made from, on one line."""
    docs: dict[str, str] = {}
    for base in config.__bases__:
        if is_dataclass(base):
            docs |= documented(base)
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(body, ast.ClassDef)
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            docs[field.target.id] = re.sub(r"<\w+>", r"`\g<0>`", " ".join(str(below.value.value).split()))
    return docs


if __name__ == "__main__":
    for page, content in pages().items():
        page.write_text(content)
