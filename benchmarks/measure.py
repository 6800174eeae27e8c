"""What every benchmark shares: a description of the machine, a bare training loop to compare with, printing JSON."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import unroll

ROOT = Path(__file__).resolve().parent.parent


def machine() -> dict[str, Any]:
    """Return what a figure depends on: processor, cores, load and versions."""
    model = (
        next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            platform.processor(),
        )
        if Path("/proc/cpuinfo").exists()
        else ""
    )
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return {
        "processor": model,
        "instructions": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {name} " in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "unroll": unroll.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def show(result: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps({"machine": machine()} | result, indent=2, ensure_ascii=False))


def unroll_command(*arguments: str | Path) -> list[str]:
    """Return the command line that runs this interpreter's unroll."""
    return [sys.executable, "-m", "unroll", *map(str, arguments)]


def run_json(*arguments: str | Path) -> dict[str, Any]:
    """Run an unroll command with --json and return its object and `wall_seconds`, the whole process."""
    start = time.perf_counter()
    done = subprocess.run([*unroll_command(*arguments), "--json"], stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result | {"wall_seconds": round(time.perf_counter() - start, 1)}


class BareLoop:
    """nn.Embedding, nn.LSTM, nn.Linear, cross-entropy and AdamW: the least that a training can be, on noise."""

    def __init__(self, vocab: int, embedding: int, hidden: int, batch: int, length: int, precision: str) -> None:
        torch.manual_seed(0)
        self.parts = nn.ModuleList(
            [nn.Embedding(vocab, embedding), nn.LSTM(embedding, hidden), nn.Linear(hidden, vocab)]
        )
        self.optimizer = torch.optim.AdamW(self.parts.parameters(), lr=1e-3, fused=True)
        self.inputs = torch.randint(vocab, (length, batch))
        self.targets = torch.randint(vocab, (length, batch))
        self.state = (torch.zeros(1, batch, hidden), torch.zeros(1, batch, hidden))
        self.mixed = precision == "bfloat16"

    def step(self) -> None:
        """Take one training step with carried state."""
        embedding, lstm, head = self.parts
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            y, (h, c) = lstm(embedding(self.inputs), self.state)
            logits = head(y)
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), self.targets.flatten())
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
        self.optimizer.step()
        self.state = (h.detach().float(), c.detach().float())

    def tokens_per_second(self, seconds: float) -> float:
        """Return the rate over about `seconds`, after a warm-up."""
        self.step()
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            self.step()
            steps += 1
        return steps * self.inputs.numel() / (time.perf_counter() - start)
