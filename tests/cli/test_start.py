"""A command that begins at once: what it loads, what it says of itself, and where it knows what others define."""

import json
import os
import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from typing import get_args, get_type_hints

import click
import pytest

import unroll
from cli.command import environment
from cli.command import unroll as run
from cli.conftest import Here, Trained
from unroll.cli import process
from unroll.cli.app import VERBS, app
from unroll.data.blocks import Level
from unroll.lm.sample import SampleOptions
from unroll.nn.config import ModelConfig
from unroll.threads import COMMAND_MARK, is_command
from unroll.training.config import TrainConfig

HEAVY = ("torch", "numpy", "rich", "tokenizers", "safetensors", "tomli_w")


def commands() -> dict[str, click.Command]:
    """Return every command there is, by what is typed for it."""
    context = click.Context(app)
    report: dict[str, click.Command] = {}
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        assert command is not None
        report[name] = command
        if isinstance(command, click.Group):
            report |= {f"{name} {sub}": command.commands[sub] for sub in command.commands}
    return report


def loaded(*arguments: str) -> set[str]:
    """Return the packages that a Python loads."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return {line.rpartition("|")[2].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("--version",)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    packages = loaded("-m", "unroll", *arguments)
    assert "click" in packages
    assert packages.isdisjoint(HEAVY)


def test_import_unroll_loads_nothing_heavy() -> None:
    assert loaded("-c", "import unroll; unroll.UserError").isdisjoint((*HEAVY, "click"))


@pytest.mark.parametrize("verb", ["info", "evolution"])
@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["plain", "json"])
def test_what_only_reads_does_not_load_torch(trained: Trained, verb: str, flags: tuple[str, ...]) -> None:
    packages = loaded("-m", "unroll", verb, str(trained.path), *flags)
    assert "numpy" in packages
    assert packages.isdisjoint(("torch", "safetensors"))


def test_without_a_terminal_rich_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("some text\n" * 50)
    assert "rich" not in loaded("-m", "unroll", "data", "prepare", str(tmp_path / "text"), "--out", str(tmp_path / "x"))


@pytest.mark.parametrize("name", commands())
def test_every_command_explains_itself_with_examples(here: Here, name: str) -> None:
    result = here(*name.split(), "--help")
    assert (result.code, result.err) == (0, "")
    examples = result.out.partition("Examples:\n")[2].splitlines()
    assert 2 <= len([line for line in examples if line.strip().startswith("unroll ")]) <= 5
    assert all(len(line) <= 100 for line in result.out.splitlines())


def test_examples_are_commands_that_exist() -> None:
    for command in [app, *commands().values()]:
        for line in re.findall(r"^  unroll (.*)$", command.epilog or "", re.M):
            words = re.split(r"  |\|", line)[0].split()
            group = isinstance(app.get_command(click.Context(app), words[0]), click.Group)
            typed = " ".join(words[: 1 + group])
            options = {word for word in words if word.startswith("--")}
            names = {option for param in commands()[typed].params for option in (*param.opts, *param.secondary_opts)}
            assert options <= names, line


def test_alone_it_shows_its_help(here: Here) -> None:
    result = here()
    assert result.code == 0
    for verb, purpose in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(purpose)}$", result.out, re.M)


def test_version(here: Here) -> None:
    assert here("--version").out == f"unroll, version {unroll.__version__}\n"
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project.get("version", unroll.__version__) == unroll.__version__


def choices(command: str, option: str) -> list[str]:
    (param,) = (param for param in commands()[command].params if option in param.opts)
    assert isinstance(param.type, click.Choice)
    return list(param.type.choices)


def test_the_choices_are_those_of_the_configurations() -> None:
    assert choices("train", "--arch") == list(get_args(get_type_hints(ModelConfig)["arch"]))
    assert choices("train", "--level") == choices("data prepare", "--level") == list(get_args(Level))


def test_the_defaults_are_those_of_the_library() -> None:
    defaults = {param.name: param.default for param in commands()["sample"].params}
    assert defaults["temperature"] == TrainConfig().sample_temperature
    for name in ("top_k", "top_p", "min_p", "seed"):
        assert defaults[name] == getattr(SampleOptions(), name)


def test_a_process_knows_since_when_it_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND_MARK, "1")  # of a command that called us
    monkeypatch.setenv(process.STARTED_MARK, "0.0")
    assert not is_command()
    process.mark()
    began = process.began()
    assert is_command()
    assert began > 0
    process.mark()  # as after an exec
    assert process.began() == began


def test_a_resume_starts_again_with_the_recorded_wait_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    request: list[tuple[str, list[str], str | None]] = []
    monkeypatch.setattr(
        os, "execve", lambda path, arguments, env: request.append((path, arguments, env.get("OMP_WAIT_POLICY")))
    )
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "unroll", "train", "--resume", "x"])
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(COMMAND_MARK, str(os.getpid()))
    process.restart_as_recorded(tmp_path)
    (tmp_path / "recipe.toml").write_text('[training]\nwait_policy = "default"\n')
    process.restart_as_recorded(tmp_path)
    assert request == []
    (tmp_path / "recipe.toml").write_text('[training]\nwait_policy = "passive"\n')
    process.restart_as_recorded(tmp_path)
    assert request == [(sys.executable, [sys.executable, "-m", "unroll", "train", "--resume", "x"], "passive")]
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    process.restart_as_recorded(tmp_path)
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv(COMMAND_MARK, "1")
    process.restart_as_recorded(tmp_path)
    assert len(request) == 1


def test_list_knows_the_corpora(here: Here) -> None:
    corpora = {corpus["name"]: corpus for corpus in json.loads(here("data", "list", "--json").out)["corpora"]}
    assert corpora["tinyshakespeare"]["bytes"] == 1_115_394
    assert corpora["tinyshakespeare"]["verified"] is True
    plain = here("data", "list").out
    assert all(name in plain for name in corpora)


def test_what_reads_our_output_may_go_away() -> None:
    result = subprocess.run(
        f"{sys.executable} -m unroll data list --json | head -c 1",
        shell=True, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == ("{", "")


def test_output_is_utf8_whatever_the_locale_says() -> None:
    result = run("data", "list", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert result.code == 0, result.err


def test_a_group_without_a_verb_shows_its_help(here: Here) -> None:
    result = here("classify")
    assert (result.code, result.err) == (0, "") and result.out.startswith("Usage: unroll classify")


def test_a_warning_is_a_note_without_its_line_of_code(
    here: Here, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "showwarning", None)
    here("help")
    warnings.showwarning("built from other sources", RuntimeWarning, "native.py", 50)
    assert capsys.readouterr().err == "note: built from other sources\n"
