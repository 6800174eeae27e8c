"""A regular expression applied to a text in a process of its own, which can be ended when it takes too long.

Python's expressions may take for ever, and hold the interpreter while they do: a server would stand still.
"""

import json
import subprocess
import sys

import numpy as np
from numpy.typing import NDArray

from unroll.errors import UserError

LONGEST = 500
"""Characters of an expression."""
SECONDS = 10.0


def inside_apart(pattern: str, text: str, seconds: float = SECONDS) -> NDArray[np.float64]:
    """Return 1 inside the matches of an expression, else 0, for each character of a text, as `properties.inside` does.

    Raises UserError for what is no expression, and for one that takes longer.
    """
    if len(pattern) > LONGEST:
        raise UserError(
            f"the expression has {len(pattern):,} characters", allowed=f"at most {LONGEST}", fix="shorten it"
        )
    asked = json.dumps([pattern, text]).encode()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "unroll.serve.inside.pattern"], input=asked, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"the expression takes longer than {seconds:g} seconds on this text",
            allowed="one that is quick",
            fix="avoid repetitions within repetitions, such as (a+)+",
        ) from None
    if done.returncode:
        raise UserError(
            f"{pattern} is no regular expression: {done.stderr.decode(errors='replace').strip()[-200:]}",
            allowed="those of Python's re",
            fix="escape characters that have a meaning in them, for example \\( for a bracket",
        )
    return np.frombuffer(done.stdout, np.uint8).astype(np.float64)


def main() -> int:
    """Read a pattern and a text from standard input; write a byte for each character, or say what is wrong."""
    import re

    from unroll.insight.cells.properties import inside

    pattern, text = json.loads(sys.stdin.buffer.read())
    try:
        found = inside(pattern)(text)
    except (re.error, OverflowError, RecursionError) as error:
        sys.stderr.write(str(error))
        return 1
    sys.stdout.buffer.write(found.astype(np.uint8).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
