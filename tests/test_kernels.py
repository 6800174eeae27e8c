"""Libraries are told from those of other sources: by one digest, the installer's and ours."""

import ast
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from unroll import kernels

HATCH = Path(__file__).parents[1] / "hatch_build.py"
FOLDERS = sorted(Path(kernels.__file__).parent.glob("*/kernel"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_the_installer_knows_sources_by_the_same_digest(folder: Path) -> None:
    (function,) = (node for node in ast.parse(HATCH.read_text()).body if getattr(node, "name", "") == "source_digest")
    names: dict[str, Any] = {"hashlib": hashlib, "Path": Path}
    exec(ast.unparse(function), names)
    assert names["source_digest"](folder) == kernels.source_digest(folder)


def test_what_is_no_library_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "libkernel.so"
    assert kernels.load(file, "sources", "numpy computes") is None
    file.write_bytes(b"of another system")
    assert kernels.load(file, "sources", "numpy computes") is None


@pytest.mark.parametrize(
    ("name", "sources"),
    [("nn/libkernel.so", "unroll_kernel_sources"), ("engine/libengine.so", "unroll_engine_sources")],
)
def test_a_library_of_other_sources_is_not_loaded(name: str, sources: str, tmp_path: Path) -> None:
    """Of a pull without a build: the order of an enumeration may be another, and the numbers nonsense."""
    built = Path(kernels.__file__).parent / name
    if not built.exists():
        pytest.skip("no kernels: they were not built")
    library, folder = Path(shutil.copy(built, tmp_path)), tmp_path / "kernel"
    shutil.copytree(built.with_name("kernel"), folder)
    assert kernels.load(library, sources, "numpy computes") is not None
    (folder / "changed.h").touch()
    with pytest.warns(RuntimeWarning, match="built from other sources: numpy computes, slower"):
        assert kernels.load(library, sources, "numpy computes") is None
    shutil.rmtree(folder)
    assert kernels.load(library, sources, "numpy computes") is not None, "without sources there is nothing to compare"
