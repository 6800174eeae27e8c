"""The training loop and its step, visible from top to bottom, as a generator of reports."""

import math
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unroll.artifact.directory import save_description
from unroll.artifact.open import load
from unroll.data.batches import Batch, Streams
from unroll.data.corpus import Corpus
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.lm.sample import SampleOptions, generate
from unroll.nn.native import keep_memory
from unroll.nn.precision import tf32
from unroll.predict.protocols import rows_nats, stream_nats
from unroll.predict.torch import TorchPredictor
from unroll.state import State, detach, reset_rows
from unroll.training.config import TrainConfig
from unroll.training.many import processes
from unroll.training.optim import learning_rate_at, set_learning_rate, update_average
from unroll.training.report import Journal, Report
from unroll.training.run import Run, kept_in_model, save, save_weights, share_out

SAMPLE_STEPS = (0, 100, 300, 500, 700, 1200, 2000)


def train(run: Run, corpus: Corpus) -> Generator[Report, None, None]:
    """Train from where the run stands to its last step on the corpus' training part, reporting all that happens.

    The loop owns the order; the caller owns the reaction and may stop at any report by closing the generator, which
    saves a checkpoint. Everything on the way goes by step, never by clock, so that a run can be repeated and resumed.
    Raises FolderLost where the model directory was moved, removed or replaced.
    """
    config, tokenizer = run.config, corpus.tokenizer
    ends = (*config.extensions, config.steps)
    torch.set_num_threads(config.threads)
    keep_memory()
    documents = corpus.documents if corpus.info.config.documents else None
    streams = Streams(corpus.train, config.batch_size, tokenizer.start_id, documents)
    with closing(Journal(run)) as journal:
        run.model.train()
        share_out(run)
        reports: list[Report] = []
        try:
            if math.isinf(run.best_nats):  # nothing was measured yet
                nats = validate(run, corpus)
                run.best_nats = nats
                save_weights(run, nats)
                sample = journal.report_sample(sample_text(run, tokenizer), nats)
                yield from (sample, journal.report("valid", nats=nats, detail={"protocol": "rows"}))
            journal.start_rate()
            while run.step < config.steps:
                # All that is due after a step happens before any of it is reported: a caller who stops at a report
                # stops between two steps.
                reports = []
                check_folder(run, journal)
                nats, norm, rate = train_step(run, streams)  # forward, detach, backward, clip, step
                if not (math.isfinite(nats) and math.isfinite(norm)):
                    raise Diverged(f"the loss of step {run.step + 1} is {nats} and the norm of its gradient {norm}")
                mean = run.add_loss(nats)
                last = run.step in ends
                if run.step - 1 in config.extensions:
                    reports.append(journal.report("start", detail={"steps": config.steps}))
                if last or run.step % config.log_every == 0:
                    speed = journal.tokens_per_second()
                    values = {"nats": mean, "grad_norm": norm, "learning_rate": rate, "tokens_per_second": speed}
                    reports.append(journal.report("train", **values))
                    run.losses = (0.0, 0)
                if last or run.step % config.valid_every == 0:
                    nats = validate(run, corpus)
                    keep_if_better(run, nats)
                    reports.append(journal.report("valid", nats=nats, detail={"protocol": "rows"}))
                if last or sample_due(run.step, config.steps):
                    reports.append(journal.report_sample(sample_text(run, tokenizer), mean))
                if not last and run.step % config.save_every == 0:
                    reports.append(journal.report("save"))
                    save_with(run, journal)
                yield from reports
                if run.step % config.log_every == 0:
                    journal.start_rate()
        except Diverged as error:  # the last good checkpoint stays
            yield from (*reports, journal.report("warn", text=remark(run, error)))
            return
        except GeneratorExit:
            save_with(run, journal)
            raise
        save_with(run, journal)
        result = final_result(run, corpus)
        end = journal.report("end", nats=result["valid_nats_per_token"], detail=result)
        # Last of all, as it is the mark of a finished training.
        save_description(run.writes, run.model.config, tokenizer, result)
        yield end


# ---- a step


