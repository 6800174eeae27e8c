"""What every benchmark shares: a description of the machine, a bare training loop to compare with, printing JSON."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import unroll
from unroll.nn.precision import tf32

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
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
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

    def __init__(
        self,
        vocab: int,
        embedding: int,
        hidden: int,
        batch: int,
        length: int,
        precision: str,
        device: torch.device | None = None,
    ) -> None:
        self.device = torch.device("cpu") if device is None else device
        torch.manual_seed(0)
        self.parts = nn.ModuleList(
            [nn.Embedding(vocab, embedding), nn.LSTM(embedding, hidden), nn.Linear(hidden, vocab)]
        ).to(self.device)
        self.optimizer = torch.optim.AdamW(self.parts.parameters(), lr=1e-3, fused=True)
        self.inputs, self.targets = torch.randint(vocab, (2, length, batch), device=self.device)
        self.state = tuple(torch.zeros(2, 1, batch, hidden, device=self.device))
        self.mixed, self.rounded = precision == "bfloat16", tf32(precision == "tf32")

    def step(self) -> None:
        """Take one training step with carried state."""
        embedding, lstm, head = self.parts
        with self.rounded:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
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
        return steps_per_second(self.step, seconds, self.device) * len(self.inputs.flatten())


def steps_per_second(
    step: Callable[[], object], seconds: float, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return how often `step` runs in a second, over about `seconds`; what a GPU was only told to do is waited for."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start, steps = clock(), 0
    while clock() - start < seconds:
        step()
        steps += 1
        if device.type == "cuda" and steps % 16 == 0:
            torch.cuda.synchronize()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return steps / (clock() - start)
