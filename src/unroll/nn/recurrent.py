"""Recurrent layers over any sequence of vectors: one set of weights, two engines, stepwise and fused."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unroll.nn import native
from unroll.nn.arch import ARCHITECTURES, Cell, Init, layer_shapes
from unroll.nn.cells import STEPS, CellWeights, Step, state_after
from unroll.nn.config import Skip
from unroll.nn.dropout import drop, drop_weights
from unroll.nn.precision import has_bfloat16_lstm
from unroll.nn.process import one_thread
from unroll.state import LayerState, State, reset_rows, to_float

Engine = Literal["fused", "stepwise"]
Hold = Callable[[int, Step], Step]
"""Returns step number t with some of its values replaced."""


def run_stepwise(
    arch: Cell, x: Tensor, state: LayerState, w: CellWeights, hold: Hold | None = None
) -> tuple[Tensor, LayerState, list[Step]]:
    """Run a layer as its cell's equation in a loop over `x` (T, B, I); also returns each step with its gates.

    With `hold`, the step that it returns takes the place of the computed one, also for the next step.
    """
    step = STEPS[arch]
    steps: list[Step] = []
    for t, x_t in enumerate(x):
        computed = step(x_t, state, w)
        steps.append(computed if hold is None else hold(t, computed))
        state = state_after(steps[-1])
    return torch.stack([s.h for s in steps]), state, steps


def run_fused(arch: Cell, x: Tensor, state: LayerState, w: CellWeights, *, training: bool) -> tuple[Tensor, LayerState]:
    """Run a layer with a kernel for the whole window over `x` (T, B, I) on the same weights.

    Our own for an LSTM in bfloat16 on a processor with the instructions for it, otherwise torch's (oneDNN, cuDNN).
    One call per layer without torch's own dropout, which is wrong on Apple GPUs in current releases.
    """
    if arch == "mingru":
        return run_mingru(x, state, w)
    if arch == "lstm" and native.fits(x, w.weight_hh.shape[1]):
        return native.run_lstm(x, state, w)
    h = tuple(part.unsqueeze(0) for part in state)
    weights = list(w)
    if arch == "lstm":
        # oneDNN has no LSTM in bfloat16 for older processors; torch asks it for one anyway, and fails.
        context: AbstractContextManager[object] = nullcontext()
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not has_bfloat16_lstm():
            x, h, context = x.float(), tuple(part.float() for part in h), torch.autocast("cpu", enabled=False)
        with context:
            y, h_n, c_n = torch.lstm(x, h, weights, True, 1, 0.0, training, False, False)
        return y, (h_n.squeeze(0), c_n.squeeze(0))
    run = torch.gru if arch == "gru" else torch.rnn_tanh
    y, h_n = run(x, h[0], weights, True, 1, 0.0, training, False, False)
    return y, (h_n.squeeze(0),)


def run_mingru(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Run a minGRU over `x` (T, B, I): one product for all steps, as no gate reads the state; then h step by step."""
    (h,) = state
    z, n = F.linear(x, w.weight_ih, w.bias_ih).to(h.dtype).chunk(2, dim=-1)  # (T, B, H) each
    outputs = []
    for z_t, n_t in zip(torch.sigmoid(z), n, strict=True):
        h = torch.lerp(h, n_t, z_t)
        outputs.append(h)
    return torch.stack(outputs), (h,)


class RecurrentLayer(nn.Module):
    """The weights of one recurrent layer.

    Recurrent weights start orthogonal, block by block (Saxe et al. 2014), input weights uniform in ±√(3/I) or, with
    `init` "torch", in ±1/√H, biases at zero and the forget gate's at `forget_bias` (Jozefowicz et al. 2015).
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor

    def __init__(self, arch: Cell, input_size: int, hidden_size: int, forget_bias: float, init: Init) -> None:
        super().__init__()
        bound = math.sqrt(3 / input_size) if init == "fan_in" else 1 / math.sqrt(hidden_size)
        for name, shape in layer_shapes(arch, input_size, hidden_size).items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        self.hidden_size, self.reads_state = hidden_size, ARCHITECTURES[arch].reads_state
        with torch.no_grad(), one_thread():
            self.weight_ih.uniform_(-bound, bound)
            for block in torch.split(self.weight_hh, hidden_size) if self.reads_state else ():
                nn.init.orthogonal_(block)
            if forget := ARCHITECTURES[arch].forget:
                gate, sign = forget
                first = ARCHITECTURES[arch].blocks.index(gate) * hidden_size
                self.bias_ih[first : first + hidden_size].fill_(sign * forget_bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the weights, as `to()` and similar methods do; on a GPU they then lie in one piece.

        That is how cuDNN reads them: separate weights would be re-packed at every step.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.weight_ih.is_cuda:
            flatten(self)
        return self

    def weights(self, weight_drop: float) -> CellWeights:
        """Return the weights as the cell's arguments, some recurrent ones dropped while training."""
        if not self.reads_state:
            empty = self.weight_ih.new_empty(0, self.hidden_size)
            return CellWeights(self.weight_ih, empty, self.bias_ih, empty[:, 0])
        weight_hh = drop_weights(self.weight_hh, weight_drop, training=self.training)
        return CellWeights(self.weight_ih, weight_hh, self.bias_ih, self.bias_hh)


