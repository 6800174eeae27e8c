"""`unroll train`: starts, resumes or fine-tunes a training, and stops it between two steps."""

import os
import signal
import stat
from collections.abc import Generator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from unroll.cli import console, process
from unroll.cli.inputs import SEPARATOR, TEXT, column_names, reads_text
from unroll.cli.options import LEVEL, PATH, SPLIT, TEST, VALID, WORDS
from unroll.cli.stopping import DIVERGED, HANGUP, INTERRUPTED, Stop, driving
from unroll.errors import UserError
from unroll.files import real_folder
from unroll.nn.arch import ARCHITECTURES, DEFAULT
from unroll.progress import Progress
from unroll.training.many import torchrun

if TYPE_CHECKING:
    from unroll.training.report import Report

RESUMING = ("resume", "more_steps", "more_minutes", "device", "tensorboard", "as_json")
"""Parameters that a resumed training takes."""


@click.command(
    "train",
    epilog="""\b
Examples:
  unroll train book.txt                            three minutes, into runs/book
  unroll train *.txt.gz --level word --minutes 15 --out runs/words
  unroll train names.tsv --text name --label language      then: unroll sample --label LABEL
  unroll train --resume runs/book                  continues where it stopped
  unroll train --from runs/book letters.txt        fine-tunes on another text""",
)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=TEXT)
@click.option(
    "--label",
    "labels",
    metavar="COL[,COL]",
    help="Columns of labels that steer the model, in the table FILE whose texts are --text COL[,COL].",
)
@click.option("--out", metavar="DIR", type=PATH, help="The model directory.  [default: runs/<name of the text>]")
@click.option("--minutes", metavar="M", type=float, help="Budget of wall clock, everything included.  [default: 3]")
@click.option("--steps", metavar="N", type=int, help="Budget in steps instead of minutes.")
@click.option("--arch", type=click.Choice(list(ARCHITECTURES)), help=f"The architecture.  [default: {DEFAULT}]")
@LEVEL
@WORDS
@VALID
@TEST
@SPLIT
@SEPARATOR
@click.option("--recipe", metavar="FILE", type=PATH, help="A TOML file that fixes keys of the recipe.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Fix a key of the recipe.  May be repeated."
)
@click.option("--seed", metavar="N", type=int, help="Random seed.  [default: 0]")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    help="Where to compute.  [default: auto]",
)
@click.option("--from", "base", metavar="DIR", type=PATH, help="Fine-tune this model, with its vocabulary.")
@click.option(
    "--new-symbols",
    type=click.Choice(["unknown", "add"]),
    default="unknown",
    help="With --from: read symbols new to that model as <unk>, or add them to its vocabulary.  [default: unknown]",
)
@click.option("--resume", metavar="DIR", type=PATH, help="Continue a training exactly where it stopped.")
@click.option("--more-steps", metavar="N", type=int, help="With --resume: extend a finished training by N steps.")
@click.option("--more-minutes", metavar="M", type=float, help="With --resume: extend a finished training by M minutes.")
@click.option("--force", is_flag=True, help="Replace an existing model once there are trained weights.")
@click.option("--tensorboard", is_flag=True, help="Also write DIR/tensorboard.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout.")
@click.pass_context
@reads_text
def verb(
    ctx: click.Context,
    /,
    files: tuple[Path, ...],
    out: Path | None,
    resume: Path | None,
    more_steps: int | None,
    more_minutes: float | None,
    device: str,
    tensorboard: bool,
    as_json: bool,
    labels: str | None,
    text: str | None = None,
    **choices: Any,
) -> int:
    """Train a model on text FILEs, or on a folder made by `unroll data prepare`.

    Without a FILE it learns the source code of Python's standard library. Ctrl-C saves, and --resume continues. The
    validation part, by which the best weights are chosen, needs 20 symbols: of a text of one line, hold back more.

    Several FILEs are documents in order: each but the last gets a final newline if it lacks one. A byte order mark at
    the start of a file is dropped, except at level byte.

    With --label FILE is a table, CSV or JSON lines, and each row a text of its own: it begins with a start state that
    is learnt for its label (of several columns they add up), and ends with <end>. One text in ten is held out by its
    hash, unless --valid names another table.

    At level word a word is a run of letters, digits and combining marks, with apostrophes inside (don't). Every other
    character but white space is a punctuation mark: a symbol of its own, with the one space before it and the one space
    after it. A space between two words is understood. In a text that is tokenised already (<unk> occurs, or three
    quarters of its full stops, commas and the like stand apart) words are what stands between white space. Within a
    budget of minutes, words that are too rare to be learnt read as <unk> (min_count), and a line says how many.
    """
    if torchrun.follows():
        follow(device)
    budgets = {"more_steps": more_steps, "more_minutes": more_minutes}
    more = {name: value for name, value in budgets.items() if value is not None}
    if resume is None and more:
        raise UserError(
            f"--{next(iter(more)).replace('_', '-')} without --resume",
            allowed="a finished training to extend",
            fix="name it with --resume DIR",
        )
    if resume is not None:
        refuse_beside_resume(ctx)
        from unroll.artifact.directory import read_training

        finished = bool(read_training(real_folder(resume)).get("result"))
        process.restart_as_recorded(resume)
    from unroll.artifact.directory import output_folder
    from unroll.artifact.info import info
    from unroll.cli import watch
    from unroll.training.tensorboard import recording, require_tensorboard

    if tensorboard:
        require_tensorboard()
    if resume is not None and finished and not more:
        if torchrun.several():  # the others wait to be told
            list(continued(resume, device))
        console.note(f"{resume} is finished: there is nothing to resume.")
        watch.put_result(resume, as_json=as_json)
        return 0
    folder = resume or out or output_folder(files)
    if resume is None:
        from unroll.training.request import train

        if labels is not None:
            choices |= {"text": column_names(text), "label": column_names(labels)}
        reports = train(files, out=folder, device=device, started=process.began(), **choices)
        if not files:
            console.note("No FILE: training on the source code of Python's standard library.")
            if stat.S_ISFIFO(os.fstat(0).st_mode):
                console.note("Standard input is not read; to train on it, name it as the FILE -.")
    else:
        reports = continued(resume, device, started=process.began(), **more)
    stop = Stop(between_steps=resume is not None, wanted=process.ended_by is not None)
    board = recording(folder) if tensorboard else nullcontext(lambda report: None)
    with board as record, driving(folder, reports, stop, partial(watch.drawing, folder), record) as drive:
        for report in reports:
            if drive.take(report):
                break
    last = drive.last
    if drive.stays:
        if as_json:
            console.put_json({"out": str(folder), "replaced": False} | info(folder))
        return INTERRUPTED if stop.wanted else DIVERGED
    if stop.wanted and last != "end":
        watch.put_stopped(folder, as_json=as_json)
        return INTERRUPTED
    watch.put_result(folder, as_json=as_json)
    return DIVERGED if last and last != "end" else 0  # torchrun may find at a restart that all is done


