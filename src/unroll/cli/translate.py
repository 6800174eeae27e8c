"""`unroll translate`: trains a translator on two files with a pair in each line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click

from unroll.cli import console, process
from unroll.cli.inputs import TEXT, reads_lists
from unroll.cli.training import Display, refuse_beside_resume, show_training, training_options
from unroll.errors import UserError, number_of
from unroll.files import real_folder
from unroll.nn.translator_config import AttentionKind


@click.group(
    "translate",
    epilog="""\b
Examples:
  unroll translate train train.en train.de --valid val.en val.de --minutes 30""",
)
def verb() -> None:
    """Train a translator of texts."""


@verb.command(
    "train",
    short_help="Train a translator on two files.",
    epilog="""\b
Examples:
  unroll translate train train.en train.de --valid val.en val.de --minutes 30
  unroll translate train train.en train.de --attention none --out runs/without
  unroll translate train dates.txt iso.txt --level char --minutes 2
  unroll translate train --resume runs/train.en      continues where it stopped""",
)
@click.argument("source", metavar="[SRC]", required=False, type=TEXT)
@click.argument("target", metavar="[TGT]", required=False, type=TEXT)
@click.option("--valid", metavar="SRC TGT", nargs=2, type=TEXT, help="Validate on these pairs instead of a twentieth.")
@click.option(
    "--attention",
    type=click.Choice(get_args(AttentionKind)),
    help="How the units of the source are weighed at each step.  [default: dot]",
)
@click.option(
    "--level",
    type=click.Choice(["bpe", "word", "char"]),
    help="What a unit is: byte-pair pieces, words or characters.  [default: bpe]",
)
@training_options
@click.pass_context
@reads_lists
def train_verb(
    ctx: click.Context,
    /,
    source: Path | None,
    target: Path | None,
    out: Path | None,
    resume: Path | None,
    device: str,
    as_json: bool,
    **choices: Any,
) -> int:
    """Train a translator on two files of lines: line n of TGT translates line n of SRC.

    A pair of which one line is empty is left out. Without --valid, one pair in twenty is held out, by the hash of its
    source; by those pairs the best weights are chosen. On the way, the translation of one of them shows how far it has
    come. It ends before its minutes are over where more rounds would teach it nothing. Ctrl-C saves, and --resume
    continues.
    """
    from unroll.artifact.directory import output_folder
    from unroll.artifact.translator_info import translator_info
    from unroll.tasks.translate import request

    if resume is not None:
        refuse_beside_resume(ctx)
        folder = real_folder(resume)
        reports: Any = request.resume_translator(folder, device=device)
    else:
        if source is None or target is None:
            raise UserError(
                "a translator needs a file of sources and one of their translations",
                allowed="SRC TGT",
                fix="`unroll translate train --help` shows examples",
            )
        folder = real_folder(out if out is not None else output_folder(source))
        reports = request.train_translator(
            source, target, out=folder, device=device, started=process.began(), **choices
        )
    display = Display("translate train", _started, _figures, _ended, translator_info)
    wanted = process.ended_by is not None
    return show_training(display, folder, reports, wanted=wanted, resumed=resume is not None, as_json=as_json)


def _figures(report: Any) -> str:
    return f"validation {report.nats:.3f} nats a symbol"


def _ended(folder: Path) -> Iterator[tuple[str, str]]:
    from unroll.artifact.translator import read_translator

    if result := read_translator(folder).result:
        held_out = number_of(result["valid_count"], "held-out pair")
        yield "validation", f"{result['valid_nats']:.3f} nats a symbol of {held_out} · step {result['best_step']:,}"
        yield "next", f'unroll translate predict {console.quoted(folder)} "…"'


def _started(detail: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "pairs", f"{detail['train_pairs']:,} for training, {detail['valid_pairs']:,} held out"
    own = f"{detail['source_size']:,} of sources and " if detail["source_size"] else ""
    yield "units", f"{own}{detail['vocab_size']:,}{' of targets' if own else ''}, level {detail['level']}"
    yield "model", f"{detail['parameters']:,} parameters, attention {detail['attention']}"
    yield "training", f"{number_of(detail['steps'], 'step')}, {detail['epochs']:.3g} times the pairs"
