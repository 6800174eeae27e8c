"""What a training asks of the libraries below torch holds for the whole process, and is asked before its first step."""

import os
import subprocess
import sys

SCRIPT = """
import resource, torch
from unroll.nn.process import keep_memory
keep_memory()
layer = torch.nn.LSTM(32, 64)
def peak(rows):
    for count in rows:
        layer(torch.zeros(5, count, 32))[0].sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = peak(range(1, 41))
print(peak(range(41, 441)) - first)
"""


def test_batches_of_many_shapes_take_no_more_memory_than_few() -> None:
    """The script prints what 400 further shapes take, in KiB: a gigabyte where all their kernels are kept."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONEDNN")}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 400_000
