"""Native libraries beside their sources: loaded only where they were built from these."""

import ctypes
import hashlib
import warnings
from pathlib import Path


def load(library: Path, sources: str, consequence: str) -> ctypes.CDLL | None:
    """Return a library; None where it was not built, or, with a warning, was built from others than `kernel` beside it.

    `sources` names its function that returns their digest; `consequence` says what is done without it.
    """
    if not library.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(library))
    except OSError:  # built for another system
        return None
    folder = library.with_name("kernel")
    if hasattr(loaded, sources):
        digest = getattr(loaded, sources)
        digest.restype = ctypes.c_char_p
        if not folder.is_dir() or digest().decode() == source_digest(folder):
            return loaded
    # Another may compute nonsense.
    text = f"{library} was built from other sources: {consequence}, slower, until `make setup` builds it"
    warnings.warn(text, RuntimeWarning, stacklevel=3)
    return None


def source_digest(folder: Path) -> str:
    """Return what tells the kernel's sources from any others, as hatch_build.py does."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.cpp"), *folder.glob("*.h")]):
        digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
