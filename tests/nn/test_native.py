"""The native kernels against the cell's equation and the loss' definition, in their products' precision."""

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unroll.errors import UserError
from unroll.nn import native
from unroll.nn.cells import CellWeights
from unroll.nn.loss import cross_entropy
from unroll.nn.recurrent import Recurrent, run_fused, run_stepwise
from unroll.state import LayerState
from unroll.training.checks import choose_device

SETS = native.instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="no native kernel: it was not built, or the processor lacks AVX2")


def in_bfloat16(name: str) -> bool:
    kernels = native.library()
    return kernels is not None and bool(kernels.unroll_kernel_has(SETS[name], True))


HALF = [name for name in SETS if in_bfloat16(name)]
"""The sets with kernels in bfloat16; in float32 they are as the best of the others."""
needs_bfloat16 = pytest.mark.skipif(not HALF, reason="no kernel in bfloat16 for this processor")

# (steps, rows, hidden): rows of one block and of several, whole and not; hidden sizes of one to three tiles, and half.
SHAPES = [(24, 16, 64), (21, 5, 96), (25, 17, 32), (22, 33, 160), (21, 48, 224), (23, 1, 128), (21, 13, 48)]


@pytest.fixture(params=list(SETS))
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(native.VARIABLE, request.param)
    return str(request.param)


def autocast() -> AbstractContextManager[object]:
    """The precision in which the kernels that UNROLL_KERNEL names are tested."""
    return torch.autocast("cpu", torch.bfloat16, enabled=os.environ.get(native.VARIABLE) in HALF)


def rounded(x: Tensor) -> Tensor:
    """What a product in bfloat16 sees."""
    return x.to(torch.bfloat16).to(x.dtype)


def setting(steps: int, rows: int, hidden: int) -> tuple[Tensor, LayerState, CellWeights]:
    torch.manual_seed(hidden + rows)
    inputs = 24
    weights = CellWeights(
        rounded(torch.randn(4 * hidden, inputs)) / 8,
        rounded(torch.randn(4 * hidden, hidden) / hidden**0.5),
        torch.randn(4 * hidden) / 8,
        torch.randn(4 * hidden) / 8,
    )
    state = (rounded(torch.randn(rows, hidden) / 2), torch.randn(rows, hidden))
    return rounded(torch.randn(steps, rows, inputs)), state, weights


def results(x: Tensor, state: LayerState, w: CellWeights, *, kernel: bool) -> dict[str, Tensor]:
    """Outputs, last state and every gradient of a loss that takes all outputs and the last state."""
    dtype = torch.float32 if kernel else torch.float64
    x, h, c = (part.to(dtype, copy=True).requires_grad_() for part in (x, *state))
    w = CellWeights(*(part.to(dtype, copy=True).requires_grad_() for part in w))
    if kernel:
        with autocast():
            assert native.fits(x, h.shape[1])
            y, (h_n, c_n) = run_fused("lstm", x, (h, c), w, training=True)
    else:
        y, (h_n, c_n), _ = run_stepwise("lstm", x, (h, c), w)
    torch.manual_seed(1)
    loss = sum((part.to(dtype) * torch.randn(part.shape)).sum() for part in (y, h_n, c_n))
    assert isinstance(loss, Tensor)
    torch.autograd.backward(loss)
    tensors = {"y": y, "h_n": h_n, "c_n": c_n, "dx": x.grad, "dh": h.grad, "dc": c.grad}
    gradients = tensors | {f"d{name}": part.grad for name, part in zip(CellWeights._fields, w, strict=True)}
    return {name: part.detach().double() for name, part in gradients.items() if part is not None}


def distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, float]:
    assert first.keys() == second.keys()
    return {name: ((first[name] - second[name]).norm() / second[name].norm()).item() for name in first}


@pytest.mark.parametrize(("steps", "rows", "hidden"), SHAPES)
def test_kernel_computes_the_cells_equation(steps: int, rows: int, hidden: int, instructions: str) -> None:
    x, state, w = setting(steps, rows, hidden)
    far = distance(results(x, state, w, kernel=True), results(x, state, w, kernel=False))
    # bfloat16 keeps 8 bits, 2^-9 = 0.002 of rounding in every product and every stored value.
    assert max(far.values()) < (0.01 if instructions in HALF else 1e-5), far


