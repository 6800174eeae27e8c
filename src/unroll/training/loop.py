"""The training loop, visible from top to bottom, as a generator of reports."""

import time
from collections.abc import Generator
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unroll.artifact import checkpoint
from unroll.data.batches import Batch, Streams
from unroll.data.corpus import Corpus
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.files import Folder
from unroll.lm.sample import SampleOptions, generate, stepper
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.nn.native import keep_memory
from unroll.nn.precision import tf32
from unroll.predict.protocols import rows_nats, stream_nats
from unroll.predict.torch import TorchPredictor
from unroll.settings import to_mapping
from unroll.state import State, detach, flatten, map_state, reset_rows, unflatten
from unroll.training.many import processes
from unroll.training.optim import (
    OptimConfig,
    learning_rate_at,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
    update_average,
)

Precision = Literal["float32", "tf32", "bfloat16"]
SAMPLE_STEPS = (0, 100, 300, 500, 700, 1200, 2000)


@dataclass(frozen=True)
class TrainConfig:
    """How long and in what portions a model is trained, and what is done on the way."""

    steps: int = 2000
    batch_size: int = 16
    """Contiguous streams read side by side."""
    seq_len: int = 64
    """Symbols of each stream in a step; the state is carried on, the gradient is cut (truncated BPTT)."""
    reset_probability: float = 0.0
    """How often a stream's state is dropped before a step, so that fresh states are practised too."""
    precision: Precision = "float32"
    """Of the products; weights, sums and the optimizer stay float32. tf32 is a GPU's: elsewhere it is float32."""
    threads: int = 2
    wait_policy: Literal["default", "passive"] = "default"
    """How OpenMP threads wait for each other; passive yields the core, which pays on a busy machine."""
    seed: int = 0
    log_every: int = 10
    valid_every: int = 250
    valid_rows: int = 16
    valid_tokens: int = 50_000
    """Of the validation part, read for the quick figures on the way."""
    final_tokens: int = 2_000_000
    """Of the validation part, read at most for the exact figure at the end."""
    save_every: int = 250
    sample_length: int = 300
    sample_prompt: str = ""
    sample_temperature: float = 0.8

    def __post_init__(self) -> None:
        positive = (
            "steps",
            "batch_size",
            "seq_len",
            "threads",
            "log_every",
            "valid_every",
            "valid_rows",
            "valid_tokens",
            "final_tokens",
            "save_every",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", allowed="1 or more")
        if not 0 <= self.reset_probability <= 1:
            raise UserError(f"reset_probability is {self.reset_probability}", allowed="0 to 1")
        if not 0 <= self.sample_temperature < float("inf"):
            raise UserError(f"sample_temperature is {self.sample_temperature}", allowed="0 or more")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed is {self.seed}", allowed="0 to 2^63-1")


@dataclass(frozen=True)
class Report:
    """One event of a training: a line of metrics.jsonl. What does not apply to its kind is None."""

    kind: Literal["start", "train", "valid", "sample", "save", "warn", "end"]
    step: int
    tokens_seen: int
    seconds: float
    """Of training so far, resumed parts included."""
    nats: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    text: str | None = None
    """A sample's text, or a remark in plain language."""
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON, without what does not apply."""
        event: dict[str, Any] = asdict(self)
        detail: dict[str, Any] = event.pop("detail")
        return {name: value for name, value in event.items() if value is not None} | detail


@dataclass
class Run:
    """Everything a training stands on between two steps; what a resume must bring back is in `tensors` and `info`."""

    folder: Folder | None
    """The model directory that it writes into; None where nothing is written."""
    model: Model
    optim: OptimConfig
    config: TrainConfig
    optimizer: torch.optim.AdamW
    average: list[Tensor]
    state: State
    """Of the streams that this process reads."""
    shared: bool = False
    """Whether several processes have their share of the streams; else this one reads them all."""
    step: int = 0
    best_nats: float = float("inf")
    best_step: int = 0
    seconds: float = 0.0
    log_sizes: tuple[int, int] = (0, 0)
    cuts: int = 0
    """How many validations have brought no new best."""
    losses: tuple[float, int] = (0.0, 0)
    """Sum and number of the losses since they were last reported."""

    @property
    def path(self) -> Path:
        """Where the model directory is."""
        return self.writes.path

    @property
    def writes(self) -> Folder:
        """The model directory, to be written into."""
        assert self.folder is not None
        return self.folder

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def tokens_seen(self) -> int:
        """How many symbols were trained on, repeats included."""
        return self.step * self.config.batch_size * self.config.seq_len

    def info(self) -> dict[str, Any]:
        """Return what a resume needs besides tensors."""
        return {
            "step": self.step,
            "best_nats": self.best_nats,
            "best_step": self.best_step,
            "seconds": self.seconds,
            "log_sizes": list(self.log_sizes),
            "cuts": self.cuts,
            "losses": list(self.losses),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a resume needs: last weights, their average, the optimizer, the carried state.

        The position in the text and all random numbers are functions of the step, so they need no saving.
        """
        names = [name for name, _ in self.model.named_parameters()]
        return {
            **{f"last/{name}": weight for name, weight in self.model.named_parameters()},
            **{f"average/{name}": weight for name, weight in zip(names, self.average, strict=False)},
            **optimizer_tensors(self.model, self.optimizer),
            **flatten(self.state),
        }


def begin(folder: Folder | None, model: Model, optim: OptimConfig, config: TrainConfig) -> Run:
    """Return a run at step 0: a fresh optimizer, a fresh state."""
    average = [w.detach().clone() for w in model.parameters()] if optim.averaging else []
    state = model.fresh_state(config.batch_size)
    return Run(folder, model, optim, config, make_optimizer(model, optim), average, state)


def restore(run: Run) -> None:
    """Bring a run back to its last checkpoint; raises UserError where that is missing, damaged or of another model."""
    file = run.path / checkpoint.STATE
    tensors = checkpoint.load_tensors(file)
    info = checkpoint.read_info(file)
    try:
        run.step, run.best_step = int(info["step"]), int(info["best_step"])
        run.best_nats, run.seconds = float(info["best_nats"]), float(info["seconds"])
        run.log_sizes = (int(info["log_sizes"][0]), int(info["log_sizes"][1]))
        run.cuts = int(info["cuts"])
        run.losses = (float(info["losses"][0]), int(info["losses"][1]))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        raise checkpoint.damaged(file) from None
    for name, like in run.tensors().items():
        checkpoint.fitting(tensors, name, like, file)
    if run.step:
        for name, weight in run.model.named_parameters():
            for kind, like in (("step", torch.zeros(())), ("exp_avg", weight), ("exp_avg_sq", weight)):
                checkpoint.fitting(tensors, f"{kind}/{name}", like, file)
    checkpoint.copy_weights(run.model, tensors, file, prefix="last/")
    for (name, _), average in zip(run.model.named_parameters(), run.average, strict=False):
        average.copy_(tensors[f"average/{name}"])
    load_optimizer_tensors(run.model, run.optimizer, tensors)
    # Copied into memory of torch's own: a memory-mapped tensor's alignment may change how a kernel rounds.
    run.state = map_state(lambda part: part.to(run.device, copy=True), unflatten(tensors))


def save(run: Run) -> None:
    """Write the run's checkpoint: one file, so that a kill leaves the old one or the new one."""
    whole = replace(run, state=processes.whole_state(run.state)) if run.shared else run
    run.writes.write(checkpoint.STATE, checkpoint.packed(whole.tensors(), run.info()))


def share_out(run: Run) -> None:
    """Let all processes take part in a run from here on: they get its weights, and each its share of the streams."""
    if processes.size() == 1:
        return
    processes.check_shares(run.config.batch_size)
    configs = {"model": run.model.config, "optim": run.optim, "training": run.config}
    told = {name: to_mapping(config) for name, config in configs.items()}
    processes.give_run(told | {"device": run.device.type, "moved": bool(run.optimizer.state)}, shared_tensors(run))
    rows = processes.own_rows(run.config.batch_size)
    run.state = processes.share_state(run.state, run.model.fresh_state(rows.stop - rows.start))
    run.shared = True


def shared_tensors(run: Run) -> list[Tensor]:
    """Return what is equal in all processes: the weights, their average, the optimizer's tensors."""
    moved = optimizer_tensors(run.model, run.optimizer)
    return [*run.model.parameters(), *run.average, *(moved[name] for name in sorted(moved))]


def kept_weights(run: Run) -> dict[str, Tensor]:
    """Return the weights that are validated and kept: the running average where averaging is on."""
    names = [name for name, _ in run.model.named_parameters()]
    weights = run.average or [w.detach() for w in run.model.parameters()]
    return dict(zip(names, weights, strict=True))


def save_weights(run: Run, nats: float | None) -> None:
    """Write weights.safetensors: what others load."""
    info = {"step": run.step, "tokens_seen": run.tokens_seen, "valid_nats": nats, "averaged": bool(run.average)}
    run.writes.write(checkpoint.WEIGHTS, checkpoint.packed(kept_weights(run), info))


def mixed_precision(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which the forward pass runs."""
    if config.precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return tf32(config.precision == "tf32")


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on the device; a GPU fetches it by itself, while this process goes on."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # what is not pinned it would wait for


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch for one step, so that its random numbers depend on the seed, the step and the process alone."""
    torch.manual_seed((seed * 0x9E3779B97F4A7C15 + step + 1 + rank * 0xD1342543DE82EF95) % 2**63)


def train_step(run: Run, streams: Streams) -> tuple[float, float, float]:
    """Take one step, all processes together; returns its loss in nats, the norm of its gradients and its learning rate.

    A loss or norm that is not finite changes no weight.
    """
    config = run.config
    batch = streams.batch(run.step * config.seq_len, config.seq_len)
    if run.shared:
        processes.give(processes.Order.STEP, run.step, run.cuts)
        batch = processes.share_batch(batch, config.batch_size // processes.size(), config.seq_len)
    return step_on(run, batch)


def step_on(run: Run, batch: Batch) -> tuple[float, float, float]:
    """Take this process' part in a step: its share of the batch, then what all have found together."""
    config, model, optimizer = run.config, run.model, run.optimizer
    seed_step(config.seed, run.step)
    inputs, targets = on_device(batch.inputs, run.device), on_device(batch.targets, run.device)
    resets = None if batch.resets is None else on_device(batch.resets, run.device)
    state = detach(run.state)
    if config.reset_probability:
        # Drawn for all streams, so that a stream is reset at the same steps whoever reads it.
        resets_now = torch.rand(config.batch_size, device=run.device) < config.reset_probability
        state = reset_rows(state, resets_now[processes.own_rows(config.batch_size)])
    if processes.rank():
        # What is dropped is drawn by each process for its own streams (of recurrent weights and symbols: for itself),
        # and so from other numbers than one process alone would draw.
        seed_step(config.seed, run.step, processes.rank())
    rate = learning_rate_at(run.step, config.steps, run.optim, run.cuts)

    with mixed_precision(config, run.device):
        if model.config.cutoffs:
            y, after = model.hidden(inputs, state, resets)
            loss = model.adaptive_loss(y, targets)
        else:
            logits, after = model(inputs, state, resets)
    if not model.config.cutoffs:
        loss = cross_entropy(logits, targets)
    optimizer.zero_grad()
    with tf32(config.precision == "tf32"):
        torch.autograd.backward(loss)
    if processes.size() > 1:
        loss = processes.mean([w.grad for w in model.parameters() if w.grad is not None], loss)
    norm = nn.utils.clip_grad_norm_(model.parameters(), run.optim.grad_clip or float("inf"))
    nats, grad_norm = torch.stack([loss.detach().float(), norm]).tolist()  # together: a GPU is waited for once
    if not (abs(nats) < float("inf") and grad_norm < float("inf")):
        return nats, grad_norm, rate
    set_learning_rate(optimizer, rate)
    optimizer.step()
    if run.average:
        update_average(run.average, list(model.parameters()), run.step, run.optim.averaging)
    run.state = detach(after)
    run.step += 1
    return nats, grad_norm, rate


def validate(run: Run, corpus: Corpus) -> float:
    """Return the quick validation figure of the weights that are kept, in nats per token, read as several rows."""
    with _kept_in(run):
        ids = spread(corpus.valid, run.config.valid_tokens, run.config.valid_rows)
        rows = max(1, min(run.config.valid_rows, len(ids) // 100))
        predictor = TorchPredictor(run.model, mixed_precision(run.config, run.device))
        return rows_nats(predictor, ids, corpus.tokenizer.start_id, rows)


def spread(ids: NDArray[np.unsignedinteger], most: int, pieces: int) -> NDArray[np.unsignedinteger]:
    """Return at most `most` ids, as pieces evenly spaced over all of them: a text is not the same from start to end."""
    if len(ids) <= most:
        return ids
    starts = np.arange(pieces) * (len(ids) // pieces)
    return np.concatenate([ids[start : start + max(1, most // pieces)] for start in starts])


def sample_text(run: Run, tokenizer: Tokenizer) -> str:
    """Return the sample that is taken on the way: always the same seed and prompt, so that samples can be compared."""
    config = run.config
    options = SampleOptions(temperature=config.sample_temperature, seed=config.seed)
    prompt = [int(symbol) for symbol in tokenizer.encode(config.sample_prompt)]
    with _kept_in(run):
        drawn = generate(stepper(TorchPredictor(run.model)), tokenizer, prompt, config.sample_length, options)
        return "".join(symbol.text for symbol in drawn)


class _kept_in:
    """Within it the model is in evaluation mode and holds the weights that are kept (the average, if there is one)."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __enter__(self) -> None:
        self.run.model.eval()
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()
        self.run.model.train()

    def _swap(self) -> None:
        with torch.no_grad():
            for weight, average in zip(self.run.model.parameters(), self.run.average, strict=False):
                kept = weight.clone()
                weight.copy_(average)
                average.copy_(kept)


def sample_due(step: int, steps: int) -> bool:
    """Tell whether a sample is taken after `step`: at the demonstration's, then at fifths of the run and the last."""
    return step in SAMPLE_STEPS or step == steps or (step > SAMPLE_STEPS[-1] and step % max(1, steps // 5) == 0)


def train(run: Run, corpus: Corpus, *, documents: bool = False) -> Generator[Report, None, None]:
    """Train from where the run stands to its last step on the corpus' training part, reporting all that happens.

    The loop owns the order; the caller owns the reaction and may stop at any report by closing the generator, which
    saves a checkpoint. Everything on the way goes by step, never by clock, so that a run can be repeated and resumed.
    Raises FolderLost where the model directory was moved, removed or replaced.
    """
    config = run.config
    torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    keep_memory()
    tokenizer = corpus.tokenizer
    starts = corpus.documents if documents else None
    streams = Streams(corpus.train, config.batch_size, tokenizer.start_id, starts)
    metrics = checkpoint.EventLog(run.writes, checkpoint.METRICS, run.log_sizes[0])
    samples = checkpoint.EventLog(run.writes, checkpoint.SAMPLES, run.log_sizes[1])
    before, clock, finite = run.seconds, time.perf_counter(), True
    run.model.train()
    share_out(run)

    def report(kind: Any, **values: Any) -> Report:
        made = Report(kind, run.step, run.tokens_seen, round(before + time.perf_counter() - clock, 3), **values)
        metrics.write(made.to_json())
        return made

    def sampled(nats: float) -> Report:
        text = sample_text(run, tokenizer)
        # The loss beside a sample is the training loss of the last few steps, whatever else is measured when.
        samples.write(
            {
                "step": run.step,
                "nats": nats,
                "prompt": config.sample_prompt,
                "temperature": config.sample_temperature,
                "seed": config.seed,
                "text": text,
            }
        )
        return report("sample", text=text, nats=nats)

    def checkpointed() -> None:
        run.seconds = before + time.perf_counter() - clock
        run.log_sizes = (metrics.size, samples.size)
        save(run)

    try:
        if run.best_nats == float("inf"):  # nothing was measured yet
            valid = validate(run, corpus)
            finite = abs(valid) < float("inf")
            if finite:
                run.best_nats = valid
                save_weights(run, valid)
                yield from [sampled(valid), report("valid", nats=valid, detail={"protocol": "rows"})]
            else:
                yield report("warn", text=diverged(run, f"the validation loss is {valid} before the first step"))
        last_tokens, last_time = run.tokens_seen, time.perf_counter()
        while finite and run.step < config.steps:
            if not run.writes.is_here():
                with suppress(UserError):  # where it was only moved, nothing that was trained is lost
                    checkpointed()
                run.writes.check()
            nats, norm, rate = train_step(run, streams)
            if not (abs(nats) < float("inf") and norm < float("inf")):
                finite = False
                what = f"the loss of step {run.step + 1} is {nats} and the norm of its gradient {norm}"
                yield report("warn", text=diverged(run, what))
                break
            run.losses = (run.losses[0] + nats, run.losses[1] + 1)
            recent = run.losses[0] / run.losses[1]
            done = run.step == config.steps
            # All that is due after this step happens before any of it is told: a caller who stops at a report stops
            # between two steps.
            reports = []
            if run.step % config.log_every == 0 or done:
                seconds = max(1e-9, time.perf_counter() - last_time)
                reports.append(
                    report(
                        "train",
                        nats=recent,
                        grad_norm=norm,
                        learning_rate=rate,
                        tokens_per_second=round((run.tokens_seen - last_tokens) / seconds),
                    )
                )
                run.losses = (0.0, 0)
            if run.step % config.valid_every == 0 or done:
                valid = validate(run, corpus)
                finite = abs(valid) < float("inf")
                if not finite:
                    what = f"the validation loss after step {run.step} is {valid}"
                    reports.append(report("warn", text=diverged(run, what)))
                else:
                    if valid < run.best_nats:
                        run.best_nats, run.best_step = valid, run.step
                        save_weights(run, valid)
                    else:
                        run.cuts += 1
                    reports.append(report("valid", nats=valid, detail={"protocol": "rows"}))
            if finite and sample_due(run.step, config.steps):
                reports.append(sampled(recent))
            if finite and run.step % config.save_every == 0 and not done:
                reports.append(report("save"))
                checkpointed()
            yield from reports
            if run.step % config.log_every == 0:
                last_tokens, last_time = run.tokens_seen, time.perf_counter()
        if finite:
            checkpointed()
            result = final_result(run, corpus)
            end = report("end", nats=result["valid_nats_per_token"], detail=result)
            # Last of all, as it is the mark of a finished training.
            checkpoint.save_description(run.writes, run.model.config, tokenizer, result)
            yield end
    except GeneratorExit:
        if finite:  # else the last good checkpoint stays
            checkpointed()
        raise
    finally:
        metrics.close()
        samples.close()


def diverged(run: Run, what: str) -> str:
    """Return the remark on a loss or gradient that is no number."""
    return (
        f"{what}: stopped, with the weights of step {run.best_step} kept. Try half the learning rate "
        f"({run.optim.learning_rate / 2:g}), a longer warm-up, or grad_clip = 1"
    )


def final_result(run: Run, corpus: Corpus) -> dict[str, Any]:
    """Evaluate weights.safetensors exactly (one row, carried state); returns the result that model.json keeps."""
    loaded = checkpoint.load(run.path, run.device)
    ids = corpus.valid[: run.config.final_tokens]
    nats = stream_nats(TorchPredictor(loaded.model), ids, corpus.tokenizer.start_id)
    run.writes.check()
    return {
        "protocol": "stream",
        "valid_nats_per_token": nats,
        "valid_tokens": len(ids),
        "valid_part_tokens": len(corpus.valid),
        "best_step": run.best_step,
        "steps": run.step,
        "tokens_seen": run.tokens_seen,
    }
