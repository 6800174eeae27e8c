"""The engine's kernels under the address and undefined-behaviour sanitizers: their tests, and calls at random.

Each in a process of its own; one without checks shows that what they keep out would be seen.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.networks import SETS
from unroll.engine import native
from unroll.nn.arch import ARCHITECTURES

KERNELS = Path(native.__file__).with_name("kernel")
FLAGS = {
    "plain": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"],
    "vnni": ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"],
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SETS, reason="no kernels: there was no compiler when unroll was installed"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build them with the sanitizers"),
]

CALLS = 100_000
SEED = 0
LOAD = """
import sys
from pathlib import Path
from unroll.engine import native
native.LIBRARY = Path(sys.argv[1])
assert native.library() is not None
"""
TESTS = """
import pytest
sys.exit(pytest.main([*sys.argv[2:], "-q", "-x", "-p", "no:cacheprovider"]))
"""
FUZZ = """
import json
from engine.fuzz import fuzz
print(json.dumps(fuzz(int(sys.argv[2]), int(sys.argv[3]))))
"""
UNCHECKED = """
import numpy as np
from engine.fuzz import CONFIGS, random_weights
from unroll.engine import network
if sys.argv[3] == "unchecked":
    network.check_state = native._check_own = lambda *_: None
config = next(config for config in CONFIGS if config.arch == sys.argv[2])
using = network.Network(config, random_weights(config, np.random.default_rng(0)), threads=1)
ids = np.zeros((64, 3), np.int64)
try:
    using.hidden(ids, using.fresh_state(1))
except ValueError:
    print("refused")
"""


@dataclass
class Sanitized:
    """The kernels built with the sanitizers, and the environment that a process needs for them."""

    library: Path
    environment: dict[str, str]

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LOAD + script, str(self.library), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Sanitized:
    folder = tmp_path_factory.mktemp("sanitized")
    library, sanitizers = folder / "libengine.so", ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    flags = ["g++", "-O1", "-g", "-std=c++17", "-fPIC", "-ffp-contract=off", "-w", *sanitizers]
    objects = [str(folder / f"{name}.o") for name in ("interface", "draw", "team")]
    for file in objects:
        subprocess.run([*flags, "-c", str(KERNELS / Path(file).with_suffix(".cpp").name), "-o", file], check=True)
    # The dispatcher names all sets of an x86-64 processor.
    for name in ["neon"] if SETS == ["neon"] else FLAGS:
        objects.append(str(folder / f"{name}.o"))
        subprocess.run([*flags, *FLAGS.get(name, []), "-c", str(KERNELS / "steps.cpp"), "-o", objects[-1]], check=True)
    subprocess.run([*flags, "-shared", "-pthread", *objects, "-o", str(library)], check=True)
    runtimes = [
        subprocess.check_output(["g++", f"-print-file-name={name}.so"], text=True).strip()
        for name in ("libasan", "libubsan")
    ]
    environment = {name: value for name, value in os.environ.items() if name != "UNROLL_INSTRUCTIONS"}
    environment |= {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return Sanitized(library, environment)


def test_kernels_read_and_write_where_they_may(sanitized: Sanitized) -> None:
    tests = [
        str(Path(__file__).parent.parent / name)
        for name in ("test_laws.py", "test_layers.py", "test_network.py", "test_reference.py", "kernel/test_weights.py")
    ]
    result = sanitized.run(TESTS, *tests)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


def test_calls_at_random_stay_within_memory(sanitized: Sanitized) -> None:
    result = sanitized.run(FUZZ, str(CALLS), str(SEED))
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    counts = json.loads(result.stdout)
    assert counts["accepted"] + counts["refused"] == CALLS
    assert min(counts["accepted"], counts["refused"]) > CALLS // 4, counts


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_without_its_checks_the_sanitizer_reports(arch: str, sanitized: Sanitized) -> None:
    assert sanitized.run(UNCHECKED, arch, "checked").stdout == "refused\n"
    result = sanitized.run(UNCHECKED, arch, "unchecked")
    assert result.returncode != 0 and "AddressSanitizer: heap-buffer-overflow" in result.stderr, result.stderr[-3000:]
