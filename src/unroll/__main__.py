"""The command `unroll`: runs a verb, and turns what goes wrong into a message and an exit code."""

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from unroll.cli import process

if TYPE_CHECKING:
    from unroll.errors import UserError


def main() -> None:
    """Run the command line.

    Exits with 0, with 2 for a mistake that its user can mend, with 1 where the machine fails (a full disk) or the verb
    says so, and with 130 when interrupted.
    """
    process.mark()
    import click

    from unroll.cli import console
    from unroll.cli.app import advice, app
    from unroll.errors import UserError, install
    from unroll.files import explanation

    console.prepare_streams()
    warnings.showwarning = lambda message, *_: console.warn(str(message))  # without the line of code that gave it
    process.clean_up_at_signals()
    try:
        try:
            code = app.main(prog_name="unroll", standalone_mode=False) or 0
        finally:
            process.end_at_signals()
        sys.stdout.flush()
    except UserError as error:
        code = console.refuse(str(error), error.exit_code)
        if isinstance(error, console.OutputError):
            drop_output()
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2: `unroll classify`
            console.put(error.message)
            sys.exit(0)
        near = isinstance(error, click.NoSuchOption) or hasattr(error, "command_name")  # whose advice is ours
        code = console.refuse(f"{error.message if near else error.format_message()}\n  fix: {advice(error)}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        code = console.refuse(f"this needs PyTorch\n  fix: {install('train')}")
    except (click.Abort, KeyboardInterrupt):  # before RuntimeError, which Abort is
        console.note("Interrupted.")
        code = 128 + (process.ended_by or 2)  # SIGINT
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        failure = memory_error(error)
        code = console.refuse(str(failure), failure.exit_code)
    except BrokenPipeError:
        code = 1  # the reader of our output is gone
        drop_output()
    except OSError as error:  # of no known file
        failure = explanation(Path(os.fsdecode(error.filename or "a file")), error)
        code = console.refuse(str(failure), failure.exit_code)
    sys.exit(code)


def drop_output() -> None:
    """Discard what is still to be written to stdout: flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def out_of_memory(error: Exception) -> bool:
    """Return True for an out-of-memory error of Python, numpy, or torch (CPU or GPU)."""
    names = {cls.__name__ for cls in type(error).__mro__}  # torch is not imported for this
    message = str(error).lower()
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "allocate" in message or "out of memory" in message


def memory_error(error: Exception) -> "UserError":
    """Return the message for an out-of-memory error."""
    from unroll.errors import MachineError

    what = str(error).split("\n")[0]
    return MachineError(
        f"out of memory{what and f': {what}'}",
        allowed="a model and batches that fit into memory",
        fix="make them smaller: --set hidden_size=N, --set batch_size=N or --set seq_len=N",
    )


if __name__ == "__main__":
    main()
