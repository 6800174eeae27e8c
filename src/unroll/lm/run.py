"""Starting, resuming and fine-tuning: from files and a budget to a model directory that trains."""

import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import unroll
from unroll.config import from_mapping
from unroll.data.blocks import read_blocks
from unroll.data.corpus import Corpus, DataConfig, load_corpus, prepare
from unroll.data.encode import Progress
from unroll.errors import UserError
from unroll.files import explained, write_atomically
from unroll.lm import checkpoint
from unroll.lm.calibrate import Machine, measure_machine, tokens_per_second
from unroll.lm.recipe import (
    HIDDEN_SIZES,
    Overrides,
    Recipe,
    check_overrides,
    choose,
    fit_batch,
    read_recipe,
    reads_enough,
    recurrent_parameters,
    size_for_tokens,
    write_recipe,
)
from unroll.lm.score import stream_nats
from unroll.lm.train import Report, Run, TrainConfig, begin, restore, save, save_weights, train
from unroll.nn.model import Model, ModelConfig, parameter_count

DATA_PATH = "resume/data.path"
"""Names the folder of a prepared corpus that is used where it lies."""


@dataclass(frozen=True)
class Budget:
    """How long a run may take: a number of steps, or minutes of wall clock, everything included."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise UserError(f"steps is {self.steps}", allowed="1 or more")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise UserError(f"minutes is {self.minutes}", allowed="above 0")


def choose_device(name: str) -> torch.device:
    """Return the device called auto, cpu, cuda or mps; raises UserError for one that is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if there[device]))
    if name not in there:
        raise UserError(f"unknown device '{name}'", allowed="auto, cpu, cuda, mps")
    if not there[name]:
        raise UserError(
            f"no {name} device on this machine",
            allowed=", ".join(d for d in there if there[d]),
            fix="use --device auto",
        )
    return torch.device(name)


