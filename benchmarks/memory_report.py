"""The memory report of models on 100 kB of a text: seconds and peak memory of the whole command."""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import show, unroll_command

SIZE = 100_000


def main() -> None:
    """Write the report of the models on the beginning of the text, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="model directories")
    parser.add_argument("text", type=Path)
    parser.add_argument("--targets", type=int, help="symbols whose loss is taken (by default the command's own number)")
    told = parser.parse_args()
    flags = [] if told.targets is None else ["--targets", str(told.targets)]
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "text.txt", Path(folder) / "memory.html"
        file.write_bytes(told.text.read_bytes()[:SIZE].decode(errors="ignore").encode())
        command = unroll_command("memory", *told.models, "--file", file, "--report", out, "--json", *flags)
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        size = out.stat().st_size
    found: dict[str, Any] = json.loads(done.stdout)
    show(
        {
            "benchmark": "memory_report",
            "bytes": SIZE,
            "targets": found["targets"],
            "limit": found["limit"],
            "history": found["history"],
            "wall_seconds": round(seconds, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_rss_mb": round(used.ru_maxrss / 1e3),
            "report_mb": round(size / 1e6, 2),
            "models": [
                about(model) | {name: model[name] for name in ("span_99", "span_99_interval", "half_life")}
                for model in found["models"]
            ],
        }
    )


def about(model: dict[str, Any]) -> dict[str, Any]:
    """Return what a model is."""
    known = json.loads(subprocess.check_output([*unroll_command("info", model["model"]), "--json"]))
    return {name: known[name] for name in ("arch", "layers", "hidden_size", "level", "parameters")}


if __name__ == "__main__":
    main()
