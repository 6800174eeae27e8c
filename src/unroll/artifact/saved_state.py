"""Saved states: how far a text was read, as a safetensors file that fits the weights it was read with."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.files import unreadable, write_atomically
from unroll.predict.predictor import Nats, Predictor
from unroll.predict.protocols import Ids, stream
from unroll.state import State, flatten, unflatten

FORMAT_VERSION = 1
KIND = "unroll state"
MAX_HEADER_BYTES = 2**16


@dataclass(frozen=True)
class Reading:
    """How far a text was read: the state, and the symbol that comes next in it, read but not yet taken in."""

    state: State | None
    """State of one row; None where nothing was read before."""
    before: int
    """The last symbol read, or the start symbol."""


def read_on(predictor: Predictor, ids: Ids, reading: Reading) -> tuple[Nats, Reading]:
    """Continue `reading` with `ids` (T,); return -ln P of each (T,), in nats, and the reading after them.

    score(a + b) = score(a) + score(b | the reading after a).
    """
    state, pieces = reading.state, [np.zeros(0)]
    for nats, after in stream(predictor, ids, reading.before, reading.state):
        state = after
        pieces.append(nats)
    return np.concatenate(pieces), Reading(state, int(ids[-1]) if len(ids) else reading.before)


def save_reading(file: Path, reading: Reading, model: Path) -> None:
    """Write how far a text was read with the model in the folder `model`, atomically."""
    from safetensors.numpy import save

    info = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "weights_sha256": weights_digest(model),
        "before": reading.before,
    }
    tensors = {name: np.ascontiguousarray(part) for name, part in flatten(reading.state or ()).items()}
    write_atomically(file, save(tensors, metadata={"info": json.dumps(info, sort_keys=True)}))


def load_reading(file: Path, opened: Opened) -> Reading:
    """Read a file that `save_reading` wrote; raises UserError where it is damaged or of another model.

    Its size is checked before anything is allocated, and its arrays against those of a state of this model.
    """
    start = np.array([[opened.tokenizer.start_id]], np.int64)
    expected = flatten(opened.predictor.logits(start)[1])
    info, tensors = _read(file, MAX_HEADER_BYTES + sum(part.nbytes for part in expected.values()))
    if info.get("kind") != KIND or info.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{file} is not a saved state", allowed="a file written by --save-state", fix="check the path")
    if info.get("weights_sha256") != weights_digest(opened.path):
        raise UserError(
            f"{file} is a state of another model than {opened.path}",
            allowed="a state saved with these very weights",
            fix="name the model that it was saved with, or read the text again",
        )
    before = info.get("before")
    if type(before) is not int or not 0 <= before < opened.predictor.vocab_size:
        raise _damaged(file, f"its last symbol is {before!r}")
    if not tensors:
        return Reading(None, before)
    if tensors.keys() != expected.keys():
        raise _damaged(file, f"it holds {', '.join(sorted(tensors))}")
    for name, part in tensors.items():
        shape, dtype = expected[name].shape, expected[name].dtype
        if part.shape != shape or part.dtype != dtype:
            raise _damaged(file, f"{name} is {part.shape} {part.dtype}, not {shape} {dtype}")
        if not np.isfinite(part).all():
            raise _damaged(file, f"{name} has values that are NaN or infinite")
        # Whole numbers are symbols; -1 stands for none.
        if part.dtype.kind in "iu" and not ((part >= -1) & (part < opened.predictor.vocab_size)).all():
            raise _damaged(file, f"{name} has symbols outside the vocabulary")
    return Reading(unflatten(tensors), before)


def weights_digest(model: Path) -> str:
    """Return the SHA-256 of the tensors in a model directory, in hexadecimal."""
    whole = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        try:
            with open(file, "rb") as opened:
                whole.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
        except OSError as error:
            raise unreadable(file, error) from None
    return whole.hexdigest()


def _read(file: Path, most: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the info and the arrays of a safetensors file of at most `most` bytes."""
    from safetensors import SafetensorError, safe_open

    try:
        if (size := file.stat().st_size) > most:
            raise _damaged(file, f"it has {size:,} bytes, a state of this model at most {most:,}")
        with safe_open(file, framework="numpy") as opened:
            info = json.loads((opened.metadata() or {})["info"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except OSError as error:
        raise unreadable(file, error) from None
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _damaged(file, "it is not a safetensors file written by unroll") from None
    if not isinstance(info, dict):
        raise _damaged(file, "it has no info")
    return info, tensors


def _damaged(file: Path, why: str) -> UserError:
    return UserError(
        f"{file} is not a state of this model: {why}",
        allowed="a file written by --save-state with this model",
        fix="restore it, or read the text again with --save-state",
    )
