"""Starting, resuming and fine-tuning: from files and a budget to a model directory that trains."""

import os
import platform
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import unroll
from unroll.artifact import checkpoint
from unroll.artifact.directory import (
    DATA_PATH,
    check_free,
    check_trained,
    clear,
    data_path,
    partial_of,
    publish,
    put_back_replaced,
)
from unroll.data.blocks import file_size, read_blocks
from unroll.data.corpus import (
    Corpus,
    DataConfig,
    is_prepared,
    load_corpus,
    open_corpus,
    prepare,
    prepared_corpus,
)
from unroll.errors import UserError
from unroll.files import Folder, explained, printable_name, real_folder
from unroll.nn.model import Model, ModelConfig, parameter_count
from unroll.predict.protocols import stream_nats
from unroll.predict.torch import TorchPredictor
from unroll.progress import Progress
from unroll.settings import from_mapping
from unroll.training.calibrate import Machine, has_tf32, measure_machine, tokens_per_second
from unroll.training.loop import Report, Run, TrainConfig, begin, restore, save, save_weights, train
from unroll.training.many import processes, torchrun
from unroll.training.many.follower import follow
from unroll.training.recipe import (
    Overrides,
    Recipe,
    check_overrides,
    choose,
    fit_batch,
    read_about,
    read_recipe,
    reads_enough,
    shapes,
    size_for_tokens,
    weights_per_step,
    write_recipe,
)


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
    budget began. The directory `out` appears, complete and loadable, before the first step; with `force` an earlier
    model stays there until the new one has a checkpoint with trained weights.
    Raises UserError for what a user can mend.
    """
    started = time.monotonic() if started is None else started
    torch.set_flush_denormal(True)  # Before any thread exists: threads inherit it.
    if torchrun.follows():
        follow(device)
        return
    with ExitStack() as stack:
        stack.enter_context(processes.joined(device))
        where = choose_device(device)
        check_overrides(overrides)
        if overrides["training"].get("precision") == "tf32" and not has_tf32(where):
            raise UserError(
                "precision tf32 is of NVIDIA GPUs from Ampere on, and this device is none",
                allowed="float32, bfloat16",
                fix="leave precision out",
            )
        processes.check_shares(overrides["training"].get("batch_size", TrainConfig().batch_size))
        out = real_folder(out)
        put_back_replaced(out)
        if torchrun.made_before(out):
            yield from resume(out, device=device)
            return
        inputs = [path for path in (*files, valid, test) if path is not None]
        check_free(out, inputs, force=force, fix=f"go on with `unroll train --resume {out}`, ")
        for path in inputs:
            if not is_prepared(path):
                file_size(path)
        parent = checkpoint.load(base) if base is not None else None
        if parent is not None:
            overrides = with_shape_of(parent, overrides)
        # Before the machine is measured, which takes seconds.
        if valid is None and overrides["data"].get("split") == "100" and not is_prepared(files[0]):
            raise nothing_held_back()
        machine = None if budget.minutes is None else measured(overrides, where, budget.minutes)
        way: dict[str, Any] = {}
        if machine is not None:
            way = {"threads": machine.threads, "precision": machine.precision, "wait_policy": machine.wait_policy}

        partial = partial_of(out)
        with explained(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir(exist_ok=True)
        folder = stack.enter_context(checkpoint.locked(partial, out))
        try:
            check_free(out, inputs, force=force)
            earlier = stack.enter_context(checkpoint.locked(out)) if (out / "model.json").exists() else None
            clear(partial)
            data = from_mapping(DataConfig, overrides["data"], "the recipe's [data]")
            if is_prepared(files[0]):
                corpus = prepared_corpus(files, overrides["data"], valid, test)
                data = corpus.info.config
                folder.write(DATA_PATH, os.fsencode(files[0].resolve()))
            else:
                known = parent.tokenizer if parent else None
                yield from prepare(files, partial / checkpoint.DATA, data, valid=valid, test=test, tokenizer=known)
                corpus = load_corpus(partial / checkpoint.DATA)
                folder.check()
            if not len(corpus.valid):
                raise nothing_held_back()
            if parent is not None and corpus.tokenizer.digest != parent.tokenizer.digest:
                raise UserError(
                    f"the corpus in {files[0]} was prepared with another vocabulary than {base}",
                    allowed="a text, which is encoded with the model's own vocabulary",
                    fix="name the text files instead",
                )
            fixed = overrides | {"training": way | overrides["training"]}
            recipe = resolve(corpus, data, budget, fixed, where, started, machine, tuned=parent is not None)
            run = make_run(folder, recipe, where)
            if parent is not None:
                checkpoint.copy_weights(run.model, dict(parent.model.named_parameters()), parent.path)
                run = begin(folder, run.model, recipe.optim, recipe.training)
            first = list(first_reports(recipe, corpus, files, machine, tuned=parent is not None))
            with closing(checkpoint.EventLog(folder, checkpoint.METRICS)) as log:
                for report in first:
                    log.write(report.to_json())
                run.log_sizes = (log.size, 0)
            write_start(run, recipe, corpus, where, base=base, valid=valid, test=test)
            if earlier is None:
                publish(folder, out)
        except BaseException:
            folder.remove()
            raise
        # The corpus was mapped under its former name; the mapping stays valid when the files move.
        reports = begun(first, train(run, corpus, documents=recipe.data.documents))
        if earlier is None:
            yield from reports
        else:
            yield from published_when_trained(reports, run, out, earlier, tuned=parent is not None)


def begun(first: Sequence[Report], reports: Generator[Report, None, None]) -> Generator[Report, None, None]:
    """Yield the first reports, and then those of the training."""
    yield from first
    yield from reports


def published_when_trained(
    reports: Generator[Report, None, None], run: Run, out: Path, earlier: Folder, *, tuned: bool
) -> Iterator[Report]:
    """Pass on the reports of a training beside the `earlier` model at `out`, and replace that once there is a better.

    That is a checkpoint with trained weights (those that are fine-tuned are), or such weights at the end, however it
    comes. Before it the earlier model stays, whatever happens. The first report's detail says where the training is
    meanwhile, `beside`; the one after which `out` is the new model says `published`.
    """
    published = False

    def publish_it() -> None:
        nonlocal published
        published = True
        try:
            publish(run.writes, out, earlier)
        except UserError as error:
            if run.path != out and run.writes.is_here():
                error.fix += f"; the new model is complete in {run.path}, which you can rename"
            raise

    try:
        with closing(reports):
            first: dict[str, Any] = {"beside": str(run.path)}
            for report in reports:
                detail, first = report.detail | first, {}
                if not published and report.kind in ("save", "end") and (run.best_step or tuned):
                    publish_it()
                    detail |= {"published": True}
                yield replace(report, detail=detail)
        if run.best_step and not published:  # it diverged, and good weights were kept before
            publish_it()
        if not published:
            text = f"the model that was in {out} stays: this training has no trained weights that are better than none"
            yield Report("warn", run.step, run.tokens_seen, run.seconds, text=text)
    except GeneratorExit:
        if run.best_step and not published:  # stopped, and saved just now
            publish_it()
        raise
    finally:
        if not published:
            run.writes.remove()


def nothing_held_back() -> UserError:
    """Return the error of a text that is all for training."""
    return UserError(
        "no part of the text is held back for validation",
        allowed="a text, or a prepared folder, that is split into training and validation",
        fix="give a --split such as 90/10, or a text with --valid",
    )


def make_run(folder: Folder | None, recipe: Recipe, device: torch.device) -> Run:
    """Return a run at step 0; its first weights depend on the recipe alone, so it is made with the recipe's threads."""
    processes.check_shares(recipe.training.batch_size)
    torch.set_num_threads(recipe.training.threads)
    torch.manual_seed(recipe.training.seed)
    return begin(folder, Model(recipe.model).to(device), recipe.optim, recipe.training)