def flatten(layer: RecurrentLayer) -> None:
    """Move a layer's weights into one piece of memory by torch's own `flatten_parameters`, as cuDNN reads them."""
    if not layer.reads_state:
        return  # cuDNN has no such layer
    kinds: dict[int, Any] = {1: nn.RNN, 3: nn.GRU, 4: nn.LSTM}
    rows, hidden = layer.weight_hh.shape
    module = kinds[rows // hidden](layer.weight_ih.shape[1], hidden, device="meta")
    for name in CellWeights._fields:
        setattr(module, f"{name}_l0", getattr(layer, name))
    module.flatten_parameters()


class Recurrent(nn.Module):
    """A stack of recurrent layers: `recurrent(x, state) -> (y, state)` over vectors `x` (T, B, I), `y` (T, B, H).

    `skip` joins the layers: `residual` adds a layer's input to its output (from the second layer on), `sum` gives the
    sum of all layers' outputs (Melis et al. 2018).
    """

    def __init__(
        self,
        arch: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        skip: Skip = "none",
        forget_bias: float = 1.0,
        init: Init = "fan_in",
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        variational: bool = False,
    ) -> None:
        super().__init__()
        self.arch: Cell = arch
        self.hidden_size = hidden_size
        self.skip = skip
        self.dropout = dropout
        self.weight_drop = weight_drop
        self.variational = variational
        self.layers = nn.ModuleList(
            RecurrentLayer(arch, hidden_size if k else input_size, hidden_size, forget_bias, init)
            for k in range(num_layers)
        )

    def fresh_state(self, batch_size: int, like: Tensor) -> State:
        """Return the state before anything was read: zeros, in the type and on the device of `like`."""
        parts = ARCHITECTURES[self.arch].state
        return tuple(tuple(like.new_zeros(batch_size, self.hidden_size) for _ in parts) for _ in self.layers)

    def forward(
        self, x: Tensor, state: State | None = None, resets: Tensor | None = None, engine: Engine = "fused"
    ) -> tuple[Tensor, State]:
        """Read `x` (T, B, I) from `state`; rows start afresh before each step where `resets` (T, B) is True.

        Raises ValueError for a state of another number of rows, or of another width.
        """
        state = self.fresh_state(x.shape[1], x) if state is None else state
        # torch's kernel for CPUs does not look, and would write beyond it.
        for part in (part for layer in state for part in layer):
            if part.shape != (x.shape[1], self.hidden_size):
                raise ValueError(f"a state {tuple(part.shape)} for {x.shape[1]} rows of {self.hidden_size} units")
        # A kernel cannot reset a row in mid-window, so the window is cut where any row restarts.
        cuts = [0] if resets is None else sorted({0, *torch.nonzero(resets.any(dim=1)).flatten().tolist()})
        after: list[LayerState] = []
        total: Tensor | None = None
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, RecurrentLayer)
            # Layer by layer, not piece by piece: what is dropped is drawn once and holds for the whole window.
            w = layer.weights(self.weight_drop)
            layer_state, pieces = state[k], []
            for start, end in zip(cuts, [*cuts[1:], len(x)], strict=True):
                if resets is not None:
                    (layer_state,) = reset_rows((layer_state,), resets[start])
                piece, layer_state = self._run(x[start:end], layer_state, w, engine)
                pieces.append(piece)
            y = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
            after.append(layer_state)
            y, total = self._joined(k, x, y, total)
            last = k == len(self.layers) - 1
            x = y if last else drop(y, self.dropout, variational=self.variational, training=self.training)
        assert total is not None
        return (total if self.skip == "sum" else x), to_float(tuple(after))

    def trace(
        self, x: Tensor, state: State | None = None, holds: Mapping[int, Hold] | None = None
    ) -> tuple[Tensor, State, list[list[Step]]]:
        """Read `x` (T, B, I) step by step, dropping nothing; also returns every layer's steps with their gates.

        `holds` are applied to the layers of those numbers.
        """
        state = self.fresh_state(x.shape[1], x) if state is None else state
        after: list[LayerState] = []
        traced: list[list[Step]] = []
        total: Tensor | None = None
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, RecurrentLayer)
            y, layer_state, steps = run_stepwise(self.arch, x, state[k], layer.weights(0.0), (holds or {}).get(k))
            after.append(layer_state)
            traced.append(steps)
            x, total = self._joined(k, x, y, total)
        assert total is not None
        return (total if self.skip == "sum" else x), tuple(after), traced

    def _joined(self, k: int, x: Tensor, y: Tensor, total: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what layer `k` hands on, of its input and its output, and the sum of all outputs so far."""
        y = y + x if self.skip == "residual" and k > 0 else y
        return y, y if total is None else total + y

    def _run(self, x: Tensor, state: LayerState, w: CellWeights, engine: Engine) -> tuple[Tensor, LayerState]:
        if engine == "fused":
            return run_fused(self.arch, x, state, w, training=self.training)
        return run_stepwise(self.arch, x, state, w)[:2]
