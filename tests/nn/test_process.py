"""What a training asks of the libraries below torch holds for the whole process, and is asked before its first step."""

from pathlib import Path

from cli.command import environment
from forked import Forked

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


def test_batches_of_many_shapes_take_no_more_memory_than_few(tmp_path: Path) -> None:
    """The script prints what 400 further shapes take, in KiB: a gigabyte where all their kernels are kept."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    clean = {name: value for name, value in environment().items() if not name.startswith("ONEDNN")}
    with Forked(program=str(script), environment=clean) as process:
        out, err = process.communicate(timeout=120)
        assert process.poll() == 0, err
    assert int(out) < 400_000
