"""`unroll score`: how probable texts are, symbol by symbol, and where a file is surprising."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from heapq import nlargest
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import click

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import LABEL, PATH, PRECISION, UNKNOWN, UNKNOWN_RULES, json_option
from unroll.data.lines import ESCAPES, escaped
from unroll.errors import UserError, number_of

if TYPE_CHECKING:
    from unroll.engine.network import Precision
    from unroll.lm.surprisal import TextScore, Token
    from unroll.lm.units import Unit

DEFAULT_TOP = 20
REDRAWN = 0.1
"""Seconds between two drawings of the bar."""
COLUMNS = ("line", "start", "end", "tokens", "nats", "nats_per_token", "text")
ORDERS: "dict[str, Callable[[Row], float]]" = {
    "nats": lambda row: -1.0 if row.unit.nats_per_token is None else row.unit.nats_per_token,
    "total": lambda row: row.unit.nats,
}


class Row(NamedTuple):
    """A unit of a file, and the number of the line in which it starts, from 1 on."""

    line: int
    unit: "Unit"


@click.command(
    "score",
    epilog="""\b
Examples:
  unroll score runs/book "John is driving a car" "John is driving a cat"
  unroll score runs/book --file new.txt --unit word --tsv > surprisal.tsv
  journalctl | unroll score runs/book --file - --sort nats --top 20     odd lines
  unroll score runs/book "It was the best" --save-state F
  unroll score runs/book " of times" --state F
  unroll score runs/names Rossi --label italian --eos     a model trained with labels

\b
A file is read with carried state, unless --fresh resets it at each line. Its units tile it, and
their nats add up to the total; --sort total favours long ones. A word includes the white space
after it, which is what ends it: its nats are those of this word and no longer one, also in BPE,
where a piece begins with the space before it and is split. A line includes its newline. A byte
order mark at the start of the file counts among the bytes of the first unit, but is not text.

