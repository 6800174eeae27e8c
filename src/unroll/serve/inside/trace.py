"""The inside of a network at each symbol of a text, in the forms that the page draws: pictures in bytes, numbers."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.cells.properties import Text
from unroll.insight.cells.search import mid_ranks
from unroll.insight.trace import CLOSED, OPEN, Floats, Traced, network_of, trace_ids
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.model import Model
from unroll.nn.recurrent import RecurrentLayer
from unroll.progress import result

MOST = 20_000
"""Maximum symbols of a traced text."""
MOST_BYTES = 2**29
"""Maximum bytes of a trace."""
COMMON = 99.5
"""Percentile of |c| at which the colour scale of cells ends."""
BEST = 20
"""Units returned for a range."""


@dataclass(frozen=True)
class TextTrace:
    """A text that was traced through a model."""

    network: Model
    text: Text
    traced: Traced
    start: tuple[dict[str, Floats], ...]
    """The signals of each layer after the start symbol, (H,) by name."""

    @property
    def arch(self) -> str:
        """The architecture."""
        return self.network.config.arch

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(values.nbytes for values in self.traced.arrays.values())

    def values(self, layer: int, signal: str) -> Floats:
        """Return a signal of a layer (T, H); raises UserError where there is none."""
        config = self.network.config
        if not 0 <= layer < config.num_layers:
            raise UserError(f"there is no layer {layer}", allowed=f"0 to {config.num_layers - 1}", fix="choose another")
        if signal not in (own := ARCHITECTURES[config.arch].signals):
            raise UserError(absent(config.arch, signal), allowed=", ".join(own), fix="choose another")
        return self.traced.arrays[f"layer{layer}/{signal}"]

    @cached_property
    def reaches(self) -> Floats:
        """Where the colours of unbounded signals end, unit by unit (layers, H): see `common_end`; of others at 1."""
        config = self.network.config
        if not ARCHITECTURES[self.arch].unbounded:
            return np.ones((config.num_layers, config.hidden_size))
        signal = ARCHITECTURES[self.arch].unbounded[-1]
        return np.array(
            [
                [common_end(most) for most in np.percentile(np.abs(self.values(layer, signal)), COMMON, axis=0)]
                for layer in range(config.num_layers)
            ]
        )

    @cached_property
    def reach(self) -> float:
        """The value at which they end for all units together."""
        if not ARCHITECTURES[self.arch].unbounded:
            return 1.0
        signal, layers = ARCHITECTURES[self.arch].unbounded[-1], range(self.network.config.num_layers)
        return max(common_end(float(np.percentile(np.abs(self.values(layer, signal)), COMMON))) for layer in layers)


def common_end(most: float) -> float:
    """Return 1, or the next of 2, 3, 4, 6, 8, 12 and so on that is not below `most`."""
    steps = (scale * 2**k for k in range(40) for scale in (1.0, 1.5))
    return next((step for step in steps if step >= most and step != 1.5), 2.0**40)


def look(opened: Opened, text: Text) -> TextTrace:
    """Trace a text; raises UserError for an n-gram, and for a trace that would not fit into memory."""
    network = network_of(opened)
    config = network.config
    signals = ARCHITECTURES[config.arch].signals
    step_bytes = 4 * config.hidden_size * config.num_layers * len(signals)
    if len(text.ids) * step_bytes > MOST_BYTES:
        raise UserError(
            f"the text has {len(text.ids):,} symbols",
            allowed=f"{MOST_BYTES // step_bytes:,} for a network of this size: {step_bytes // 4:,} numbers for each",
            fix="take the part that matters",
        )
    traced = result(trace_ids(opened, text.ids, signals=(*signals, "nats")))
    with torch.inference_mode():
        device = network.embedding.weight.device
        _, _, inside = network.trace(torch.tensor([[opened.tokenizer.start_id]], device=device))
    start = tuple({name: inside[k][name][0, 0].cpu().numpy() for name in signals} for k in range(config.num_layers))
    return TextTrace(network, text, traced, start)


def absent(arch: str, signal: str) -> str:
    """Return why a kind of network has no such signal."""
    if not any(signal in other.signals for other in ARCHITECTURES.values()):
        return f"there is no signal {signal}"
    return f"{ARCHITECTURES[arch].article} {ARCHITECTURES[arch].about}"


def domain(text_trace: TextTrace, signal: str) -> tuple[float, float]:
    """Return the values at the ends of a signal's colour scale: 0 and 1 for gates, else symmetric about 0."""
    if signal in ARCHITECTURES[text_trace.arch].gates:
        return 0.0, 1.0
    return (-text_trace.reach, text_trace.reach) if signal in ARCHITECTURES[text_trace.arch].unbounded else (-1.0, 1.0)


def levels(values: Floats, low: float, high: float | Floats) -> NDArray[np.uint8]:
    """Return the index of each value's colour in the page's tables: 127 and 128 both stand for 0.

    Gates, which have no sign, use 0 to 255.
    """
    share = np.clip(values.astype(np.float64) / high, 0.0 if low == 0 else -1.0, 1.0)
    if low == 0:
        return np.floor(share * 255 + 0.5).astype(np.uint8)
    # Halves go up, as they do in JavaScript.
    return np.where(share < 0, np.floor((share + 1) * 127 + 0.5), 128 + np.floor(share * 127 + 0.5)).astype(np.uint8)


