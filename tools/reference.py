"""Writes the pages of docs/ that come from the code: `python tools/reference.py`, or `make docs`.

They are api.md, commands.md, http.md, kinds.md, recipe.md and types.md. A test compares the pages with what this
program would write.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click

import unroll
import unroll.sklearn
from unroll.cli.app import HELP, VERBS, app
from unroll.cli.kinds import USES
from unroll.errors import NAMES
from unroll.serve.completions.openapi import describe
from unroll.serve.completions.routes import OF_A_MODEL, ROUTES
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
    contents = {"api": api, "commands": commands, "http": http, "kinds": kinds, "recipe": recipe, "types": types}
    return {DOCS / f"{name}.md": content() for name, content in contents.items()}


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


# ---- the interface of Python

PARTS = {
    "Train": "unroll.training unroll.data",
    "Models": "unroll.artifact",
    "Ask a language model": "unroll.lm",
    "Look inside": "unroll.insight",
    "Classify": "unroll.tasks.classify",
    "Tag": "unroll.tasks.tag",
    "Translate": "unroll.tasks.translate",
    "Sequences of numbers": "unroll.tasks.sequences unroll.tasks.forecast",
    "Export": "unroll.export",
    "Errors": "unroll.errors",
}
"""The sections of the page, and the packages that the functions of each come from."""


def api() -> str:
    """Return the page of the public names, whose docstrings Sphinx fills in."""
    sections = []
    for title, packages in PARTS.items():
        names = [f"unroll.{name}" for name, home in unroll.HOMES.items() if home.startswith(tuple(packages.split()))]
        sections.append(f"## {title}\n\n{_documented(names)}\n")
    estimators = _documented([f"unroll.sklearn.{name}" for name in unroll.sklearn.__all__], members=True)
    return f"""# Python

Generated from the code by `{REGENERATE}`; on the site with every signature and docstring. Public are the names of
`unroll` and `unroll.sklearn` on this page, and [the types](types.md) that they take and return. Importing `unroll` is
quick: a function loads what it needs when it is first used, and only what trains or differentiates needs PyTorch. Long
work is a generator: it yields progress, and its result is the value of the generator.

{"".join(sections)}## Estimators of scikit-learn

[scikit-learn](sklearn.md) says how they are used.

{estimators}"""


def types() -> str:
    """Return the page of the classes that public functions take and return."""
    return f"""# Types of Python

Generated from the code by `{REGENERATE}`; on the site with every field. These classes are what the functions of
[Python](api.md) take and return, and the records in their fields, in the order of their names.

{_documented(_types(), members=True)}"""


def _types() -> list[str]:
    """Return the full names of the classes of ours that public functions take and return, and of records in them."""
    functions = [function for name in unroll.HOMES if inspect.isfunction(function := getattr(unroll, name))]
    new = {one for function in functions for one in _classes(function)}
    classes: set[type] = set()
    while new:
        classes |= new
        records = {one for known in new if known.__module__.startswith(RECORDS) for one in _classes(known)}
        new = {one for one in records - classes if one.__module__.startswith(RECORDS)}
    return sorted((f"{one.__module__}.{one.__name__}" for one in classes), key=lambda path: path.split(".")[::-1])


RECORDS = ("unroll.insight", "unroll.lm")
"""The packages whose functions return records of records."""


def _classes(annotated: Any) -> Iterator[type]:
    """Yield the classes of ours in the annotations of a function or class."""
    hints = [*inspect.get_annotations(annotated).values()]
    while hints:
        hint = hints.pop()
        if inspect.isclass(hint) and hint.__module__.startswith("unroll."):
            yield hint
        hints += get_args(hint)


def _documented(names: list[str], members: bool = False) -> str:
    """Return the directives that show the docstrings of functions and classes."""
    lines = []
    for name in names:
        is_class = members or inspect.isclass(getattr(unroll, name.removeprefix("unroll.")))
        lines.append(f".. auto{'class' if is_class else 'function'}:: {name}" + is_class * "\n   :members:")
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```\n"


# ---- the interface over HTTP


def http() -> str:
    """Return the page of the server's addresses: what each is asked, field by field, and what it answers."""
    paths = describe({path: method for path, (method, _) in ROUTES.items() if not path.startswith(OF_A_MODEL)})["paths"]
    sections = "\n".join(address(path, *operation) for path, of in paths.items() for operation in of.items())
    error = next(iter(paths.values()))["post"]["responses"]["default"]["content"]["application/json"]["schema"]
    return f"""# HTTP

Generated from the code by `{REGENERATE}`, from the description in OpenAPI 3.1 that `unroll serve` itself gives at
`/openapi.json`. [Serve](serve.md) says how to start a server and what it promises. All bodies are JSON. A field that
has a default may be left out, or be null. Every path that names a model works below `{OF_A_MODEL}` too, for clients
that cannot name one.

An error has the same shape everywhere:

```text
{shape(error)}
```

{sections}"""


def address(path: str, method: str, operation: dict[str, Any]) -> str:
    """Return the section of one address."""
    about = operation["summary"]
    text = f"## {method.upper()} {path}\n\n{textwrap.fill(about, LINE)}\n"
    if about.startswith("The same as"):
        return text
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        text += "\n| field | type | default | what |\n|---|---|---|---|\n"
        for name, field in schema["properties"].items():
            default = "required" if name in schema["required"] else f"`{json.dumps(field.get('default'))}`"
            kind = " ".join(shape(field).removesuffix(" or null").split())
            text += f"| `{name}` | {kind} | {default} | {field['description']} |\n"
    if "200" not in operation["responses"]:
        return text
    ((media, content),) = operation["responses"]["200"]["content"].items()
    return text + f"\nThe answer is `{media}`:\n\n```text\n{shape(content['schema'])}\n```\n"


def shape(schema: dict[str, Any], indent: str = "") -> str:
    """Return a JSON schema as a line or, of an object, as lines that show its shape."""
    below = indent + "  "
    match schema:
        case {"enum": choices}:
            return " or ".join(map(json.dumps, choices))
        case {"anyOf": choices}:
            return " or ".join(shape(one, indent) for one in choices)
        case {"type": [*kinds]}:
            return " or ".join(shape(schema | {"type": kind}, indent) for kind in kinds)
        case {"type": "array", "items": items}:
            inner = shape(items, indent)
            return f"list of ({inner})" if " or " in inner and "{" not in inner else f"list of {inner}"
        case {"type": "object", "properties": properties}:
            lines = [f'{below}"{name}": {shape(inner, below)}' for name, inner in properties.items()]
            return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
        case {"type": "object", "additionalProperties": {**values}}:
            return f"object of {shape(values, indent)}"
    return str(schema.get("type", "any"))


if __name__ == "__main__":
    for page, content in pages().items():
        page.write_text(content)
