"""Builds the native kernels when the package is installed; without a compiler the package works all the same."""

import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ["-O3", "-std=c++17", "-fPIC", "-Wall"]
TRAINING = [*FLAGS, "-fopenmp", "-ffp-contract=fast", "-Wno-psabi"]
ENGINE = [*FLAGS, "-pthread", "-ffp-contract=off", "-Wno-psabi"]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
BFLOAT16 = [*AVX512, "-mavx512bf16"]
"""Which of them a processor has is asked when a model is loaded."""
INSTRUCTION_SETS = {
    "x86_64": [[], AVX2, AVX512, [*AVX512, "-mavx512vnni"]],
    "aarch64": [[]],
    "arm64": [[]],
}
TRAINING_SETS = {
    "x86_64": [AVX2, AVX512, BFLOAT16, [*BFLOAT16, "-mamx-tile", "-mamx-bf16"]],
    "aarch64": [[]],
}


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the kernels with the system's C++ compiler, on the platforms that they are made for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the pages of `unroll help` into the wheel, and the shared libraries, built beside their sources."""
        if self.target_name == "wheel":
            build_data["force_include"] |= help_pages(Path(self.root) / "docs")
        system, machine = platform.system(), platform.machine()
        if self.target_name != "wheel" or system not in ("Linux", "Darwin") or machine not in INSTRUCTION_SETS:
            return
        compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        source = Path(self.root) / "src" / "unroll"
        training, engine = source / "nn" / "libkernel.so", source / "engine" / "libengine.so"
        for library in training, engine:
            library.unlink(missing_ok=True)
        if compiler is None:
            self.app.display_warning("no C++ compiler: models run by numpy and train with torch's kernels, slower")
            return
        try:
            build_engine(compiler, source / "engine" / "kernel", engine, machine)
            if system == "Linux" and machine in TRAINING_SETS:
                build_training(compiler, source / "nn" / "kernel", training, machine)
        except subprocess.CalledProcessError as error:
            self.app.display_warning(f"kernels did not compile, so numpy and torch do without:\n{error.stderr[-2000:]}")
        for library in training, engine:
            if library.exists():
                build_data["artifacts"].append(str(library.relative_to(self.root)))
                build_data["pure_python"] = False
                build_data["infer_tag"] = True


def help_pages(docs: Path) -> dict[str, str]:
    """Return the how-to pages and their index, each with its place in the wheel."""
    index = docs / "howto" / "index.md"
    links = re.findall(r"^- \[.+\]\((.+\.md)\): ", index.read_text(encoding="utf-8"), re.M)
    pages = [index.resolve(), *((index.parent / link).resolve() for link in links)]
    return {str(page): f"unroll/pages/{page.relative_to(docs.resolve())}" for page in pages}


def source_digest(folder: Path) -> str:
    """Return what tells the kernel's sources from any others; `unroll.kernels` compares it when it loads them."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.cpp"), *folder.glob("*.h")]):
        digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def build_engine(compiler: str, folder: Path, library: Path, machine: str, extra: tuple[str, ...] = ()) -> None:
    """Compile the engine's kernels."""
    _build([compiler, *ENGINE, *extra], INSTRUCTION_SETS[machine], folder, library)


def build_training(compiler: str, folder: Path, library: Path, machine: str, extra: tuple[str, ...] = ()) -> None:
    """Compile the training kernels."""
    _build([compiler, *TRAINING, *extra], TRAINING_SETS[machine], folder, library)


def _build(command: list[str], sets: list[list[str]], folder: Path, library: Path) -> None:
    """Compile `steps.cpp` once for each instruction set, the rest for any processor."""
    with tempfile.TemporaryDirectory() as made:
        objects = []
        for number, flags in enumerate(sets):
            objects.append(f"{made}/steps{number}.o")
            _run([*command, *flags, "-c", str(folder / "steps.cpp"), "-o", objects[-1]])
        for file in sorted(folder.glob("*.cpp")):
            if file.stem != "steps":
                objects.append(f"{made}/{file.stem}.o")
                _run([*command, f'-DUNROLL_SOURCES="{source_digest(folder)}"', "-c", str(file), "-o", objects[-1]])
        _run([*command, "-shared", *objects, "-o", str(library)])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