def with_shape_of(parent: checkpoint.Loaded, overrides: Overrides) -> Overrides:
    """Return the overrides of a fine-tuning: the shape is the parent's. Raises UserError where they ask for another."""
    shape = {name: value for name, value in parent.description["model"].items() if name not in DROPPED}
    clash = {name for name in shape if name in overrides["model"] and overrides["model"][name] != shape[name]}
    if clash:
        raise UserError(
            f"{', '.join(sorted(clash))} cannot change: the model of {parent.path} has its shape",
            allowed="other dropouts, rates and budgets",
            fix="leave it out",
        )
    return overrides | {"model": overrides["model"] | shape}


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

    def chosen(shape: tuple[int, int], steps: int, final_tokens: int | None = None) -> Recipe:
        return choose(
            level=corpus.tokenizer.level,
            vocab_size=vocab_size,
            train_tokens=train_tokens,
            hidden_size=shape[0],
            num_layers=shape[1],
            steps=steps,
            final_tokens=final_tokens,
            tuned=tuned,
            overrides=overrides,
            data=data,
        )

    if budget.minutes is None or machine is None:
        steps = budget.steps or overrides["training"].get("steps") or 2000
        size = size_for_tokens(steps * batch_size * seq_len, overrides, vocab_size)
        return chosen((size, 1), steps)

    end = started + 60 * budget.minutes

    def steps_left(rate: float, seconds: float = 0.0) -> int:
        return int(((end - time.monotonic()) * (1 - RESERVE) - seconds) * rate / (batch_size * seq_len))

    # The largest shape that reads enough, by the rate that its weights let expect; then it is measured, and if it is
    # slower than that, smaller ones are.
    reference = machine.tokens_per_second * weights_per_step(reference_shape(overrides))
    fixed_size = overrides["model"].get("hidden_size")
    ladder = [(fixed_size, 1)] if fixed_size else shapes(corpus.tokenizer.level)
    for shape in reversed(ladder):
        expected = reference / weights_per_step(chosen(shape, 1).model)
        tried = chosen(shape, max(1, steps_left(expected)))
        smallest = shape == ladder[0]
        if not smallest and not reads_enough(1.1 * expected * (end - time.monotonic()), tried.model):
            continue
        rate = tokens_per_second(tried.model, tried.training, device, min(0.6, 0.6 * budget.minutes))
        if smallest or reads_enough(rate * (end - time.monotonic()), tried.model):
            break
    final_tokens, final_seconds = final_evaluation(tried.model, corpus, device, budget.minutes)
    steps = steps_left(rate, final_seconds)
    if steps < 1:
        raise UserError(
            f"{budget.minutes:g} minutes are too little for one step here",
            allowed="a budget that holds one step",
            fix="give more --minutes, or --steps N",
        )
    return chosen(shape, steps, final_tokens)


