"""Which earlier symbols made a prediction: gradient × input, integrated gradients, and leave-one-out as a check."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.artifact.open import Opened, open_model
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.insight.attribution.scores import (
    LONGEST,
    STEPS,
    Attribution,
    Floats,
    Ids,
    Method,
    check_method,
    missed_by,
    rank_correlation,
)
from unroll.insight.trace import in_float64, network_of
from unroll.lm.surprisal import token_name
from unroll.nn.model import Model
from unroll.progress import Progress, Work, result
from unroll.state import State, select_rows

ROWS = 32
"""Texts with one symbol left out that are read side by side."""
HELD = 2**22
"""Most numbers of one kind in a graph of gradients."""


class Quantity(Protocol):
    """F, the attributed quantity, as a function of vectors."""

    @property
    def width(self) -> int:
        """Numbers of one kind that a graph of gradients holds for a vector."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return F (B,) of the vectors (T, B, E)."""


@dataclass(frozen=True)
class Prediction:
    """F, the attributed quantity, as a function of vectors: log p(target), or less log p(against), in nats."""

    network: Model
    """A network whose weights need no gradients."""
    state: State
    """One row, after the start symbol, which gets no score."""
    target: int
    against: int | None

    @property
    def width(self) -> int:
        """Numbers of one kind that a graph of gradients holds for a vector."""
        return self.network.config.hidden_size * self.network.config.num_layers

    def read(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read vectors (T, B, E), in place of embeddings, from a state; return the outputs (T, B, H) and the state."""
        for layer in self.network.before:
            x = F.gelu(layer(x))
        return self.network.recurrent(x, state)  # type: ignore[no-any-return]

    def __call__(self, x: Tensor, state: State | None = None) -> Tensor:
        """Return F (B,) after the vectors (T, B, E), from one row of state."""
        rows = torch.zeros(x.shape[1], dtype=torch.long)
        y, _ = self.read(x, select_rows(self.state if state is None else state, rows))
        logits = self.network.logits(y[-1])
        if self.against is not None:
            return logits[:, self.target] - logits[:, self.against]  # the normalisation cancels
        return torch.log_softmax(logits, dim=-1)[:, self.target]


def attribute(
    model: StrPath,
    text: str,
    *,
    target: str | None = None,
    against: str | None = None,
    at: int | None = None,
    method: Method = "integrated",
    steps: int = STEPS,
) -> Attribution:
    """Score the symbols of a text by their effect on a prediction: of the symbol `target` after the text.

    Without a target it is the text's own last symbol. With `at` it is the prediction after that many symbols, of the
    next one if no target is given. The scored quantity is log p(target), with `against` the difference to
    log p(against), in nats, in float64. Raises UserError.
    """
    opened = open_model(Path(model), needs="network")
    return result(attributing(opened, text, target=target, against=against, at=at, method=method, steps=steps))


def attributing(
    opened: Opened,
    text: str,
    *,
    target: str | None = None,
    against: str | None = None,
    at: int | None = None,
    method: Method = "integrated",
    steps: int = STEPS,
) -> Work[Attribution]:
    """Do what `attribute` does, yielding progress; returns the result."""
    network = in_float64(network_of(opened))
    check_method(method, steps)
    ids, notes = read_text(opened, text)
    at = _place(len(ids), at, by_user=target is not None)
    target_id = int(ids[at]) if target is None else symbol_id(opened, target, "target")
    against_id = None if against is None else symbol_id(opened, against, "against")
    if target_id == against_id:
        raise UserError("the target is set against itself", allowed="two symbols", fix="name another one")
    with torch.no_grad():
        _, state = network(torch.tensor([[opened.tokenizer.start_id]]))
        x = network.embedding(torch.from_numpy(ids[:at]))  # (at, E)
    prediction = Prediction(network, state, target_id, against_id)
    scores, leave_out, agreement = yield from scored(prediction, x, method, steps)
    with torch.no_grad():
        value, baseline = prediction(torch.stack([x, torch.zeros_like(x)], dim=1)).tolist()
    if agreement is None and method != "leave-out":
        notes.append("no rank agreement: it needs at least two symbols, and scores that differ")
    return Attribution(
        method,
        ids,
        tuple(token_name(opened.tokenizer, id) for id in ids.tolist()),
        at,
        token_name(opened.tokenizer, target_id),
        None if against_id is None else token_name(opened.tokenizer, against_id),
        value,
        baseline,
        np.pad(scores, (0, len(ids) - at)),
        np.pad(leave_out, (0, len(ids) - at)),
        agreement,
        steps if method == "integrated" else None,
        (*notes, *missed_by(method, scores, value - baseline)),
    )


# ---- the methods


def scored(prediction: Prediction, x: Tensor, method: Method, steps: int) -> Work[tuple[Floats, Floats, float | None]]:
    """Return the scores of vectors `x` (T, E) by a method, those of leave-one-out, and their rank correlation.

    It is None for leave-one-out itself, and where it does not exist. Yields progress.
    """
    leave_out = yield from leave_one_out(prediction, x)
    if method == "leave-out":
        return leave_out, leave_out, None
    if method == "gradient":
        scores = gradient_times_input(prediction, x)
    else:
        scores = yield from integrated_gradients(prediction, x, steps)
    return scores, leave_out, rank_correlation(scores, leave_out)


def gradient_times_input(quantity: Quantity, x: Tensor, origin: Tensor | None = None) -> Floats:
    """Return ∂F/∂x_t · (x_t - origin) of each vector of `x` (T, E): exact where F is linear (Simonyan et al. 2013).

    The `origin` (T, E) is zero by default.
    """
    return np.asarray(gradient_parts(quantity, x, origin).sum(axis=1))


def gradient_parts(quantity: Quantity, x: Tensor, origin: Tensor | None = None) -> Floats:
    """Return the same number by number, (T, E)."""
    difference = x if origin is None else x - origin
    return np.asarray((gradients(quantity, x[:, None])[:, 0] * difference).numpy())


def integrated_gradients(quantity: Quantity, x: Tensor, steps: int, origin: Tensor | None = None) -> Work[Floats]:
    """Return d_t · ∫ ∂F/∂x_t (origin + αd) dα, α from 0 to 1, d = x - origin, of each vector of `x` (T, E).

    The `origin` (T, E) is zero by default. They sum to F(x) - F(origin) (Sundararajan et al. 2017, equation 1 and
    proposition 1), up to the error of the integral, which is taken by the Gauss-Legendre rule with `steps` points.
    Yields progress.
    """
    return np.asarray((yield from integrated_parts(quantity, x, steps, origin)).sum(axis=1))


def integrated_parts(quantity: Quantity, x: Tensor, steps: int, origin: Tensor | None = None) -> Work[Floats]:
    """Return the same number by number, (T, E), yielding progress."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on -1 to 1
    alpha, weight = torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
    rows = max(1, HELD // (len(x) * quantity.width))
    origin = torch.zeros_like(x) if origin is None else origin
    difference = x - origin
    total = torch.zeros_like(x)
    for first in range(0, steps, rows):
        points = slice(first, first + rows)
        path = origin[:, None] + alpha[points, None] * difference[:, None]  # (T, rows, E)
        total += (gradients(quantity, path) * weight[points, None]).sum(dim=1)
        yield Progress("integrating", min(steps, first + rows), steps, "points")
    return np.asarray((total * difference).numpy())


@torch.no_grad()
def leave_one_out(prediction: Prediction, x: Tensor) -> Work[Floats]:
    """Return F(x) - F(x with x_t = 0) of each vector of `x` (T, E), yielding progress.

    The embedding is zeroed, not the symbol removed: all others keep their places, and it is what gradient × input
    approximates to first order. Many texts are read side by side, from the state before the first symbol left out.
    """
    whole = prediction(x[:, None])
    state, differences = prediction.state, []
    for first in range(0, len(x), ROWS):
        count = min(ROWS, len(x) - first)
        rows = x[first:, None].repeat(1, count, 1)  # (T - first, count, E)
        rows[range(count), range(count)] = 0.0
        differences.append(whole - prediction(rows, state))
        _, state = prediction.read(x[first : first + count, None], state)
        yield Progress("leaving out", first + count, len(x), "symbols")
    return np.asarray(torch.cat(differences).numpy())


def gradients(quantity: Quantity, x: Tensor) -> Tensor:
    """Return ∂F/∂x (T, B, E) at the vectors `x` (T, B, E)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(quantity(x).sum(), x)
    return gradient


# ---- texts, for patching too


def read_text(opened: Opened, text: str) -> tuple[Ids, list[str]]:
    """Return the ids of a text, and a note if it has symbols that the model does not know."""
    unknown = dict.fromkeys(repr(symbol) for _, symbol in opened.tokenizer.unknown(text))
    ids = opened.tokenizer.encode(text)
    if len(ids) > LONGEST:
        raise UserError(
            f"the text has {len(ids):,} symbols", allowed=f"at most {LONGEST:,}", fix="take the part that matters"
        )
    return ids, [f"symbols that the model does not know were read as <unk>: {', '.join(unknown)}"] if unknown else []


def symbol_id(opened: Opened, symbol: str, name: str) -> int:
    """Return the id of one symbol, written as itself or as tables show it (`\\n`); `name` says what it is for."""
    tokenizer = opened.tokenizer
    names = [tokenizer.symbol(id) for id in range(tokenizer.vocab_size)]
    piece = symbol.encode(errors="surrogatepass")
    if piece in tokenizer.pieces:
        return tokenizer.pieces.index(piece)
    if symbol in names:
        return names.index(symbol)
    ids = [id for id in tokenizer.encode(symbol).tolist() if id != tokenizer.unknown_id]
    first_hint = f" {tokenizer.symbol(ids[0])!r}," if len(ids) > 1 else ""
    raise UserError(
        f"{symbol!r} ({name}) is not a symbol of {opened.path}",
        allowed=f"one of its {len(names):,} symbols, of level {tokenizer.level}",
        fix=f"name its first symbol,{first_hint} or train with --level word"
        if first_hint
        else "name a symbol of the text",
    )


def _place(length: int, at: int | None, *, by_user: bool) -> int:
    """Return after how many symbols of a text the prediction is made; raises UserError if nothing comes before it."""
    largest = length if by_user else length - 1
    place = largest if at is None else at
    if not 1 <= place <= largest:
        raise UserError(
            "no symbol comes before the prediction" if at is None else f"a prediction after {at} symbols",
            allowed=f"1 to {largest}" if largest > 0 else "a text of at least two symbols, or of one and a --target",
            fix="give a longer text, or a --target that follows it",
        )
    return place