@pytest.mark.usefixtures("instructions")
def test_swapped_gates_would_be_seen() -> None:
    x, state, w = setting(24, 16, 64)
    expected = results(x, state, w, kernel=False)
    order = [0, 2, 1, 3]
    swapped = CellWeights(*(torch.cat([part.chunk(4)[k] for k in order]) for part in w))
    far = distance(results(x, state, swapped, kernel=True), expected)
    assert min(far[name] for name in ("y", "h_n", "c_n", "dx", "dh", "dc")) > 0.1, far


def test_threads_change_no_bit(instructions: str) -> None:
    x, state, w = setting(8, 33, 160)
    torch.set_num_threads(1)
    single = results(x, state, w, kernel=True)
    # In float32 the others are MKL's products, which depend on them.
    names = single if instructions in HALF else [name for name in single if name in ("y", "h_n", "c_n", "dh", "dc")]
    for threads in (2, 4):
        torch.set_num_threads(threads)
        several = results(x, state, w, kernel=True)
        assert all(torch.equal(single[name], several[name]) for name in names)


def test_fewer_threads_than_asked_for_do_not_wait_for_the_others() -> None:
    script = """
import sys
from pathlib import Path
import torch
from unroll.nn import native
native.LIBRARY = Path(sys.argv[1])
from unroll.nn.cells import CellWeights
torch.set_num_threads(2)
w = CellWeights(torch.ones(128, 8), torch.ones(128, 32), torch.ones(128), torch.ones(128))
x = torch.ones(30, 3, 8, requires_grad=True)
with torch.autocast("cpu", torch.bfloat16, enabled=len(sys.argv) > 2):
    y, _ = native.run_lstm(x, (torch.zeros(3, 32), torch.zeros(3, 32)), w)
y.float().sum().backward()
print("done")
"""
    process = subprocess.run(
        [sys.executable, "-c", script, str(native.LIBRARY), *["bfloat16"] * bool(HALF)],
        env=os.environ | {"OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "2", native.VARIABLE: next(iter(SETS))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.stdout == "done\n", process.stderr


@pytest.mark.usefixtures("instructions")
def test_cut_in_two_is_the_same_bit_for_bit() -> None:
    x, state, w = setting(24, 17, 96)
    with torch.no_grad(), autocast():
        y, last = native.run_lstm(x, state, w)
        for split in (1, 7, 23):
            first, middle = native.run_lstm(x[:split], state, w)
            second, end = native.run_lstm(x[split:], middle, w)
            assert torch.equal(torch.cat([first, second]), y)
            assert all(torch.equal(a, b) for a, b in zip(end, last, strict=True))


@pytest.mark.usefixtures("instructions")
def test_rows_do_not_touch_each_other() -> None:
    x, state, w = setting(21, 19, 64)
    order = torch.randperm(19)
    with torch.no_grad(), autocast():
        y, last = native.run_lstm(x, state, w)
        swapped, end = native.run_lstm(x[:, order], tuple(part[order] for part in state), w)
    assert torch.equal(swapped, y[:, order])
    assert all(torch.equal(a, b[order]) for a, b in zip(end, last, strict=True))


@pytest.mark.usefixtures("instructions")
def test_saturated_gates_stay_finite() -> None:
    x, state, w = setting(24, 16, 64)
    far = results(x * 1e4, state, w, kernel=True)
    assert all(torch.isfinite(part).all() for part in far.values())


def test_a_stack_uses_it_and_says_the_same_without(instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    stack = Recurrent("lstm", 24, 64, 2, skip="sum")
    x = torch.randn(21, 5, 24)
    with torch.no_grad(), autocast():
        ours, _ = stack(x)
        monkeypatch.setattr(native, "fits", lambda *_: False)
        theirs, _ = stack(x)
    assert not torch.equal(ours, theirs)
    assert (ours.float() - theirs.float()).norm() < (0.01 if instructions in HALF else 1e-5) * theirs.float().norm()


def test_steps_of_uneven_sizes_fall_back(instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(2, 1, 8)
    with autocast():
        assert [native.fits(x, hidden) for hidden in (32, 40, 48, 64)] == [True, False, True, True]
    assert native.fits(x, 32)  # in float32 too, since it is demanded
    with torch.autocast("cpu", torch.bfloat16):
        assert native.fits(x, 32) == (instructions in HALF)
        monkeypatch.setenv(native.VARIABLE, "torch")
        assert not native.fits(x, 32)
        monkeypatch.setenv(native.VARIABLE, "")
        assert native.fits(x, 32) == bool(HALF)
    assert not native.fits(x, 32)  # torch's are faster there


def test_another_name_is_refused_in_three_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.VARIABLE, "sse2")
    with pytest.raises(UserError, match="UNROLL_KERNEL"):
        native.fits(torch.zeros(2, 1, 8), 32)
    with pytest.raises(UserError) as error:
        choose_device("auto")  # before anything is written
    assert error.value.what == "the environment variable UNROLL_KERNEL is 'sse2'"
    assert error.value.allowed == f"on this machine {', '.join([*SETS, 'torch'])}"
    assert "unset the variable" in error.value.fix


@needs_bfloat16
@pytest.mark.parametrize("symbols", [2, 16, 65, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_cross_entropy_and_its_gradient(symbols: int, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(symbols)
    logits = (4 * torch.randn(3, 25, symbols)).to(torch.bfloat16).requires_grad_()
    targets = torch.randint(symbols, (3, 25))
    exact = logits.detach().double().requires_grad_()
    ours, theirs = cross_entropy(logits, targets), cross_entropy(exact, targets)
    assert "_CrossEntropy" in type(ours.grad_fn).__name__
    assert abs(ours.item() - theirs.item()) < 1e-6 * max(1.0, theirs.item())
    torch.autograd.backward(3 * ours)
    torch.autograd.backward(3 * theirs)
    assert logits.grad is not None and exact.grad is not None
    assert (logits.grad.double() - exact.grad).abs().max() < 2**-7 * exact.grad.abs().max()


@needs_bfloat16
def test_cross_entropy_of_an_impossible_symbol_is_infinite_and_of_none_not_a_number() -> None:
    logits = torch.zeros(1, 2, 20, dtype=torch.bfloat16)
    logits[0, 1, 3] = -torch.inf
    targets = torch.full((1, 2), 3)
    assert cross_entropy(logits.requires_grad_(), targets).item() == torch.inf
    invalid = torch.full((1, 2, 20), torch.nan, dtype=torch.bfloat16).requires_grad_()
    assert cross_entropy(invalid, targets).isnan()


@pytest.mark.usefixtures("instructions")
def test_what_is_not_a_number_stays_visible() -> None:
    x, state, w = setting(24, 16, 64)
    x[3, 2, 1] = torch.nan
    with torch.no_grad(), autocast():
        y, _ = native.run_lstm(x, state, w)
    assert y[3:, 2].isnan().any(dim=1).all() and y[:3].isfinite().all() and y[:, 3:].isfinite().all()


@needs_bfloat16
def test_a_target_that_is_no_symbol_is_refused() -> None:
    logits = torch.zeros(1, 2, 20, dtype=torch.bfloat16).requires_grad_()
    with pytest.raises(IndexError, match="20 symbols"):
        cross_entropy(logits, torch.tensor([[0, 20]]))


@pytest.mark.usefixtures("instructions")
def test_memory_is_returned() -> None:
    x, state, w = setting(64, 16, 128)
    sizes = []
    for _ in range(3):
        for _ in range(20):
            results(x, state, w, kernel=True)
        status = Path("/proc/self/status").read_text().splitlines()
        sizes.append(int(next(line for line in status if line.startswith("VmRSS")).split()[1]))
    assert all(later < earlier + 20_000 for earlier, later in pairwise(sizes))
