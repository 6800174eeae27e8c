"""Writing files so that a kill at any moment leaves the old one or the new one; reading JSON that may be damaged."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unroll.errors import UserError

MAX_JSON_BYTES = 256 * 2**20


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals about `path` into UserErrors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left on the disk of {path}", fix="free some space or choose another --out"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                f"cannot write {path}: {error.strerror}",
                allowed="a folder you may write to",
                fix="choose another --out or change its permissions",
            ) from None
        raise UserError(
            f"{path}: {error.strerror or error}", allowed="a path in a folder that is there", fix="check the path"
        ) from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk and rename it over `path`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path):
        try:
            with open(beside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file that holds `what`; raises UserError when it is missing, too large or damaged."""
    try:
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise UserError(f"{path} has {size:,} bytes", allowed=f"{what} of at most {MAX_JSON_BYTES:,} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {what} at {path}", fix="check the path") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", fix="check its permissions") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}", allowed=what, fix="restore it or train again") from None
