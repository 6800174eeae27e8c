"""The model directory: its files, written so that a kill at any moment leaves it loadable, read without torch.

model.json           format version, kind, model configuration, tokenizer digest; the result once it is known
weights.safetensors  the best weights by validation (the averaged ones if averaging is on)
tokenizer.json       the vocabulary
recipe.toml          everything resolved, enough to repeat the run
metrics.jsonl        the event log; samples.jsonl: the samples taken on the way
resume/              state.safetensors (last weights, optimizer, carried state, position), data/ (the encoded text)
"""

import ctypes
import fcntl
import json
import math
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from unroll.data.blocks import Level
from unroll.data.kinds import UNPACK
from unroll.data.tokenizer import Tokenizer, load_tokenizer
from unroll.errors import NAMES, Kind, UserError, WrongKind
from unroll.files import EMPTY, Files, Folder, as_paths, explained, identity, read_json, unreadable, write_into
from unroll.nn.config import ModelConfig, parameter_count
from unroll.predict.ngram import NgramConfig
from unroll.settings import check, from_mapping, to_mapping

FORMAT_VERSION = 1
KIND = "unroll language model"
CLASSIFIER = "unroll classifier"
TAGGER = "unroll tagger"
TRANSLATOR = "unroll translator"
SEQUENCE = "unroll model of sequences"
KINDS = {
    KIND: (NAMES["network"], "unroll train", "unroll --help", "it predicts what comes next, and has no labels"),
    CLASSIFIER: (
        NAMES["classifier"], "unroll classify train", "unroll classify --help",
        "it predicts the label of a text, not what comes next",
    ),
    TAGGER: (
        NAMES["tagger"], "unroll tag train", "unroll tag --help", "it predicts a tag for each word of a text, no more",
    ),
    TRANSLATOR: (
        NAMES["translator"], "unroll translate train", "unroll translate --help",
        "it predicts the translation of a text, not what comes next",
    ),
    SEQUENCE: (
        NAMES["sequence"], "unroll sequences train", "unroll sequences --help", "it reads numbers, not texts",
    ),
}  # fmt: skip
"""What a model directory may hold: its name for people, the command that makes it, the one that lists its verbs, and
what it predicts."""
OF_TASKS: dict[str, Kind] = {
    CLASSIFIER: "classifier", TAGGER: "tagger", TRANSLATOR: "translator", SEQUENCE: "sequence"
}  # fmt: skip
MAKERS = "`unroll train`, `unroll ngram`, or `train` of a task, as `unroll classify train`"
WEIGHTS = "weights.safetensors"
STATE = "resume/state.safetensors"
DATA = "resume/data"
DATA_PATH = "resume/data.path"
"""File with the path of a prepared corpus that stays where it is."""
MAX_HEADER_BYTES = 16 * 2**20

RESULT: dict[str, Any] = {
    "protocol": str,
    "valid_nats_per_token": float,
    "valid_tokens": int,
    "valid_part_tokens": int,
    "test_nats_per_token": float | None,
    "test_tokens": int | None,
    "best_step": int,
    "steps": int,
    "tokens_seen": int,
}
"""Fields of the result of a finished training."""
NGRAM_RESULT: dict[str, Any] = {
    "protocol": str,
    "tokens_seen": int,
    "valid_nats_per_token": float | None,
    "valid_tokens": int | None,
    "valid_part_tokens": int | None,
    "test_nats_per_token": float | None,
}
"""Fields of the result of an n-gram."""
WEIGHTS_INFO: dict[str, Any] = {"step": int | None, "tokens_seen": int | None, "valid_nats": float | None}

TEXTS = (
    ".txt", ".text", ".md", ".rst", ".log", ".tex", ".bib", ".html", ".xml", ".json", ".jsonl", ".csv", ".tsv",
    ".yaml", ".toml", ".tokens", ".py", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".js", ".ts", ".sh", ".abc", ".smi",
    ".parquet", ".npz", ".conllu", ".conll", ".iob", ".iob2", ".bio",
)  # fmt: skip
"""Endings that are no part of a text's name; others are, so that book.v1.txt and book.v2.txt have a folder each."""


