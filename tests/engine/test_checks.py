"""What crosses into the engine is checked: by random calls (see fuzz.py), check by check, and alike by torch."""

from typing import Any

import numpy as np
import pytest
import torch

from engine.fuzz import fuzz
from engine.networks import SETS, config, network, weights_of
from laws.cases import randomised
from unroll.engine import checks, native
from unroll.engine import network as module
from unroll.engine.draw import Drawing
from unroll.engine.network import Network
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.model import Model
from unroll.predict.torch import TorchPredictor
from unroll.state import State

SIZES = {"vocab_size": 23, "embedding_size": 6, "hidden_size": 18}
KERNELS: list[bool | str] = [False, *SETS]
WAYS = [*KERNELS, "torch"]


def test_calls_at_random_are_right_or_refused() -> None:
    counts = fuzz(6000, seed=1)
    assert counts["accepted"] + counts["refused"] == 6000
    assert counts["accepted in a guise"] > 1000
    assert counts["compared with numpy in double"] > 100
    kinds = ["shape", "type", "state", "drawing", "halt"]
    assert all(counts[f"refused other {kind}"] > 50 for kind in kinds), counts
    assert counts["refused out of range"] > 200
    assert counts["refused weights"] > 20
    assert not SETS or counts["refused a guise in place"] > 10
    assert not SETS or min(counts["accepted: a decoder"], counts["refused: a decoder"]) > 150, counts


@pytest.mark.parametrize("check", ["check_state", "check_drawing"])
def test_a_check_that_is_left_out_is_seen(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "instruction_sets", list)  # numpy alone, which stretches but stays within its memory
    monkeypatch.setattr(module, check, lambda *_: None)
    with pytest.raises((AssertionError, AttributeError)):
        fuzz(3000, seed=2)


