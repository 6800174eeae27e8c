"""The training kernels under the address and undefined-behaviour sanitizers: their tests, and calls at random.

Each in a process of its own. Tile registers are those of tiles.h: sanitizers do not see what assembly reads and writes,
and so the tests need no AMX.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from unroll.kernels import source_digest
from unroll.nn import native

HERE, KERNELS = Path(__file__).parent, Path(native.__file__).with_name("kernel")
CALLS = 4_000
LOAD = """
import sys
from pathlib import Path
from unroll.nn import native
native.LIBRARY = Path(sys.argv[1])
assert "amx" in native.instruction_sets()
"""
TESTS = """
import pytest
sys.exit(pytest.main([*sys.argv[2:], "-q", "-p", "no:cacheprovider"]))
"""
FUZZ = """
import json
import torch
from nn.fuzz import fuzz
torch.set_num_threads(2)
print(json.dumps(fuzz(int(sys.argv[2]), 0, compare=True)))
"""
UNCHECKED = """
import torch
native._check = lambda *_: None
z, w = torch.zeros(2, 3, 128, dtype=torch.bfloat16), torch.zeros(128, 16)
native._Recurrence.apply(z, torch.zeros(3, 32), torch.zeros(3, 32), w)
"""


def _flags() -> str:
    """Return what the processor has, in Linux's words."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("avx512_bf16" not in _flags(), reason="the processor lacks AVX512-BF16"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build them with the sanitizers"),
]


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
    library, avx512 = folder / "libkernel.so", ["-mfma", *(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq"))]
    flags = ["g++", "-O1", "-g", "-std=c++17", "-fPIC", "-fopenmp", "-ffp-contract=fast", "-w"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    tiles = ["-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-include", str(HERE / "tiles.h")]
    objects = []
    for number, own in enumerate([["-mavx2", "-mfma"], avx512, [*avx512, "-mavx512bf16"], [*avx512, *tiles]]):
        objects.append(str(folder / f"steps{number}.o"))
        subprocess.run([*flags, *own, "-c", str(KERNELS / "steps.cpp"), "-o", objects[-1]], check=True)
    sources = f'-DUNROLL_SOURCES="{source_digest(KERNELS)}"'
    command = [*flags, sources, "-shared", str(KERNELS / "interface.cpp"), *objects, "-o", str(library)]
    subprocess.run(command, check=True)
    runtimes = [
        subprocess.check_output(["g++", f"-print-file-name={name}.so"], text=True).strip()
        for name in ("libasan", "libubsan")
    ]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return Sanitized(library, environment)


def test_kernels_read_and_write_where_they_may(sanitized: Sanitized) -> None:
    # What memory a process has under the sanitizer says nothing.
    result = sanitized.run(TESTS, str(HERE / "test_native.py"), "-k", "not memory_is_returned")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert set(result.stdout.split()[0]) == {"."}, result.stdout  # none is skipped


def test_calls_at_random_stay_within_memory(sanitized: Sanitized) -> None:
    result = sanitized.run(FUZZ, str(CALLS))
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    counts = json.loads(result.stdout)
    assert counts["accepted"] + counts["refused"] == CALLS
    assert min(counts["accepted"], counts["refused"]) > CALLS // 4, counts


def test_without_its_checks_the_sanitizer_reports(sanitized: Sanitized) -> None:
    result = sanitized.run(UNCHECKED)
    assert result.returncode != 0 and "AddressSanitizer: heap-buffer-overflow" in result.stderr, result.stderr[-3000:]
