"""What a person sees: messages, columns, and a progress bar above which text is printed. stdout is for results."""

import errno
import math
import os
import select
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedWriter, RawIOBase, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from unroll.errors import MachineError, number_of
from unroll.files import MACHINE_ERRORS
from unroll.progress import Progress, Work, result

T = TypeVar("T")

# Control characters as pictures: what a model writes must not steer the terminal.
_PICTURES = (
    {c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
    | {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}  # of file names that are not UTF-8
)


class _Results(RawIOBase):
    """stdout, where what cannot be written is an error that says so in one line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        """Write all of it; raises OutputError, or BrokenPipeError where nobody reads it any more."""
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # another process made it so, as some shells' children do
                    select.select([], [self._descriptor], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from None
        return len(data)


class _Remarks(_Results):
    """stderr, where what cannot be written is dropped: a full disk or a closed terminal ends no training."""

    def write(self, data: Any) -> int:
        """Write as much as can be written, and return the length of it all."""
        with suppress(OutputError, BrokenPipeError):
            super().write(data)
        return len(data)


class OutputError(MachineError):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        what, allowed, fix = MACHINE_ERRORS.get(
            error.errno or 0, (error.strerror or str(error), "an output that can be written", "write it elsewhere")
        )
        if error.errno == errno.EBADF:
            what, allowed, fix = "it is closed", "an open standard output", "redirect it to a file, or leave out >&-"
        super().__init__(f"cannot write to standard output: {what}", allowed=allowed, fix=fix)


def prepare_streams() -> None:
    """Write UTF-8 whatever the locale says, never fail at a character, and do without stderr where it fails.

    A stream that was closed is opened as an empty one, or one that refuses what is written: a file that is opened
    would get its number otherwise.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays open as long as the process
    if sys.stdout is sys.__stdout__:
        lines = os.isatty(1)
        sys.stdout = TextIOWrapper(BufferedWriter(_Results(1)), "utf-8", "backslashreplace", line_buffering=lines)
    if sys.stderr is sys.__stderr__:
        sys.stderr = TextIOWrapper(_Remarks(2), "utf-8", "backslashreplace", write_through=True)


def visible(text: str) -> str:
    """Return the text with its control characters, but for newline and tab, made visible."""
    return text.translate(_PICTURES)


def printable(text: str) -> str:
    """Return the text as it goes to stdout: as it is, but for a terminal with its control characters made visible."""
    return visible(text) if sys.stdout.isatty() else text


def quoted(path: Path) -> str:
    """Return a path as a shell takes it, also one that is not UTF-8 (bash and zsh: $'caf\\xe9')."""
    if str(path).isprintable():
        return shlex.quote(str(path))
    escapes = {ord("\\"): "\\\\", ord("'"): "\\'"}
    return f"$'{visible(str(path).translate(escapes))}'"


def put(text: str = "", *, err: bool = False, dim: bool = False) -> None:
    """Print a line on stdout or stderr, dim where that is a terminal with colours."""
    stream = sys.stderr if err else sys.stdout
    # Not click.echo: it finds its way past rich, and would print over a progress bar.
    print(click.style(text, dim=True) if dim and has_colours(stream) else text, file=stream, flush=True)


def put_bytes(content: bytes) -> None:
    """Write a file to stdout as it is, but for a terminal as UTF-8 with control characters made visible."""
    if sys.stdout.isatty():
        put(visible(content.decode(errors="replace")).removesuffix("\n"))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def note(text: str) -> None:
    """Print a remark on stderr."""
    put(text, err=True)


def interject(text: str) -> None:
    """Print a remark on stderr from a signal handler, which may interrupt a print and so passes it by."""
    clear = "\r\x1b[K" if is_screen(sys.stderr) else ""  # the bar is drawn again below
    with suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"{clear}{text}\n".encode())


def warn(*texts: str) -> None:
    """Print on stderr what deserves attention, a line each."""
    for text in texts:
        put((click.style("note: ", fg="yellow") if has_colours(sys.stderr) else "note: ") + visible(text), err=True)


def refuse(text: str, code: int = 2) -> int:
    """Print what is wrong on stderr; returns the exit code for it."""
    name = click.style("unroll: ", fg="red", bold=True) if has_colours(sys.stderr) else "unroll: "
    put(name + visible(text), err=True)
    return code


def is_screen(stream: TextIO) -> bool:
    """Return whether it is a terminal that obeys escape sequences; one called dumb does not."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def has_colours(stream: TextIO) -> bool:
    """Return whether to print colours there: on such a terminal, unless NO_COLOR is set (no-color.org)."""
    return is_screen(stream) and not os.environ.get("NO_COLOR")


def put_json(value: object) -> None:
    """Print one JSON object on stdout, paths in it as texts."""
    import json

    put(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, default=os.fspath))


def columns() -> int:
    """Return the width to write in: a little less than the terminal's, so that an echoed ^C breaks no line."""
    return max(40, min(100, shutil.get_terminal_size().columns - 3))


