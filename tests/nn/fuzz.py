"""Random calls of the training kernels, valid and not: each gives the right result or raises."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unroll.nn import native

REFUSALS = (ValueError, IndexError)
Given = dict[str, Any]


class Unchanged(Exception):
    """A change that would leave an argument right."""


def arguments(method: str, random: np.random.Generator) -> Given:
    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(random.normal(size=shape).astype(np.float32))

    if method == "loss":
        rows, symbols = int(random.choice([1, 2, 7, 33])), int(random.choice([2, 3, 15, 16, 17, 40]))
        return {
            "logits": normal(rows, symbols).bfloat16(),
            "targets": torch.from_numpy(random.integers(0, symbols, rows)),
        }
    steps, rows, hidden = (
        int(random.integers(1, 4)),
        int(random.choice([1, 2, 5, 16, 17, 33])),
        int(random.choice([16, 32, 64, 96])),
    )
    return {
        "z": normal(steps, rows, 4 * hidden).bfloat16(),
        "h": normal(rows, hidden),
        "c": normal(rows, hidden),
        "weight": normal(4 * hidden, hidden) / hidden**0.5,
    }


def call(method: str, inputs: Given, *, backward: bool) -> list[Tensor]:
    """Return the results, and the gradients of all floating-point arguments."""
    inputs = {
        name: part.detach().requires_grad_() if isinstance(part, Tensor) and part.is_floating_point() else part
        for name, part in inputs.items()
    }
    if method == "loss":
        results = [native.cross_entropy(inputs["logits"], inputs["targets"])]
    else:
        results = list(native._Recurrence.apply(*inputs.values()))  # type: ignore[no-untyped-call]
    if backward:
        sum((part.float() * part.float()).sum() for part in results).backward()  # type: ignore[union-attr]
    gradients = [part.grad for part in inputs.values() if isinstance(part, Tensor) and part.grad is not None]
    return [part.detach().clone() for part in (*results, *gradients)]


def spoiled(inputs: Given, random: np.random.Generator) -> tuple[str, Given]:
    """Return the name of a change, and the arguments with it; raises Unchanged where it would leave them right."""
    name = list(inputs)[int(random.integers(len(inputs)))]
    part = inputs[name]
    if name == "targets" and random.random() < 0.4:
        array = part.clone()
        array[int(random.integers(len(array)))] = int(random.choice([-1, -100, 40, 2**40, -(2**63)]))
        return "out of range", inputs | {name: array}
    if random.random() < 0.4:
        substitutes: list[Any] = [None, 3, part.tolist(), part.numpy() if part.dtype != torch.bfloat16 else "z"]
        substitutes += [part.to(torch.complex64), part.bool(), part.to(torch.int32), part.to("meta")]
        substitutes += [{"z": part.double(), "logits": part.float()}.get(name, part.float().to_sparse())]
        return "other type", inputs | {name: substitutes[int(random.integers(len(substitutes)))]}
    axis = int(random.integers(part.dim()))
    shapes = [
        torch.cat([part, part.narrow(axis, 0, 1)], axis),
        part.narrow(axis, 0, part.shape[axis] - 1),
        part.narrow(axis, 0, 1),
        part.narrow(axis, 0, 0),
        part[None],
        part.reshape(-1),
        part.mT if part.dim() > 1 else part[:, None],
        part.flatten()[0],
    ]
    array = shapes[int(random.integers(len(shapes)))]
    if array.shape == part.shape:
        raise Unchanged
    bound = {"z": (0,), "logits": ()}.get(name, ())
    if axis in bound and array.dim() == part.dim() and array.shape[1:] == part.shape[1:] and len(array):
        raise Unchanged  # other steps
    if (
        name == "logits"
        and array.dim() == 2
        and len(array) == len(part)
        and array.shape[1] > int(inputs["targets"].max())
    ):
        raise Unchanged  # other symbols
    return "other shape", inputs | {name: array}


def disguised(inputs: Given, random: np.random.Generator) -> tuple[str, Given]:
    """Return the arguments with one in another layout, or, where any floating-point type will do, in another type."""
    name = list(inputs)[int(random.integers(len(inputs)))]
    part = inputs[name]
    if name in ("h", "c", "weight") and random.random() < 0.3:
        return "wider", inputs | {name: part.double()}
    if random.random() < 0.5:
        return "strided", inputs | {name: torch.stack([part, part], -1)[..., 0]}
    return "columns first", inputs | {name: part.transpose(0, -1).contiguous().transpose(0, -1)}


def fuzz(calls: int, seed: int, *, compare: bool) -> Counter[str]:
    """Call at random so many times; return how often each kind of call was made, and how each ended.

    Raises AssertionError where a wrong call did not raise, a right one did, or, with `compare`, a result is not right.
    """
    random, counts = np.random.default_rng(seed), Counter[str]()
    for _ in range(calls):
        method = ("loss", "lstm")[int(random.integers(2))]
        inputs, kind, change = arguments(method, random), random.random(), ""
        variant = inputs
        try:
            if kind < 0.5:
                change, variant = spoiled(inputs, random)
            elif kind < 0.75:
                change, variant = disguised(inputs, random)
        except Unchanged:
            pass
        invalid, backward = bool(change) and kind < 0.5, bool(random.random() < 0.5)
        shapes = {name: (part.dtype, tuple(part.shape)) for name, part in variant.items() if isinstance(part, Tensor)}
        try:
            results = call(method, variant, backward=backward)
        except REFUSALS as error:
            assert invalid, f"{method} was refused, {change}: {error}, {shapes}"
            counts["refused"] += 1
            counts[f"refused {change}"] += 1
            continue
        assert not invalid, f"{method} was accepted, {change}: {shapes}"
        counts["accepted"] += 1
        if change and compare:
            counts["accepted in a guise"] += 1
            for result, expected in zip(results, call(method, inputs, backward=backward), strict=True):
                torch.testing.assert_close(result.to(expected.dtype), expected, rtol=0, atol=0)
        elif compare and method == "loss":
            counts["compared with torch"] += 1
            exact = torch.nn.functional.cross_entropy(inputs["logits"].double(), inputs["targets"])
            torch.testing.assert_close(results[0].double(), exact, rtol=1e-4, atol=1e-5)
    return counts
