"""Random calls of the engine, valid and not: each gives the right result or raises, and none reaches beyond its memory.

`python -m engine.fuzz CALLS [SEED]` does it as a program, which the sanitizers watch (kernel/test_sanitized.py).
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import fuzz_decoder, fuzz_layers
from unroll.engine import native
from unroll.engine.draw import Drawing
from unroll.engine.network import Network
from unroll.engine.weights import shapes
from unroll.nn.arch import RECURRENT
from unroll.nn.config import ModelConfig

Array = NDArray[Any]
REFUSALS = (ValueError, IndexError, TypeError)
SIZES: dict[str, Any] = {"vocab_size": 23, "embedding_size": 6, "hidden_size": 18, "window": 4}
CONFIGS = [
    *(ModelConfig(**SIZES, arch=arch, num_layers=layers) for arch, layers in product(RECURRENT, (1, 2))),
    ModelConfig(arch="lstm", num_layers=3, skip="residual", tie_weights=True, layers_after=1, **SIZES),
    ModelConfig(arch="gru", num_layers=3, skip="sum", layers_before=1, **SIZES),
    ModelConfig(arch="rnn", num_layers=2, vocab_size=2, embedding_size=1, hidden_size=1),
    ModelConfig(arch="lstm", num_layers=1, vocab_size=150, embedding_size=40, hidden_size=40, tie_weights=True),
    ModelConfig(arch="window", num_layers=1, **SIZES),
    ModelConfig(arch="window", num_layers=2, layers_after=1, **SIZES | {"window": 1}),
    ModelConfig(arch="lstm", num_layers=2, layers_after=1, adaptive_softmax="5,12", **SIZES),
    ModelConfig(arch="window", num_layers=1, adaptive_softmax="9", **SIZES),
]


def random_weights(config: ModelConfig, random: np.random.Generator) -> dict[str, Array]:
    return {
        name: (random.normal(size=shape) * 0.7 * shape[-1] ** -0.5).astype(np.float32)
        for name, shape in shapes(config).items()
    }


def kernels() -> list[bool | str]:
    return [False, *native.instruction_sets()]


@dataclass
class Subject:
    """A network under test, and numpy in double for its results; of eight bits there is none."""

    config: ModelConfig
    network: Network
    reference: Network | None


def subjects(random: np.random.Generator) -> list[Subject]:
    """Return every configuration in every way of running it; every other one with a table of the first products."""
    all_subjects = []
    for number, config in enumerate(CONFIGS):
        weights = random_weights(config, random)
        double = {name: weight.astype(np.float64) for name, weight in weights.items()}
        reference = Network(config, double, kernel=False)
        before, native.TABLE_BYTES = native.TABLE_BYTES, number % 2 * native.TABLE_BYTES
        for kernel, int8 in product(kernels(), (False, True)):
            network = Network(
                config, weights, kernel=kernel, precision="int8" if int8 else "float32", threads=1 + number % 3
            )
            all_subjects.append(Subject(config, network, None if int8 else reference))
        native.TABLE_BYTES = before
    return all_subjects


# ---- arguments that are right


def state_of(config: ModelConfig, rows: int, random: np.random.Generator) -> Any:
    from unroll.engine.reference import fresh_state

    return tuple(
        tuple(random.normal(size=part.shape).astype(np.float32) for part in layer)
        for layer in fresh_state(config, rows)
    )


METHODS: dict[str, tuple[str, ...]] = {
    "nats": ("inputs", "targets", "state"),
    "logits": ("inputs", "state"),
    "hidden": ("inputs", "state"),
    "nats_after": ("y", "targets"),
    "logits_after": ("y",),
    "generate": ("logits", "state", "drawing", "uniforms", "halt"),
    "kernel.read": ("inputs", "flat"),
    "kernel.head": ("y", "targets"),
    "kernel.generate": ("logits", "flat", "drawing", "uniforms", "halt"),
}


def arguments(method: str, config: ModelConfig, random: np.random.Generator) -> dict[str, Any]:
    rows = int(random.choice([0, 1, 1, 1, 2, 3, 5, 9, 14]))
    steps = int(random.integers(1, 6) if random.random() < 0.95 or method == "logits" else 0)
    size = (rows,) if method == "kernel.head" else (rows, steps)

    def value(name: str) -> Any:
        if name in ("inputs", "targets"):
            return random.integers(0, config.vocab_size, size)
        if name == "state":
            optional = method in ("nats", "logits", "hidden") and random.random() < 0.2
            return None if optional else state_of(config, rows, random)
        if name == "flat":
            return [part for layer in state_of(config, rows, random) for part in layer]
        if name == "y":
            return random.normal(size=(*size, config.hidden_size)).astype(np.float32)
        if name == "logits":
            return random.normal(size=(rows, config.vocab_size)).astype(np.float32)
        if name == "uniforms":
            return random.random((rows, steps))
        if name == "halt":
            return None if random.random() < 0.5 else np.zeros(1, np.int32)
        if random.random() < 0.5:
            return Drawing(float(random.uniform(0, 2)), int(random.integers(0, 30)), 0.9, 0.01, 0)
        return Drawing(
            random.uniform(0, 2, rows), random.integers(0, 30, rows), random.uniform(0.1, 1, rows), np.zeros(rows)
        )

    return {name: value(name) for name in METHODS[method]}


def call(subject: Subject, method: str, inputs: dict[str, Any]) -> list[Any]:
    """Call a method; return all arrays of its result, those that it changed in place too."""
    if method.startswith("kernel."):
        kernel = subject.network._kernel
        assert kernel is not None
        threads = 1 + len(method) % 3
        if method == "kernel.read":
            y = kernel.read(inputs["inputs"], inputs["flat"], threads)
            return [y, *inputs["flat"]]
        if method == "kernel.head":
            return [kernel.head(inputs["y"], inputs["targets"], threads)]
        ids, nats = kernel.generate(
            inputs["logits"], inputs["flat"], inputs["drawing"], inputs["uniforms"], threads, inputs["halt"]
        )
        return [ids, nats, inputs["logits"], *inputs["flat"]]
    result = getattr(subject.network, method)(*inputs.values())
    return flat(result)


def flat(result: Any) -> list[Any]:
    return [part for each in result for part in flat(each)] if isinstance(result, (tuple, list)) else [result]


def copied(value: Any) -> Any:
    """Copy what kernels change in place, as they demand it."""
    if isinstance(value, list):
        return [copied(part) for part in value]
    return value.copy() if isinstance(value, np.ndarray) and value.dtype == np.float32 else value


# ---- the same arguments in another guise: accepted, and nothing changes


def strided(array: Array) -> Array:
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def unaligned(array: Array) -> Array:
    memory = np.zeros(array.nbytes + 1, np.uint8)
    memory[1:] = np.frombuffer(array.tobytes(), np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape)


def read_only(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


GUISES: dict[str, Callable[[Array], Array]] = {
    "strided": strided,
    "unaligned": unaligned,
    "read-only": read_only,
    "backwards": lambda array: np.ascontiguousarray(array[::-1])[::-1],
    "columns first": lambda array: np.asarray(array, order="F"),
    "bytes swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "wider": lambda array: array.astype(np.longdouble if array.dtype.kind == "f" else np.int64),
    "other integers": lambda array: array.astype(np.uint16 if array.dtype.kind in "iu" else array.dtype),
}


# ---- arguments that are wrong


def other_shape(array: Array, random: np.random.Generator) -> Array:
    """Return an array of other rows, columns or dimensions, or one that would be stretched."""
    axis = int(random.integers(array.ndim))
    size = array.shape[axis]
    choices: list[Callable[[], Array]] = [
        lambda: np.concatenate([array, array.take([0] if size else [], axis)], axis),
        lambda: array.take(range(size - 1), axis),
        lambda: array.take(range(min(size, 1)), axis),
        lambda: np.repeat(array, 3, axis),
        lambda: array[None],
        lambda: array[..., None],
        lambda: array.reshape(-1),
        lambda: array.T,
        lambda: array[..., :0],
        lambda: array[:0],
        lambda: np.array(1, array.dtype),
    ]
    return np.asarray(choices[int(random.integers(len(choices)))]())


def other_type(array: Array, random: np.random.Generator) -> Any:
    kinds = ["?", "c8", "O", "S4", "M8[s]"] + (["i8", "u1"] if array.dtype.kind == "f" else ["f4", "f8"])
    choices = [None, array.tolist(), "state", 7, {}, *(np.zeros(array.shape, kind) for kind in kinds)]
    return choices[int(random.integers(len(choices)))]


def out_of_range(name: str, array: Array, config: ModelConfig, random: np.random.Generator) -> Array:
    if not array.size:
        raise Unchanged
    array = array.copy()
    values: list[Any] = [-1, config.vocab_size, 2**40, -(2**63), 2**63 - 1]
    values = [-1e-9, 1.0, np.nan, np.inf, -np.inf] if name == "uniforms" else values
    array[tuple(int(random.integers(size)) for size in array.shape)] = values[int(random.integers(len(values)))]
    return array


def other_state(state: Any, random: np.random.Generator) -> Any:
    """Return a state with layers or parts too many or too few, or none at all."""
    last = state[-1]
    choices = [
        state[:-1], (*state, last), [], (*state[:-1], None), dict(enumerate(state)), 3, (*state[:-1], ()), object(),
        np.array(0.0),
    ]  # fmt: skip
    if isinstance(last, tuple):
        choices += [(*state[:-1], last[:-1]), (*state[:-1], (*last, last[0])), (*state[:-1], last[0])]
    return choices[int(random.integers(len(choices)))]


def other_drawing(drawing: Drawing, config: ModelConfig, rows: int, random: np.random.Generator) -> Drawing:
    """Return a way of drawing for other rows, without its checks of numbers: the kernels' own must do."""
    name = ("temperature", "top_k", "top_p", "min_p", "never")[int(random.integers(5))]
    kind = np.int64 if name == "top_k" else np.float64
    arrays = [np.ones(size, kind) for size in (rows + 1, rows + 2, (rows, 1), ())]
    value: Any = arrays[int(random.integers(4))]
    if name == "never":
        value = [-1, config.vocab_size, 2**62, "a", 0.5, [1]][int(random.integers(6))]
    wrong_drawing = Drawing(drawing.temperature, drawing.top_k, drawing.top_p, drawing.min_p, drawing.never)
    object.__setattr__(wrong_drawing, name, value)
    return wrong_drawing


