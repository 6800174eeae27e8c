"""A network as one ONNX file: its state as named inputs and outputs, checked against ours before it is written."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll._version import __version__
from unroll.artifact.directory import WEIGHTS, read_config, read_description, read_tokenizer
from unroll.artifact.open import open_model
from unroll.errors import UserError, install
from unroll.export.graph import OPSET, build, state_shapes
from unroll.files import explained, write_atomically
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig, parameter_count
from unroll.predict.ngram import NgramConfig
from unroll.predict.predictor import HiddenPredictor, Window
from unroll.settings import to_mapping
from unroll.state import State, parts_of

MOST_BYTES = 2**31 - 2**20
"""The most that one file may have: protobuf counts to two gigabytes."""

TOKENIZER = "tokenizer.json"
TOLERANCE = 1e-4
"""How far a logit may be from ours, as a share of the largest one: float32 in another order of sums."""

CHECKED = ((1, 1), (3, 24), (2, 40))
"""Rows and lengths at which an export is run; none of them is built into it."""


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was run and agreed."""

    path: Path
    tokenizer: Path
    """The vocabulary, beside it."""
    about: Path
    """Its metadata as JSON, beside it: not every runtime exposes metadata."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bytes: int
    difference: float
    """The largest one between its logits or state and ours."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {
            "path": str(self.path), "tokenizer": str(self.tokenizer), "about": str(self.about), "opset": OPSET
        }  # fmt: skip


def export_onnx(model: str | PathLike[str], out: str | PathLike[str] | None = None) -> Exported:
    """Write a network as the ONNX file `out`, by default onnx/model.onnx in its directory.

    Beside it lie the vocabulary, and its start, unknown and end symbols and the shapes of its state as JSON.
    `ids` (batch, length) and a state go in, `logits` (batch, length, symbols) and the state after come out: of the
    input `layer0_h` it is `layer0_h_after`. Batch and length are free, all is float32. Before it is written it is run
    by ONNX Runtime and compared with our own network from random states. Raises UserError.
    """
    require_onnx()
    path = Path(model)
    file = path / "onnx" / "model.onnx" if out is None else Path(out)
    description = read_description(path)
    config = read_config(description, str(path / "model.json"))
    if isinstance(config, NgramConfig):
        raise UserError(
            f"{path} is an n-gram: counts, not a network, and ONNX has no operations for them",
            allowed="a model made by `unroll train`",
            fix="train a network on the same text, and export that",
        )
    if file.suffix != ".onnx" or file.is_dir():
        raise UserError(
            f"{file} is not the name of an ONNX file", allowed="a file that ends in .onnx", fix="name another"
        )
    if 4 * parameter_count(config) > MOST_BYTES:
        raise UserError(
            f"{path} has {parameter_count(config):,} weights, more than one ONNX file holds",
            allowed=f"{MOST_BYTES // 4:,} weights",
            fix="train a smaller one",
        )
    tokenizer = read_tokenizer(path, description)
    vocabulary = tokenizer.to_json().encode()
    beside = file.with_name(TOKENIZER)
    if beside.exists() and beside.read_bytes() != vocabulary:
        raise UserError(
            f"{beside} is another vocabulary, and {file.name} needs its own beside it",
            allowed="a folder of its own for each model",
            fix="name another folder with --out, or remove that file",
        )

    network = open_model(path).predictor.network  # also checks the weights
    assert network is not None
    about = {
        "unroll": __version__,
        "tokenizer": TOKENIZER,
        "tokenizer_digest": tokenizer.digest,
        "level": tokenizer.level,
        "start_id": str(tokenizer.start_id),
        "unknown_id": "" if tokenizer.unknown_id is None else str(tokenizer.unknown_id),
        "end_id": "" if tokenizer.end_id is None else str(tokenizer.end_id),
        "model": json.dumps(to_mapping(config), sort_keys=True),
    }
    data = build(config, read_weights(path), about)
    difference = verify(data, config, network)
    shapes = state_shapes(config)
    metadata = about | {
        "start_id": tokenizer.start_id,
        "unknown_id": tokenizer.unknown_id,
        "end_id": tokenizer.end_id,
        "vocab_size": config.vocab_size,
        "state": {name: list(shape) for name, shape in shapes},
        "model": to_mapping(config),
    }
    metadata_file = file.with_name(f"{file.name}.json")
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    before = {path: path.read_bytes() if path.exists() else None for path in (beside, metadata_file)}
    try:
        write_atomically(beside, vocabulary)
        write_atomically(metadata_file, (json.dumps(metadata, indent=2) + "\n").encode())
        write_atomically(file, data)
    except BaseException:
        with suppress(OSError, UserError):  # the first error is the one to report
            for path, content in before.items():
                if content is None:
                    path.unlink(missing_ok=True)
                else:
                    write_atomically(path, content)
        raise
    names = [name for name, _ in shapes]
    outputs = ("logits", *(f"{name}_after" for name in names))
    return Exported(file, beside, metadata_file, ("ids", *names), outputs, len(data), difference)


