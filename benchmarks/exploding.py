"""Gradients that explode, and clipping that cures them: one RNN, one seed, the same steps without it and with it.

Its recurrent weights start too large (spectral radius 2.4), so that gradients grow on their way back, which is
measured by lag. By plain gradient descent, as where the cure was found (Pascanu et al. 2013): AdamW, shown beside it,
divides every step by the size of recent gradients. A control starts as models do (spectral radius 1), at the same
rate, unclipped.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from measure import show
from unroll.data.batches import Streams
from unroll.data.corpus import Corpus, DataConfig, load_corpus, write_corpus
from unroll.data.sources import stdlib_corpus
from unroll.insight.gradients.measure import lag_norms
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.nn.recurrent import Recurrent, RecurrentLayer
from unroll.predict.protocols import stream_nats
from unroll.predict.torch import TorchPredictor
from unroll.training.config import OptimConfig, TrainConfig
from unroll.training.language import train_step
from unroll.training.run import begin

SYMBOLS = 2_000_000
"""Of the text, read at most."""
VALID = 5_000
"""Symbols of the validation part that are read at the end."""
SEQ_LEN, PLACES = 64, 32
"""Steps of truncated back-propagation, and places of the text where gradients are measured by lag, as far back."""
MEASURED = (0, 5, 50)
"""Steps after which they are; also after the last."""


def main() -> None:
    """Train an RNN that explodes, without clipping and with it, by gradient descent and by AdamW; and a control."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("text", type=Path, nargs="?", help="default: this Python's standard library")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--radius", type=float, default=2.4, help="spectral radius of the recurrent weights at first")
    parser.add_argument("--rate", type=float, default=1.0, help="of gradient descent")
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    jobs = [
        ("sgd", told.rate, told.radius, 0.0),
        ("sgd", told.rate, told.radius, told.clip),
        ("sgd", told.rate, 1.0, 0.0),
        ("adamw", ARCHITECTURES["rnn"].peak_rate, told.radius, 0.0),
        ("adamw", ARCHITECTURES["rnn"].peak_rate, told.radius, told.clip),
    ]
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpus_of(told.text, Path(folder))
        for method, rate, radius, clip in jobs:
            runs.append(trained(corpus, method, rate, radius, clip, told.steps, told.hidden, told.seed))
            kept = {name: value for name, value in runs[-1].items() if name != "curve"}
            print(kept, file=sys.stderr, flush=True)
    name = told.text.name if told.text else "the standard library"
    settings = {name: getattr(told, name) for name in ("steps", "hidden", "seed")}
    show({"benchmark": "exploding gradients, clipped", "text": name, "arch": "rnn", **settings, "runs": runs})


def corpus_of(text: Path | None, folder: Path) -> Corpus:
    """Return the beginning of a text, or of the standard library, prepared as characters."""
    content = text.read_text(encoding="utf-8") if text else stdlib_corpus().data.decode()
    file = folder / "text.txt"
    file.write_text(content[:SYMBOLS], encoding="utf-8")
    for _ in write_corpus([file], folder / "data", DataConfig()):
        pass
    return load_corpus(folder / "data")


def by_lag(model: Model, corpus: Corpus) -> float:
    """Return the norm of the gradient at the largest lag of a training step, as a share of lag 1."""
    starts = np.linspace(0, len(corpus.valid) - SEQ_LEN - 1, PLACES).astype(np.int64)
    rows = torch.from_numpy(corpus.valid[starts[:, None] + np.arange(SEQ_LEN + 1)].astype(np.int64))
    share = float(lag_norms(model.eval(), rows, SEQ_LEN - 1).shares[-1])
    model.train()
    return float(f"{share:.3g}")


def trained(
    corpus: Corpus, method: str, rate: float, radius: float, clip: float, steps: int, hidden: int, seed: int
) -> dict[str, Any]:
    """Train an RNN by the library's own step; return its losses and gradient norms, and how good it is in the end."""
    torch.manual_seed(seed)
    config = TrainConfig(steps=steps, batch_size=8, seq_len=SEQ_LEN, threads=1, seed=seed)
    model = Model(ModelConfig(corpus.tokenizer.vocab_size, "rnn", hidden_size=hidden)).train()
    with torch.no_grad():
        for layer in cast(Recurrent, model.recurrent).layers:
            cast(RecurrentLayer, layer).weight_hh.mul_(radius)  # orthogonal until then
    run = begin(None, model, OptimConfig(rate, warmup_steps=0, schedule="constant", grad_clip=clip), config)
    if method == "sgd":
        # The step asks of an optimizer only what all of torch's can do.
        run.optimizer = cast(torch.optim.AdamW, torch.optim.SGD(model.parameters(), lr=rate))
    streams = Streams(corpus.train, config.batch_size, corpus.tokenizer.start_id, None)
    curve: list[tuple[float, float]] = []
    shares: list[tuple[int, float]] = []
    while run.step < steps:
        if run.step in MEASURED:
            shares.append((run.step, by_lag(model, corpus)))
        nats, norm, _ = train_step(run, streams)
        if not (math.isfinite(nats) and math.isfinite(norm)):
            break
        curve.append((nats, norm))
    shares.append((run.step, by_lag(model, corpus)))
    losses, norms = zip(*curve, strict=True)
    valid = stream_nats(TorchPredictor(model), corpus.valid[:VALID], corpus.tokenizer.start_id)
    return {
        "optimizer": method,
        "learning_rate": rate,
        "spectral_radius": radius,
        "grad_clip": clip,
        "steps_done": len(curve),
        "first_nats": losses[0],
        "largest_nats": max(losses),
        "last_nats": sum(losses[-20:]) / len(losses[-20:]),
        "valid_nats": valid if math.isfinite(valid) else None,
        "first_norm": norms[0],
        "largest_norm": max(norms),
        "median_norm": sorted(norms)[len(norms) // 2],
        "clipped_share": sum(norm > clip for norm in norms) / len(norms) if clip else 0.0,
        "last_lag_as_share_of_lag_1": shares,
        "curve": [[step + 1, round(losses[step], 4), float(f"{norms[step]:.4g}")] for step in range(0, len(curve), 5)],
    }


if __name__ == "__main__":
    main()