class Unchanged(Exception):
    """A change that would leave an argument right."""


FREE = {"logits": ("inputs",), "hidden": ("inputs",), "kernel.read": ("inputs",), "generate": ("uniforms",)}
"""Whose number of columns is bound by no other argument."""


def spoiled(method: str, inputs: dict[str, Any], config: ModelConfig, random: np.random.Generator) -> tuple[str, Any]:
    """Return the name of a change, and the arguments with it; raises Unchanged where it would leave them right."""
    name = list(inputs)[int(random.integers(len(inputs)))]
    value, variant = inputs[name], dict(inputs)
    if name == "drawing":
        variant[name] = other_drawing(value, config, len(inputs["uniforms"]), random)
        return "other drawing", variant
    if name == "halt":
        invalid = [np.zeros(2, np.int32), np.zeros(1, np.int64), np.zeros((), np.int32), [0], 0, np.zeros(0, np.int32)]
        invalid += [unaligned(np.zeros(1, np.int32)), np.zeros(1, ">i4")]
        variant[name] = invalid[int(random.integers(len(invalid)))]
        return "other halt", variant
    if value is None:
        raise Unchanged
    if name in ("state", "flat"):
        if random.random() < 0.4:
            variant[name] = other_state(value, random)
            return "other state", variant
        layers: list[Any] = [list(layer) if name == "state" else layer for layer in value]
        k = int(random.integers(len(layers)))
        layer, j = (layers[k], int(random.integers(len(layers[k])))) if name == "state" else (layers, k)
        change, layer[j] = _spoiled(name, layer[j], config, random)
        variant[name] = tuple(tuple(layer) for layer in layers) if name == "state" else layers
        return change, variant
    change, variant[name] = _spoiled(name, value, config, random)
    array = variant[name]
    if array is None and method == "kernel.head" and name == "targets":  # then it gives logits
        raise Unchanged
    if change == "other shape" and array.ndim == value.ndim:
        steps_alone = array.shape[:1] == value.shape[:1] and (
            name in FREE.get(method, ()) or method == "kernel.generate"
        )
        rows_alone = name == "y" and (method == "logits_after" or inputs.get("targets") is None)
        fresh = name == "inputs" and method in ("logits", "hidden") and inputs["state"] is None
        if fresh or (rows_alone and array.shape[-1] == value.shape[-1]):
            raise Unchanged
        if steps_alone and name in ("inputs", "uniforms") and (array.shape[1] or method != "logits"):
            raise Unchanged
    return change, variant