def require_onnx() -> None:
    """Raise UserError where the packages are not installed."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        raise UserError(
            f"exporting needs the package {error.name}, which is not installed",
            allowed="onnx, and onnxruntime to check the result",
            fix=install("export"),
        ) from None
    assert onnx.defs.onnx_opset_version() >= OPSET


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the weights of a model directory by name."""
    from safetensors.numpy import load_file

    return load_file(path / WEIGHTS)


class Session:
    """An ONNX file in use, with the contract of our networks: ids (B, T) and a state to logits (B, T, V) and one."""

    def __init__(self, data: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.inputs = [(value.name, value.shape) for value in self._session.get_inputs()][1:]

    def run(
        self, ids: Window, state: Mapping[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Return the logits after every symbol and the state after the last, by the names of the inputs."""
        names = ["logits", *(f"{name}_after" for name, _ in self.inputs)]
        logits, *after = self._session.run(names, {"ids": ids, **state})
        return logits, dict(zip(state, after, strict=True))


def verify(data: bytes, config: ModelConfig, network: HiddenPredictor) -> float:
    """Run an ONNX file beside our own network; return the largest difference. Raises UserError above TOLERANCE."""
    session, largest = Session(data), 0.0
    for mine, theirs in runs(session, config, network):
        difference = float(np.abs(mine - theirs).max(initial=0.0)) if mine.shape == theirs.shape else np.inf
        if not difference <= TOLERANCE * max(1.0, float(np.abs(mine).max(initial=0.0))):
            raise UserError(
                f"the ONNX network differs from ours by {difference:.2g}, and was not written",
                allowed=f"{TOLERANCE:g} of the largest value, the rounding of float32",
                fix="another version of onnxruntime may help; please report it as a bug of unroll",
            )
        largest = max(largest, difference)
    return largest


def runs(
    session: Session, config: ModelConfig, network: HiddenPredictor
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
    """Yield logits and states of our network and of the exported one, at several shapes, from random states."""
    random = np.random.default_rng(0)
    for rows, length in CHECKED:
        ids = random.integers(config.vocab_size, size=(rows, length))
        state = {name: random.normal(0, 0.5, (rows, *shape)).astype(np.float32) for name, shape in state_shapes(config)}
        y, after = network.hidden(ids, as_layers(state, config))
        logits, theirs = session.run(ids, state)
        yield np.asarray(network.logits_after(y)), logits
        yield from zip(parts_of(after), theirs.values(), strict=True)


def as_layers(state: Mapping[str, NDArray[np.float32]], config: ModelConfig) -> State:
    """Return named parts of a state as a tuple for each layer, as our networks take them."""
    parts = list(state.values())
    size = len(ARCHITECTURES[config.arch].state) or 1
    return tuple(tuple(parts[first : first + size]) for first in range(0, len(parts), size))
