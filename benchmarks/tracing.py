"""Tracing a text to a file: seconds and peak memory, all signals of 100 kB and one signal of 1 MB."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import show, unroll_command


def main() -> None:
    """Trace the beginning of a text with a model, in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a character model directory")
    parser.add_argument("text", type=Path)
    told = parser.parse_args()
    content = told.text.read_text(encoding="utf-8")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size, flags in ((100_000, []), (1_000_000, ["--signal", "c"])):
            file, out = Path(folder) / "text.txt", Path(folder) / "trace.npz"
            file.write_text(content[:size], encoding="utf-8")
            command = unroll_command("trace", told.model, "--file", file, "--out", out, "--json", *flags)
            start = time.perf_counter()
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            seconds = time.perf_counter() - start
            found: dict[str, Any] = json.loads(done.stdout)
            rows.append(
                {
                    "characters": found["tokens"],
                    "arrays": found["arrays"],
                    "wall_seconds": round(seconds, 1),
                    "file_mb": round(out.stat().st_size / 1e6, 1),
                    # Of the largest child so far: the second row's own peak is not above it.
                    "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3),
                }
            )
    about = json.loads(subprocess.check_output([*unroll_command("info", told.model), "--json"]))
    shape = {name: about[name] for name in ("arch", "layers", "hidden_size", "level")}
    show({"benchmark": "tracing", "python": sys.version.split()[0], "model": shape, "rows": rows})


if __name__ == "__main__":
    main()