def predictor(arch: str, way: bool | str, adaptive: str = "") -> Any:
    model = randomised(Model(config(arch, 2, adaptive_softmax=adaptive, **SIZES))).float().eval()
    if way == "torch":
        return TorchPredictor(model)
    return Network(model.config, weights_of(model), kernel=way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("adaptive", ["", "5,12"])
@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_a_state_of_other_rows_is_refused_alike(arch: str, adaptive: str, way: bool | str) -> None:
    using = predictor(arch, way, adaptive)
    ids = np.random.default_rng(0).integers(0, 23, (64, 3))
    shapes = checks.state_shapes(using.config if isinstance(using, Network) else using.model.config, 64)
    for rows, given in ((1, 64), (64, 1), (63, 64), (0, 64)):
        _, state = using.hidden(ids[:1])
        wrong: State = tuple(tuple(np.repeat(part, rows, axis=0) for part in layer) for layer in state)
        some = ids[:given]
        says = rf"state\[0\]\[0\] is float32 of shape \({rows},.*allowed: .*\({given},.*one row for each row"
        for method, arguments in (("hidden", [some]), ("logits", [some]), ("nats", [some, some])):
            with pytest.raises(ValueError, match=says):
                getattr(using, method)(*arguments, wrong)
    others: list[Any] = [(), tuple(() for _ in shapes), (None,) * len(shapes)]
    for other in others:
        with pytest.raises(ValueError, match=r"the state is|state.0. is"):
            using.hidden(ids, other)


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_fit_is_refused_alike(way: bool | str) -> None:
    using = predictor("lstm", way)
    ids = np.random.default_rng(0).integers(0, 23, (4, 3))
    y, _ = using.hidden(ids)
    for wrong in (ids[0], ids[None], ids.astype(float), ids.tolist(), None, ids.astype(bool)):
        with pytest.raises(ValueError, match=r"inputs is .*; allowed: integers of shape"):
            using.hidden(wrong)
    with pytest.raises(ValueError, match="at least one symbol"):
        using.logits(ids[:, :0])
    for wrong in (ids[:2], ids[:, :2], ids[:1], ids.astype(np.float32), None):
        with pytest.raises(ValueError, match=r"targets is .*; allowed: integers of shape \(4, 3\)"):
            using.nats(ids, wrong)
        with pytest.raises(ValueError, match=r"targets is .*; allowed: integers of shape \(4, 3\)"):
            using.nats_after(y, wrong)
    for wrong in (y[0], y[..., :-1], y[..., :1], ids, None):
        with pytest.raises(ValueError, match=r"y is .*; allowed: floating-point numbers of shape \(B, T, 18\)"):
            using.logits_after(wrong)
    for wrong in (-1, 23, -100, 2**40):
        with pytest.raises(IndexError, match="for 23 symbols"):
            using.hidden(np.where(ids == ids[1, 1], wrong, ids))
        with pytest.raises(IndexError, match=r"targets from .* for 23 symbols"):
            using.nats(ids, np.where(ids == ids[1, 1], wrong, ids))


@pytest.mark.parametrize("way", WAYS)
def test_any_layout_gives_the_same(way: bool | str) -> None:
    """Torch, too, is given what it would not take: steps backwards, memory that cannot be written."""
    using = predictor("gru", way)
    ids = np.random.default_rng(0).integers(0, 23, (4, 3))
    y, state = using.hidden(ids)
    expected = using.nats(ids, ids, state)[0]
    backwards = ids[::-1].copy()[::-1]
    fixed: Any = ids.astype(np.int16)
    fixed.flags.writeable = False
    double = tuple(tuple(np.asarray(part.astype(np.float64), order="F") for part in layer) for layer in state)
    np.testing.assert_allclose(using.nats(backwards, fixed, double)[0], expected, atol=1e-6)
    np.testing.assert_allclose(using.nats_after(y[::-1], ids[::-1]), using.nats_after(y, ids)[::-1], atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_drawn_from_is_checked(kernel: bool | str) -> None:
    using = predictor("rnn", kernel)
    assert isinstance(using, Network)
    logits, state = using.logits(np.array([[1, 2], [3, 4]]))
    numbers = np.full((2, 3), 0.5)
    expected = using.generate(logits, state, Drawing(), numbers)[0]
    assert (using.generate(np.asfortranarray(logits), state, Drawing(), numbers)[0] == expected).all()
    halts: list[Any] = [np.zeros(1, np.int64), np.zeros(2, np.int32), np.zeros((), np.int32), [0]]
    for halt in halts:
        with pytest.raises(ValueError, match=r"halt is .*; allowed: int32"):
            using.generate(logits, state, Drawing(), numbers, halt)
    others: list[Any] = [numbers[:1], numbers[0], numbers.astype(int), numbers.tolist()]
    for wrong in others:
        with pytest.raises(ValueError, match=r"uniforms is|logits is"):
            using.generate(logits, state, Drawing(), wrong)
    for number in (1.0, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"uniforms from .*; allowed: 0 up to"):
            using.generate(logits, state, Drawing(), np.full((2, 3), number))
    for size in (1, 3):
        with pytest.raises(ValueError, match=r"temperature is .* one for each of 2 rows"):
            using.generate(logits, state, Drawing(np.ones(size)), numbers)
    for never in (-1, 23):
        with pytest.raises(IndexError, match="never is"):
            using.generate(logits, state, Drawing(never=never), numbers)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; allowed: numbers from 0"),
        ({"temperature": np.inf}, "temperature"),
        ({"temperature": np.array([1.0, np.nan])}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"top_k": -1}, "top_k is -1; allowed: whole numbers"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_k": 2**63}, "top_k"),
        ({"top_k": np.array([1.0])}, "top_k"),
        ({"top_p": 0.0}, "top_p is 0.0; allowed: numbers above 0"),
        ({"top_p": 1.1}, "top_p"),
        ({"min_p": np.array([0.1, 1.1])}, "min_p"),
        ({"min_p": "1"}, "min_p"),
    ],
)
def test_numbers_to_draw_by_are_checked(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Drawing(**wrong)  # type: ignore[arg-type]


def test_weights_and_threads_are_checked() -> None:
    model = Model(config("lstm", 2, **SIZES))
    weights = weights_of(model)
    for kernel in KERNELS:
        with pytest.raises(ValueError, match=r"head.weight is None; allowed: .*\(23, 18\)"):
            Network(model.config, {n: w for n, w in weights.items() if n != "head.weight"}, kernel=kernel)
        with pytest.raises(ValueError, match=r"embedding.weight is float32 of shape \(22, 6\)"):
            Network(model.config, weights | {"embedding.weight": weights["embedding.weight"][1:]}, kernel=kernel)
        for threads in (0, -1, 2**32):
            with pytest.raises(ValueError, match="threads is"):
                Network(model.config, weights, kernel=kernel, threads=threads)
    with pytest.raises(ValueError, match="allowed"):
        Network(model.config, weights, kernel="mmx")


@pytest.mark.skipif(not SETS, reason="no kernels: there was no compiler when unroll was installed")
def test_an_adaptive_softmax_has_no_kernel_of_its_own() -> None:
    model = Model(config("lstm", 2, adaptive_softmax="5,12", **SIZES))
    kernel = network(model, ("", SETS[0], 1))._kernel
    assert kernel is not None
    with pytest.raises(ValueError, match="adaptive softmax"):
        kernel.head(np.zeros((1, 18), np.float32), None, 1)
    assert torch.get_num_threads() == 1