def _spoiled(name: str, array: Array, config: ModelConfig, random: np.random.Generator) -> tuple[str, Any]:
    kind = random.random()
    if name == "flat" and kind < 0.3:  # changed in place, so that no guise will do
        guise = ("strided", "unaligned", "read-only", "wider", "bytes swapped")[int(random.integers(5))]
        guised = GUISES[guise](array)
        if guised.flags.carray and guised.dtype == array.dtype:
            raise Unchanged
        return "a guise in place", guised
    if name in ("inputs", "targets", "uniforms") and kind < 0.4:
        return "out of range", out_of_range(name, array, config, random)
    if kind < 0.6:
        return "other type", other_type(array, random)
    guised = other_shape(array, random)
    if guised.shape == array.shape:
        raise Unchanged
    return "other shape", guised


def disguised(method: str, inputs: dict[str, Any], random: np.random.Generator) -> tuple[str, dict[str, Any]]:
    """Return the arguments with one array in another guise."""
    names = [name for name in inputs if isinstance(inputs[name], np.ndarray) and name != "halt"]
    names = [name for name in names if not (method == "kernel.generate" and name == "logits")]
    if inputs.get("state") is not None:
        names.append("state")
    if not names:
        raise Unchanged
    name, guise = names[int(random.integers(len(names)))], list(GUISES)[int(random.integers(len(GUISES)))]
    if name != "state":
        return guise, inputs | {name: GUISES[guise](inputs[name])}
    return guise, inputs | {name: tuple([GUISES[guise](part) for part in layer] for layer in inputs[name])}


