"""How fast a large text becomes ids, and in how much memory; prints one JSON object.

python benchmarks/encode.py --megabytes 1000
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from unroll.data.blocks import Level
from unroll.data.corpus import DataConfig, write_corpus

LEVELS: tuple[Level, ...] = ("char", "byte")
SCRIPTS = {
    "ascii": "abcdefghijklmnopqrstuvwxyz",
    "latin": "aeioubcdlmnrstäöüßéèçñ",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщыьэюя",
    "chinese": "".join(map(chr, range(0x4E00, 0x4E00 + 3000))),
    "emoji": "".join(map(chr, range(0x1F600, 0x1F640))),
}
TEXTS = {
    "ascii": {"ascii": 1.0},
    "mixed": {"ascii": 0.6, "latin": 0.15, "cyrillic": 0.15, "chinese": 0.09, "emoji": 0.01},
}


def write_text(path: Path, kind: str, megabytes: int) -> None:
    """Write random words of the scripts of `kind` in lines of ten: four million characters, repeated up to the size."""
    draw = random.Random(1)
    scripts, weights = list(TEXTS[kind]), list(TEXTS[kind].values())
    words = []
    for number, script in enumerate(draw.choices(scripts, weights, k=600_000)):
        words.append("".join(draw.choices(SCRIPTS[script], k=draw.randint(1, 11))))
        words.append("\n" if number % 10 == 9 else " ")
    text = "".join(words).encode()
    with open(path, "wb") as file:
        for _ in range(megabytes * 10**6 // len(text)):
            file.write(text)


def encode(path: Path, level: Level, out: Path) -> None:
    """Prepare a corpus in this process and print its own measure of time and memory."""
    start = time.perf_counter()
    for _ in write_corpus([path], out, DataConfig(level=level)):
        pass
    print(json.dumps({"prepare_seconds": round(time.perf_counter() - start, 3), "peak_rss_mb": round(peak_mb(), 1)}))


def peak_mb() -> float:
    """Return the peak memory of this process; on Linux without what `ru_maxrss` inherits from its parent."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(path: Path, level: str, out: Path) -> dict[str, object]:
    """Return time, speed and peak memory of a process that encodes the file, its start included."""
    command = [sys.executable, __file__, "--encode", str(path), "--level", level, "--out", str(out)]
    start = time.perf_counter()
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    megabytes = path.stat().st_size / 1e6
    return {
        "level": level,
        "text": path.stem,
        "text_mb": round(megabytes, 1),
        "seconds": round(seconds, 3),
        "mb_per_second": round(megabytes / seconds, 1),
        **json.loads(result.stdout),
    }


def main() -> None:
    """Measure each level on each text, or encode one file in a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--encode", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--level", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.encode:
        return encode(arguments.encode, arguments.level, arguments.out)

    from measure import show  # Not above: it imports torch, whose memory a child would count as its own.

    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in TEXTS:
            path = folder / f"{kind}.txt"
            write_text(path, kind, arguments.megabytes)
            for level in LEVELS:
                results.append(measure(path, level, folder / f"{kind}-{level}"))
    show({"benchmark": "encode", "megabytes": arguments.megabytes, "numpy": version("numpy"), "results": results})


if __name__ == "__main__":
    main()
