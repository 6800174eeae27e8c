"""A network unrolled over a short text: input, state, guess and loss of each step, and the gradients flowing back."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.cells.properties import Text
from unroll.insight.gradients.jacobian import pulled, states_before, step_of, stepped
from unroll.insight.trace import Floats, in_float64, network_of
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.model import Model
from unroll.serve.texts import names, surfaces
from unroll.state import State, join_rows, select_rows

MOST = 64
"""Maximum symbols of a text."""
GUESSES = 5
"""Most probable symbols returned for each step."""
UNITS = 24
"""Units of the last layer that are drawn: those that vary most."""


def unroll_text(opened: Opened, text: Text) -> dict[str, Any]:
    """Read a short text of T symbols step by step, in float64; return every step as JSON.

    `symbols`, their `nats` and the `guesses` at each position, the most probable symbols with their probabilities (T);
    `states` by signal (T + 1, U) of some `units` of the last layer, after the start symbol and after each of the text;
    the `flow` of gradients, in which an infinite norm is None. Raises UserError for an n-gram and for a text that is
    too long.
    """
    exact = in_float64(network_of(opened))
    count = len(text.ids)
    if not 1 <= count <= MOST:
        raise UserError(
            f"the text has {count:,} symbols",
            allowed=f"1 to {MOST}: a larger diagram cannot be read",
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
    shown = [
        [{"symbol": written[k], "p": p} for k, p in zip(which, row, strict=True)]
        for which, row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    moves = last["h"][0].std(dim=0, correction=0)
    units = moves.argsort(descending=True, stable=True)[:UNITS].sort().values
    signals = ARCHITECTURES[config.arch].state or ("h",)
    states = {name: last[name][0, :, units].numpy().round(4).tolist() for name in signals}
    return {
        "arch": config.arch,
        "window": config.window if config.arch == "window" else None,
        "symbols": surfaces(opened.tokenizer, text),
        "names": [written[id] for id in text.ids.tolist()],
        "nats": nats.tolist(),
        "total_nats": float(nats.sum()),
        "guesses": shown,
        "states": states,
        "units": units.tolist(),
        "flow": {
            name: [[float(v) if np.isfinite(v) else None for v in row[: t + 1]] for t, row in enumerate(sizes)]
            for name, sizes in flow(exact, ids).items()
        },
    }


def flow(exact: Model, ids: Tensor) -> dict[str, Floats]:
    """Return how gradients of the nats of ids 1 to T flow back: norms ‖∂L_t/∂s_k‖ as entries (t, k) of (T, T).

    `ids` (T + 1,) begin with the start symbol, which step 0 reads, step k the k-th of the text; s_k is the state after
    it, L_t the nats of the symbol predicted after step t. Entries with k > t are 0: nothing flows forwards. `h` and `c`
    are over all layers, if present, `state` over both, and `x` by the input of step k.

    All losses flow back side by side, row t for L_t: round j takes each from the state after step t - j to the state
    before it. This is back-propagation through time as in `insight.gradients`, to which a test holds it.
    """
    inputs, targets = ids[:-1], ids[1:]
    step, count = step_of(exact), len(inputs)
    x, fresh = exact.embedding(inputs), exact.fresh_state(1)  # (T, E)
    states = join_rows(states_before(step, x[:, None], fresh))

    leaves, y, handed = stepped(step, x, states)
    losses = F.cross_entropy(exact.logits(y), targets, reduction="sum")
    # By s_{t+1}, which only the guess itself still reads, and then by s_t and x_t.
    now = torch.autograd.grad(losses, handed, retain_graph=True, materialize_grads=True)
    *back, by_input = torch.autograd.grad(losses, leaves, materialize_grads=True)
    rounds, inputs_back = [list(now), list(back)], [by_input]
    for j in range(1, count):
        *back, by_input = pulled(step, x[:-j], select_rows(states, slice(-j)), [part[1:] for part in back])
        rounds.append(back)
        inputs_back.append(by_input)
    return _sizes(exact, fresh, rounds, inputs_back, count)


def _sizes(
    exact: Model, shaped: State, rounds: list[list[Tensor]], inputs_back: list[Tensor], count: int
) -> dict[str, Floats]:
    """Return matrices (T, T) of norms; round j holds rows from loss j - 1 on, by the state after step t - j."""
    by_input = np.zeros((count, count))
    for j, gradients in enumerate(inputs_back):
        by_input[np.arange(j, count), np.arange(count - j)] = gradients.flatten(1).norm(dim=1).numpy()
    if exact.config.arch == "window":
        return {"x": by_input}
    kinds = ARCHITECTURES[exact.config.arch].state * len(shaped)
    by_state: dict[str, Floats] = {}
    for kind in dict.fromkeys(kinds):
        sizes = np.zeros((count, count))
        for j, parts in enumerate(rounds[:count]):
            gradients = torch.cat([part for part, name in zip(parts, kinds, strict=True) if name == kind], dim=1)
            rows = np.arange(count - len(gradients), count)
            keep = rows >= j  # for loss j - 1 this is by the fresh state, which no step made
            sizes[rows[keep], rows[keep] - j] = gradients.norm(dim=1).numpy()[keep]
        by_state[kind] = sizes
    return {**by_state, "state": np.hypot(by_state["h"], by_state.get("c", np.zeros_like(by_input))), "x": by_input}
