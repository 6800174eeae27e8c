"""A linear-chain conditional random field (Lafferty et al. 2001): the tags of a row as one path, scored exactly."""

import torch
from torch import Tensor, nn


class Crf(nn.Module):
    """The score of a path y over emissions e: start[y₁] + Σ e[t, yₜ] + Σ transitions[yₜ₋₁, yₜ] + end[y_T].

    Its probability is exp(score) over the sum for all paths, which the forward algorithm computes.
    """

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(tags))
        self.end = nn.Parameter(torch.zeros(tags))
        self.transitions = nn.Parameter(torch.zeros(tags, tags))

    def nats(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Return -ln P of the paths `tags` (T, B) of rows with `lengths` (B,), (B,) in nats; of an empty row 0."""
        nats = self.log_partition(emissions, lengths) - self.path_scores(emissions, tags, lengths)
        return nats.masked_fill(lengths == 0, 0.0)

    def path_scores(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Return the scores (B,) of the paths `tags` (T, B) over `emissions` (T, B, K); of an empty row any number."""
        inside = torch.arange(len(tags), device=tags.device).unsqueeze(1) < lengths
        own = emissions.gather(2, tags.unsqueeze(2)).squeeze(2).masked_fill(~inside, 0.0).sum(0)
        moves = self.transitions[tags[:-1], tags[1:]].masked_fill(~inside[1:], 0.0).sum(0)
        last = tags.gather(0, (lengths - 1).clamp(min=0).unsqueeze(0)).squeeze(0)
        scores: Tensor = self.start[tags[0]] + own + moves + self.end[last]
        return scores

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Return the logarithm (B,) of the sum of exp(score) over all paths; of an empty row any number."""
        forward = self.start + emissions[0]
        for t in range(1, len(emissions)):
            longer = torch.logsumexp(forward.unsqueeze(2) + self.transitions, dim=1) + emissions[t]
            forward = torch.where((t < lengths).unsqueeze(1), longer, forward)
        return torch.logsumexp(forward + self.end, dim=1)
