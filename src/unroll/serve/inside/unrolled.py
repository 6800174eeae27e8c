"""A network unrolled over a short text: input, state, guess and loss of every step, and gradients flowing back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.cells.properties import Text
from unroll.insight.gradients.jacobian import StepFunction, step_of
from unroll.insight.gradients.measure import in_float64
from unroll.insight.trace import network_of
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.model import Model
from unroll.serve.texts import names, surfaces
from unroll.state import State, join_rows, like, parts_of

Floats = NDArray[np.float64]

MOST = 64
"""Symbols of a text that is unrolled."""
GUESSES = 5
"""Of every step, the most probable symbols that are told."""
UNITS = 24
"""Of the last layer, those that move most, that are drawn."""


@dataclass(frozen=True)
class Flow:
    """Sizes of the gradient of each loss by what was handed on before it: entry (t, k) is ‖∂L_t/∂s_k‖.

    Step 0 reads the start symbol and step k the k-th of the text; s_k is what it hands on, L_t the nats of the symbol
    that is guessed after step t. Entries with k > t are 0: nothing flows forwards.
    """

    sizes: dict[str, Floats]
    """(T, T) each: `h` and `c` over all layers, where there are, `state` over both, and `x`, by what step k reads."""


@dataclass(frozen=True)
class Unrolled:
    """What happens at every step: T symbols of a text, each guessed from those before it."""

    arch: str
    symbols: tuple[str, ...]
    nats: Floats
    """(T,) -ln P of each."""
    guesses: tuple[tuple[tuple[str, float], ...], ...]
    """Before each symbol, the most probable ones with their probabilities."""
    states: dict[str, Floats]
    """(T + 1, U) of some units of the last layer, by signal: after the start symbol, and after each of the text."""
    units: tuple[int, ...]
    """Which they are."""
    flow: Flow
    window: int | None

    def figures(self) -> dict[str, Any]:
        """Return all of it as JSON; a size that is too large for a number is None."""
        return {
            "arch": self.arch,
            "window": self.window,
            "symbols": list(self.symbols),
            "nats": self.nats.tolist(),
            "total_nats": float(self.nats.sum()),
            "guesses": [[{"symbol": symbol, "p": p} for symbol, p in some] for some in self.guesses],
            "states": {name: values.round(4).tolist() for name, values in self.states.items()},
            "units": list(self.units),
            "flow": {
                name: [[float(v) if np.isfinite(v) else None for v in row[: t + 1]] for t, row in enumerate(sizes)]
                for name, sizes in self.flow.sizes.items()
            },
        }


def unroll_text(opened: Opened, text: Text) -> Unrolled:
    """Read a short text step by step, in float64; raises UserError for an n-gram, and for one that is too long."""
    exact = in_float64(network_of(opened))
    count = len(text.ids)
    if not 1 <= count <= MOST:
        raise UserError(
            f"the text has {count:,} symbols",
            allowed=f"1 to {MOST}: a diagram of more cannot be read",
            fix="shorten it",
        )
    config = exact.config
    ids = torch.from_numpy(np.concatenate([[opened.tokenizer.start_id], text.ids]).astype(np.int64))
    with torch.inference_mode():
        logits, _, inside = exact.trace(ids[None])
        guesses = torch.log_softmax(logits[0, :-1], dim=-1)
        last = inside[-1]
    nats = -guesses.gather(1, ids[1:, None])[:, 0].numpy()
    written = names(opened.tokenizer)
    best = guesses.exp().topk(min(GUESSES, config.vocab_size), dim=-1)
    shown = tuple(
        tuple((written[k], p) for k, p in zip(which, row, strict=True))
        for which, row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
    moves = last["h"][0].std(dim=0, correction=0)
    units = moves.argsort(descending=True, stable=True)[:UNITS].sort().values
    signals = ARCHITECTURES[config.arch].state or ("h",)
    states: dict[str, Floats] = {name: last[name][0, :, units].numpy() for name in signals}
    return Unrolled(
        config.arch,
        tuple(surfaces(opened.tokenizer, text)),
        nats,
        shown,
        states,
        tuple(units.tolist()),
        flow(exact, ids),
        config.window if config.arch == "window" else None,
    )


def flow(exact: Model, ids: Tensor) -> Flow:
    """Return how gradients of the nats of ids 1 to T flow back; `ids` (T + 1,) begin with the start symbol.

    All losses are followed back side by side, row t for L_t: round j takes each from what step t - j hands on to what
    it was given. Back-propagation through time as in `insight.jacobian.norms_by_lag`, to which a test holds it.
    """
    inputs, targets = ids[:-1], ids[1:]
    step, count = step_of(exact), len(inputs)
    x = exact.embedding(inputs)  # (T, E)
    before = [exact.fresh_state(1)]
    with torch.no_grad():
        for t in range(count):
            before.append(step(x[t : t + 1], before[-1])[1])
    given = parts_of(join_rows(before[:-1]))  # (T, H) each

    leaves = [part.detach().clone().requires_grad_() for part in (*given, x)]
    with torch.enable_grad():
        y, after = step(leaves[-1], like(before[0], leaves[:-1]))
        losses = F.cross_entropy(exact.logits(y), targets, reduction="sum")
    handed = parts_of(after)
    # By s_{t+1}, which only the guess itself still reads, and then by s_t and x_t.
    now = torch.autograd.grad(losses, handed, retain_graph=True, materialize_grads=True)
    *back, by_input = torch.autograd.grad(losses, leaves, materialize_grads=True)
    rounds, inputs_back = [list(now), list(back)], [by_input]
    for j in range(1, count):
        back, by_input = _pulled(step, x[:-j], [part[:-j] for part in given], before[0], [part[1:] for part in back])
        rounds.append(back)
        inputs_back.append(by_input)
    return Flow(_sizes(exact, before[0], rounds, inputs_back, count))


def _pulled(
    step: StepFunction, x: Tensor, given: list[Tensor], shaped: State, back: list[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Return gradients by the states before steps and by their inputs, from those by what the steps hand on."""
    leaves = [part.detach().clone().requires_grad_() for part in (*given, x)]
    with torch.enable_grad():
        after = parts_of(step(leaves[-1], like(shaped, leaves[:-1]))[1])
    *found, by_input = torch.autograd.grad(after, leaves, back, materialize_grads=True)
    return list(found), by_input


def _sizes(
    exact: Model, shaped: State, rounds: list[list[Tensor]], inputs_back: list[Tensor], count: int
) -> dict[str, Floats]:
    """Return matrices (T, T) of sizes; round j holds the rows of losses j - 1 on, by what step t - j hands on."""
    by_input = np.zeros((count, count))
    for j, gradients in enumerate(inputs_back):
        by_input[np.arange(j, count), np.arange(count - j)] = gradients.flatten(1).norm(dim=1).numpy()
    if exact.config.arch == "window":
        return {"x": by_input}
    kinds = ARCHITECTURES[exact.config.arch].state * len(shaped)
    found: dict[str, Floats] = {}
    for kind in dict.fromkeys(kinds):
        sizes = np.zeros((count, count))
        for j, parts in enumerate(rounds[:count]):
            some = torch.cat([part for part, its in zip(parts, kinds, strict=True) if its == kind], dim=1)
            rows = np.arange(count - len(some), count)
            keep = rows >= j  # of loss j - 1 this is by the fresh state, which no step handed on
            sizes[rows[keep], rows[keep] - j] = some.norm(dim=1).numpy()[keep]
        found[kind] = sizes
    return {**found, "state": np.hypot(found["h"], found.get("c", np.zeros_like(by_input))), "x": by_input}
