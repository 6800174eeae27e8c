"""Pictures and pages that a verb writes beside its figures."""

from collections.abc import Callable
from pathlib import Path


def check(plot: Path | None) -> None:
    """Raise UserError for a picture that cannot be written, before anything is computed for it."""
    if plot is not None:
        from unroll.insight.plots import check_picture

        check_picture(plot)


def write(path: Path | None, content: Callable[[str], bytes]) -> None:
    """Write to `path`, if there is one, what `content` returns for its ending in lower case, such as `.svg`."""
    if path is not None:
        from unroll.files import write_atomically

        write_atomically(path, content(path.suffix.lower()))
