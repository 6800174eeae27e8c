"""A regular expression applied to a text in a separate process, which is ended if it takes too long.

Python's expressions may run forever, and block the interpreter meanwhile: a server would stand still.
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

    Raises UserError for an invalid expression, and for one that takes longer.
    """
    if len(pattern) > LONGEST:
        raise UserError(
            f"the expression has {len(pattern):,} characters", allowed=f"at most {LONGEST}", fix="shorten it"
        )
    request = json.dumps([pattern, text]).encode()
    try:
        process = subprocess.run(
            [sys.executable, "-m", "unroll.serve.inside.pattern"], input=request, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"the expression takes longer than {seconds:g} seconds on this text",
            allowed=f"up to {seconds:g} seconds",
            fix="avoid repetitions within repetitions, such as (a+)+",
        ) from None
    if process.returncode:
        raise UserError(
            f"{pattern!r} is not a regular expression: {process.stderr.decode(errors='replace').strip()[-200:]}",
            allowed="expressions of Python's re",
            fix="escape special characters, for example \\( for a bracket",
        )
    return np.frombuffer(process.stdout, np.uint8).astype(np.float64)


def main() -> int:
    """Read a pattern and a text from standard input; write a byte for each character, or an error to standard error."""
    import re

    from unroll.insight.cells.properties import inside

    pattern, text = json.loads(sys.stdin.buffer.read())
    try:
        matched = inside(pattern)(text)
    except (re.error, OverflowError, RecursionError) as error:
        sys.stderr.write(str(error))
        return 1
    sys.stdout.buffer.write(matched.astype(np.uint8).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
