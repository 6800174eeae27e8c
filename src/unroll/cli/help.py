"""`unroll help`: the how-to pages in the terminal."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import click

from unroll.cli import console
from unroll.cli.options import JSON
from unroll.errors import UserError, nearest

LINK = re.compile(r"\[([^]]+)\]\((?!https?:)([^)#\s]*)[^)]*\)")
"""A link within the documentation: its words, and its page."""


class Topic(NamedTuple):
    """A how-to page."""

    title: str
    page: Path
    about: str


@click.command(
    "help",
    epilog="""\b
Examples:
  unroll help
  unroll help train
  unroll help find a cell""",
)
@click.argument("words", metavar="[TOPIC]", nargs=-1)
@JSON
def verb(words: tuple[str, ...], as_json: bool) -> None:
    """Print how to do a task, or list the TOPICs; `unroll VERB --help` describes a verb."""
    pages, topic = topics(), "-".join(words)
    if not topic:
        if as_json:
            rows = [{"topic": name, "title": page.title, "about": page.about} for name, page in pages.items()]
            console.put_json({"topics": rows})
            return
        console.put_columns((name, f"{page.title}: {page.about}") for name, page in pages.items())
        console.note("To read one: unroll help TOPIC")
        return
    if topic not in pages:
        raise UserError(f"no topic '{topic}'", allowed=", ".join(pages), fix=advice(topic, list(pages)))
    text = linked(pages[topic].page.read_text(encoding="utf-8"), list(pages))
    if as_json:
        console.put_json({"topic": topic, "title": pages[topic].title, "text": text})
    else:
        show(text)


def topics() -> dict[str, Topic]:
    """Return the how-to pages by their names, in the order of their index."""
    package = Path(__file__).parents[1]
    installed = package / "pages"
    index = (installed if installed.is_dir() else package.parents[1] / "docs") / "howto" / "index.md"
    rows = re.findall(r"^- \[(.+)\]\((.+\.md)\): (.+)$", index.read_text(encoding="utf-8"), re.M)
    return {Path(path).stem: Topic(title, index.parent / path, about) for title, path, about in rows}


def advice(topic: str, names: list[str]) -> str:
    """Return what to do about an unknown topic: the verb of that name, or the nearest topic."""
    from unroll.cli.app import VERBS

    if topic in VERBS:
        return f"`unroll {topic} --help` describes the verb"
    near = nearest(topic, names)
    return f"did you mean `unroll help {near}`?" if near else "`unroll help` lists the topics"


def linked(text: str, names: list[str]) -> str:
    """Return a page with its links as a terminal can follow them, and its pictures as what they show."""

    def command(link: re.Match[str]) -> str:
        words, name = link[1], Path(link[2]).stem
        return f"{words} (`unroll help {name}`)" if name in names else words

    return LINK.sub(command, re.sub(r"!\[([^]]+)\]\([^)]+\)", r"Picture: \1", text))


def show(text: str) -> None:
    """Print a page on stdout: on a terminal with headings, lists and tables drawn, elsewhere as it is."""
    if not console.is_screen(sys.stdout):
        console.put(text.rstrip())
        return
    from rich.console import Console
    from rich.markdown import Markdown

    plain = re.sub(r"^```\w+$", "```text", text, flags=re.M)  # colours of code do not suit every terminal
    screen = Console(width=console.columns(), no_color=not console.has_colours(sys.stdout), highlight=False)
    screen.print(Markdown(plain, code_theme="ansi_dark"))
