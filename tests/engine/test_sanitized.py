"""The engine's kernels under the address and undefined-behaviour sanitizers: their tests, in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.networks import SETS
from unroll.engine import native

KERNELS = Path(native.__file__).with_name("kernel")
FLAGS = {
    "plain": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"],
    "vnni": ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"],
}
RUN = """
import sys
from pathlib import Path
import pytest
from unroll.engine import native
native.LIBRARY = Path(sys.argv[1])
assert native.library() is not None
sys.exit(pytest.main([*sys.argv[2:], "-q", "-x", "-p", "no:cacheprovider"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not SETS, reason="no kernels: there was no compiler when unroll was installed")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build them with the sanitizers")
def test_kernels_read_and_write_where_they_may(tmp_path: Path) -> None:
    library, sanitizers = tmp_path / "libengine.so", ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    flags = ["g++", "-O1", "-g", "-std=c++17", "-fPIC", "-ffp-contract=off", "-w", *sanitizers]
    objects = [str(tmp_path / "interface.o"), str(tmp_path / "team.o")]
    for file in objects:
        subprocess.run([*flags, "-c", str(KERNELS / Path(file).with_suffix(".cpp").name), "-o", file], check=True)
    # The dispatcher names all sets of an x86-64 processor.
    for name in ["neon"] if SETS == ["neon"] else FLAGS:
        objects.append(str(tmp_path / f"{name}.o"))
        subprocess.run([*flags, *FLAGS.get(name, []), "-c", str(KERNELS / "engine.cpp"), "-o", objects[-1]], check=True)
    subprocess.run([*flags, "-shared", "-pthread", *objects, "-o", str(library)], check=True)
    runtimes = [
        subprocess.check_output(["g++", f"-print-file-name={name}.so"], text=True).strip()
        for name in ("libasan", "libubsan")
    ]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    tests = [str(Path(__file__).with_name(name)) for name in ("test_laws.py", "test_generate.py", "test_large.py")]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(library), *tests], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