# ---- the run


def check_by_reference(subject: Subject, method: str, inputs: dict[str, Any], result: list[Any]) -> None:
    """Compare a result with numpy's in double; of generation the nats of what was drawn."""
    reference = subject.reference
    assert reference is not None
    if method in ("nats", "logits", "hidden", "nats_after", "logits_after"):
        expected = flat(getattr(reference, method)(*inputs.values()))
    elif method == "generate" and len(inputs["uniforms"]) and inputs["uniforms"].shape[1] > 1:
        ids, nats = result[:2]
        later, _ = reference.nats(ids[:, :-1], ids[:, 1:], inputs["state"])
        result, expected = [nats[:, 1:]], [later]
    else:
        return
    for actual, target in zip(result, expected, strict=True):
        np.testing.assert_allclose(actual, target, atol=1e-4)


def check_same(method: str, subject: Subject, result: list[Any], expected: list[Any]) -> None:
    for actual, target in zip(result, expected, strict=True):
        if actual is None or target is None:
            assert actual is target
        elif subject.network._kernel is not None and not subject.config.cutoffs:
            np.testing.assert_array_equal(actual, target)
        else:
            np.testing.assert_allclose(actual, target, atol=1e-5)


def check_construction(random: np.random.Generator) -> None:
    """Weights that do not fit are refused."""
    config = CONFIGS[int(random.integers(len(CONFIGS)))]
    weights: dict[str, Any] = dict(random_weights(config, random))
    name = list(weights)[int(random.integers(len(weights)))]
    array = weights.pop(name)
    spoilt = other_shape(array, random) if random.random() < 0.5 else other_type(array, random)
    if isinstance(spoilt, np.ndarray) and spoilt.shape == array.shape and spoilt.dtype.kind == "f":
        return
    if random.random() < 0.8:
        weights[name] = spoilt
    kernel = kernels()[int(random.integers(len(kernels())))]
    try:
        Network(config, weights, kernel=kernel)
    except ValueError:
        return
    raise AssertionError(f"{name} was taken as {spoilt!r:.200}")


def changed(name: str, array: Array, random: np.random.Generator) -> Any:
    """Return an array as it is, in another guise, or something else that may be wrong."""
    kind = random.random()
    if kind < 0.2:
        return GUISES[list(GUISES)[int(random.integers(len(GUISES)))]](array)
    if kind < 0.7:
        change = int(random.integers(3))
        if change == 2 and array.dtype.kind in "iu" and array.size:
            return out_of_range(name, array, CONFIGS[0], random)
        return (other_shape if change else other_type)(array, random)
    return array


