"""The native kernels under the address and undefined-behaviour sanitizers: their own tests, in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unroll.nn import native

KERNELS = Path(native.__file__).with_name("kernel")
TESTS = Path(__file__).with_name("test_native.py")
RUN = """
import sys
from pathlib import Path
import pytest
from unroll.nn import native
native.LIBRARY = Path(sys.argv[1])
assert native.library() is not None
sys.exit(pytest.main([sys.argv[2], "-q", "-p", "no:cacheprovider"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(native.library() is None, reason="no native kernels: not built, or the processor lacks AMX")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build them with the sanitizers")
def test_kernels_read_and_write_where_they_may(tmp_path: Path) -> None:
    library = tmp_path / "libkernel.so"
    flags = ["-O1", "-g", "-std=c++17", "-shared", "-fPIC", "-fopenmp", "-w"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    subprocess.run(["g++", *flags, *map(str, sorted(KERNELS.glob("*.cpp"))), "-o", str(library)], check=True)
    runtimes = [
        subprocess.check_output(["g++", f"-print-file-name={name}.so"], text=True).strip()
        for name in ("libasan", "libubsan")
    ]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(library), str(TESTS)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