"""
    + UNKNOWN_RULES,
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("texts", metavar="TEXT...", nargs=-1)
@LABEL
@click.option("--eos", is_flag=True, help="Also score the end of each TEXT: a newline, or <eos> at level word.")
@UNKNOWN
@click.option("--file", metavar="F", type=TEXT, help="Score a file of any size; - is standard input.")
@click.option("--unit", type=click.Choice(["token", "word", "char", "line"]), help="Unit of each row.  [default: line]")
@click.option("--fresh", is_flag=True, help="Read each line of the file from a fresh state.")
@click.option("--sort", type=click.Choice(["nats", "total"]), help="Most surprising first: nats per symbol, or total.")
@click.option("--top", metavar="N", type=int, help=f"How many to show when sorted.  [default: {DEFAULT_TOP}]")
@click.option("--tsv", is_flag=True, help=r"Print rows as TSV, with newline, tab and backslash as \n, \t, \\.")
@click.option("--state", metavar="F", type=PATH, help="Continue from a saved state instead of the start symbol.")
@click.option("--save-state", metavar="F", type=PATH, help="Save the state after the one TEXT or the file.")
@PRECISION
@json_option('"texts": [...]} or, for a file, {"units": [...]')
@reads_text
def verb(
    model: Path, texts: tuple[str, ...], file: Path | None, eos: bool, label: tuple[str, ...], **options: Any
) -> None:
    """Show how probable each TEXT, or a file, is to the model in DIR, in nats: -ln P."""
    check(texts, file, eos, label, options)
    if file is None:
        wanted = ("unknown", "precision", "as_json", "state", "save_state")
        score_texts(model, texts, eos, label=label, **{name: options[name] for name in wanted})
    else:
        score_file(model, file, **options)


def check(texts: Sequence[str], file: Path | None, eos: bool, label: Sequence[str], options: dict[str, Any]) -> None:
    """Raise UserError for options that do not go together."""
    if (file is None) == (not texts):
        raise UserError(
            "nothing to score" if file is None else "both texts and a file are given",
            allowed="one or more TEXTs, or --file F",
            fix='for example: unroll score DIR "John is driving a car" "John is driving a cat"'
            if file is None
            else "leave one out",
        )
    if file is None:
        if named := next((name for name in ("unit", "fresh", "sort", "top", "tsv") if options[name]), None):
            raise UserError(
                f"--file is needed for --{named}", allowed="--file F", fix=f"add --file F, or leave out --{named}"
            )
        if options["save_state"] and len(texts) > 1:
            raise UserError("--save-state works with one TEXT", allowed="one TEXT", fix="score the texts one by one")
        return
    if option := "--eos" if eos else "--label" if label else None:
        raise UserError(f"{option} applies to TEXT arguments only", allowed="TEXTs", fix=f"leave out {option}")
    if options["tsv"] and options["as_json"]:
        raise UserError("both --tsv and --json are given", allowed="one of them", fix="leave one out")
    if (top := options["top"]) is not None and (top < 1 or not options["sort"]):
        raise UserError(
            f"--top {top}" + ("" if options["sort"] else ", but nothing is sorted"),
            allowed="1 or more, with --sort",
            fix="for example: --sort nats --top 20",
        )


# ---- texts


def score_texts(
    model: Path,
    texts: Sequence[str],
    eos: bool,
    *,
    unknown: str,
    precision: "Precision",
    as_json: bool,
    **states: Any,
) -> None:
    """Print the scores of texts, and which is the likeliest."""
    from unroll.artifact.open import open_model
    from unroll.lm import surprisal

    opened = open_model(model, precision=precision)
    scores = surprisal.score(opened, texts, eos=eos, unknown=unknown, **states)  # type: ignore[arg-type]
    notes = [*file_names(texts), *remarks(scores)]
    if as_json:
        tokens, strange = (sum(getattr(score, name) for score in scores) for name in ("tokens", "unknown"))
        console.put_json(
            {
                "model": str(model),
                "eos": eos,
                "unknown": unknown,
                "texts": [described(score) for score in scores],
                "likeliest": likeliest(scores),
                "unknown_rate": unknown_rate(tokens, strange, unknown),
                "notes": notes,
            }
        )
    else:
        for number, score in enumerate(scores, 1):
            put_score(number if len(scores) > 1 else None, score, unknown)
        put_comparison(scores)
        console.warn(*notes)


def file_names(texts: Sequence[str]) -> Iterator[str]:
    """Yield a remark on each text that is the name of a file."""
    for text in texts:
        with suppress(OSError, ValueError):  # a name may be too long for the system, or hold a NUL
            if Path(text).is_file():
                yield f"{text} is a file, and only its name was scored: to score what it holds, --file {text}"


def described(score: "TextScore") -> dict[str, Any]:
    """Return a score as JSON."""
    return {
        "text": score.text,
        "tokens": score.tokens,
        "nats": score.nats,
        "nats_per_token": score.nats_per_token,
        "unknown": score.unknown,
        "per_token": [token._asdict() for token in score.per_token],
    }


def ranked(scores: "Sequence[TextScore]") -> list[int]:
    """Return the places of the texts, the likeliest first."""
    return sorted(range(len(scores)), key=lambda place: scores[place].nats)


def likeliest(scores: "Sequence[TextScore]") -> dict[str, Any] | None:
    """Return which text is the likeliest and by how much, as JSON; None of a single text."""
    if len(scores) < 2:
        return None
    first, second, *_ = ranked(scores)
    by = scores[second].nats - scores[first].nats
    return {"text": first, "by_nats": by, "factor": math.exp(by) if by < 700 else None}


def remarks(scores: "Sequence[TextScore]") -> Iterator[str]:
    """Yield remarks on comparing these texts."""
    if len({score.tokens for score in scores}) > 1:
        lengths = ", ".join(f"{score.tokens:,}" for score in scores)
        per = ", ".join("none" if score.nats_per_token is None else f"{score.nats_per_token:.3f}" for score in scores)
        yield f"the texts have {lengths} symbols, and each adds to the total; nats per symbol: {per}"
    if len({score.unknown for score in scores}) > 1:
        lengths = ", ".join(f"{score.unknown:,} of {len(score.per_token):,}" for score in scores)
        yield f"unknown symbols: {lengths}; which text is likelier depends on --unknown"


def unknown_rate(tokens: int, unknown: int, rule: str) -> float | None:
    """Return the share of the symbols read that are unknown, given those counted; None where nothing was read."""
    read = tokens + unknown if rule == "exclude" else tokens
    return unknown / read if read else None


def put_score(number: int | None, score: "TextScore", rule: str) -> None:
    """Print the total of a text, and its symbols above their nats."""
    figures = [f"{score.nats:.2f} nats", f"{number_of(score.tokens, 'symbol')}"]
    if score.nats_per_token is not None:
        figures.append(f"{score.nats_per_token:.3f} each")
    if score.unknown:
        figures.append(f"{score.unknown:,} unknown ({rule})")
    console.put_rule(" · ".join(figures if number is None else [str(number), *figures]))
    for symbols, nats in grid(score.per_token):
        console.put(symbols)
        console.put(nats)


def grid(tokens: "Iterable[Token]") -> Iterator[tuple[str, str]]:
    """Yield lines of symbols, each with the line of their nats to be put below it."""
    from rich.cells import cell_len

    room, width = console.columns(), 0
    above: list[str] = []
    below: list[str] = []
    for token in tokens:
        name = named(token.token)
        nats = "-" if token.nats is None else f"{token.nats:.2f}"
        cell = 2 + max(cell_len(name), len(nats))
        if above and width + cell > room:
            yield "".join(above).rstrip(), "".join(below).rstrip()
            above, below, width = [], [], 0
        above.append(name + " " * (cell - cell_len(name)))
        below.append(heated(nats, token.nats) + " " * (cell - len(nats)))
        width += cell
    if above:
        yield "".join(above).rstrip(), "".join(below).rstrip()


def heated(symbol: str, nats: float | None) -> str:
    """Return a figure in a colour that tells how surprising it is, where there are colours."""
    if not console.has_colours(sys.stdout):
        return symbol
    if nats is None or nats < 2:
        return click.style(symbol, dim=True)
    return click.style(symbol, fg="yellow") if nats < 5 else click.style(symbol, fg="red", bold=True)


def put_comparison(scores: "Sequence[TextScore]") -> None:
    """Print which of several texts is the likeliest, and by how much."""
    if len(scores) < 2:
        return
    first, *others = ranked(scores)
    console.put_rule(f"the likeliest is {first + 1}")
    for other in others:
        by = scores[other].nats - scores[first].nats
        console.put(f"{other + 1} costs {by:.3f} nats more: it is {times(by)} less probable")


def times(nats: float) -> str:
    """Return a difference in nats as a factor between probabilities."""
    if nats < math.log(1e6):
        return f"{math.exp(nats):,.{2 if nats < math.log(100) else 0}f} times"
    return f"10^{nats / math.log(10):.1f} times"


def named(token: str) -> str:
    """Return a symbol or a word as it is shown: on one line, its spaces visible."""
    return token.translate(ESCAPES).replace(" ", "␣")


# ---- files


def score_file(
    model: Path,
    file: Path,
    *,
    unit: str | None,
    fresh: bool,
    unknown: str,
    sort: str | None,
    top: int | None,
    tsv: bool,
    precision: "Precision",
    as_json: bool,
    **states: Any,
) -> None:
    """Print the units of a file as they come, or the most surprising of them at its end, and what they add up to."""
    from unroll.artifact.open import open_model
    from unroll.lm.units import score_file

    opened = open_model(model, precision=precision)
    unit = unit or "line"
    total: dict[str, Any] = {"tokens": 0, "nats": 0.0, "unknown": 0}
    reading = score_file(opened, file, unit=unit, fresh=fresh, unknown=unknown, **states)  # type: ignore[arg-type]
    out = sys.stdout  # not what the bar puts in its place, which writes to stderr
    with ExitStack() as stack:
        # Rows on the terminal show by themselves how far it is.
        show = stack.enter_context(console.bar()) if sort or not out.isatty() else no_bar
        rows = followed(reading, total, file, show)
        if sort:
            rows = iter(nlargest(top or DEFAULT_TOP, rows, key=ORDERS[sort]))
            stack.close()
        rows = chain([next(rows)], rows)  # what cannot be read is refused before anything is printed
        if as_json:
            head = {"model": str(model), "file": f"{file}", "unit": unit, "fresh": fresh, "sort": sort}
            put_members({**head, "unknown": unknown}, rows, out)
        elif tsv:
            put_tsv(rows, out)
        else:
            put_rows(rows, out)
    mean = total["nats"] / total["tokens"] if total["tokens"] else None
    rate = unknown_rate(total["tokens"], total["unknown"], unknown)
    if as_json:
        put_tail({"tokens": total["tokens"], "nats": total["nats"], "nats_per_token": mean, "unknown_rate": rate})
        return
    figures = [f"{total['nats']:,.1f} nats", f"{number_of(total['tokens'], 'symbol')}", f"{mean or 0:.3f} each"]
    if total["unknown"] and rate is not None:
        figures.append(f"{100 * rate:.2f} % unknown ({unknown})")
    console.note(" · ".join(figures))


def no_bar(label: str, done: float, total: float, remark: str) -> None:
    """Draw nothing."""


def followed(units: "Iterable[Unit]", total: dict[str, Any], file: Path, show: console.Show) -> Iterator[Row]:
    """Pass units on with the numbers of their lines, add them up, and show how far it is."""
    from unroll.data.blocks import file_size

    drawn, size, line = 0.0, file_size(file), 1
    for unit in units:
        for name in total:
            total[name] += getattr(unit, name)
        if (now := time.monotonic()) > drawn + REDRAWN:
            size = max(size, unit.end)  # of gzip, only what is packed is known
            show("scoring", unit.end, size, f"of {console.size(size)}")
            drawn = now
        yield Row(line, unit)
        line += unit.text.count("\n")


def put_rows(rows: Iterable[Row], out: TextIO) -> None:
    """Print units as columns, of which the last is cut to the terminal."""
    from rich.cells import set_cell_size

    head = "     nats   each       start     line  text"
    out.write((click.style(head, dim=True) if console.has_colours(out) else head) + "\n")
    for line, unit in rows:
        each = "-" if unit.nats_per_token is None else f"{unit.nats_per_token:.2f}"
        row = f"{unit.nats:9.2f}  {each:>5}  {unit.start:>10}  {line:>7}  "
        text = escaped(unit.text.removesuffix("\n"))
        if out.isatty():
            room = console.columns() - len(row)
            text = set_cell_size(text[: room + 1], room)
        out.write(f"{row}{text}".rstrip() + "\n")
    out.flush()


def put_tsv(rows: Iterable[Row], out: TextIO) -> None:
    """Print units as rows for other programs."""
    out.write("\t".join(COLUMNS) + "\n")
    for line, unit in rows:
        each = "" if unit.nats_per_token is None else f"{unit.nats_per_token:.6f}"
        out.write(f"{line}\t{unit.start}\t{unit.end}\t{unit.tokens}\t{unit.nats:.6f}\t{each}\t{escaped(unit.text)}\n")
    out.flush()


def put_members(head: dict[str, Any], rows: Iterable[Row], out: TextIO) -> None:
    """Print the beginning of one JSON object and its units, one a line, as they come."""
    out.write(json.dumps(head, ensure_ascii=False, indent=2).removesuffix("\n}") + ',\n  "units": [\n')
    between = ""
    for line, unit in rows:
        row = {"line": line} | {name: getattr(unit, name) for name in (*COLUMNS[1:], "unknown")}
        out.write(f"{between}    {json.dumps(row, ensure_ascii=False, allow_nan=False)}")
        between = ",\n"
    out.flush()


def put_tail(tail: dict[str, Any]) -> None:
    """Print the end of the object that `put_members` has begun."""
    console.put("\n  ],\n" + json.dumps(tail, ensure_ascii=False, allow_nan=False, indent=2).removeprefix("{\n"))
