"""What a recipe fixes of a training: its length and portions, and how weights move. Without torch."""

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from unroll.errors import UserError

Precision = Literal["float32", "tf32", "bfloat16"]


@dataclass(frozen=True)
class LoopConfig:
    """How long a model is trained, and what happens on the way, whatever it learns."""

    steps: int = 2000
    """Number of optimizer steps."""
    batch_size: int = 16
    """Rows read side by side."""
    precision: Precision = "float32"
    """Precision of the products; weights, sums and the optimizer stay float32. tf32 needs a GPU: elsewhere it is
    float32."""
    threads: int = 2
    """Number of threads that compute."""
    wait_policy: Literal["default", "passive"] = "default"
    """How OpenMP threads wait for each other; passive yields the core, which pays on a busy machine."""
    seed: int = 0
    """Seed of all random numbers."""
    log_every: int = 10
    """Steps between two entries of the event log."""
    valid_every: int = 250
    """Steps between two quick validations."""
    save_every: int = 250
    """Steps between two saves."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "threads", "log_every", "valid_every", "save_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", allowed="1 or more")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed is {self.seed}", allowed="0 to 2^63-1")

    @property
    def extensions(self) -> tuple[int, ...]:
        """The steps at which extensions begin."""
        return ()


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """How a language model is trained: in which portions, and with which samples on the way."""

    extended_at: str = ""
    """Steps at which the training had ended and was extended (`--more-steps`), such as "200,400": there a schedule that
    falls to zero begins anew, warm-up included."""
    seq_len: int = 64
    """Symbols of each stream in a step; the state is carried on, the gradient is cut (truncated BPTT)."""
    reset_probability: float = 0.0
    """Probability that a stream's state is dropped before a step, or a label of a text left out, so that fresh states
    are practised too."""
    valid_rows: int = 16
    """Rows that a quick validation reads side by side."""
    valid_tokens: int = 50_000
    """Validation symbols read for the quick figures on the way."""
    final_tokens: int = 2_000_000
    """Most validation symbols read for the exact figure at the end."""
    sample_length: int = 300
    """Length of the samples taken on the way, in symbols."""
    sample_prompt: str = ""
    """Text that those samples continue."""
    sample_temperature: float = 0.8
    """Temperature of those samples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("seq_len", "valid_rows", "valid_tokens", "final_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", allowed="1 or more")
        if not 0 <= self.reset_probability <= 1:
            raise UserError(f"reset_probability is {self.reset_probability}", allowed="0 to 1")
        if not 0 <= self.sample_temperature < float("inf"):
            raise UserError(f"sample_temperature is {self.sample_temperature}", allowed="0 or more")
        if not re.fullmatch(r"([1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*)?", self.extended_at) or any(
            one >= other for one, other in pairwise((*self.extensions, self.steps))
        ):
            raise UserError(
                f"extended_at is {self.extended_at[:40]!r}, with {self.steps} steps in all",
                allowed="increasing numbers below that of all steps, with commas between them",
                fix="leave it out, or give more steps",
            )

    @property
    def extensions(self) -> tuple[int, ...]:
        """The steps at which extensions begin."""
        return tuple(int(step) for step in self.extended_at.split(",") if step)

    @property
    def tokens_per_step(self) -> int:
        """Number of symbols that a step reads."""
        return self.batch_size * self.seq_len


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov & Hutter 2019) with warm-up and decay, clipping and averaging."""

    learning_rate: float = 1e-2
    """Peak of the learning rate."""
    warmup_steps: int = 100
    """Steps over which the rate rises to its peak."""
    schedule: Literal["linear", "cosine", "constant", "plateau"] = "linear"
    """How the rate falls from the peak to zero at the last step; `constant` stays, best with averaging; `plateau` stays
    until a validation brings no new best, and is then cut."""
    plateau_factor: float = 0.25
    """Factor of every cut of `plateau`."""
    weight_decay: float = 0.05
    """Decay of the matrices; biases do not decay."""
    beta1: float = 0.9
    """Decay of the average of gradients."""
    beta2: float = 0.99
    """Decay of the average of squared gradients."""
    layer_decay: float = 1.0
    """Factor of the rate from a layer to the one below it, for fine-tuning (Howard & Ruder 2018, section 3.2)."""
    thaw_steps: int = 0
    """Steps until the layer below begins to learn, too, for fine-tuning (section 3.3 there)."""
    grad_clip: float = 1.0
    """Largest norm of all gradients together; 0 clips nothing."""
    averaging: float = 0.0
    """Decay of the running average of the weights, which is then validated and kept; 0 turns it off."""

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UserError(f"learning_rate is {self.learning_rate}", allowed="above 0")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"layer_decay is {self.layer_decay}", allowed="above 0, at most 1")
        for name in ("warmup_steps", "thaw_steps", "weight_decay", "grad_clip"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} is {getattr(self, name)}", allowed="0 or more")
        if not 0 < self.plateau_factor < 1:
            raise UserError(
                f"plateau_factor is {self.plateau_factor}", allowed="between 0 and 1", fix="write for example 0.25"
            )
        for name in ("beta1", "beta2", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", allowed="0 up to, not including, 1")
