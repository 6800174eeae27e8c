"""Options given twice: none of the texts and files that a user names is passed over in silence."""

import click
import pytest
from click.testing import CliRunner

from unroll.cli.app import VERBS, app, refuse_repeated
from unroll.errors import UserError


def verb(name: str) -> click.Command:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    return command


@pytest.mark.parametrize(
    ("name", "arguments", "option"),
    [
        ("train", ("a", "--valid", "b", "--valid", "c"), "--valid"),
        ("train", ("a", "--test=b", "--steps", "3", "--test", "c"), "--test"),
        ("sample", ("a", "--prompt", "b", "--prompt", "c"), "--prompt"),
        ("sample", ("a", "--prompt-file", "b", "--prompt-file", "c"), "--prompt-file"),
        ("cells", ("a", "--property", "word", "--property", "line"), "--property"),
        ("score", ("a", "--file", "b", "--file", "c"), "--file"),
        ("similar", ("a", "b", "--query", "c", "--query", "d"), "--query"),
        ("similar", ("a", "--symbol", "c", "--symbol", "d"), "--symbol"),
        ("ngram", ("a", "--order", "3", "--valid", "b", "--valid", "b"), "--valid"),
        ("data", ("prepare", "a", "--out", "b", "--out", "c"), "--out"),
    ],
)
def test_a_text_or_a_file_is_given_once(name: str, arguments: tuple[str, ...], option: str) -> None:
    with pytest.raises(UserError, match=f"{option} is given 2 times") as refusal:
        refuse_repeated(verb(name), arguments)
    assert refusal.value.allowed and refusal.value.fix


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sample", ("a", "--temperature", "1", "--temperature", "0.5", "--json", "--json")),
        ("sample", ("a", "--stop", "b", "--stop", "c")),
        ("train", ("a", "--level", "char", "--level", "word", "--set", "a=1", "--set", "b=2")),
        ("trace", ("a", "--unit", "0:1", "--unit", "0:2", "--signal", "c", "--signal", "h", "text")),
        ("eval", ("a", "b", "--mix", "c", "--mix", "d")),
        ("sample", ("a", "--", "--prompt", "--prompt")),
        ("sample", ("a", "--no-such-option", "--prompt")),
        ("sample", ("a", "--prompt")),
        ("data", ("nothing", "--out")),
        ("data", ()),
    ],
)
def test_all_else_is_left_to_its_verb(name: str, arguments: tuple[str, ...]) -> None:
    refuse_repeated(verb(name), arguments)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_verb_shows_its_help(flag: str) -> None:
    for arguments in ([name, flag] for name in VERBS):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0 and "-h, --help" in result.output


def test_every_verb_can_be_asked() -> None:
    for name in VERBS:
        refuse_repeated(verb(name), ("--json", "--json"))
