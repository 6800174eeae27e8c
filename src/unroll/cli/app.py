"""The command group: imports a verb's module only when it is called, and refuses a text or file given twice."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

import unroll
from unroll.cli.kinds import explain
from unroll.errors import UserError, WrongKind, nearest

HELP = ["-h", "--help"]
VERB = "unroll.verb"
"""Where click's context keeps the name of the verb that runs: `classify predict`."""
VERBS = {
    "train": "Train a model on text files.",
    "ngram": "Count a Kneser-Ney n-gram of text files.",
    "sample": "Generate text with a model.",
    "score": "Show how probable texts are, and where a file is surprising.",
    "next": "Show what a model expects after a text.",
    "evolution": "Show the samples taken while a model was training.",
    "info": "Describe a model and how good it is.",
    "eval": "Evaluate a model on a text.",
    "pairs": "Count how often a model prefers the right one of two texts.",
    "rescore": "Re-rank n-best lists with a model.",
    "embed": "Write the lines of a text as vectors.",
    "similar": "Find the nearest lines, or symbols.",
    "compare": "Put models side by side on a text.",
    "plot": "Draw reliability, loss by position, or surprisal.",
    "trace": "Show every state and gate at every symbol of a text.",
    "gradients": "Report whether gradients vanish or explode.",
    "attribute": "Show which symbols made a prediction, or decided a label.",
    "patch": "Put the state of one text into another: where is it kept?",
    "memory": "Measure how far back models remember.",
    "cells": "Find the cells that track a property of a text.",
    "ablate": "Clamp a cell: what does the network then predict worse?",
    "longrange": "Train on tasks that need a long memory: accuracy by distance.",
    "classify": "Train a classifier of texts, ask it for labels, measure it.",
    "tag": "Train a tagger of tokens, ask it for tags, measure it.",
    "translate": "Train a translator of texts, translate with it, measure it.",
    "sequences": "Train a model of sequences of numbers, ask it, measure it.",
    "export": "Write a model for another runtime (ONNX).",
    "quantize": "Measure what eight-bit weights cost a model.",
    "serve": "Serve models over HTTP, behind a standard API.",
    "studio": "Open a page to watch models learn, type to them, look inside.",
    "data": "Prepare texts, fetch public corpora.",
    "help": "Print how to do a task: train, score, find a cell, serve.",
}


class Verbs(click.Group):
    """The verbs, each the command `verb` of the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which one uses them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb; None for an unknown one."""
        if cmd_name not in VERBS:
            return None
        verb = import_module(f"unroll.cli.{cmd_name}").verb
        assert isinstance(verb, click.Command)
        return verb

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; where it does not work on a kind of model, say why, in the words of `kinds`."""
        try:
            return super().invoke(ctx)
        except WrongKind as error:
            explain(error, ctx.meta[VERB])
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; refuse a text or a file that is given twice."""
        name, command, rest = super().resolve_command(ctx, args)
        ctx.meta[VERB] = f"{name} {rest[0]}" if isinstance(command, click.Group) and rest else name
        if command is not None and not ctx.resilient_parsing:
            refuse_repeated(command, rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the verbs do, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def advice(error: click.UsageError) -> str:
    """Return what to do about a command line that cannot be parsed: the nearest verb, option or key of the recipe."""
    if (context := error.ctx) is None:
        return "`unroll --help` shows what there is"
    command, path = context.command, context.command_path
    names: dict[str, str] = {}
    wrong = getattr(error, "command_name", "")  # since click 8.4, of a verb that does not exist
    if wrong and isinstance(command, click.Group):
        names = {name: f"{path} {name}" for name in command.list_commands(context)}
    elif isinstance(error, click.NoSuchOption):
        wrong = _as_key(error.option_name)
        if command.name == "train":
            from unroll.training.recipe import recipe_keys

            names = {key: f"--set {key}=..." for key in recipe_keys()}
        options = [param for param in command.params if isinstance(param, click.Option)]
        names |= {_as_key(name): name for option in options for name in option.opts}
    near = nearest(wrong, names)
    return f"did you mean `{names[near]}`?" if near else f"`{path} --help` shows what there is"


def _as_key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def refuse_repeated(command: click.Command, arguments: Sequence[str]) -> None:
    """Raise UserError where an option that takes one text, or one file, is given several times.

    Only the last would count, silently: b.txt alone of `--valid a.txt --valid b.txt`. The last number or choice counts,
    so that a shell alias can set defaults. What cannot be parsed is left for click to refuse.
    """
    try:
        # A command keeps the option for help that it gets first.
        context = click.Context(command, resilient_parsing=True, help_option_names=HELP)
        _, rest, order = command.make_parser(context).parse_args(list(arguments))
    except click.UsageError:
        return
    for option in command.params:
        several = order.count(option) > 1
        if several and isinstance(option, click.Option) and _takes_one_text(option):
            name = max(option.opts, key=len)
            raise UserError(f"{name} is given {order.count(option)} times", allowed="once", fix="leave all but one out")
    if isinstance(command, click.Group) and rest and (inner := command.get_command(context, rest[0])) is not None:
        refuse_repeated(inner, rest[1:])


def _takes_one_text(option: click.Option) -> bool:
    texts = (click.types.StringParamType, click.types.UnprocessedParamType, click.Path)
    return not option.multiple and not option.is_flag and isinstance(option.type, texts)


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": HELP, "max_content_width": 100},
    epilog="""\b
Examples:
  unroll train book.txt --minutes 3      runs/book: a model that writes like the book
  unroll sample runs/book --prompt "It was"
  unroll evolution runs/book             how it learned""",
)
@click.version_option(unroll.__version__, prog_name="unroll")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Train recurrent language models on your own text in minutes, watch them learn, and sample from them."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