def output_folder(files: Files | None) -> Path:
    """Return runs/ and the name of the first text, or of the default text where there is none."""
    paths = as_paths(files)
    if not paths:
        return Path("runs") / "python-stdlib"
    name = Path(paths[0].resolve().name.lstrip("."))
    for endings in tuple(UNPACK), TEXTS:
        name = name.with_suffix("") if name.suffix.lower() in endings else name
    return Path("runs") / (name.name or "text")


def save_description(
    folder: Path | Folder,
    config: ModelConfig | NgramConfig,
    tokenizer: Tokenizer,
    result: dict[str, Any] | None = None,
    *,
    parameters: int | None = None,
    steering: dict[str, Any] | None = None,
) -> None:
    """Write model.json; `parameters` is counted for a network, and must be given for an n-gram and with `steering`."""
    if parameters is None:
        assert isinstance(config, ModelConfig)
        parameters = parameter_count(config)
    description = {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "level": tokenizer.level,
        "tokenizer_digest": tokenizer.digest,
        "parameters": parameters,
        "model": to_mapping(config),
        **({} if steering is None else {"steering": steering}),
        "result": result,
    }
    write_into(folder, "model.json", (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())


def damaged(file: Path, why: str = "") -> UserError:
    """Return the error for a damaged safetensors file."""
    return UserError(
        f"{file} is damaged{why and f': {why}'}",
        allowed="a safetensors file written by unroll",
        fix="restore it, or train again",
    )


def read_info(file: Path) -> dict[str, Any]:
    """Read the info of a safetensors file, without its tensors."""
    try:
        with open(file, "rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > MAX_HEADER_BYTES:
                raise damaged(file, "its header is too long")
            info = json.loads(json.loads(opened.read(length))["__metadata__"]["info"])
    except FileNotFoundError:
        raise UserError(f"no {file.name} in {file.parent}", fix="is this a model directory?") from None
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, KeyError, TypeError, struct.error, RecursionError):
        raise damaged(file) from None
    if not isinstance(info, dict):
        raise damaged(file)
    return info


def read_weights_info(path: Path) -> dict[str, Any]:
    """Read the info of the kept weights of a model directory."""
    info = read_info(path / WEIGHTS)
    check_types(info, WEIGHTS_INFO, str(path / WEIGHTS))
    return info


def read_kind(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Read model.json; raises UserError unless it is ours, of a known version, and of this kind, or of any."""
    if not path.is_dir():
        raise UserError(
            f"no model directory at {path}",
            allowed=f"a directory made by {MAKERS}",
            fix="check the path; `ls runs` shows what you trained",
        )
    if not os.path.lexists(path / "model.json"):
        inside = sorted(str(file.parent) for file in path.glob("*/model.json"))
        raise UserError(
            f"{path} is a folder, but no model: it has no model.json",
            allowed=f"a directory made by {MAKERS}",
            fix=f"name one in it, as {inside[0]}" if inside else "check the path",
        )
    description = read_json(path / "model.json", "model description")
    if not isinstance(description, dict) or description.get("kind") not in KINDS:
        raise UserError(
            f"{path / 'model.json'} does not describe an unroll model", fix=f"name a directory made by {MAKERS}"
        )
    if kind is not None and description["kind"] != kind:
        name, _, verbs, why = KINDS[description["kind"]]
        raise WrongKind(
            path,
            kind_of(description),
            why,
            allowed=f"{KINDS[kind][0]}, made by `{KINDS[kind][1]}`",
            fix=f"use it with the verbs of {name}: `{verbs}`",
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


def kind_of(description: dict[str, Any]) -> Kind:
    """Return the kind of a model, as model.json has it."""
    if (kind := OF_TASKS.get(description["kind"])) is not None:
        return kind
    model = description.get("model")
    return "ngram" if isinstance(model, dict) and model.get("arch") == "ngram" else "network"


def read_description(path: Path) -> dict[str, Any]:
    """Read model.json of a language model; raises UserError unless it is ours, of a known version, and complete."""
    description, place = read_kind(path, KIND), str(path / "model.json")
    config = read_config(description, place)
    check_types(description, {"level": Level, "parameters": int, "tokenizer_digest": str}, place)
    if (result := description.get("result")) is not None:
        check(result, dict, f"result in {place}")
        check_types(result, RESULT if isinstance(config, ModelConfig) else NGRAM_RESULT, f"the result in {place}")
    return description


def read_config(description: dict[str, Any], place: str) -> ModelConfig | NgramConfig:
    """Return the shape of a model, as model.json has it."""
    model = description["model"]
    if model.get("arch") == "ngram":
        return from_mapping(NgramConfig, model, place)
    return from_mapping(ModelConfig, model, place)


def check_trained(path: Path, description: dict[str, Any]) -> None:
    """Raise UserError for an n-gram, which nothing can be trained on."""
    if kind_of(description) == "ngram":
        raise WrongKind(
            path,
            "ngram",
            "it was counted, and has no weights to train",
            allowed="a model made by `unroll train`",
            fix="train on the text itself, or count it again with `unroll ngram`",
        )


def read_training(path: Path) -> dict[str, Any]:
    """Read model.json of a training that is to be resumed, put back under its name where a killed run put it aside.

    Raises UserError for what is no training.
    """
    put_back_replaced(path)
    description = read_description(path)
    check_trained(path, description)
    return description


def read_tokenizer(path: Path, description: dict[str, Any]) -> Tokenizer:
    """Read the vocabulary of a model directory; raises UserError where it is another model's."""
    tokenizer = load_tokenizer(path / "tokenizer.json")
    if tokenizer.digest != description.get("tokenizer_digest"):
        raise UserError(
            f"{path / 'tokenizer.json'} is not the tokenizer that this model was trained with",
            fix="restore the directory from one source",
        )
    if tokenizer.vocab_size != description["model"]["vocab_size"]:
        raise UserError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} symbols, the model {description['model']['vocab_size']}",
            fix="restore the directory from one source",
        )
    return tokenizer