RESERVE = 0.05
"""The share of a budget kept for validation, samples and saving on the way."""


def final_evaluation(config: ModelConfig, corpus: Corpus, device: torch.device, minutes: float) -> tuple[int, float]:
    """Return how many validation symbols the final exact figure reads in a tenth of the budget, and its seconds."""
    model = Model(config).to(device).eval()
    some = corpus.valid[:1024]
    start = time.perf_counter()
    stream_nats(TorchPredictor(model), some, corpus.tokenizer.start_id)
    each = (time.perf_counter() - start) / max(1, len(some))
    count = max(1000, min(len(corpus.valid), int(0.1 * 60 * minutes / each)))
    return count, count * each


def write_start(
    run: Run,
    recipe: Recipe,
    corpus: Corpus,
    device: torch.device,
    *,
    base: Path | None,
    valid: Path | None,
    test: Path | None,
) -> None:
    """Write a complete model directory of step 0."""
    folder, tokenizer = run.writes, corpus.tokenizer
    about = {
        "unroll": unroll.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device.type,
        "files": [source.name for source in corpus.info.sources],
        "corpus_digest": corpus.info.digest,
        "corpus_tokens": len(corpus.train),
    }
    about |= {"processes": processes.size()} if processes.size() > 1 else {}
    named = {"fine_tuned_from": base, "valid_file": valid, "test_file": test}
    about |= {name: printable_name(path) for name, path in named.items() if path is not None}
    write_recipe(folder, recipe, about)
    folder.write("tokenizer.json", tokenizer.to_json().encode())
    checkpoint.save_description(folder, recipe.model, tokenizer)
    save_weights(run, None)
    save(run)
    torchrun.mark(folder)


def first_reports(
    recipe: Recipe, corpus: Corpus, files: Sequence[Path], machine: Machine | None, *, tuned: bool
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
    }
    yield Report("start", 0, 0, 0.0, detail=detail | ({"measured": machine.measured} if machine else {}))
    for warning in corpus.info.warnings:
        yield Report("warn", 0, 0, 0.0, text=warning)
    if tuned and (unknown := corpus.info.parts["train"].unknown):
        text = f"{unknown:,} symbols of the training part are unknown to the model and read as <unk>, never sampled"
        if not is_prepared(files[0]):
            new = new_symbols(files, corpus)
            text += f". New in the text: {', '.join(map(repr, new[:40]))}"
            text += f" and {len(new) - 40} more" if len(new) > 40 else ""
        yield Report("warn", 0, 0, 0.0, text=text)


def new_symbols(files: Sequence[Path], corpus: Corpus) -> list[str]:
    """Return the symbols of the files that the vocabulary does not have, sorted."""
    found: set[str] = set()
    for block in read_blocks(files, corpus.info.config.level):
        if isinstance(block.content, str):
            found.update(symbol for _, symbol in corpus.tokenizer.unknown(block.content))
    return sorted(found)


def resume(path: Path, *, device: str = "auto") -> Generator[Report, None, None]:
    """Go on exactly where a training stopped; a finished one yields nothing. Raises UserError when it cannot.

    It goes on on the recorded device, unless another is named.
    """
    torch.set_flush_denormal(True)  # Before any thread exists: threads inherit it.
    if torchrun.follows():
        follow(device)
        return
    with processes.joined(device):
        path = real_folder(path)
        put_back_replaced(path)
        check_trained(path)
        description = checkpoint.read_description(path)
        if description.get("result"):
            return
        recipe = read_recipe(path / "recipe.toml")
        about = read_about(path / "recipe.toml")
        with checkpoint.locked(path) as folder:
            corpus = open_corpus(data_path(path))
            if corpus.info.digest != about.get("corpus_digest"):
                raise UserError(
                    f"the text in {data_path(path)} is not the one that {path} was trained on",
                    allowed="the corpus as it was prepared",
                    fix="restore it, or train again",
                )
            recorded = str(about.get("device", "auto"))
            run = make_run(folder, recipe, choose_device(recorded if device == "auto" else device))
            restore(run)
            yield from train(run, corpus, documents=recipe.data.documents)
