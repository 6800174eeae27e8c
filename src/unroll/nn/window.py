"""The fixed-window feed-forward network (Bengio et al. 2003), which keeps the same contract as the recurrent ones."""

import torch
from torch import Tensor, nn

from unroll.nn.dropout import drop
from unroll.state import State, to_float


class Window(nn.Module):
    """Feed-forward layers over the last `window` vectors: `window(x, state) -> (y, state)`, (T, B, I) to (T, B, H).

    The first layer is y_t = tanh(b + W [x_{t-n+1}; …; x_t]) (Bengio et al. 2003, equation 1); its state is the last
    n-1 inputs, zero before the text starts. What lies further back cannot be seen: that is the model's hard limit.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, window: int, dropout: float, variational: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.input_size = input_size
        self.dropout = dropout
        self.variational = variational
        self.layers = nn.ModuleList(
            nn.Linear(hidden_size if k else window * input_size, hidden_size) for k in range(num_layers)
        )

    def fresh_state(self, batch_size: int, like: Tensor) -> State:
        """Return the state before anything was read: n-1 zero vectors."""
        return ((like.new_zeros(batch_size, self.window - 1, self.input_size),),)

    def forward(self, x: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        """Read `x` (T, B, I) from `state`; a row forgets all inputs before a step where `resets` (T, B) is True."""
        outputs, after = self.trace(x, state, resets)
        return outputs[-1], after

    def trace(self, x: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[list[Tensor], State]:
        """Do what `forward` does and return the outputs (T, B, H) of every layer."""
        n, steps = self.window, len(x)
        ((before,),) = self.fresh_state(x.shape[1], x) if state is None else state
        inputs = torch.cat([before.transpose(0, 1).to(x.dtype), x])  # (n-1+T, B, I)
        windows = inputs.unfold(0, n, 1).permute(0, 1, 3, 2)  # (T, B, n, I), oldest first
        visible = None
        if resets is not None:
            # Inputs are visible only from the last reset on: count resets and compare the counts.
            count = torch.cat([resets.new_zeros(n - 1, resets.shape[1]), resets]).cumsum(0)  # (n-1+T, B)
            visible = count.unfold(0, n, 1) == count[n - 1 :].unsqueeze(-1)  # (T, B, n)
            windows = windows * visible.unsqueeze(-1)
        y = windows.reshape(steps, x.shape[1], n * self.input_size)
        outputs: list[Tensor] = []
        for k, layer in enumerate(self.layers):
            y = torch.tanh(layer(y))
            outputs.append(y)
            if k < len(self.layers) - 1:
                y = drop(y, self.dropout, variational=self.variational, training=self.training)
        rest = inputs[steps:]
        if visible is not None:
            rest = rest * visible[-1, :, 1:].transpose(0, 1).unsqueeze(-1)
        # A copy: a view would hold the whole window in memory for as long as the state is carried.
        return outputs, to_float(((rest.transpose(0, 1).clone(memory_format=torch.contiguous_format),),))