def check_types(values: dict[str, Any], types: dict[str, Any], place: str) -> None:
    """Raise UserError unless `values` have these types, and no NaN or infinity."""
    for name, hint in types.items():
        value = check(values.get(name), hint, f"{name} in {place}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} in {place} is {value}", allowed="a number", fix="restore the directory")


@contextmanager
def locked(path: Path, out: Path | None = None) -> Iterator[Folder]:
    """Lock the directory for its one writer, and give the folder to write into; `out` is its later name.

    Raises UserError when another process has locked it, or when it was replaced meanwhile.
    """
    with closing(Folder(path, out)) as folder:
        folder.make_folder("resume")
        with folder.append_to("resume/lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{out or path} is being written by another process",
                    allowed="one writer",
                    fix="wait for it or stop it",
                ) from None
            folder.check()
            with suppress(FileNotFoundError):  # it was moved just now: the next write says so
                for left in [*path.glob(".*.tmp"), *path.glob("resume/.*.tmp")]:  # half written by a killed process
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield folder


def check_free(out: Path, inputs: Sequence[Path], *, force: bool, fix: str = "") -> None:
    """Raise UserError where `out` exists and must not be replaced.

    `force` replaces model directories only, and none that contains an input. `fix` is another remedy.
    """
    with explained(out):
        if not out.exists():
            return
    here = None
    with suppress(FileNotFoundError):  # the working directory may have been removed
        here = Path.cwd()
    # An empty folder, made for the new model, may be replaced; one with anything but a model in it may not.
    if (not out.is_dir() or any(out.iterdir())) and not (out / "model.json").exists():
        raise UserError(
            f"{out} exists and is not a model: it is not replaced",
            allowed="a new directory, or with --force that of a model",
            fix=f"choose another --out{EMPTY if out.resolve() == here else ''}",
        )
    if not force:
        raise UserError(
            f"{out} exists", allowed="a new directory", fix=f"{fix}replace it with --force, or name another with --out"
        )
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise UserError(
                f"{path} lies in {out}, which --force would replace",
                allowed="texts from elsewhere",
                fix="name another --out, or move the text",
            )
    if out.is_mount():
        raise UserError(
            f"{out} is a mount point, and cannot be replaced",
            allowed="a folder on a disk",
            fix="name a folder in it with --out",
        )
    if here is not None and here.is_relative_to(out.resolve()):
        raise UserError(
            f"{out} is the current folder, and --force would replace it",
            allowed="the folder of a model, from outside it",
            fix="leave it first: cd ..",
        )
    if any(out.iterdir()):
        read_kind(out)


