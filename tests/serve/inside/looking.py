"""A client that looks inside as the page does, and texts to look at."""

import json
import struct
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.testclient import TestClient

from serve.quoted import quoted
from unroll.nn.arch import ARCHITECTURES

TEXT = quoted(5000)

SHORT = "ab “cd efg” hij.\nab “j”"

ARCHS = tuple(ARCHITECTURES)

Json = dict[str, Any]


@dataclass
class Studio:
    client: TestClient

    def get(self, path: str, **query: Any) -> Any:
        return self._read(self.client.get(f"/api/inside/{path}", params=query))

    def post(self, path: str, **body: Any) -> Any:
        return self._read(self.client.post(f"/api/inside/{path}", json=body))

    def _read(self, answer: Any) -> Any:
        assert answer.status_code == 200, answer.text
        binary = answer.headers["content-type"] == "application/octet-stream"
        return frame(answer.content) if binary else answer.json()

    def done(self, job: Json, seconds: float = 120) -> Json:
        """Wait for a job; all that it says on the way is well-formed."""
        end = time.monotonic() + seconds
        while job["state"] in ("waiting", "running"):
            assert time.monotonic() < end and 0 <= job["done"] <= job["total"]
            time.sleep(0.02)
            job = self.get(f"jobs/{job['id']}")
        return job


def frame(data: bytes) -> Json:
    """Read a frame as the page does."""
    (size,) = struct.unpack("<I", data[:4])
    header: Json = json.loads(data[4 : 4 + size])
    place, arrays = -(-(4 + size) // 8) * 8, {}
    for array in header["arrays"]:
        dtype = np.dtype("<" + array["dtype"])
        count = int(np.prod(array["shape"]))
        arrays[array["name"]] = np.frombuffer(data, dtype, count, place).reshape(array["shape"])
        place = -(-(place + count * dtype.itemsize) // 8) * 8
    assert place == len(data)
    return {**header, "arrays": arrays}


def back(levels: NDArray[np.uint8], low: float, high: float) -> NDArray[np.float64]:
    """Return what colours stand for, as the page's tables have it."""
    scaled = levels.astype(np.float64)
    if low == 0:
        return scaled / 255 * high
    return np.where(scaled < 128, scaled / 127 - 1, (scaled - 128) / 127) * high
