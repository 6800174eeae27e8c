"""The how-to pages in the terminal: listed, printed, asked for by a wrong name, and packed into the wheel."""

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Here, Refused
from unroll.cli import console, help

ROOT = Path(__file__).parents[2]


def test_topics_are_the_pages_of_the_index(here: Here) -> None:
    listed = json.loads(here("help", "--json").out)["topics"]
    names = [topic["topic"] for topic in listed]
    assert {path.stem for path in (ROOT / "docs" / "howto").glob("*.md")} - {"index"} < {*names}
    assert all(row["title"] and row["about"] for row in listed)
    rows = here("help")
    assert [line.split()[0] for line in rows.out.splitlines()] == names
    assert rows.err == "To read one: unroll help TOPIC\n"


def test_a_page_is_printed_with_links_that_a_terminal_can_follow(here: Here) -> None:
    assert here("help", "train").out.startswith("# Train on your own text\n")
    page = json.loads(here("help", "find", "a", "cell", "--json").out)
    assert (page["topic"], page["title"]) == ("find-a-cell", "Find a cell and prove it")
    assert "$ unroll cells runs/book" in page["text"]
    text = "![A cell](a.png) [Serve](../serve.md#keys), [format](../format.md), [site](https://a.b), [top](#top)"
    assert help.linked(text, ["serve"]) == (
        "Picture: A cell Serve (`unroll help serve`), format, [site](https://a.b), top"
    )
    for name, topic in help.topics().items():
        assert not help.LINK.search(help.linked(topic.page.read_text(), [name])), name


def test_on_a_terminal_it_is_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "is_screen", lambda stream: True)
    monkeypatch.setattr(console, "has_colours", lambda stream: False)
    help.show("# Title\n\n- `unroll train`\n\n```console\n$ unroll info\n```\n")
    drawn = capsys.readouterr().out
    assert " • unroll train" in drawn and " $ unroll info" in drawn
    assert "#" not in drawn and "```" not in drawn


@pytest.mark.parametrize(
    ("topic", "fix"),
    [
        ("trian", "did you mean `unroll help train`?"),
        ("find", "did you mean `unroll help find-a-cell`?"),
        ("patch", "`unroll patch --help` describes the verb"),
        ("qqqqqq", "`unroll help` lists the topics"),
    ],
)
def test_an_unknown_topic_is_answered_with_what_is_near(refused: Refused, topic: str, fix: str) -> None:
    message = refused("help", topic)
    assert f"no topic '{topic}'\n  allowed: train, " in message
    assert message.endswith(f"\n  fix: {fix}\n")


def test_an_installed_package_has_its_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = ast.parse((ROOT / "hatch_build.py").read_text()).body
    (function,) = (node for node in body if getattr(node, "name", "") == "help_pages")
    names: dict[str, Any] = {"re": re, "Path": Path}
    exec(ast.unparse(function), names)
    before = help.topics()
    for page, place in names["help_pages"](ROOT / "docs").items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, tmp_path / place)
    monkeypatch.setattr(help, "__file__", str(tmp_path / "unroll" / "cli" / "help.py"))
    installed = help.topics()
    assert list(installed) == list(before)
    for name, topic in installed.items():
        assert topic.page.read_text() == before[name].page.read_text()