def clear(partial: Path) -> None:
    """Empty an unfinished directory that a killed run left, except for our lock."""
    for entry in (*partial.iterdir(), *(partial / "resume").iterdir()):
        if entry.name not in ("resume", "lock"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def partial_of(out: Path) -> Path:
    """Return the path where the model directory `out` is made until it is complete."""
    return out.with_name(f".{out.name}.partial")


def remove_abandoned(out: Path) -> None:
    """Remove what killed processes left unfinished beside `out`: folders without a model, whose lock is free."""
    for left in out.parent.glob(".*.partial"):
        if left == partial_of(out) or (left / "model.json").exists() or not (left / "resume" / "lock").exists():
            continue
        if not os.path.lexists(left.with_name(f"{left.name.removesuffix('.partial')}.replaced")):
            with suppress(UserError), locked(left) as folder:
                folder.remove()


def publish(folder: Folder, out: Path, earlier: Folder | None = None) -> None:
    """Give a complete directory the name `out`, and remove the `earlier` one of that name, if there is one.

    The two are exchanged in one step where the system can do that. Nothing else of that name is replaced.
    Raises FolderLost where another directory took the place of one of them.
    """
    partial = folder.path
    replaced = out.with_name(f".{out.name}.replaced")
    folder.check()
    if earlier is not None and os.path.lexists(out):
        earlier.check()
    else:
        earlier = None  # its user removed it meanwhile
    with explained(out):
        if earlier is not None and exchange(partial, out):
            replaced = partial
            if identity(partial) != earlier.identity:  # another took the place of the earlier one just now
                exchange(partial, out)
                earlier.check()
        else:
            if earlier is not None:
                shutil.rmtree(replaced, ignore_errors=True)
                out.rename(replaced)
            try:
                partial.rename(out)
            except OSError:
                if earlier is not None:
                    replaced.rename(out)
                raise
        folder.path = out
        if earlier is not None:
            shutil.rmtree(replaced, ignore_errors=True)
    folder.check()


def exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; return whether that was done. Both must exist, on Linux."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of <linux/fs.h>
    return int(rename(here, os.fsencode(first), here, os.fsencode(second), ctypes.c_uint(swap))) == 0


def put_back_replaced(out: Path) -> None:
    """Rename back a directory that a killed run with --force had put aside for the one it was about to publish.

    Where there is nothing left to publish it had been replaced, and its user has freed the name.
    """
    replaced = out.with_name(f".{out.name}.replaced")
    if replaced.is_dir() and not os.path.lexists(out) and partial_of(out).is_dir():
        # Where that is locked, its writer is between its two renames.
        with suppress(UserError), locked(partial_of(out)), explained(out):
            replaced.rename(out)


def data_path(path: Path) -> Path:
    """Return the path of the encoded text of a model directory."""
    file = path / DATA_PATH
    try:
        return Path(os.fsdecode(file.read_bytes()))
    except FileNotFoundError:
        return path / DATA
    except OSError as error:
        raise unreadable_part(file, error) from None


def unreadable_part(file: Path, error: OSError) -> UserError:
    """Return the error for a file of a model directory that cannot be read."""
    return unreadable(file, error, "check its permissions, restore it, or train again")
