"""Pooling: a row's outputs, one for each unit, as one vector; what lies behind the row's end has no part in it."""

import torch
from torch import Tensor, nn


def inside(lengths: Tensor, steps: int) -> Tensor:
    """Return whether a step lies within its row, (T, B)."""
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths


def pool_mean(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean (B, D) of the outputs `y` (T, B, D), which are zero behind a row's end; of no outputs, zero."""
    return y.sum(0) / lengths.clamp(min=1).unsqueeze(1)


def pool_max(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the largest value (B, D) of each unit of the outputs `y` (T, B, D); of no outputs, zero."""
    largest = y.masked_fill(~inside(lengths, len(y)).unsqueeze(2), -torch.inf).amax(0)
    return largest.masked_fill((lengths == 0).unsqueeze(1), 0.0)


class Attention(nn.Module):
    """A weighted sum of outputs (Yang et al. 2016): the weights are softmax_t(v · tanh(W y_t + b)) over the row."""

    def __init__(self, output_size: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, output_size).uniform_(-1, 1) / output_size**0.5)
        self.bias = nn.Parameter(torch.zeros(size))
        self.vector = nn.Parameter(torch.empty(size).uniform_(-1, 1) / size**0.5)

    def weights(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the weights (T, B) of the outputs `y` (T, B, D); they sum to one, and are zero behind a row's end."""
        scores = torch.tanh(nn.functional.linear(y, self.weight, self.bias)) @ self.vector
        scores = scores.masked_fill(~inside(lengths, len(y)), -torch.inf)
        return torch.softmax(scores.masked_fill(lengths == 0, 0.0), 0)  # an empty row's outputs are zero

    def forward(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the weighted sum (B, D) of the outputs `y` (T, B, D); of no outputs, zero."""
        return (self.weights(y, lengths).unsqueeze(2) * y).sum(0)
