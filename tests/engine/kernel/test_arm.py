"""The kernels compile for ARM processors, where this machine has a compiler for them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from unroll.engine import native

KERNELS = Path(native.__file__).with_name("kernel")
COMPILER = "aarch64-linux-gnu-g++"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"no {COMPILER}")
@pytest.mark.parametrize("name", ["steps", "interface", "draw", "team"])
def test_kernels_compile_for_arm(name: str, tmp_path: Path) -> None:
    compiled = tmp_path / f"{name}.o"
    flags = ["-O1", "-std=c++17", "-fPIC", "-Wall", "-Werror", "-ffp-contract=off", "-Wno-psabi"]
    subprocess.run([COMPILER, *flags, "-c", str(KERNELS / f"{name}.cpp"), "-o", str(compiled)], check=True)
    symbols = subprocess.check_output(["aarch64-linux-gnu-nm", str(compiled)], text=True)
    assert ("unroll_neon" in symbols) == (name in ("steps", "interface"))