def start(
    files: Sequence[Path],
    out: Path,
    budget: Budget,
    overrides: Overrides,
    *,
    valid: Path | None = None,
    test: Path | None = None,
    base: Path | None = None,
    device: str = "auto",
    force: bool = False,
    started: float | None = None,
) -> Iterator[Progress | Report]:
    """Prepare the text, choose a recipe for the budget, and train; yields progress and reports as they come.

    `overrides` fixes recipe keys; `base` is a model directory to fine-tune. `started` (time.monotonic) is when the
    budget began. The directory `out` appears, complete and loadable, before the first step.
    Raises UserError for what a user can mend.
    """
    started = time.monotonic() if started is None else started
    chosen = choose_device(device)
    check_overrides(overrides)
    check_free(out, force=force)
    parent = checkpoint.load(base) if base is not None else None
    if parent is not None:
        shape = {name: value for name, value in parent.description["model"].items() if name not in DROPPED}
        clash = {name for name in shape if name in overrides["model"] and overrides["model"][name] != shape[name]}
        if clash:
            raise UserError(
                f"{', '.join(sorted(clash))} cannot change: the model of {base} has its shape",
                allowed="other dropouts, rates and budgets",
                fix="leave it out",
            )
        overrides = overrides | {"model": overrides["model"] | shape}
    machine = None if budget.minutes is None else measured(overrides, chosen, budget.minutes)
    way: dict[str, Any] = {}
    if machine is not None:
        way = {"threads": machine.threads, "precision": machine.precision, "wait_policy": machine.wait_policy}

    partial = out.with_name(f".{out.name}.partial")
    with ExitStack() as stack:
        with explained(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir(exist_ok=True)
        stack.enter_context(checkpoint.locked(partial))
        try:
            check_free(out, force=force)
            if out.exists():
                stack.enter_context(checkpoint.locked(out))
            for entry in partial.iterdir():
                if entry.name != "resume":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            data = from_mapping(DataConfig, overrides["data"], "the recipe's [data]")
            if len(files) == 1 and (files[0] / "corpus.json").exists():
                write_atomically(partial / DATA_PATH, os.fsencode(files[0].resolve()))
                corpus = load_corpus(files[0])
                data = corpus.info.config
            else:
                (partial / DATA_PATH).unlink(missing_ok=True)
                shutil.rmtree(partial / checkpoint.DATA, ignore_errors=True)
                yield from prepare(
                    files,
                    partial / checkpoint.DATA,
                    data,
                    valid=valid,
                    test=test,
                    tokenizer=parent.tokenizer if parent else None,
                )
                corpus = load_corpus(partial / checkpoint.DATA)
            if parent is not None and corpus.tokenizer.digest != parent.tokenizer.digest:
                raise UserError(
                    f"the corpus in {files[0]} was prepared with another vocabulary than {base}",
                    fix="name the text files instead: they are encoded with the model's own vocabulary",
                )
            fixed = overrides | {"training": way | overrides["training"]}
            recipe = resolve(corpus, data, budget, fixed, chosen, started, machine, tuned=parent is not None)
            torch.manual_seed(recipe.training.seed)
            model = Model(recipe.model).to(chosen)
            if parent is not None:
                checkpoint.copy_weights(model, dict(parent.model.named_parameters()), base / checkpoint.WEIGHTS)  # type: ignore[operator]
            run = begin(partial, model, recipe.optim, recipe.training)
            first = list(
                first_reports(recipe, corpus, files, machine.measured if machine else {}, tuned=parent is not None)
            )
            with closing(checkpoint.EventLog(partial / checkpoint.METRICS)) as log:
                for report in first:
                    log.write(report.to_json())
                run.log_sizes = (log.size, 0)
            write_start(run, recipe, corpus, chosen, base)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        with explained(out):
            replaced = out.with_name(f".{out.name}.replaced")
            if out.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                out.rename(replaced)
            partial.rename(out)
            shutil.rmtree(replaced, ignore_errors=True)
        run.path = out
        # The corpus was mapped under its former name; the mapping stays valid, as the files only moved.
        yield from first
        yield from train(run, corpus, documents=recipe.data.documents)


def check_free(out: Path, *, force: bool) -> None:
    """Raise UserError where there is something that must not be replaced; `force` replaces model directories only."""
    if not out.exists():
        return
    if not force:
        raise UserError(
            f"{out} exists",
            allowed="a new directory",
            fix=f"go on with `unroll train --resume {out}`, replace it with --force, or name another with --out",
        )
    if not out.is_dir() or any(out.iterdir()):
        checkpoint.read_description(out)


DROPPED = ("dropout", "input_dropout", "embedding_dropout", "weight_drop", "variational")
"""Keys of a model's configuration that may change when it is fine-tuned."""


def reference_shape(overrides: Overrides) -> ModelConfig:
    """Return the model that this machine is measured with: 256 wide, but for what the user fixed."""
    fixed = {name: value for name, value in overrides["model"].items() if name != "vocab_size"}
    return from_mapping(ModelConfig, {"vocab_size": 96, "hidden_size": 256} | fixed, "the recipe's [model]")


def measured(overrides: Overrides, device: torch.device, minutes: float) -> Machine:
    """Measure this machine, within a few hundredths of the budget for each way of training."""
    portions: dict[str, Any] = {
        name: overrides["training"][name] for name in ("batch_size", "seq_len") if name in overrides["training"]
    }
    training = from_mapping(TrainConfig, portions, "the recipe's [training]")
    return measure_machine(reference_shape(overrides), training, device, overrides["training"], min(0.5, 0.6 * minutes))


def resolve(
    corpus: Corpus,
    data: DataConfig,
    budget: Budget,
    overrides: Overrides,
    device: torch.device,
    started: float,
    machine: Machine | None = None,
    *,
    tuned: bool = False,
) -> Recipe:
    """Resolve text, budget and what the user fixed into a recipe with a number of steps."""
    vocab_size, train_tokens = corpus.tokenizer.vocab_size, len(corpus.train)
    fixed = overrides["training"]
    batch_size, seq_len = fit_batch(train_tokens, fixed.get("batch_size", 16), fixed.get("seq_len", 64), fixed)

    def chosen(hidden_size: int, steps: int, final_tokens: int | None = None) -> Recipe:
        return choose(
            level=corpus.tokenizer.level,
            vocab_size=vocab_size,
            train_tokens=train_tokens,
            hidden_size=hidden_size,
            steps=steps,
            final_tokens=final_tokens,
            tuned=tuned,
            overrides=overrides,
            data=data,
        )

    if budget.minutes is None or machine is None:
        steps = budget.steps or overrides["training"].get("steps") or 2000
        size = size_for_tokens(steps * batch_size * seq_len, overrides, vocab_size)
        return chosen(size, steps)

    end = started + 60 * budget.minutes

    def steps_left(rate: float, seconds: float = 0.0) -> int:
        return int(((end - time.monotonic()) * (1 - RESERVE) - seconds) * rate / (batch_size * seq_len))

    # The largest size that reads enough, by the rate that its weights let expect; then it is measured, and if it is
    # slower than that, smaller ones are.
    reference = machine.tokens_per_second * recurrent_parameters(reference_shape(overrides))
    fixed_size = overrides["model"].get("hidden_size")
    for size in [fixed_size] if fixed_size else sorted(HIDDEN_SIZES, reverse=True):
        expected = reference / recurrent_parameters(chosen(size, 1).model)
        shape = chosen(size, max(1, steps_left(expected)))
        smallest = size in (fixed_size, HIDDEN_SIZES[0])
        if not smallest and not reads_enough(1.1 * expected * (end - time.monotonic()), shape.model):
            continue
        rate = tokens_per_second(shape.model, shape.training, device, min(0.6, 0.6 * budget.minutes))
        if smallest or reads_enough(rate * (end - time.monotonic()), shape.model):
            break
    final_tokens, final_seconds = final_evaluation(shape.model, corpus, device, budget.minutes)
    steps = steps_left(rate, final_seconds)
    if steps < 1:
        raise UserError(
            f"{budget.minutes:g} minutes are too little for one step here",
            allowed="a budget that holds one step",
            fix="give more --minutes, or --steps N",
        )
    return chosen(size, steps, final_tokens)


RESERVE = 0.05
"""The share of a budget kept for validation, samples and saving on the way."""


def final_evaluation(config: ModelConfig, corpus: Corpus, device: torch.device, minutes: float) -> tuple[int, float]:
    """Return how many validation symbols the final exact figure reads in a tenth of the budget, and its seconds."""
    model = Model(config).to(device).eval()
    some = corpus.valid[:1024]
    start = time.perf_counter()
    stream_nats(model, some, corpus.tokenizer.start_id)
    each = (time.perf_counter() - start) / max(1, len(some))
    count = max(1000, min(len(corpus.valid), int(0.1 * 60 * minutes / each)))
    return count, count * each


def write_start(run: Run, recipe: Recipe, corpus: Corpus, device: torch.device, base: Path | None) -> None:
    """Write a complete model directory of step 0."""
    path, tokenizer = run.path, corpus.tokenizer
    about = {
        "unroll": unroll.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "files": [source.name for source in corpus.info.sources],
        "corpus_digest": corpus.info.digest,
        "corpus_tokens": len(corpus.train),
    }
    if base is not None:
        about["fine_tuned_from"] = str(base)
    write_recipe(path / "recipe.toml", recipe, about)
    write_atomically(path / "tokenizer.json", tokenizer.to_json().encode())
    checkpoint.save_description(path, recipe.model, tokenizer)
    save_weights(run, None)
    save(run)


def first_reports(
    recipe: Recipe, corpus: Corpus, files: Sequence[Path], measured: dict[str, int], *, tuned: bool
) -> Iterator[Report]:
    """Yield what is to be said before the first step: the choices, and symbols the vocabulary does not have."""
    training = recipe.training
    detail = {
        "parameters": parameter_count(recipe.model),
        "steps": training.steps,
        "train_tokens": len(corpus.train),
        "valid_tokens": len(corpus.valid),
        "vocab_size": recipe.model.vocab_size,
        "epochs": round(training.steps * training.batch_size * training.seq_len / len(corpus.train), 2),
        **({"measured": measured} if measured else {}),
    }
    yield Report("start", 0, 0, 0.0, detail=detail)
    if tuned and (unknown := corpus.info.parts["train"].unknown):
        new = new_symbols(files, corpus)
        shown = ", ".join(f"{symbol!r}" for symbol in new[:40]) + (
            f" and {len(new) - 40} more" if len(new) > 40 else ""
        )
        yield Report(
            "warn",
            0,
            0,
            0.0,
            text=f"{unknown:,} symbols of the training part are not in the model's vocabulary and "
            f"are read as <unk>, which is never sampled: {shown}",
        )


def new_symbols(files: Sequence[Path], corpus: Corpus) -> list[str]:
    """Return the symbols of the files that the vocabulary does not have, sorted."""
    found: set[str] = set()
    for block in read_blocks(files, corpus.info.config.level):
        if isinstance(block.content, str):
            found.update(symbol for _, symbol in corpus.tokenizer.unknown(block.content))
    return sorted(found)


def resume(path: Path, *, device: str = "auto") -> Iterator[Report]:
    """Go on exactly where a training stopped; a finished one yields nothing. Raises UserError when it cannot."""
    description = checkpoint.read_description(path)
    if description.get("result"):
        return
    recipe = read_recipe(path / "recipe.toml")
    with checkpoint.locked(path):
        corpus = load_corpus(data_path(path))
        if corpus.tokenizer.digest != description.get("tokenizer_digest"):
            raise UserError(
                f"the text in {data_path(path)} was encoded with another vocabulary than the model's",
                fix="restore the directory from one source",
            )
        run = begin(path, Model(recipe.model).to(choose_device(device)), recipe.optim, recipe.training)
        restore(run)
        yield from train(run, corpus, documents=recipe.data.documents)


def data_path(path: Path) -> Path:
    """Return where the encoded text of a model directory lies."""
    named = path / DATA_PATH
    return Path(os.fsdecode(named.read_bytes())) if named.exists() else path / checkpoint.DATA
