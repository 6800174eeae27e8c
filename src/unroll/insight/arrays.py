"""Arrays that are written to one .npz file as they grow, in constant memory."""

import math
import os
import shutil
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from unroll.errors import MachineError, UserError
from unroll.files import explained, refuse_folder, replacing, stream_number

Ids = NDArray[np.integer]
Floats = NDArray[np.floating]


class ArrayFiles:
    """Arrays that grow on the disk, one file each, and end in one .npz: by numpy's format, a zip of .npy files.

    Those of `sizes` are appended to, in float32; `ids` are whole.
    """

    def __init__(self, out: Path | None, sizes: dict[str, tuple[int, ...]], ids: dict[str, Ids]) -> None:
        self.out, self.sizes, self.ids = out, sizes, ids
        self.files: dict[str, BinaryIO] = {}
        self.folder: Path | None = None
        if out is None:
            return
        refuse_folder(out)
        if out.suffix != ".npz":
            raise UserError(f"{out} must end in .npz", allowed="a name that ends in .npz", fix=f"--out {out}.npz")

    def __enter__(self) -> "ArrayFiles":
        if self.out is None:
            return self
        try:
            self._begin(self.out)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self, out: Path) -> None:
        with explained(out):
            need = 2 * sum(4 * math.prod(shape) for shape in self.sizes.values())
            direct = stream_number(out) is not None or (out.exists() and not out.is_file())
            parent = Path(tempfile.gettempdir()) if direct else Path(os.path.realpath(out)).parent
            if need > (free := shutil.disk_usage(parent).free):
                raise MachineError(
                    f"the trace needs {need / 1e6:,.1f} MB while it is written; {free / 1e6:,.1f} MB are free in "
                    f"{parent}",
                    allowed="fewer signals or layers, or a shorter text",
                    fix="for example --signal c --layer 0",
                )
            self.folder = Path(tempfile.mkdtemp(prefix=f".{out.name[:60]}.", dir=parent))
            for name, shape in self.sizes.items():
                path = self.folder / f"{name}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                self.files[name] = open(path, "wb")  # noqa: SIM115 - closed in __exit__
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(self.files[name], header)

    def append(self, name: str, values: Floats) -> None:
        """Append rows to an array."""
        assert self.out is not None
        with explained(self.out):
            self.files[name].write(np.ascontiguousarray(values, np.float32).tobytes())

    def finish(self) -> None:
        """Put the arrays into one file, which does not exist before."""
        if self.out is None or self.folder is None:
            return
        with explained(self.out):
            for name, values in self.ids.items():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                np.save(self.folder / f"{name}.npy", values)
            with replacing(self.out) as whole, zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
                for name in self.ids:
                    archive.write(self.folder / f"{name}.npy", f"{name}.npy")
                for name, file in self.files.items():
                    file.close()
                    archive.write(self.folder / f"{name}.npy", f"{name}.npy")

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            with suppress(OSError):  # what a full disk refused is useless
                file.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
