"""`unroll tag train`: trains a tagger on the sentences of a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from unroll.cli import console, process
from unroll.cli.inputs import TEXT, reads_lists
from unroll.cli.options import PATH
from unroll.cli.training import Display, refuse_beside_resume, rounds, show_training, training_options
from unroll.errors import UserError, number_of
from unroll.files import real_folder


@click.command(
    "train",
    short_help="Train a tagger on tagged sentences.",
    epilog="""\b
Examples:
  unroll tag train train.conllu --valid dev.conllu
  unroll tag train eng.train --column -1 --scheme bio --crf --minutes 15 --out runs/names
  unroll tag train train.conllu --column xpos --pretrained runs/wikipedia
  unroll tag train --resume runs/train            continues where it stopped""",
)
@click.argument("file", metavar="[FILE]", required=False, type=TEXT)
@click.option(
    "--column", metavar="COL", help="The column of the tags.  [default: upos of CoNLL-U, else -1, the last one]"
)
@click.option(
    "--token-column", metavar="N", type=int, default=1, help="The column of the tokens, but in CoNLL-U.  [default: 1]"
)
@click.option(
    "--scheme",
    type=click.Choice(["none", "bio", "bioes"]),
    default="none",
    help="How tags mark entities: no predicted sentence breaks it.  [default: none]",
)
@click.option("--crf", is_flag=True, help="Score the tags of a sentence as one path, by a linear-chain CRF.")
@click.option("--valid", metavar="FILE", type=TEXT, help="Validate on these sentences instead of a tenth of FILE.")
@click.option(
    "--pretrained",
    metavar="DIR",
    type=PATH,
    help="Also read what this language model of characters says of each token in its context.",
)
@training_options
@click.pass_context
@reads_lists
def train_verb(
    ctx: click.Context,
    /,
    file: Path | None,
    out: Path | None,
    resume: Path | None,
    device: str,
    as_json: bool,
    **choices: Any,
) -> int:
    """Train a tagger on the sentences of FILE: CoNLL-U (by its ending .conllu), or a file with a token a line, its
    columns separated by tabs or white space, and an empty line behind each sentence.

    Without --valid, one sentence in ten is held out, by its hash. By those the best weights are chosen. Tokens are read
    as words and by their characters. It ends before its minutes are over where more rounds would teach it nothing.
    Ctrl-C saves, and --resume continues.
    """
    from unroll.artifact.directory import output_folder
    from unroll.artifact.tagger_info import tagger_info
    from unroll.tasks.tag import request

    if resume is not None:
        refuse_beside_resume(ctx)
        folder = real_folder(resume)
        reports: Any = request.resume_tagger(folder, device=device)
    else:
        if file is None:
            raise UserError(
                "a tagger needs a file with sentences",
                allowed="FILE, its tags in --column COL",
                fix="`unroll tag train --help` shows examples",
            )
        folder = real_folder(out if out is not None else output_folder(file))
        reports = request.train_tagger(file, out=folder, device=device, started=process.began(), **choices)
    display = Display("tag train", _started, _figures, _ended, tagger_info)
    wanted = process.ended_by is not None
    return show_training(display, folder, reports, wanted=wanted, resumed=resume is not None, as_json=as_json)


def _figures(report: Any) -> str:
    return f"validation {report.nats:.3f} nats, {100 * report.detail['accuracy']:.2f} % right"


def _ended(folder: Path) -> Iterator[tuple[str, str]]:
    from unroll.artifact.tagger import read_tagger

    if result := read_tagger(folder).result:
        held_out = number_of(result["valid_tokens"], "held-out token")
        yield "accuracy", f"{100 * result['valid_accuracy']:.2f} % of {held_out} · step {result['best_step']:,}"
        yield "next", f'unroll tag predict {console.quoted(folder)} "…"'


def _started(detail: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for part, name in (("train", "training"), ("valid", "held out")):
        yield name, f"{detail[f'{part}_sentences']:,} sentences, {detail[f'{part}_tokens']:,} tokens"
    share = detail["valid_unknown"] / max(1, detail["valid_tokens"])
    yield "tokens", f"{detail['vocab_size']:,} different ones; {100 * share:.1f} % of those held out are unknown"
    yield "tags", f"{detail['tags']:,}"
    contexts = f", contexts of {detail['context_size']:,} numbers" if detail["context_size"] else ""
    yield "model", f"{detail['parameters']:,} parameters{contexts}"
    yield "training", rounds(detail, "sentences")
