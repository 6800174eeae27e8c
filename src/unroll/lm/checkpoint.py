"""The model directory: written so that a kill at any moment leaves it loadable, read without running code from it.

model.json           format version, kind, model configuration, tokenizer digest; the result once it is known
weights.safetensors  the best weights by validation (the averaged ones if averaging is on)
tokenizer.json       the vocabulary
recipe.toml          everything resolved, enough to repeat the run
metrics.jsonl        the event log; samples.jsonl: the samples taken on the way
resume/              state.safetensors (last weights, optimizer, carried state, position), data/ (the encoded text)
"""

import fcntl
import json
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from unroll.config import from_mapping, to_mapping
from unroll.data.tokenizer import Tokenizer, load_tokenizer
from unroll.errors import UserError
from unroll.files import explained, read_json, write_atomically
from unroll.nn.model import Model, ModelConfig, parameter_count

FORMAT_VERSION = 1
KIND = "unroll language model"
WEIGHTS = "weights.safetensors"
STATE = "resume/state.safetensors"
DATA = "resume/data"
METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
MAX_HEADER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Loaded:
    """A model directory in memory."""

    path: Path
    model: Model
    tokenizer: Tokenizer
    description: dict[str, Any]
    """What model.json says."""
    weights_info: dict[str, Any]
    """What the weights say of themselves: `step`, `tokens_seen`, `valid_nats` (of rows), `averaged`."""


def save_description(
    path: Path, config: ModelConfig, tokenizer: Tokenizer, result: dict[str, Any] | None = None
) -> None:
    """Write model.json."""
    description = {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "level": tokenizer.level,
        "tokenizer_digest": tokenizer.digest,
        "parameters": parameter_count(config),
        "model": to_mapping(config),
        "result": result,
    }
    write_atomically(path / "model.json", (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())


def save_tensors(file: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write tensors and what there is to say about them as one safetensors file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(file, save(tensors, metadata={"info": json.dumps(info, sort_keys=True)}))


def damaged(file: Path, why: str = "") -> UserError:
    """Return the error for a safetensors file that is not as it was written."""
    return UserError(
        f"{file} is damaged{why and f': {why}'}",
        allowed="a safetensors file written by unroll",
        fix="restore it, or train again",
    )


def read_info(file: Path) -> dict[str, Any]:
    """Read what a safetensors file says of itself, without its tensors."""
    try:
        with open(file, "rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > MAX_HEADER_BYTES:
                raise damaged(file, "its header is too long")
            info = json.loads(json.loads(opened.read(length))["__metadata__"]["info"])
    except FileNotFoundError:
        raise UserError(f"no {file.name} in {file.parent}", fix="is this a model directory?") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}", fix="check its permissions") from None
    except (ValueError, KeyError, TypeError, struct.error, RecursionError):
        raise damaged(file) from None
    if not isinstance(info, dict):
        raise damaged(file)
    return info


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; raises UserError when it is missing or damaged."""
    read_info(file)
    try:
        return load_file(file)
    except (SafetensorError, ValueError, OSError) as error:
        raise damaged(file, str(error)) from None


def read_description(path: Path) -> dict[str, Any]:
    """Read model.json and check that it is ours and of a version we know."""
    if not path.is_dir():
        raise UserError(
            f"no model directory at {path}",
            allowed="a directory made by `unroll train`",
            fix="check the path; `ls runs` shows what you trained",
        )
    description = read_json(path / "model.json", "model description")
    if not isinstance(description, dict) or description.get("kind") != KIND:
        raise UserError(
            f"{path / 'model.json'} does not describe an unroll model", fix="name a directory made by `unroll train`"
        )
    version = description.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise UserError(
            f"{path / 'model.json'} has format version {version}",
            allowed=f"1 to {FORMAT_VERSION}",
            fix="install a newer unroll",
        )
    if not isinstance(description.get("model"), dict):
        raise UserError(f"{path / 'model.json'} has no model configuration", fix="restore it, or train again")
    return description


def load(path: Path, device: torch.device | str = "cpu") -> Loaded:
    """Load a model directory for use, in evaluation mode.

    Raises UserError for a missing, foreign or damaged directory; sizes are checked before anything is allocated.
    """
    description = read_description(path)
    config = from_mapping(ModelConfig, description["model"], f"{path / 'model.json'}")
    tokenizer = load_tokenizer(path / "tokenizer.json")
    if tokenizer.digest != description.get("tokenizer_digest"):
        raise UserError(
            f"{path / 'tokenizer.json'} is not the tokenizer that this model was trained with",
            fix="restore the directory from one source",
        )
    if tokenizer.vocab_size != config.vocab_size:
        raise UserError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} symbols, the model {config.vocab_size}",
            fix="restore the directory from one source",
        )
    file = path / WEIGHTS
    info = read_info(file)
    if file.stat().st_size < 4 * parameter_count(config):
        raise UserError(
            f"{file} is smaller than the model that model.json describes",
            allowed=f"{parameter_count(config):,} weights",
            fix="restore it, or train again",
        )
    tensors = load_tensors(file)
    model = Model(config)
    copy_weights(model, tensors, file)
    return Loaded(path, model.to(device).eval(), tokenizer, description, info)


def fitting(tensors: dict[str, Tensor], name: str, like: Tensor, file: Path) -> Tensor:
    """Return the tensor called `name`; raises UserError where it is missing or is not shaped like `like`."""
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != like.shape or tensor.dtype != like.dtype:
        found = "missing" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"
        raise UserError(
            f"{file}: {name} is {found}",
            allowed=f"{tuple(like.shape)} {like.dtype}",
            fix="restore the directory from one source",
        )
    return tensor


def copy_weights(model: Model, tensors: dict[str, Tensor], file: Path, prefix: str = "") -> None:
    """Copy tensors into the model's own memory; raises UserError where names, shapes or values do not fit."""
    for name, weight in model.named_parameters():
        tensor = fitting(tensors, prefix + name, weight, file)
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"{file}: {prefix + name} holds values that are not numbers", fix="restore it, or train again"
            )
        with torch.no_grad():
            weight.copy_(tensor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the directory as its one writer; raises UserError when another process does."""
    with explained(path):
        (path / "resume").mkdir(exist_ok=True)
        file = open(path / "resume" / "lock", "w")  # noqa: SIM115 - closed below, outside what is explained
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{path} is being trained by another process", allowed="one writer", fix="wait for it or stop it"
            ) from None
        for left in [*path.glob(".*.tmp"), *path.glob("resume/.*.tmp")]:  # half written by a process that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield


class EventLog:
    """An append-only file of JSON lines that a resume can cut back to a checkpoint."""

    def __init__(self, file: Path, size: int = 0) -> None:
        self.path = file
        with explained(file):
            # Unbuffered: what a full disk refuses is not tried again when the file is closed.
            self._file = open(file, "ab", buffering=0)  # noqa: SIM115 - it stays open as long as the log
            self._file.truncate(min(size, self.size))

    def write(self, event: dict[str, Any]) -> None:
        """Append one event."""
        line = (json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with explained(self.path):
            while line:
                line = line[self._file.write(line) :]

    @property
    def size(self) -> int:
        """The file's length in bytes, to be kept in a checkpoint."""
        return self._file.seek(0, 2)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_events(file: Path) -> list[dict[str, Any]]:
    """Read an event log; a last line cut short by a kill is passed over. A missing file has no events."""
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    events = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            events.append(json.loads(line))
        except (ValueError, RecursionError):
            raise UserError(
                f"line {number} of {file} is damaged", allowed="one JSON object a line", fix="remove the line"
            ) from None
    return events
