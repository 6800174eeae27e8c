"""Builds the native kernels when the package is installed; without a compiler the package works all the same."""

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/unroll/nn")
FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp", "-Wall", "-Wno-maybe-uninitialized"]


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the kernels with the system's C++ compiler, on the platforms that it has instructions for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the shared library beside its source and put it into the wheel."""
        if self.target_name != "wheel" or (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            return
        compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        folder = Path(self.root) / FOLDER
        library = folder / "libkernel.so"
        library.unlink(missing_ok=True)
        if compiler is None:
            self.app.display_warning("no C++ compiler: LSTMs train with torch's kernels, more slowly in bfloat16")
            return
        built = subprocess.run(
            [compiler, *FLAGS, *map(str, sorted((folder / "kernel").glob("*.cpp"))), "-o", str(library)],
            capture_output=True,
            text=True,
        )
        if built.returncode:
            library.unlink(missing_ok=True)
            self.app.display_warning(f"the kernels did not compile, so torch's kernel is used:\n{built.stderr[-2000:]}")
            return
        build_data["artifacts"].append(str(FOLDER / library.name))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
