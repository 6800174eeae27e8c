"""Arrays that a training reads, in its directory: written and read as one file, with a digest over all."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unroll.errors import UserError
from unroll.files import Folder, unreadable

EXAMPLES = "resume/examples.safetensors"

Arrays = Mapping[str, NDArray[Any]]


def digest_of(arrays: Arrays) -> str:
    """Return the SHA-256 of all arrays, in hexadecimal."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def save_arrays(folder: Folder, arrays: Arrays, file: str = EXAMPLES) -> None:
    """Write arrays into a model directory."""
    from safetensors.numpy import save

    folder.write(file, save(dict(arrays)))


def load_arrays(path: Path, file: str = EXAMPLES) -> Arrays:
    """Read what `save_arrays` wrote; raises UserError where it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load((path / file).read_bytes())
    except OSError as error:
        raise unreadable(path / file, error) from None
    except (SafetensorError, ValueError) as error:
        raise damaged_examples(path / file, error) from None


def damaged_examples(file: Path, error: Exception) -> UserError:
    """Return the error for a damaged file of examples."""
    return UserError(
        f"{file} is damaged: {error}", allowed="examples written by unroll", fix="restore it, or train again"
    )