def continued(folder: Path, device: str, **more: Any) -> "Generator[Progress | Report, None, None]":
    """Resume a training; torch is loaded when the first report is asked for, by when signals are heeded."""
    from unroll.training.request import resume

    yield from resume(folder, device=device, **more)


def follow(device: str) -> NoReturn:
    """Train along in silence; when to stop is for the first process to say, which hears the same signals."""
    from unroll.training.many.follower import follow

    def heed_no_signals() -> None:
        for number in filter(None, (signal.SIGINT, signal.SIGTERM, HANGUP)):
            signal.signal(number, signal.SIG_IGN)

    follow(device, heed_no_signals)
    # At once: there is nothing left to do, and threads of the library's that end only now can abort Python's own end,
    # which torchrun would take for a failure.
    os._exit(0)


def refuse_beside_resume(ctx: click.Context) -> None:
    """Raise UserError for options that would contradict the recipe of a resumed training."""
    for param in ctx.command.params:
        given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        if given and param.name not in RESUMING:
            name = "FILE" if isinstance(param, click.Argument) else max(param.opts, key=len)
            raise UserError(
                f"{name} cannot be combined with --resume, which keeps the recorded recipe",
                allowed="--device, --tensorboard, --json; for a finished training --more-steps or --more-minutes",
                fix=f"write --more-{param.name} instead"
                if param.name in ("steps", "minutes")
                else "leave it out; for another text, start a new directory with --from DIR",
            )