def put_columns(rows: Iterable[Sequence[str]], *, err: bool = False) -> None:
    """Print rows as columns on stdout or stderr, the first dim; the last is wrapped to the terminal."""
    import textwrap

    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    left = sum(widths) + 2 * len(widths)
    terminal = (sys.stderr if err else sys.stdout).isatty()
    room = max(30, columns() - left) if terminal else sys.maxsize
    for *cells, last in rows:
        first, *others = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        lines = textwrap.wrap(visible(last), room) or [""]
        stream = sys.stderr if err else sys.stdout
        name = click.style(first, dim=True) if has_colours(stream) else first
        put("  ".join([name, *others, lines[0]]), err=err)
        for line in lines[1:]:
            put(" " * left + line, err=err)


def put_rule(title: str, *, err: bool = False) -> None:
    """Print a dim line across the terminal, with a title at its left."""
    put(f"── {title} " + "─" * max(2, columns() - len(title) - 4), err=err, dim=True)


def clock(seconds: float) -> str:
    """Return a duration as 1:05, or 1:01:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def size(count: float) -> str:
    """Return a number of bytes as 4.0 MB."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def quality(nats: float, chars_per_token: float | None) -> str:
    """Return nats per token as bits per character, or, of words, as perplexity."""
    if chars_per_token:
        return f"{nats / math.log(2) / chars_per_token:.2f} bits/char"
    return f"perplexity {math.exp(min(nats, 99)):,.0f}"


def quality_of(description: dict[str, Any], nats: float, part: str = "valid") -> str:
    """Return the figure of a part, and how much of that is unknown, of what `info` knows of a model."""
    return quality(nats, description["chars_per_token"]) + unknown(description, part)


def unknown(description: dict[str, Any], part: str = "valid") -> str:
    """Return how much of a part is unknown to a model, of what `info` knows of it; empty where all is known."""
    counts = (description["parts"] or {}).get(part)
    return f" · {100 * counts['unknown'] / counts['tokens']:.3g} % <unk>" if counts and counts["unknown"] else ""


def final_quality(description: dict[str, Any]) -> str:
    """Return the exact validation figure, of what `info` knows of a model, in one unit."""
    for unit in ("char", "byte") if description["level"] != "word" else ():
        if (bits := description[f"valid_bits_per_{unit}"]) is not None:
            return f"{bits:.4f} bits/{unit}"
    return quality(description["valid_nats_per_token"], None)


def shape(description: dict[str, Any]) -> str:
    """Return the shape of a model, of what `info` knows of it, as `lstm, 2 layers of 384`."""
    if description["order"] is not None:
        return f"n-gram of order {description['order']}"
    layers = "1 layer" if description["layers"] == 1 else f"{description['layers']} layers"
    return f"{description['arch']}, {layers} of {description['hidden_size']}"


def steps(description: dict[str, Any]) -> str:
    """Return how many steps a model was trained for, and of how many where it is not finished."""
    done = description["steps"]
    if description["finished"]:
        return number_of(done, "step")
    return f"{done:,} of {number_of(description['planned_steps'], 'step')}"


def spent(description: dict[str, Any]) -> str:
    """Return how long a model was trained, of what `info` knows of it."""
    text = f"{number_of(description['steps'] or 0, 'step')}, {number_of(description['tokens_seen'] or 0, 'symbol')}"
    if description["train_seconds"]:
        text += f" in {clock(description['train_seconds'])} · {description['tokens_per_second'] or 0:,}/s"
    return text


def counted(description: dict[str, Any]) -> str:
    """Return how much was counted, and in what time, of what `info` knows of an n-gram."""
    seconds = description["train_seconds"]
    return f"{description['tokens_seen'] or 0:,} symbols" + (f" in {clock(seconds)}" if seconds is not None else "")


Show = Callable[[str, float, float, str], None]
"""Draws a bar: its label, how much is done, of how much, a remark."""


@contextmanager
def bar() -> Iterator[Show]:
    """Give what draws a progress bar at the foot of stderr, and does nothing where that is no screen.

    What is printed meanwhile on stdout or stderr appears above it.
    """
    if not is_screen(sys.stderr):
        yield lambda label, done, total, remark: None
        return
    from rich import progress as bars
    from rich.console import Console

    cells = (bars.TextColumn("{task.description}"), bars.BarColumn(None), bars.TextColumn("{task.fields[remark]}"))
    screen = Console(stderr=True, width=columns())
    out = sys.stdout.isatty()  # else rows for a pipe would go to the terminal with the bar
    # Redrawn at each report and by no thread: that would take time from the training.
    with bars.Progress(
        *cells, console=screen, auto_refresh=False, transient=True, expand=True, redirect_stdout=out
    ) as progress:
        task = progress.add_task("", total=None, remark="", visible=False)

        def show(label: str, done: float, total: float, remark: str) -> None:
            progress.update(
                task, description=label, completed=done, total=total, remark=remark, visible=True, refresh=True
            )

        yield show


def run(work: Work[T]) -> T:
    """Do the work below a progress bar and return its result."""
    with bar() as show:
        return result(work, lambda progress: draw(progress, show))


def draw(progress: Progress, show: Show) -> None:
    """Draw how far work has come."""
    phase, done, total, unit = progress
    show(phase, done, total, "" if not unit else f"of {size(total) if unit == 'bytes' else f'{total:,} {unit}'}")
