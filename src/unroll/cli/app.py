"""The command group: finds a verb's module only when it is asked for."""

from importlib import import_module

import click

import unroll

VERBS = {
    "train": "Train a model on text files.",
    "ngram": "Count a Kneser-Ney n-gram of text files.",
    "sample": "Let a model write.",
    "score": "Tell how probable texts are, and where a file is surprising.",
    "next": "Tell what a model expects after a text.",
    "evolution": "Show the samples that a training took on its way.",
    "info": "Tell what a model is and how good it is.",
    "eval": "Tell how good a model is on a text.",
    "pairs": "Tell how often a model finds the right one of two texts likelier.",
    "rescore": "Rank n-best lists anew with a model.",
    "embed": "Write the lines of a text as vectors.",
    "similar": "Find the nearest lines, or symbols.",
    "compare": "Put models side by side on a text.",
    "plot": "Draw what models make of a text.",
    "trace": "Show every state and gate at every symbol of a text.",
    "gradients": "Tell whether gradients vanish or explode.",
    "attribute": "Show which symbols of a text made a prediction.",
    "patch": "Put the state of one text into another: where is it kept?",
    "memory": "Measure how far back models remember, several in one picture.",
    "cells": "Find the cells that track a property of a text.",
    "ablate": "Hold a cell: what does the network then predict worse?",
    "longrange": "Train on tasks that need a long memory: accuracy by distance.",
    "export": "Write a model for another runtime (ONNX).",
    "quantize": "Measure what eight-bit weights cost a model.",
    "serve": "Serve models over HTTP, behind a standard API.",
    "studio": "Watch models learn, type to them, look inside: a page.",
    "data": "Prepare texts, fetch public corpora.",
}


class Verbs(click.Group):
    """The verbs, each the command `verb` of the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which one uses them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb; None for what is no verb."""
        if cmd_name not in VERBS:
            return None
        verb = import_module(f"unroll.cli.{cmd_name}").verb
        assert isinstance(verb, click.Command)
        return verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; refuse a text or a file that is given twice."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            from unroll.cli.repeated import refuse_repeated

            refuse_repeated(command, rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the verbs do, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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
