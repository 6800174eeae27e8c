"""`unroll translate`: trains a translator on two files with a pair in each line, translates texts, measures it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click

from unroll.cli import console, process
from unroll.cli.inputs import TEXT, reads_lists
from unroll.cli.options import PATH, PRECISION, check_source, json_option, plot_option
from unroll.cli.training import Display, refuse_beside_resume, rounds, show_training, training_options
from unroll.errors import UserError, number_of
from unroll.files import real_folder
from unroll.nn.translator_config import AttentionKind


@click.group(
    "translate",
    epilog="""\b
Examples:
  unroll translate train train.en train.de --valid val.en val.de --minutes 30
  unroll translate predict runs/train.en "a man is riding a bicycle ."
  unroll translate eval runs/train.en test.en test.de""",
)
def verb() -> None:
    """Train a translator of texts, translate with it, measure it."""


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
    yield "training", rounds(detail, "pairs")


@verb.command(
    "predict",
    short_help="Translate texts.",
    epilog="""\b
Examples:
  unroll translate predict runs/train.en "a man is riding a bicycle ."
  unroll translate predict runs/train.en --file test.en > test.de
  unroll translate predict runs/train.en "a red car" --n-best 3 --json
  unroll translate predict runs/train.en "a red car" --plot attention.png""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("texts", metavar="TEXT...", nargs=-1)
@click.option("--file", metavar="F", type=TEXT, help="The lines of this file; each has its line in the output.")
@click.option(
    "--beam", metavar="N", type=int, default=5, show_default=True, help="Beginnings of a translation that are kept."
)
@click.option("--n-best", metavar="K", type=int, default=1, help="Number of translations to show.  [default: 1]")
@click.option("--attention", is_flag=True, help="In --json, what each piece of a translation attended to.")
@plot_option("what the translation of the one TEXT attended to")
@PRECISION
@json_option('"predictions": [{"text", "translations": [{"text", "score", "nats"}]}]')
@reads_lists
def predict_verb(
    model: Path,
    texts: tuple[str, ...],
    file: Path | None,
    beam: int,
    n_best: int,
    attention: bool,
    plot: Path | None,
    precision: Any,
    as_json: bool,
) -> None:
    """Translate TEXTs, or the lines of a file: a line of output for each, and an empty one for an empty one.

    With --n-best each translation stands behind its score, the mean of ln P over its symbols.
    """
    from unroll.artifact.translator import open_translator
    from unroll.data.parallel import read_side
    from unroll.tasks.translate.predict import attended, translation_rows, translations

    check_source(texts, file, "translate")
    if attention and not as_json:
        raise UserError("--attention without --json", allowed="both", fix="add --json, or draw it with --plot F")
    if plot is not None:
        from unroll.tasks.translate.picture import check_picture

        check_picture(plot)
        if len(texts) != 1:
            raise UserError(f"--plot with {number_of(len(texts), 'text')}", allowed="one TEXT", fix="give one")
    opened = open_translator(model, precision)
    if file is not None:
        texts = console.run(read_side(file))
    translated = console.run(translations(opened, texts, beam=beam, n_best=n_best))
    if translated.cut:
        console.warn(translated.remark)
    if plot is not None:
        from unroll.tasks.translate.picture import draw_attention

        draw_attention(attended(opened, texts[0], translated.of_texts[0][0]), plot)
    rows = translation_rows(opened, texts, translated, attention=attention)
    if as_json:
        console.put_json({"predictions": rows})
        return
    for row in rows:
        for entry in row["translations"]:
            score = f"{entry['score']:.4f}\t" if n_best > 1 else ""
            console.put(score + " ".join(entry["text"].splitlines()))


@verb.command(
    "eval",
    short_help="Measure a translator on pairs of texts.",
    epilog="""\b
Examples:
  unroll translate eval runs/train.en test.en test.de
  unroll translate eval runs/train.en test.en test.de --tokenize none --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("source", metavar="SRC", type=TEXT)
@click.argument("target", metavar="TGT", type=TEXT)
@click.option(
    "--beam", metavar="N", type=int, default=5, show_default=True, help="Beginnings of a translation that are kept."
)
@click.option(
    "--tokenize",
    metavar="NAME",
    help="sacrebleu's tokenisation for BLEU.  [default: none if TGT is tokenised already, else 13a]",
)
@PRECISION
@json_option('"bleu", "chrf", "signatures", "nats", "length_ratio", "count", "by_length": […], …')
@reads_lists
def eval_verb(
    model: Path, source: Path, target: Path, beam: int, tokenize: str | None, precision: Any, as_json: bool
) -> None:
    """Translate the lines of SRC and compare them with those of TGT: BLEU and chrF by sacrebleu, with their signatures.

    `nats` are of the symbols of TGT, given those before them and the source. The table has the same for sources of
    similar length: without attention the long ones lose.
    """
    from unroll.artifact.translator import open_translator
    from unroll.tasks.translate.evaluate import measure_translator

    opened = open_translator(model, precision)
    figures = console.run(measure_translator(opened, source, target, beam=beam, tokenize=tokenize))
    if as_json:
        console.put_json(figures)
        return
    console.put_columns([
        ("BLEU", f"{figures['bleu']:.2f}   {figures['signatures']['bleu']}"),
        ("chrF", f"{figures['chrf']:.2f}   {figures['signatures']['chrf']}"),
        ("nats", f"{figures['nats']:.4f} a symbol of {figures['symbols']:,}"),
        ("length", f"{figures['length_ratio']:.3f} of the references, in characters"),
        ("pairs", f"{figures['count']:,}, beam {figures['beam']}"),
        *(("note", note) for note in figures["notes"]),
    ])  # fmt: skip
    console.put()
    header = ("source units", "BLEU", "chrF", "nats", "length", "pairs")
    console.put_columns([header, *(("–".join(map(str, dict.fromkeys(row["units"]))), f"{row['bleu']:.2f}",
                                    f"{row['chrf']:.2f}", f"{row['nats']:.4f}", f"{row['length_ratio']:.3f}",
                                    f"{row['count']:,}") for row in figures["by_length"])])  # fmt: skip
