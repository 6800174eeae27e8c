"""A model as one ONNX file: its inputs and outputs named, checked against our own network before it is written."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll._version import __version__
from unroll.artifact.directory import CLASSIFIER, SEQUENCE, TAGGER, TRANSLATOR, WEIGHTS, read_kind
from unroll.errors import UserError, install
from unroll.export.classifier import classifier_source
from unroll.export.graph import OPSET, Case, Network, Source
from unroll.export.language import language_source
from unroll.export.series import series_source
from unroll.export.tagger import tagger_source
from unroll.export.translator import translator_source
from unroll.files import explained, write_atomically

MOST_BYTES = 2**31 - 2**20
"""The most that one file may have: protobuf counts to two gigabytes."""

TOLERANCE = 1e-4
"""How far a logit may be from ours, as a share of the largest one: float32 in another order of sums."""

SOURCES: dict[str, Callable[[Path], Source]] = {
    CLASSIFIER: classifier_source,
    TAGGER: tagger_source,
    SEQUENCE: series_source,
    TRANSLATOR: translator_source,
}
"""By the kind of model; of any other it is `language_source`."""


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was run and agreed."""

    path: Path
    vocabularies: dict[str, Path]
    """Beside it: `tokenizer` and, of a classifier that reads words by their characters, `characters`."""
    beside: dict[str, Path]
    """What is run before it: the `encoder` of a translator."""
    about: Path
    """Its metadata as JSON, beside it: not every runtime exposes metadata."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bytes: int
    difference: float
    """The largest one between its outputs and ours."""

    @property
    def tokenizer(self) -> Path:
        """The vocabulary of what it reads."""
        return self.vocabularies["tokenizer"]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        files = {"path": self.path, **self.beside, **self.vocabularies, "about": self.about}
        return {name: str(file) for name, file in files.items()} | {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "bytes": self.bytes,
            "difference": self.difference,
            "opset": OPSET,
        }


def export_onnx(model: str | PathLike[str], out: str | PathLike[str] | None = None) -> Exported:
    """Write a network as the ONNX file `out`, by default onnx/model.onnx in its directory.

    Of a language model `ids` (batch, length) and a state go in, `logits` (batch, length, symbols) and the state after
    come out: of the input `layer0_h` it is `layer0_h_after`. Of a classifier padded `ids` and `lengths` (batch) go in,
    and with words read by their characters `characters` (words, characters), `word_lengths` and `word_of`; `logits` and
    `probabilities` (batch, labels) come out; of a tagger `logits` (batch, length, tags). A model of sequences reads
    `vectors` (batch, length, channels) in float64. A translator is two graphs, a step of its decoder and its encoder
    beside it. All sizes but the last are free, all else is float32. Beside the file lie the vocabulary and, as JSON,
    what else a program must know. Before it is written it is run by ONNX Runtime and compared with our own network.
    Raises UserError.
    """
    require_onnx()
    path = Path(model)
    file = path / "onnx" / "model.onnx" if out is None else Path(out)
    source = SOURCES.get(read_kind(path)["kind"], language_source)(path)
    if file.suffix != ".onnx" or file.is_dir():
        raise UserError(
            f"{file} is not the name of an ONNX file", allowed="a file that ends in .onnx", fix="name another"
        )
    if 4 * source.parameters > MOST_BYTES:
        raise UserError(
            f"{path} has {source.parameters:,} weights, more than one ONNX file holds",
            allowed=f"{MOST_BYTES // 4:,} weights",
            fix="train a smaller one",
        )
    vocabularies = {name: file.with_name(f"{name}.json") for name in source.vocabularies}
    beside = {vocabularies[name]: content for name, content in source.vocabularies.items()}
    for place, content in beside.items():
        if place.exists() and place.read_bytes() != content:
            raise UserError(
                f"{place} is another vocabulary, and {file.name} needs its own beside it",
                allowed="a folder of its own for each model",
                fix="name another folder with --out, or remove that file",
            )
    networks = {file: source.network}
    networks |= {file.with_name(f"{file.stem}.{name}.onnx"): network for name, network in source.beside.items()}
    cases = [list(network.cases()) for network in networks.values()]  # also checks the weights
    about = {"unroll": __version__, **{name: place.name for name, place in vocabularies.items()}, **source.about}
    weights, metadata = read_weights(path), as_metadata(about)
    data = {place: network.build(weights, metadata) for place, network in networks.items()}
    difference = max(map(verify, data.values(), networks.values(), cases))
    notes = file.with_name(f"{file.name}.json")
    written = beside | {notes: (json.dumps(about, indent=2) + "\n").encode()} | dict(reversed(data.items()))
    write_together(written)
    network, before = source.network, dict(zip(source.beside, list(networks)[1:], strict=True))
    size = sum(map(len, data.values()))
    return Exported(file, vocabularies, before, notes, network.inputs, network.outputs, size, difference)


def as_metadata(about: Mapping[str, Any]) -> dict[str, str]:
    """Return notes as the metadata of an ONNX file: a text as it is, null as an empty one, all else as JSON."""
    written = {name: "" if value is None else json.dumps(value, sort_keys=True) for name, value in about.items()}
    return written | {name: value for name, value in about.items() if isinstance(value, str)}


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files of one folder, the last of them last; where one cannot be written all are as they were before."""
    folder = next(iter(files)).parent
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    before = {path: path.read_bytes() if path.exists() else None for path in list(files)[:-1]}
    try:
        for path, content in files.items():
            write_atomically(path, content)
    except BaseException:
        with suppress(OSError, UserError):  # the first error is the one to report
            for path, earlier in before.items():
                if earlier is None:
                    path.unlink(missing_ok=True)
                else:
                    write_atomically(path, earlier)
        raise


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


def open_session(data: bytes) -> Any:
    """Return an ONNX file in use, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def verify(data: bytes, network: Network, cases: list[Case]) -> float:
    """Run an ONNX file beside our own network; return the largest difference. Raises UserError above TOLERANCE."""
    session, largest = open_session(data), 0.0
    for inputs, expected in cases:
        for mine, theirs in zip(expected, session.run(network.outputs, inputs), strict=True):
            difference = float(np.abs(mine - theirs).max(initial=0.0)) if mine.shape == theirs.shape else np.inf
            if not difference <= TOLERANCE * max(1.0, float(np.abs(mine).max(initial=0.0))):
                raise UserError(
                    f"the ONNX network differs from ours by {difference:.2g}, and was not written",
                    allowed=f"{TOLERANCE:g} of the largest value, the rounding of float32",
                    fix="another version of onnxruntime may help; please report it as a bug of unroll",
                )
            largest = max(largest, difference)
    return largest