def train_step(run: Run, streams: Streams) -> tuple[float, float, float]:
    """Take one step, all processes together; return its loss in nats, its gradients' norm and its learning rate.

    A loss or norm that is not finite changes no weight.
    """
    config = run.config
    batch = streams.batch(run.step * config.seq_len, config.seq_len)
    if run.shared:
        processes.give(processes.Order.STEP, run.step, run.cuts)
        batch = processes.share_batch(batch, config.batch_size // processes.size(), config.seq_len)
    return step_on(run, batch)


def step_on(run: Run, batch: Batch) -> tuple[float, float, float]:
    """Take this process' part in a step on its share of the batch; the gradients are the mean over all processes."""
    config, model, optimizer = run.config, run.model, run.optimizer
    inputs, targets = on_device(batch.inputs, run.device), on_device(batch.targets, run.device)
    resets = None if batch.resets is None else on_device(batch.resets, run.device)
    state = start_state(run)
    rate = learning_rate_at(run.step, config.steps, run.optim, run.cuts, config.extensions)

    with mixed_precision(config, run.device):
        loss, state = model.loss(inputs, targets, state, resets)
    optimizer.zero_grad()
    with tf32(config.precision == "tf32"):
        torch.autograd.backward(loss)
    if processes.size() > 1:
        loss = processes.mean([w.grad for w in model.parameters() if w.grad is not None], loss)
    norm = nn.utils.clip_grad_norm_(model.parameters(), run.optim.grad_clip or float("inf"))
    nats, grad_norm = torch.stack([loss.detach().float(), norm]).tolist()  # together: a GPU is waited for once
    if math.isfinite(nats) and math.isfinite(grad_norm):
        set_learning_rate(optimizer, rate)
        optimizer.step()
        if run.average:
            update_average(run.average, list(model.parameters()), run.step, run.optim.averaging)
        run.state = detach(state)
        run.step += 1
    return nats, grad_norm, rate


def start_state(run: Run) -> State:
    """Return the state that a step starts from, without its graph, and seed what the step draws.

    Resets are drawn for all streams, so that a stream is reset at the same steps whoever reads it. What is dropped is
    drawn by each process for its own streams (of recurrent weights and symbols: for itself), and so from other numbers
    than one process alone would draw.
    """
    config, state = run.config, detach(run.state)
    seed_step(config.seed, run.step)
    if config.reset_probability:
        resets = torch.rand(config.batch_size, device=run.device) < config.reset_probability
        state = reset_rows(state, resets[processes.own_rows(config.batch_size)])
    if processes.rank():
        seed_step(config.seed, run.step, processes.rank())
    return state


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch for one step, so that its random numbers depend on the seed, the step and the process alone."""
    torch.manual_seed((seed * 0x9E3779B97F4A7C15 + step + 1 + rank * 0xD1342543DE82EF95) % 2**63)


def mixed_precision(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which the forward pass runs."""
    if config.precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return tf32(config.precision == "tf32")


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on the device; a GPU copies it while this process continues."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # the copy of what is not pinned would block


# ---- what happens between steps


class Diverged(Exception):
    """A loss, a gradient or a validation figure is not finite."""


def remark(run: Run, error: Diverged) -> str:
    """Return the remark on a training that diverged."""
    return (
        f"{error}: stopped, with the weights of step {run.best_step} kept. Try half the learning rate "
        f"({run.optim.learning_rate / 2:g}), a longer warm-up, or grad_clip = 1"
    )


def check_folder(run: Run, journal: Journal) -> None:
    """Raise FolderLost where the model directory is gone; where it was only moved, save what was trained into it."""
    if not run.writes.is_here():
        with suppress(UserError):
            save_with(run, journal)
        run.writes.check()


def save_with(run: Run, journal: Journal) -> None:
    """Save a checkpoint that continues the journal where it stands."""
    run.seconds, run.log_sizes = journal.seconds, journal.sizes
    save(run)


def keep_if_better(run: Run, nats: float) -> None:
    """Keep the weights if their validation figure is the best so far; else count a cut of the plateau schedule."""
    if nats < run.best_nats:
        run.best_nats, run.best_step = nats, run.step
        save_weights(run, nats)
    else:
        run.cuts += 1


def validate(run: Run, corpus: Corpus) -> float:
    """Return the quick validation figure of the weights that are kept, in nats per token, read as several rows.

    Raises Diverged where it is not finite.
    """
    with kept_in_model(run) as model:
        ids = spread(corpus.valid, run.config.valid_tokens, run.config.valid_rows)
        rows = max(1, min(run.config.valid_rows, len(ids) // 100))
        predictor = TorchPredictor(model, mixed_precision(run.config, run.device))
        nats = rows_nats(predictor, ids, corpus.tokenizer.start_id, rows)
    if not math.isfinite(nats):
        when = f"after step {run.step}" if run.step else "before the first step"
        raise Diverged(f"the validation loss {when} is {nats}")
    return nats


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
    prompt = [int(symbol) for symbol in tokenizer.encode(tokenizer.to_continue(config.sample_prompt))]
    spaced = tokenizer.leaves_space(config.sample_prompt, prompt)
    with kept_in_model(run) as model:
        symbols = generate(TorchPredictor(model), tokenizer, prompt, config.sample_length, options, spaced=spaced)
        return "".join(symbol.text for symbol in symbols)


def sample_due(step: int, steps: int) -> bool:
    """Tell whether a sample is taken after `step`: at the demonstration's, then at fifths of the run."""
    return step in SAMPLE_STEPS or (step > SAMPLE_STEPS[-1] and step % max(1, steps // 5) == 0)


def final_result(run: Run, corpus: Corpus) -> dict[str, Any]:
    """Evaluate weights.safetensors exactly (one row, carried state); returns the result that model.json keeps.

    A test text is evaluated if it was given as a file: that is what such a file is for.
    """
    ids, start_id = corpus.valid[: run.config.final_tokens], corpus.tokenizer.start_id
    predictor, test = load(run.path, str(run.device)).predictor, corpus.given_test[: run.config.final_tokens]
    nats = stream_nats(predictor, ids, start_id)
    tested = {}
    if len(test):
        tested = {"test_nats_per_token": stream_nats(predictor, test, start_id), "test_tokens": len(test)}
    run.writes.check()
    return {
        "protocol": "stream",
        "valid_nats_per_token": nats,
        **tested,
        "valid_tokens": len(ids),
        "valid_part_tokens": len(corpus.valid),
        "best_step": run.best_step,
        "steps": run.step,
        "tokens_seen": run.tokens_seen,
    }
