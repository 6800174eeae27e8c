"""Libraries are told from those of other sources: by one digest, the installer's and ours."""

import ast
import hashlib
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