def heat(text_trace: TextTrace, layer: int, signal: str, *, own: bool = False) -> bytes:
    """Return a picture of a signal as a frame of bytes (H, T), with what units can be sorted by.

    With `own` each unit's unbounded signals are coloured up to its own reach, else up to that of all.
    """
    values = text_trace.values(layer, signal)
    low, high = domain(text_trace, signal)
    by_unit = own and signal in ARCHITECTURES[text_trace.arch].unbounded
    ends = text_trace.reaches[layer] if by_unit else np.full(values.shape[1], high)
    described = {
        "scale": [low, high],
        "ends": [float(end) for end in ends],
        "layer": layer,
        "signal": signal,
        "outside": int((np.abs(values) > ends).sum()),
        "variance": [float(value) for value in values.var(axis=0, dtype=np.float64)],
    }
    return frame(described, levels=np.ascontiguousarray(levels(values, low, ends).T))


def unit(text_trace: TextTrace, layer: int, number: int) -> bytes:
    """Return all signals of one unit, exactly, as a frame of float32 (S, T), with its values before the text.

    A plain RNN also has its two sums: h = tanh(from_input + from_state).
    """
    config = text_trace.network.config
    if not 0 <= number < config.hidden_size:
        raise UserError(f"there is no unit {number}", allowed=f"0 to {config.hidden_size - 1}", fix="choose another")
    names = list(ARCHITECTURES[config.arch].signals)
    rows = [text_trace.values(layer, name)[:, number] for name in names]
    if config.arch == "rnn":
        rows += parts_of_sum(text_trace, layer, number)
        names += ["from_input", "from_state"]
    before = {name: float(values[number]) for name, values in text_trace.start[layer].items()}
    constants = text_trace.traced.layers[layer].time_constants
    lasting = None if constants is None else float(constants[number])
    described = {
        "signals": names,
        "before": before,
        "layer": layer,
        "unit": number,
        "reach": float(text_trace.reaches[layer][number]),
        "time_constant": None if lasting is None or not np.isfinite(lasting) else lasting,
    }
    return frame(described, values=np.stack(rows).astype(np.float32))


def parts_of_sum(text_trace: TextTrace, layer: int, number: int) -> list[Floats]:
    """Return the two sums (T,) whose tanh is h of a plain RNN's unit: W x + b, and W_h h₋₁ + b_h."""
    network = text_trace.network
    recurrent_layer = network.recurrent.layers[layer]
    assert isinstance(recurrent_layer, RecurrentLayer)
    h = text_trace.values(layer, "h")
    before = np.concatenate([text_trace.start[layer]["h"][None], h[:-1]])
    with torch.inference_mode():
        x = network.embedding(torch.from_numpy(text_trace.text.ids.astype(np.int64)))
        for dense in network.before:
            x = torch.nn.functional.gelu(dense(x))
        for k in range(layer):
            y = torch.from_numpy(text_trace.values(k, "h"))
            x = y + x if network.config.skip == "residual" and k > 0 else y
        w = recurrent_layer.weights(0.0)
        from_input = x @ w.weight_ih[number] + w.bias_ih[number]
        from_state = torch.from_numpy(before) @ w.weight_hh[number] + w.bias_hh[number]
        return [from_input.numpy(), from_state.numpy()]


def gate_use(text_trace: TextTrace, layer: int) -> dict[str, Any]:
    """Return how often each unit's gates were closed and open over the text, as shares (H,), as JSON."""
    gates = []
    for name in ARCHITECTURES[text_trace.arch].gates:
        values = text_trace.values(layer, name)
        shares = [(values < CLOSED).mean(axis=0), (values > OPEN).mean(axis=0)]
        gates.append(
            {
                "name": name,
                "word": ARCHITECTURES[text_trace.arch].signals[name],
                "closed": [round(float(v), 4) for v in shares[0]],
                "open": [round(float(v), 4) for v in shares[1]],
            }
        )
    use = text_trace.traced.layers[layer].figures()
    return {"gates": gates, "time_constants": use["time_constants"], "closed_below": CLOSED, "open_above": OPEN}


def rank_units(text_trace: TextTrace, signal: str, first: int, last: int) -> list[dict[str, Any]]:
    """Return the units that best separate symbols `first` to `last` of a text from the rest, by AUROC, as JSON."""
    count = len(text_trace.text.ids)
    if not 0 <= first <= last < count or last - first + 1 == count:
        raise UserError(
            f"symbols {first} to {last} of {count} are not a part of the text",
            allowed="a range inside the text that leaves some of it out",
            fix="choose fewer symbols",
        )
    inside = np.zeros(count)
    inside[first : last + 1] = 1
    weights = np.where(inside == 1, 1 / inside.sum(), -1 / (count - inside.sum()))
    scores = []
    for layer in range(text_trace.network.config.num_layers):
        ranks = mid_ranks(np.ascontiguousarray(text_trace.values(layer, signal).T))
        scores += [(float(0.5 + score), layer, number) for number, score in enumerate(ranks @ weights)]
    scores.sort(key=lambda entry: (-abs(entry[0] - 0.5), entry[1], entry[2]))
    return [
        {"layer": layer, "unit": number, "signal": signal, "auroc": score, "on": score >= 0.5}
        for score, layer, number in scores[:BEST]
    ]


DTYPES = {"uint8": "u1", "int32": "i4", "float32": "f4", "float64": "f8"}


def frame(described: Mapping[str, Any], **arrays: NDArray[Any]) -> bytes:
    """Return arrays as a frame: u32 length of a JSON header, the header, each array, each padded to multiples of 8."""
    listed = [
        {"name": name, "dtype": DTYPES[values.dtype.name], "shape": list(values.shape)}
        for name, values in arrays.items()
    ]
    header = json.dumps({"arrays": listed, **described}, allow_nan=False).encode()
    written = struct.pack("<I", len(header)) + header
    parts = [written + bytes(-len(written) % 8)]
    for values in arrays.values():
        data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        parts.append(data + bytes(-len(data) % 8))
    return b"".join(parts)