def fuzz_layer(subject: fuzz_layers.Subject, random: np.random.Generator) -> str:
    """Call a layer at random; return how that ended."""
    inputs = fuzz_layers.arguments(subject.kernel, random)
    name = "x" if random.random() < 0.5 else "lengths"
    inputs[name] = changed(name, inputs[name], random)
    right = fuzz_layers.fits(subject.kernel, **inputs)
    try:
        if right:
            fuzz_layers.check_results(subject, **inputs, random=random)
        else:
            subject.kernel.read(**inputs, threads=2)
    except REFUSALS as error:
        if right:
            raise AssertionError(f"a layer refused: {error}") from error
        return "refused"
    if not right:
        raise AssertionError(f"a layer accepted: { {n: getattr(v, 'shape', v) for n, v in inputs.items()}!r:.1500}")
    return "accepted"


def fuzz(calls: int, seed: int = 0) -> Counter[str]:
    """Make `calls` random calls; return how often each kind of call was made, and how each ended.

    Raises AssertionError where a wrong call did not raise, a right one did, or a result is not right.
    """
    random = np.random.default_rng(seed)
    all_subjects, counts = subjects(random), Counter[str]()
    all_layers, decoders = fuzz_layers.subjects(random), fuzz_decoder.subjects(random)
    for _ in range(calls):
        if decoders and random.random() < 0.1:
            ending = fuzz_decoder.fuzz(decoders[int(random.integers(len(decoders)))], random, changed)
            counts[ending] += 1
            counts[f"{ending}: a decoder"] += 1
            continue
        if all_layers and random.random() < 0.15:
            ending = fuzz_layer(all_layers[int(random.integers(len(all_layers)))], random)
            counts[ending] += 1
            counts[f"{ending}: a layer"] += 1
            continue
        subject = all_subjects[int(random.integers(len(all_subjects)))]
        own = subject.network._kernel is not None
        methods = [name for name in METHODS if own or not name.startswith("kernel.")]
        if subject.config.cutoffs:
            methods = [name for name in methods if name not in ("kernel.head", "kernel.generate")]
        method = methods[int(random.integers(len(methods)))]
        inputs, kind = arguments(method, subject.config, random), random.random()
        if random.random() < 0.01:
            check_construction(random)
            counts["refused weights"] += 1
        change, variant = "", inputs
        try:
            if kind < 0.5:
                change, variant = spoiled(method, inputs, subject.config, random)
            elif kind < 0.75:
                change, variant = disguised(method, inputs, random)
        except Unchanged:
            pass
        invalid = bool(change) and kind < 0.5
        place = f"{change} in {method}, kernels: {subject.network._kernel is not None}, {subject.config}"
        fresh = {name: copied(value) for name, value in inputs.items()} if change and not invalid else {}
        passed_inputs = (
            variant if invalid or not method.startswith("kernel.") else {n: copied(v) for n, v in variant.items()}
        )
        try:
            result = call(subject, method, passed_inputs)
        except REFUSALS as error:
            if not invalid:
                raise AssertionError(f"refused: {place}: {error}") from error
            counts[f"refused {change}"] += 1
            counts[f"refused as {type(error).__name__}"] += 1
            counts["refused"] += 1
            continue
        if invalid:
            sizes = {name: getattr(value, "shape", value) for name, value in variant.items()}
            raise AssertionError(f"accepted: {place}: {sizes!r:.1500}")
        counts["accepted"] += 1
        if change:
            check_same(method, subject, result, call(subject, method, fresh))
            counts["accepted in a guise"] += 1
        elif subject.reference is not None and random.random() < 0.3:
            check_by_reference(subject, method, inputs, result)
            counts["compared with numpy in double"] += 1
    return counts


def main() -> None:
    """Fuzz, and print the counts as JSON."""
    calls, seed = (*map(int, sys.argv[1:3]), 0)[:2] if len(sys.argv) > 1 else (1000, 0)
    print(json.dumps(dict(sorted(fuzz(calls, seed).items()))))


if __name__ == "__main__":
    main()
